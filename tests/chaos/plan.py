"""What a run is going to do, drawn from its seed before it begins: the same seed gives the same songs and blows.

What cannot be planned is how the machine interleaves them, so a seed that failed need not fail again at once; it makes
the same thing likely.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

KILLS = {"processor": 4, "child": 4, "uploader": 4, "api": 2, "api-worker": 2, "redis": 2, "s3": 1, "all": 1}
"""What is killed, and how often beside the others; "all" is everything at once, as when a machine goes down."""

FROZEN = ("processor", "uploader")
"""What is stopped for longer than its leases last, and then goes on as if nothing had happened."""

RECEIVERS = ("hooks-1", "hooks-2", "hooks-3")
"""Who is told how a task ended."""

LINKS = ("redis", "s3", "audio", *RECEIVERS)
"""The connections that a proxy stands in: to Redis, to the storage, to the audio host, to each receiver of webhooks."""

TROUBLES = ("cut", "reset", "refuse", "delay")
"""What happens to a link: its connections end, or break; none can be made for a while; all takes longer for a while."""

LEASE_S = 4.0
"""How long a worker may be silent before it loses its task."""

_SECONDS_PER_BLOW = 1.6
_RATES_HZ = (44_100, 44_100, 48_000, 22_050)
_SENT_SHARE = 0.3
_FETCHES = (("busy",), ("breaks-off",), ("slow",))
_HOOKS = (("broken",), ("busy",), ("hangs",), ("broken", "hangs"))


@dataclass(frozen=True)
class Song:
    """One task: a made sound, or an `end` of "gone" or "not-audio" that must fail.

    `pause_s` passes before it is submitted. `fetches` and `hooks` name how the audio host and the receiver misbehave,
    one after the other, before they do what they should; they take `fetch_s` and `hook_s` for that, so that blows find
    something under way. A song that `is_sent` along needs no audio host.
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

    @property
    def succeeds(self) -> bool:
        """Whether the task must end well."""
        return self.end == "success"


@dataclass(frozen=True)
class Blow:
    """After `pause_s`: `trouble` is "kill" or "freeze" for a process, or one of a link; `choice`, 0 to 1, picks one."""

    pause_s: float
    trouble: str
    target: str
    choice: float
    lasts_s: float


@dataclass(frozen=True)
class Plan:
    """Everything that a run does."""

    seed: int
    songs: tuple[Song, ...]
    blows: tuple[Blow, ...]


def make_plan(seed: int, tasks: int, kills: int) -> Plan:
    """`tasks` songs, over the same time `kills` kills, half as many troubles of links, a tenth as many freezes."""
    blows = _blows(Random(f"{seed} blows"), kills)
    songs = _songs(Random(f"{seed} songs"), tasks, sum(blow.pause_s for blow in blows))
    return Plan(seed, songs, blows)


def _songs(chance: Random, count: int, lasts_s: float) -> tuple[Song, ...]:
    # Clients come in bursts: most of them at once after another one.
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
    )


def _blows(chance: Random, kills: int) -> tuple[Blow, ...]:
    killed = [*KILLS, *chance.choices(list(KILLS), list(KILLS.values()), k=kills)][:kills]
    struck = [("kill", target) for target in killed]
    struck += [(chance.choice(TROUBLES), chance.choice(LINKS)) for _ in range(kills // 2)]
    struck += [("freeze", chance.choice(FROZEN)) for _ in range(kills // 10)]
    chance.shuffle(struck)
    return tuple(
        Blow(
            pause_s=chance.uniform(0.1, 2 * _SECONDS_PER_BLOW),
            trouble=trouble,
            target=target,
            choice=chance.random(),
            lasts_s=LEASE_S + chance.uniform(0.5, 3.0) if trouble == "freeze" else chance.uniform(0.3, 2.0),
        )
        for trouble, target in struck
    )
