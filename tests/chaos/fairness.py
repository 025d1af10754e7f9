"""Pairs of runs, without and with an antisocial user: what do the others feel, from POST to webhook and at /health?

Three users submit songs at the same time, so many that the last song waits for all the others. Then there is a pause.
Both runs of a pair have the same songs. Every limit has its default. With the antisocial user there are four who take
turns instead of three, so the others wait at least a third longer. Refusing the rest takes CPU time, too.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import quantiles
from typing import Any

import bcrypt
import requests
from requests.adapters import HTTPAdapter

from tests.chaos.antisocial import ADDRESS, AntisocialUser
from tests.chaos.songs import noise
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.networks import write_model
from tests.support.redis_server import redis_server
from tests.support.service import Service, running_service
from tests.support.threads import in_thread
from tests.support.waiting import eventually

_USERS = ("anna", "bert", "carla")
_ANTISOCIAL_USER = "dora"
_BURST = 25
_BURST_S = 30.0
_RETRY_S = 0.3
_PROBE_EVERY_S = 0.25
_TIMEOUT_S = 60.0
_LONG_S = 600.0
_MAX_RATIO = 2.0
_MAX_HEALTH_S = 1.0


@dataclass(frozen=True)
class Experience:
    """What the other users felt in one run: the time from each POST to its webhook, and that of each GET /health."""

    waits_s: Sequence[float]
    health_s: Sequence[float]
    lost: Sequence[str]
    attacks: Mapping[str, int]

    @property
    def p95_s(self) -> float:
        """95 of 100 tasks took at most so long."""
        return quantiles(self.waits_s, n=20)[-1]

    def figures(self) -> str:
        """All figures in one line."""
        median_s, health_p95_s = quantiles(self.waits_s, n=2)[0], quantiles(self.health_s, n=20)[-1]
        waits = f"median {median_s:.1f} s, p95 {self.p95_s:.1f} s, longest {max(self.waits_s):.1f} s"
        parts = [
            f"{len(self.waits_s)} tasks, {len(self.lost)} lost",
            f"POST to webhook {waits}",
            f"{len(self.health_s)} times /health, p95 {health_p95_s:.3f} s, longest {max(self.health_s):.3f} s",
            *(f"{what} {count}" for what, count in sorted(self.attacks.items())),
        ]
        return "; ".join(parts)


@dataclass(frozen=True)
class Pair:
    """The same tasks `alone` and `disturbed` by an antisocial user."""

    alone: Experience
    disturbed: Experience

    def faults(self) -> list[str]:
        """The promises that were broken."""
        ratios = {
            "the 95th percentile from POST to webhook": self.disturbed.p95_s / self.alone.p95_s,
            "the longest time from POST to webhook": max(self.disturbed.waits_s) / max(self.alone.waits_s),
        }
        found = [f"{what} is {ratio:.2f} times as long" for what, ratio in ratios.items() if ratio > _MAX_RATIO]
        if max(self.disturbed.health_s) > _MAX_HEALTH_S:
            found.append(f"/health took {max(self.disturbed.health_s):.2f} s")
        return found + [f"lost: {what}" for what in (*self.alone.lost, *self.disturbed.lost)]


def run_pair(folder: Path, seed: int, tasks: int) -> Pair:
    """Both runs of a pair, with all files in `folder`."""
    alone = _run(folder / "alone", seed, tasks, is_disturbed=False)
    return Pair(alone, _run(folder / "disturbed", seed, tasks, is_disturbed=True))


@dataclass(frozen=True)
class _User:
    """A user of the service who sends requests from `address`, and receives webhooks."""

    service: Service
    receiver: HttpServer
    name: str
    address: str
    posted_at: dict[str, float] = field(default_factory=dict)

    def submit_in_bursts(self, count: int, started_at: float, chance: Random) -> None:
        """Submit `count` songs, _BURST at a time every _BURST_S, like a user with an album."""
        for number in range(count):
            due_at = started_at + number // _BURST * _BURST_S
            time.sleep(max(0.0, due_at - time.monotonic()))
            self.submit(f"{self.name}-{number}", noise(chance.uniform(1, 2), chance.randrange(10**6)))

    def submit(self, name: str, song: bytes) -> None:
        """POST a song until it is accepted, or a long time has passed; its webhook goes to the path /`name`."""
        fields = {"hook_url": self.receiver.answer(f"/{name}", Answer(204)), "priority": 3}
        self.posted_at[name] = time.monotonic()
        with requests.Session() as session:
            session.mount("http://", _FromAddress(self.address))
            while time.monotonic() < self.posted_at[name] + _LONG_S:
                try:
                    files = {"audio": (f"{name}.wav", song)}
                    url, auth = f"{self.service.url}/generate", (self.name, self.name)
                    answer = session.post(url, data=fields, files=files, auth=auth, timeout=_TIMEOUT_S)
                except requests.RequestException:
                    pass
                else:
                    if answer.status_code == 202:
                        return
                time.sleep(_RETRY_S)


class _FromAddress(HTTPAdapter):
    """Connects from an address of this machine, as the service counts connections by address."""

    def __init__(self, address: str) -> None:
        self._address = address
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, source_address=(self._address, 0))


def _run(folder: Path, seed: int, tasks: int, *, is_disturbed: bool) -> Experience:
    with ExitStack() as running:
        service = running.enter_context(_service(folder))
        receiver, host = (running.enter_context(http_server()) for _ in range(2))
        users = [_User(service, receiver, name, f"127.0.0.{number}") for number, name in enumerate(_USERS, 10)]
        attacker = _attacker(service, receiver, host)  # its song also lets the network load
        health_s: list[float] = []
        running.enter_context(_probing(service, health_s))
        if is_disturbed:
            running.enter_context(attacker.attacking())
        with ThreadPoolExecutor(len(users)) as pool:
            count, now = tasks // len(users), time.monotonic()
            for work in [pool.submit(it.submit_in_bursts, count, now, Random(f"{seed} {it.name}")) for it in users]:
                work.result()
        posted_at = {name: at for user in users for name, at in user.posted_at.items()}
        arrived_at = _arrivals(receiver, set(posted_at))
    return Experience(
        waits_s=[arrived_at[name] - at for name, at in posted_at.items() if name in arrived_at],
        health_s=health_s,
        lost=sorted(posted_at.keys() - arrived_at.keys()),
        attacks=attacker.counts,
    )


@contextmanager
def _service(folder: Path) -> Iterator[Service]:
    """A service with a users file, and stems on its own disk, so that the API serves them too."""
    model_dir = folder / "models"
    model_dir.mkdir(parents=True)
    write_model(model_dir / "half.onnx")
    users_file = folder / "users.htpasswd"
    hashes = {name: bcrypt.hashpw(name.encode(), bcrypt.gensalt(10)).decode() for name in (*_USERS, _ANTISOCIAL_USER)}
    users_file.write_text("".join(f"{name}:{hashed}\n" for name, hashed in hashes.items()))
    settings = {"BASIC_AUTH_USERS_FILE": str(users_file), "MODEL_NAME": "half", "MIN_FREE_BYTES": "1"}
    with (
        redis_server(folder) as redis,
        running_service(folder, f"unix://{redis.unix_socket_path}", model_dir, **settings) as service,
    ):
        yield service


def _attacker(service: Service, receiver: HttpServer, host: HttpServer) -> AntisocialUser:
    """The antisocial user, who has a stem to download."""
    user = _User(service, receiver, _ANTISOCIAL_USER, ADDRESS)
    user.submit("own", noise(60, 1))
    _arrivals(receiver, {"own"})
    payload = next(json.loads(it.body) for it in receiver.requests if it.path == "/own")
    return AntisocialUser(service.url, (_ANTISOCIAL_USER, _ANTISOCIAL_USER), payload["vocals"], noise(1, 2), host)


def _arrivals(receiver: HttpServer, names: set[str]) -> dict[str, float]:
    """When each webhook arrived first, once all have arrived or a long time has passed."""

    def arrived() -> dict[str, float]:
        return {it.path.lstrip("/"): it.arrived_s for it in reversed(receiver.requests)}

    try:
        eventually(lambda: names <= arrived().keys(), "all webhooks", _LONG_S, every_s=0.2)
    except AssertionError:
        return arrived()
    return arrived()


@contextmanager
def _probing(service: Service, took_s: list[float]) -> Iterator[None]:
    """Append the duration of a GET /health to `took_s` several times a second, as a load balancer would ask."""
    stopped = threading.Event()

    def probe() -> None:
        with requests.Session() as session:
            session.mount("http://", _FromAddress("127.0.0.99"))
            while not stopped.wait(_PROBE_EVERY_S):
                started = time.monotonic()
                with suppress(requests.RequestException):
                    session.get(f"{service.url}/health", timeout=_TIMEOUT_S, headers={"Connection": "close"})
                took_s.append(time.monotonic() - started)

    with in_thread(probe, stopped.set, name="health"):
        yield
