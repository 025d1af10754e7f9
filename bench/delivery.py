"""How many songs and webhooks one uploader delivers per second: `python -m bench.delivery`.

The real uploader.py stores finished stems, on a disk of this machine and in an S3 server on this machine (SeaweedFS),
and delivers webhooks to a receiver that answers at once. Everything waits before the uploader starts, and the time runs
from its first finished item to its last. Redis has `appendfsync always`. Small stems show what a song costs, stems of a
song's size how many bytes per second go through. All of it shares the cores of this machine, the S3 server too.
"""

from __future__ import annotations

import argparse
import os
import socketserver
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from bench.queue_throughput import SPAWN, server
from config import ROOT, Settings, read_settings
from tests.support.ports import free_port
from tests.support.s3_server import s3_server
from uvr.redis.clients import connect
from uvr.storage.staging import StagingFolder
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.worker.outcome import Done

STEMS = ("vocals", "instrumental")


@dataclass(frozen=True)
class Work:
    """What waits for the uploader: songs with stems of this size, or webhooks if that is None."""

    items: int
    stem_bytes: int | None
    storage: str = "local"

    @property
    def name(self) -> str:
        """In words."""
        if self.stem_bytes is None:
            return "webhooks"
        return f"two stems of {self.stem_bytes / 1e6:g} MB, {self.storage}"


class Receiver(socketserver.StreamRequestHandler):
    """Answers every request with 204 and keeps the connection."""

    def handle(self) -> None:
        """Serve one connection until it ends."""
        while self.rfile.readline().startswith(b"POST"):
            length = 0
            while (line := self.rfile.readline().lower()) not in (b"\r\n", b""):
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.rfile.read(length)
            self.wfile.write(b"HTTP/1.1 204 No Content\r\n\r\n")


class ReceiverServer(socketserver.ThreadingTCPServer):
    """A receiver of webhooks on one port."""

    request_queue_size = 64
    daemon_threads = True


def main() -> None:
    """Measure and print a table for docs/scaling.md."""
    parser = argparse.ArgumentParser(description="Songs stored and webhooks delivered per second.")
    parser.add_argument("--songs", type=int, default=300, help="songs with small stems (300)")
    parser.add_argument("--large-songs", type=int, default=20, help="songs with stems of 42 MB (20)")
    parser.add_argument("--webhooks", type=int, default=1500, help="webhooks (1500)")
    options = parser.parse_args()
    print("| what | items | per second | MB per second |\n|---|---|---|---|")
    for storage in ("local", "s3"):
        measure(Work(options.songs, 10_000, storage))
        measure(Work(options.large_songs, 42_000_000, storage))
    measure(Work(options.webhooks, None))


def measure(work: Work) -> None:
    """Let one uploader do the work, and print a row."""
    with (
        tempfile.TemporaryDirectory(prefix="delivery-") as name,
        server(Path(name) / "redis", "always") as redis,
        storage_settings(work.storage, Path(name)) as storage,
        receiver() as hook_url,
    ):
        variables = {
            "REDIS_URL": f"redis://127.0.0.1:{redis.connection_pool.connection_kwargs['port']}",
            "OUTPUT_DIR": str(Path(name) / "output"),
            "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            "MIN_FREE_BYTES": "0",
            **storage,
        }
        settings = read_settings(**{variable.lower(): value for variable, value in variables.items()})
        queue_name = prepare(settings, work, hook_url)
        seconds, items = drained(redis, queue_name, variables)
    per_s = items / seconds
    megabytes = f"{per_s * 2 * work.stem_bytes / 1e6:.1f}" if work.stem_bytes else ""
    print(f"| {work.name} | {work.items} | {per_s:.1f} | {megabytes} |", flush=True)


@contextmanager
def storage_settings(storage: str, folder: Path) -> Iterator[dict[str, str]]:
    """The variables for this kind of storage, which runs until the block ends."""
    if storage == "local":
        yield {}
        return
    with s3_server(folder / "s3") as s3:
        yield s3.settings


@contextmanager
def receiver() -> Iterator[str]:
    """The URL of a receiver, which is a process of its own."""
    port = free_port()
    process = SPAWN.Process(target=receive, args=(port,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port}/hook"
    finally:
        process.terminate()
        process.join()


def receive(port: int) -> None:
    """Answer webhooks until the process is ended."""
    with ReceiverServer(("127.0.0.1", port), Receiver) as running:
        running.serve_forever()


def prepare(settings: Settings, work: Work, hook_url: str) -> str:
    """Make everything wait for the uploader; returns the name of the queue."""
    clients = connect(settings)
    broker = Broker(settings, clients)
    for number in range(work.items):
        task = Task(f"task-{number}", "https://songs.example.com/song.flac", 3, created_ms=0)
        if work.stem_bytes is None:
            task = Task(task.task_uuid, task.audio, 3, created_ms=0, hook_url=hook_url)
        assert broker.store.submit(task)
        lease = broker.tasks.claim()
        assert lease
        done = separated(settings, broker, task, lease.fence, work.stem_bytes) if work.stem_bytes else stored(broker)
        assert broker.tasks.finish(lease, next_queue=done.next_queue, record=done.record)
    clients.close()
    return broker.results.name if work.stem_bytes else broker.webhooks.name


def separated(settings: Settings, broker: Broker, task: Task, fence: int, stem_bytes: int) -> Done:
    """What a processor hands over: stems in a staging folder."""
    handover = StagingFolder(settings.output_dir, task.task_uuid, fence)
    with handover.filling() as folder:
        for stem in STEMS:
            (folder / f"{stem}.wav").write_bytes(os.urandom(stem_bytes))
        handover.publish()
    return Done(record(status=Status.UPLOADING, handover=handover.name), next_queue=broker.results)


def stored(broker: Broker) -> Done:
    """What remains of a task whose stems are stored: its webhook."""
    stems = {stem: f"task_{stem}.wav" for stem in STEMS}
    final = record(status=Status.SUCCESS, stems=stems, webhook=WebhookState.PENDING, webhook_step=0)
    return Done(final, next_queue=broker.webhooks)


def drained(redis: Redis, queue_name: str, variables: dict[str, str]) -> tuple[float, int]:
    """Run uploader.py until the queue is empty; the seconds from the first finished item on, and the items since."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("S3_", "AWS_", "REDIS_"))}
    environment: dict[str, Any] = {**inherited, "ENV_FILE": "", "LOG_LEVEL": "error", **variables}

    def left() -> int:
        return redis.zcard(queue_name) + redis.zcard(f"{queue_name}:lease") + redis.zcard(f"{queue_name}:delayed")

    before = left()
    process = subprocess.Popen([sys.executable, "uploader.py"], cwd=ROOT, env=environment)
    try:
        while (first := left()) == before:
            time.sleep(0.005)
        started = time.monotonic()
        while left():
            assert process.poll() is None, "the uploader has ended"
            time.sleep(0.005)
        return time.monotonic() - started, first
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
