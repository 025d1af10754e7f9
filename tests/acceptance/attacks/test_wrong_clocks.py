"""A clock that is wrong by a month deletes nothing, and says so; what is too old is still deleted when it is right."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis

from config import ROOT
from tests.support.api import application, settings_for
from tests.support.command_line import run_uvr
from tests.support.leases import claim
from tests.support.service import Service
from tests.support.waiting import PROMPT_S, eventually
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, record
from uvr.timestamps import now_ms

DAY_MS = 86_400_000
MONTH_S = 31 * 86_400


class Node:
    """A node with ended tasks and their stems on its disk; its uploader is a process."""

    def __init__(self, redis_client: Redis, folder: Path) -> None:
        address = redis_client.get_connection_kwargs()
        self.redis = redis_client
        self.settings = settings_for(address, folder)
        self.service = Service(folder, f"unix://{address['path']}", folder, JANITOR_SECONDS="0.2")
        self.clients = connect(self.settings)
        self.broker = Broker(self.settings, self.clients)
        self.stems: dict[str, Path] = {}

    def ended(self, days_ago: float) -> str:
        """A task that has succeeded then, with one stem."""
        ended_ms = round(now_ms() - days_ago * DAY_MS)
        task = Task(str(uuid.uuid4()), "https://songs.example.org/a.mp3", 3, created_ms=ended_ms)
        self.broker.store.submit(task)
        stem = self.settings.output_dir / "stems" / f"{task.task_uuid}_vocals.wav"
        stem.parent.mkdir(parents=True, exist_ok=True)
        stem.write_bytes(b"RIFF")
        os.utime(stem, (ended_ms / 1000,) * 2)
        ended = record(status=Status.SUCCESS, finished_ms=ended_ms, stems={"vocals": stem.name})
        self.broker.tasks.finish(claim(self.broker.tasks), record=ended)
        self.stems[task.task_uuid] = stem
        return task.task_uuid

    def is_complete(self, task_uuid: str) -> bool:
        """Whether neither the record nor the stem is gone."""
        return self.broker.store.get(task_uuid) is not None and self.stems[task_uuid].exists()

    @contextmanager
    def uploader(self, ahead_s: float = 0) -> Iterator[subprocess.Popen[bytes]]:
        """Its uploader, with a clock that is wrong by `ahead_s`."""
        command = [sys.executable, "-m", "tests.support.wrong_clock", str(ahead_s), "uploader.py"]
        with (self.service.log_dir / "uploader.log").open("ab") as log:
            process = subprocess.Popen(command, cwd=ROOT, env=self.service.environment, stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def wait_for_reason(self, reason: str) -> None:
        """Wait until GET /ready says for this reason that nothing is deleted, and still that the uploader works."""
        with application(self.settings) as app, app.test_client() as client:
            ready = lambda: client.get("/ready").json["components"]["uploader"]  # noqa: E731
            eventually(lambda: reason in (ready()["message"] or ""), reason, PROMPT_S, every_s=0.05)
            assert ready()["status"] == "up"


@pytest.fixture
def node(redis_client: Redis, tmp_path: Path) -> Iterator[Node]:
    node = Node(redis_client, tmp_path)
    yield node
    node.clients.close()


def test_a_node_whose_clock_is_a_month_ahead_deletes_nothing_and_says_why(node: Node) -> None:
    tasks = [node.ended(days_ago=days) for days in (1, 6, 40)]
    with node.uploader(ahead_s=MONTH_S):
        node.wait_for_reason("ahead of the clock of Redis")
    assert all(map(node.is_complete, tasks))


def test_when_all_clocks_are_a_month_ahead_a_round_stops_until_the_operator_confirms_it(node: Node) -> None:
    # To a service whose clocks are all a month ahead, the tasks of today look as if they had ended a month ago.
    today, later = [node.ended(days_ago=31) for _ in range(12)], [node.ended(days_ago=1) for _ in range(2)]
    with node.uploader():
        node.wait_for_reason("python -m uvr retention confirm")
        assert all(map(node.is_complete, [*today, *later]))
        confirmed = run_uvr("retention", "confirm", **node.service.environment)
        assert confirmed.returncode == 0, confirmed.stderr
        eventually(lambda: not any(node.broker.store.get(task_uuid) for task_uuid in today), timeout_s=PROMPT_S)
        assert not any(node.stems[task_uuid].exists() for task_uuid in today)
    assert all(map(node.is_complete, later))
