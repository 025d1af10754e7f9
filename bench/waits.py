"""What tasks really wait, beside queueing theory: `python -m bench.waits`.

Processes stand for processors: each has the worker threads, the scheduler, the heartbeats and the scripts of
processor.py, on a real Redis, and a network that sleeps. So eight of them fit on two cores.
Songs arrive at random (Poisson) with random priorities and service times. For each priority three means are compared:

    formula   of `bench.queueing`
    ideal     what the same songs would wait in a queue that costs no time (`bench.queueing.ideal_waits_s`)
    measured  from the acceptance of the task to its entry into the network, by the clock of Redis

Formula and ideal differ by the chance of the arrivals, ideal and measured by what the queue costs. The last line says
how many scripts Redis ran, and how much processor time it took, for each second of a busy processor.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import structlog
from redis import Redis

from bench.queue_throughput import MODES, SPAWN, connected, server
from bench.queueing import Song, ideal_waits_s, waits_s
from redis_queue import NOW, Lease, RedisQueue
from uvr.processor.scheduler import InferenceScheduler, InferenceSlot, thread_count
from uvr.tasks.model import Status, record
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done
from uvr.worker.pool import run_until_stopped
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.worker import Worker

SHARES = {5: 0.2, 3: 0.6, 1: 0.2}
DOWNLOAD_THREADS = 4
PROGRESS_EVERY_S = 0.5
"""As often as a processor writes the progress of a song."""


class SleepingHandler:
    """A processor's handler whose songs are there at once, and whose network sleeps."""

    def __init__(self, client: Redis, scheduler: InferenceScheduler, services_s: Sequence[float]) -> None:
        self._client = client
        self._scheduler = scheduler
        self._services_s = services_s

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done:
        """Take the task through all stages, and write down when it entered the network."""
        self._scheduler.begin(lease)
        heartbeat.beat(record(status=Status.PROCESSING, progress=0.0))
        slot = InferenceSlot(self._scheduler, lease, heartbeat)
        slot.prepare()
        with slot:
            entered_at = time.monotonic()
            seconds, microseconds = self._client.time()
            wait_ms = (
                seconds * 1000 + microseconds / 1000 - float(self._client.hget(f"tasks:task:{lease.id}", "created_ms"))
            )
            self._client.hset("waits", lease.id, wait_ms)
            service_s = self._services_s[int(lease.id)]
            while (left_s := service_s - (time.monotonic() - entered_at)) > 0:
                time.sleep(min(PROGRESS_EVERY_S, left_s))
                heartbeat.beat(record(progress=round(1 - max(0.0, left_s) / service_s, 3)))
        return Done(record(status=Status.SUCCESS, progress=1.0))

    def give_up(self, error: Exception) -> Done:
        """End the task as failed; it then has no wait, and the benchmark does not end."""
        return Done(record(status=Status.FAILED))


def main() -> None:
    """Measure and print a table for docs/scaling.md."""
    options = parsed_options()
    print("| load | songs | priority | formula s | ideal s | measured s | measured - ideal s |")
    print("|---|---|---|---|---|---|---|")
    for load in options.loads:
        songs = made_songs(options, load)
        measured = measured_waits_s(options.processors, songs, options.appendfsync)
        report(options, load, songs, measured)


def parsed_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Measured and predicted waits per priority.")
    parser.add_argument("--processors", type=int, default=8, help="processes (8)")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.5, 0.8, 0.9], help="loads per processor")
    parser.add_argument("--service-s", type=float, default=1.0, help="mean time in the network (1)")
    parser.add_argument("--variation", type=float, default=1.0, help="its coefficient of variation (1: exponential)")
    parser.add_argument("--songs", type=int, default=1500, help="songs per load (1500)")
    parser.add_argument("--appendfsync", choices=MODES, default="always", help="of Redis (always)")
    parser.add_argument("--seed", type=int, default=6, help="of arrivals, priorities and service times (6)")
    return parser.parse_args()


def made_songs(options: argparse.Namespace, load: float) -> list[Song]:
    """Random songs that make `load`; service times are gamma distributed, which is exponential for variation 1."""
    generator, now, songs = random.Random(options.seed), 0.0, []
    shape = 1 / options.variation**2
    for _ in range(options.songs):
        now += generator.expovariate(load * options.processors / options.service_s)
        priority = generator.choices([*SHARES], [*SHARES.values()])[0]
        songs.append(Song(now, priority, generator.gammavariate(shape, options.service_s / shape)))
    return songs


def measured_waits_s(processors: int, songs: Sequence[Song], appendfsync: str = "always") -> list[float]:
    """Submit the songs when they arrive, and return what each of them waited."""
    with tempfile.TemporaryDirectory(prefix="waits-") as folder, server(Path(folder) / "redis", appendfsync) as client:
        port = client.connection_pool.connection_kwargs["port"]
        services_s = [song.service_s for song in songs]
        workers = [SPAWN.Process(target=process, args=(number, port, services_s)) for number in range(processors)]
        for worker in workers:
            worker.start()
        while client.zcard("tasks:idle") < processors:  # each has tried to claim something
            time.sleep(0.1)
        client.config_resetstat()
        before_s = cpu_s(client)
        submit(RedisQueue(client, "tasks"), songs)
        while client.hlen("waits") < len(songs):
            time.sleep(0.2)
        waits: dict[str, str] = client.hgetall("waits")
        used_s, calls = cpu_s(client) - before_s, client.info("commandstats")["cmdstat_evalsha"]["calls"]
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
    busy_s = sum(services_s)
    print(f"Redis: {calls / busy_s:.1f} scripts and {1000 * used_s / busy_s:.2f} CPU ms per second of a busy processor")
    return [float(waits[str(number)]) / 1000 for number in range(len(songs))]


def cpu_s(client: Redis) -> float:
    """The processor time that Redis has used so far."""
    used = client.info("cpu")
    return float(used["used_cpu_user"] + used["used_cpu_sys"])


def submit(queue: RedisQueue, songs: Sequence[Song]) -> None:
    """Enqueue each song when it arrives."""
    started = time.monotonic()
    for number, song in enumerate(songs):
        time.sleep(max(0.0, started + song.arrives_s - time.monotonic()))
        queue.enqueue(str(number), song.priority, record(status=Status.QUEUED, created_ms=NOW, priority=song.priority))


def process(number: int, port: int, services_s: Sequence[float]) -> None:
    """One processor, until SIGTERM."""
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    client, blocking = connected(port), connected(port)
    queue = RedisQueue(client, "tasks", blocking_client=blocking)
    scheduler = InferenceScheduler(queue, f"processor:{number}", lambda: "", DOWNLOAD_THREADS)
    handler = SleepingHandler(client, scheduler, services_s)
    workers = [
        Worker(
            f"processor-{thread}",
            queue,
            handler,
            retry_policy=RetryPolicy(),
            heartbeat_s=10,
            waiting_record=record(status=Status.QUEUED),
            admission=scheduler,
        )
        for thread in range(thread_count(DOWNLOAD_THREADS))
    ]
    run_until_stopped(workers, grace_s=5)


def report(options: argparse.Namespace, load: float, songs: Sequence[Song], measured: Sequence[float]) -> None:
    """Print a row for each priority."""
    arrivals = {priority: share * load * options.processors / options.service_s for priority, share in SHARES.items()}
    predicted = waits_s(options.processors, options.service_s, arrivals, variation=options.variation)
    ideal = ideal_waits_s(options.processors, songs)
    for priority in SHARES:
        mine = [number for number, song in enumerate(songs) if song.priority == priority]
        ideal_s, real_s = (statistics.mean(waits[number] for number in mine) for waits in (ideal, measured))
        cells = [load, len(mine), priority, *(f"{value:.3f}" for value in (predicted[priority], ideal_s, real_s))]
        print("|", " | ".join(map(str, [*cells, f"{real_s - ideal_s:+.3f}"])), "|", flush=True)


if __name__ == "__main__":
    main()
