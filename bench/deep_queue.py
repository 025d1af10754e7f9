"""Whether a queue with a million waiting tasks is as fast as one with a thousand: `python -m bench.deep_queue`.

Two servers run at the same time, one with few and one with many waiting tasks, and take turns with every single call.
So other load on the machine affects both, and the ratio of the medians says what the depth costs. Tasks have the
records that the API writes, random priorities, and owners who take turns. As many are enqueued as are claimed and
finished. Also measured: the memory of Redis for each task. "In Redis" is the median time that the script took by the
account of the server (`INFO latencystats`), without the way there and back. The servers write no append-only file, so
the disk plays no part; `bench.queue_throughput` measures what it costs.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from redis import Redis

from bench.queue_throughput import server
from redis_queue import PRIORITIES, Lease, NewItem, RedisQueue
from uvr.redis import scripts
from uvr.tasks.model import Status, Task, record
from uvr.timestamps import now_ms

BATCH = 100


class FilledQueue:
    """A queue on `client` in which `depth` tasks of `owners` owners wait."""

    def __init__(self, client: Redis, depth: int, owners: int) -> None:
        self.client = client
        self.depth = depth
        self._owners = owners
        self._random = random.Random(1)
        self._queue = RedisQueue(client, "tasks", max_overtakes=4)
        self._position = scripts.register_folder(client, "queue")["positions"]
        self._ids: list[str] = []
        self._leases: list[Lease] = []
        self._claimed: set[str] = set()
        client.config_set("appendonly", "no")
        client.config_set("save", "")
        empty_bytes = client.info("memory")["used_memory"]
        for _ in range(depth // BATCH):
            batch = str(uuid.uuid4())
            result = self._queue.enqueue_batch(batch, [self._new_item() for _ in range(BATCH)])
            assert result.accepted, result
        self.bytes_per_task = (client.info("memory")["used_memory"] - empty_bytes) / depth
        self.calls: dict[str, Callable[[], None]] = {
            "enqueue": self._enqueue,
            "claim": self._claim,
            "finish": self._finish,
            "position": self._ask_position,
            "sizes, for /metrics": lambda: str(self._queue.sizes()) and None,
        }

    def _new_item(self) -> NewItem:
        task_uuid, priority = str(uuid.uuid4()), self._random.choice(PRIORITIES)
        owner = f"user-{self._random.randrange(self._owners)}" if self._owners else ""
        task = Task(
            task_uuid,
            "https://songs.example.com/albums/0123456789/song.flac",
            priority,
            created_ms=now_ms(),
            hook_url="https://hooks.example.com/stems",
            owner=owner,
        )
        self._ids.append(task_uuid)
        return NewItem(task_uuid, priority, task.to_record())

    def _enqueue(self) -> None:
        item = self._new_item()
        assert self._queue.enqueue(item.id, item.priority, item.record).accepted

    def _claim(self) -> None:
        lease = self._queue.claim()
        assert lease
        self._leases.append(lease)
        self._claimed.add(lease.id)

    def _finish(self) -> None:
        assert self._queue.finish(self._leases.pop(), record=record(status=Status.SUCCESS))

    def _ask_position(self) -> None:
        while (task_uuid := self._random.choice(self._ids)) in self._claimed:
            pass
        assert self._position(keys=["tasks"], args=[task_uuid])[0] is not None


def main() -> None:
    """Measure and print tables for docs/scaling.md."""
    parser = argparse.ArgumentParser(description="A deep queue beside a short one.")
    parser.add_argument("--depths", type=int, nargs=2, default=[1_000, 1_000_000], help="waiting tasks (1000 1000000)")
    parser.add_argument("--owners", type=int, default=100, help="users who take turns, 0 for a single user (100)")
    parser.add_argument("--calls", type=int, default=500, help="calls of each kind (500)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deep-queue-") as folder, ExitStack() as stack:
        clients = [stack.enter_context(server(Path(folder) / str(depth), "everysec")) for depth in options.depths]
        started = time.monotonic()
        queues = [
            FilledQueue(client, depth, options.owners) for client, depth in zip(clients, options.depths, strict=True)
        ]
        print(f"{options.owners} owners; filled within {time.monotonic() - started:.0f} s\n", flush=True)
        print("| waiting | bytes per task |\n|---|---|")
        for queue in queues:
            print(f"| {queue.depth:,} | {queue.bytes_per_task:,.0f} |")
        report(queues, options.calls)


def report(queues: list[FilledQueue], calls: int) -> None:
    """Measure each kind of call, and print microseconds and ratios."""
    short, deep = (f"{queue.depth:,}" for queue in queues)
    heads = [f"{what}, {short} | {what}, {deep} | ratio" for what in ("median us", "in Redis us")]
    print("\n| call |", " | ".join(heads), "|")
    print("|---|---|---|---|---|---|---|")
    for kind in queues[0].calls:
        taken_s = times_s(queues, kind, calls)
        medians = [statistics.median(each) * 1e6 for each in taken_s]
        stats = [queue.client.info("latencystats") for queue in queues]
        inside = [float(each["latency_percentiles_usec_evalsha"]["p50"]) for each in stats]
        cells = [f"{one:.0f} | {other:.0f} | {other / one:.2f}" for one, other in (medians, inside)]
        print("|", " | ".join([kind, *cells]), "|", flush=True)


def times_s(queues: list[FilledQueue], kind: str, calls: int) -> list[list[float]]:
    """For each queue the duration of each call of this kind."""
    for queue in queues:
        queue.calls[kind]()  # loads the scripts
        queue.client.config_resetstat()
    found: list[list[float]] = [[] for _ in queues]
    for number in range(calls):
        for place in (0, 1) if number % 2 else (1, 0):
            started = time.perf_counter()
            queues[place].calls[kind]()
            found[place].append(time.perf_counter() - started)
    return found


if __name__ == "__main__":
    main()
