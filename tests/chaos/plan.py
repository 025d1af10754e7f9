"""The songs and disruptions of a run, drawn from its seed before it begins: the same seed gives the same plan.

The order in which the machine runs them cannot be planned, so a seed that failed once need not fail each time.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

KILLS = {"processor": 4, "child": 4, "uploader": 4, "api": 2, "api-worker": 2, "redis": 2, "s3": 1, "all": 1}
"""What is killed, and its relative frequency; "all" is every process at the same time, as if a machine went down."""

FROZEN = ("processor", "uploader")
"""What is frozen for longer than its leases last, and then continues."""

RECEIVERS = ("hooks-1", "hooks-2", "hooks-3")
"""The hosts that receive webhooks."""

LINKS = ("redis", "s3", "audio", *RECEIVERS)
"""The connections that go through a proxy: to Redis, the storage, the audio host and each webhook receiver."""

LINK_DISRUPTIONS = ("cut", "reset", "refuse", "delay")
"""What happens to a link: its connections are closed or reset, or it refuses or delays everything for a while."""

LEASE_S = 4.0
"""How long a worker can go without a heartbeat before it loses its task."""

MODELS = {"half": 0.5, "quarter": 0.25}
"""The models, the default first, and which share of a song each gives as its vocals. Songs have them in turns."""

_SECONDS_PER_DISRUPTION = 1.6
_RATES_HZ = (44_100, 44_100, 48_000, 22_050)
_SENT_SHARE = 0.3
_FETCHES = (("busy",), ("breaks-off",), ("slow",))
_HOOKS = (("broken",), ("busy",), ("hangs",), ("broken", "hangs"))


@dataclass(frozen=True)
class Song:
    """One task: generated noise, or an `end` of "gone" or "not-audio" that must fail.

    It is submitted after `pause_s` and separated by `model`. `fetches` and `hooks` list how the audio host and the
    receiver misbehave at first; their proper answers take `fetch_s` and `hook_s`, so that disruptions hit requests
    under way. A song that `is_sent` is uploaded and needs no audio host.
    """

    number: int
    priority: int
    pause_s: float
    end: str
    seconds: float
    rate_hz: int
    channels: int
    fetches: tuple[str, ...]
    fetch_s: float
    is_sent: bool
    receiver: str
    hooks: tuple[str, ...]
    hook_s: float
    model: str

    @property
    def succeeds(self) -> bool:
        """Whether the task must end well."""
        return self.end == "success"


@dataclass(frozen=True)
class Disruption:
    """After `pause_s`, do `kind` to `target`: "kill" or "freeze" a process, or one of LINK_DISRUPTIONS to a link.

    `choice`, 0 to 1, picks one of several processes. It lasts `lasts_s`, unless it is over at once.
    """

    pause_s: float
    kind: str
    target: str
    choice: float
    lasts_s: float


@dataclass(frozen=True)
class Plan:
    """Everything that a run does."""

    seed: int
    songs: tuple[Song, ...]
    disruptions: tuple[Disruption, ...]


def make_plan(seed: int, tasks: int, kills: int) -> Plan:
    """`tasks` songs, and over the same time `kills` kills, half as many link disruptions, a tenth as many freezes."""
    # "blows" and "songs" belong to the seeds: with other words, a recorded seed would give another plan.
    disruptions = _disruptions(Random(f"{seed} blows"), kills)
    songs = _songs(Random(f"{seed} songs"), tasks, sum(disruption.pause_s for disruption in disruptions))
    return Plan(seed, songs, disruptions)


def _songs(chance: Random, count: int, lasts_s: float) -> tuple[Song, ...]:
    # Songs are submitted in bursts: most of them follow the previous one without a pause.
    pauses = [chance.expovariate(1) if chance.random() < 0.25 else 0.0 for _ in range(count)]
    share = lasts_s / (sum(pauses) or 1.0)
    return tuple(_song(chance, number, pause * share) for number, pause in enumerate(pauses))


def _song(chance: Random, number: int, pause_s: float) -> Song:
    end = chance.choices(["success", "gone", "not-audio"], [18, 1, 1])[0]
    return Song(
        number=number,
        priority=chance.randint(1, 5),
        pause_s=pause_s,
        end=end,
        seconds=chance.uniform(1, 3),
        rate_hz=chance.choice(_RATES_HZ),
        channels=chance.choice((1, 2)),
        fetches=chance.choice(_FETCHES) if end == "success" and chance.random() < 0.2 else (),
        fetch_s=chance.uniform(0, 1),
        is_sent=end != "gone" and chance.random() < _SENT_SHARE,
        receiver=chance.choice(RECEIVERS),
        hooks=chance.choice(_HOOKS) if chance.random() < 0.2 else (),
        hook_s=chance.uniform(0, 0.5),
        model=list(MODELS)[number % len(MODELS)],
    )


def _disruptions(chance: Random, kills: int) -> tuple[Disruption, ...]:
    killed = [*KILLS, *chance.choices(list(KILLS), list(KILLS.values()), k=kills)][:kills]
    drawn = [("kill", target) for target in killed]
    drawn += [(chance.choice(LINK_DISRUPTIONS), chance.choice(LINKS)) for _ in range(kills // 2)]
    drawn += [("freeze", chance.choice(FROZEN)) for _ in range(kills // 10)]
    chance.shuffle(drawn)
    return tuple(
        Disruption(
            pause_s=chance.uniform(0.1, 2 * _SECONDS_PER_DISRUPTION),
            kind=kind,
            target=target,
            choice=chance.random(),
            lasts_s=LEASE_S + chance.uniform(0.5, 3.0) if kind == "freeze" else chance.uniform(0.3, 2.0),
        )
        for kind, target in drawn
    )
