"""The whole stack with short timeouts: Redis, an S3 server, API, processors, uploaders, and a proxy in each link."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

from pydantic import SecretStr
from redis import Redis

from config import Settings
from scripts.local import redis_server
from tests.chaos.hosts import HOOK_TIMEOUT_S, AudioHost, Receiver
from tests.chaos.plan import LEASE_S, MODELS, RECEIVERS
from tests.chaos.proxy import Link, Network, network
from tests.chaos.supervised import Supervised
from tests.support.http_server import HttpServer, http_server
from tests.support.networks import PARAMETERS, write_model
from tests.support.ports import free_port
from tests.support.s3_server import S3Server
from tests.support.service import ROOT, Service
from uvr.timestamps import iso_now

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

COMPENSATE = PARAMETERS.compensate

SERVICE_PROCESSES = {
    "api": "app.py",
    "processor-1": "processor.py",
    "processor-2": "processor.py",
    "uploader-1": "uploader.py",
    "uploader-2": "uploader.py",
}
_TIMES = {
    "LEASE_SECONDS": str(LEASE_S),
    "HEARTBEAT_SECONDS": "1",
    "RETRY_BASE_SECONDS": "0.2",
    "RETRY_MAX_SECONDS": "2",
    "FETCH_TIMEOUT_SECONDS": "4",
    "TASK_TIMEOUT_SECONDS": "60",
    "SHUTDOWN_GRACE_SECONDS": "2",
    "JANITOR_SECONDS": "2",
    "WEBHOOK_TIMEOUT_SECONDS": str(HOOK_TIMEOUT_S),
    "WEBHOOK_RETRY_SECONDS": ",".join(["0.5", "1", "1"] + ["2"] * 30),
}
# No song is at fault here if its workers die, so none may be given up.
_LIMITS = {"MAX_ATTEMPTS": "1000", "MAX_CRASHES": "1000", "MIN_FREE_BYTES": "1"}
# Only one network is loaded at a time, so each change of the model ends one child and starts another.
_MODELS = {"MODEL_NAME": next(iter(MODELS)), "MODELS_OFFERED": "*", "MAX_MODEL_MEMORY_BYTES": "1"}
# Uploads take a moment, so that disruptions hit some of them.
_LATENCIES_S = {"s3": 0.03}
_MARK = "LC_UVRCHAOS"  # a name that children get too (uvr.separation.child_environment)


@dataclass(frozen=True)
class Stack:
    """Everything that a run uses, disrupts or inspects. `processes`, `links` and `receivers` are by name."""

    folder: Path
    service: Service
    processes: Mapping[str, Supervised]
    links: Mapping[str, Link]
    s3: S3Server
    redis_port: int
    audio_host: AudioHost
    receivers: Mapping[str, Receiver]

    @cached_property
    def bucket(self) -> S3Client:
        """A client that bypasses the proxy."""
        return self.s3.client()

    @property
    def mark(self) -> str:
        """An entry in the environment of every process of this stack and of its children."""
        return f"{_MARK}={self.folder}"

    def redis(self) -> Redis:
        """A client that bypasses the proxy."""
        return Redis(port=self.redis_port, decode_responses=True, socket_timeout=10)

    def kind(self, kind: str) -> list[Supervised]:
        """The processes of one kind: "processor" is processor-1 and processor-2."""
        return [process for name, process in self.processes.items() if name.partition("-")[0] == kind]

    def log_event(self, what: str) -> None:
        """Log a step of the run itself, next to the logs of the service."""
        with (self.service.log_dir / "storm.log").open("a") as log:
            log.write(f"{iso_now()} {what}\n")

    def stop_service(self) -> None:
        """Stop the service by SIGTERM, as an operator would; Redis and the S3 server keep running."""
        processes = [process for name, process in self.processes.items() if name in SERVICE_PROCESSES]
        with ThreadPoolExecutor(len(processes)) as pool:
            list(pool.map(Supervised.stop, processes))


@contextmanager
def running_stack(folder: Path, chance: Random) -> Iterator[Stack]:
    """A stack that is up, with its files in `folder`; `chance` draws how long a process stays down."""
    with ExitStack() as stopped_at_exit:
        proxies = stopped_at_exit.enter_context(network())
        hosts = {name: stopped_at_exit.enter_context(http_server()) for name in ("audio", *RECEIVERS)}
        stack = _stack(folder, chance, proxies, hosts)
        for process in stack.processes.values():
            stopped_at_exit.callback(process.stop, signal.SIGKILL)  # their data is not needed any more
        stopped_at_exit.callback(stack.stop_service)
        _start(stack)
        yield stack


def _stack(folder: Path, chance: Random, proxies: Network, hosts: Mapping[str, HttpServer]) -> Stack:
    redis_port, s3 = free_port(), S3Server(folder / "s3")
    ports = {"redis": redis_port, "s3": s3.port, **{name: host.port for name, host in hosts.items()}}
    links = {name: proxies.open(port, latency_s=_LATENCIES_S.get(name, 0)) for name, port in ports.items()}
    service = _service(folder, links, s3)
    spawns = {"redis": partial(_spawn_redis, folder / "redis", redis_port), "s3": s3.spawn}
    spawns |= {name: partial(_spawn_process, service, name) for name in SERVICE_PROCESSES}
    return Stack(
        folder=folder,
        service=service,
        processes={name: Supervised(spawn, Random(chance.random())) for name, spawn in spawns.items()},
        links=links,
        s3=s3,
        redis_port=redis_port,
        audio_host=AudioHost(hosts["audio"]),
        receivers={name: Receiver(hosts[name]) for name in RECEIVERS},
    )


def _service(folder: Path, links: Mapping[str, Link], s3: S3Server) -> Service:
    model_dir = folder / "models"
    model_dir.mkdir()
    for name, factor in MODELS.items():
        write_model(model_dir / f"{name}.onnx", factor=factor)
    storage = {**s3.settings, "S3_ENDPOINT_URL": f"http://127.0.0.1:{links['s3'].port}"}
    settings = {**storage, **_TIMES, **_LIMITS, **_MODELS, "INFERENCE_THREADS": "1", _MARK: str(folder)}
    return Service(folder, f"redis://127.0.0.1:{links['redis'].port}", model_dir, **settings)


def _start(stack: Stack) -> None:
    for name in ("redis", "s3"):
        stack.processes[name].start()
    stack.s3.wait_until_ready()
    for name in SERVICE_PROCESSES:
        stack.processes[name].start()
    stack.service.wait_until_up()


def _spawn_redis(folder: Path, port: int) -> subprocess.Popen[bytes]:
    folder.mkdir(exist_ok=True)
    settings = Settings(redis_host="127.0.0.1", redis_port=port, redis_db=0, redis_password=SecretStr(""))
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([redis_server.program(), "-"], stdin=subprocess.PIPE, stdout=log, stderr=log)
    assert process.stdin
    with process.stdin:
        process.stdin.write(redis_server.configuration(settings, folder).encode())
    return process


def _spawn_process(service: Service, name: str) -> subprocess.Popen[bytes]:
    with (service.log_dir / f"{name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, SERVICE_PROCESSES[name]],
            cwd=ROOT,
            env=service.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
