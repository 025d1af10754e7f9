"""The orphan cleaner removes what no task owns and nothing else: on real folders and a real queue."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisError

from config import Settings
from redis_queue import Lease
from tests.support.api import settings_for
from tests.support.leases import begin, claim, expire
from tests.support.redis_server import redis_server
from uvr.redis.clients import connect
from uvr.storage.staging import StagingFolder, pending_dir
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, record
from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.orphans import OrphanCleaner

ROOT = Path(__file__).resolve().parents[4]
A_DAY_S = 86_400

# A process that dies while it puts a stem into the local storage: its last act is to sync the unfinished file.
DYING_STORE = """
import os, signal, sys
from pathlib import Path
from uvr.storage import local

local.sync = lambda path: os.kill(os.getpid(), signal.SIGKILL)
local.LocalStorage(Path(sys.argv[1]), "", lambda: b"").put(Path(sys.argv[2]), sys.argv[3], "audio/wav")
"""


class Node:
    """The steps of a processor and an uploader, without their work, and the cleaner of their node."""

    def __init__(self, settings: Settings, broker: Broker) -> None:
        self.broker = broker
        self.temp_dir = settings.temp_dir
        self.output_dir = settings.output_dir
        self.cleaner = OrphanCleaner(settings, broker)

    def clean(self) -> list[str]:
        return self.cleaner.clean(ClockReading(now_ms()))

    def submit(self) -> str:
        task = Task(str(uuid.uuid4()), "https://example.org/a.mp3", 3, created_ms=now_ms())
        assert self.broker.store.submit(task)
        return task.task_uuid

    def claim(self) -> Lease:
        return begin(self.broker.tasks)

    def work_folder(self, lease: Lease) -> Path:
        self.temp_dir.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f"{lease.id}.{lease.fence}.", dir=self.temp_dir))
        (folder / "source").write_bytes(b"audio")
        return folder

    def publish(self, lease: Lease) -> Path:
        staging = StagingFolder(self.output_dir, lease.id, lease.fence)
        with staging.filling() as folder:
            (folder / "vocals.wav").write_bytes(b"stem")
            (staging.peaks_path / "vocals.fine.dat").write_bytes(b"peaks")
            staging.publish()
        return pending_dir(self.output_dir) / staging.name

    def finish(self, lease: Lease) -> bool:
        made = record(status=Status.UPLOADING, handover=f"{lease.id}.{lease.fence}")
        return self.broker.tasks.finish(lease, next_queue=self.broker.results, record=made)

    def made(self) -> tuple[str, Path]:
        """A task whose stems wait for the uploader; returns its id and its staging folder."""
        self.submit()
        lease = self.claim()
        folder = self.publish(lease)
        assert self.finish(lease)
        return lease.id, folder

    def upload(self) -> Lease:
        return claim(self.broker.results)


def with_peaks(folder: Path) -> list[str]:
    """The names of a folder of stems and of that of their peaks."""
    return [folder.name, f"{folder.name}.peaks"]


@pytest.fixture
def node(redis_client: Redis, tmp_path: Path) -> Iterator[Node]:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    clients = connect(settings)
    yield Node(settings, Broker(settings, clients))
    clients.close()


def test_the_folders_of_a_claimed_task_stay(node: Node) -> None:
    node.submit()
    lease = node.claim()
    work = node.work_folder(lease)
    with StagingFolder(node.output_dir, lease.id, lease.fence).filling() as stems:
        assert node.clean() == []
        assert work.is_dir()
        assert stems.is_dir()


def test_the_folders_of_a_dead_processor_go_once_its_lease_is_reaped(node: Node, redis_client: Redis) -> None:
    node.submit()
    lease = node.claim()
    work = node.work_folder(lease)
    part = pending_dir(node.output_dir) / f"{lease.id}.{lease.fence}.part"
    part.mkdir(parents=True)
    (part / "vocals.wav").write_bytes(b"half")
    expire(node.broker.tasks, redis_client, lease)
    assert node.clean() == [], "until it is reaped its holder may return"
    node.broker.tasks.reap()
    assert sorted(node.clean()) == sorted([work.name, part.name])
    assert not work.exists()
    assert not part.exists()


def test_the_next_claim_keeps_its_own_folders(node: Node) -> None:
    node.submit()
    first = node.claim()
    old = node.work_folder(first)
    node.broker.tasks.release(first)
    new = node.work_folder(node.claim())
    assert node.clean() == [old.name]
    assert new.is_dir()


def test_stems_stay_between_their_publication_and_the_end_of_the_claim(node: Node) -> None:
    node.submit()
    lease = node.claim()
    node.publish(lease)
    assert node.clean() == []


def test_stems_stay_until_they_are_stored(node: Node) -> None:
    _, folder = node.made()
    assert node.clean() == []
    lease = node.upload()
    assert node.clean() == []
    node.broker.results.finish(lease, next_queue=node.broker.webhooks, record=record(status=Status.SUCCESS))
    assert sorted(node.clean()) == with_peaks(folder), "an uploader that did not get the answer does not remove them"
    assert not folder.exists()


def test_stems_that_could_not_be_stored_stay_for_an_operator(node: Node) -> None:
    task_uuid, folder = node.made()
    node.broker.results.bury(node.upload(), record=record(status=Status.FAILED))
    assert node.clean() == []
    node.broker.results.revive(task_uuid, record(status=Status.UPLOADING))
    assert node.clean() == []
    node.broker.results.bury(node.upload(), record=record(status=Status.FAILED))
    node.broker.results.drop(task_uuid)
    assert sorted(node.clean()) == with_peaks(folder)


def test_stems_of_a_rescued_node_go(node: Node) -> None:
    _, folder = node.made()
    node.broker.results.evacuate(node.broker.tasks, record(status=Status.QUEUED, handover=""))
    again = node.claim()
    assert sorted(node.clean()) == with_peaks(folder)
    new = node.publish(again)
    assert node.finish(again)
    assert node.clean() == []
    assert new.is_dir()


def test_stems_of_a_lost_claim_go(node: Node) -> None:
    node.submit()
    late = node.claim()
    node.broker.tasks.release(late)
    in_time = node.claim()
    kept = node.publish(in_time)
    assert node.finish(in_time)
    stale = node.publish(late)
    assert not node.finish(late)
    assert sorted(node.clean()) == with_peaks(stale)
    assert kept.is_dir()


def test_files_with_other_names_stay(node: Node) -> None:
    task_uuid = str(uuid.uuid4())
    kept = [
        node.temp_dir / "notes",
        node.temp_dir / task_uuid,
        node.temp_dir / f"{task_uuid}.7",
        node.temp_dir / f"{task_uuid}.7.part",
        node.temp_dir / f"{task_uuid}.x.abcdefgh",
        node.temp_dir / f"x{task_uuid}.7.abcdefgh",
        pending_dir(node.output_dir) / "lost+found",
        pending_dir(node.output_dir) / f"{task_uuid}.7.backup",
    ]
    for folder in kept:
        folder.mkdir(parents=True)
        os.utime(folder, (0, 0))
    file = node.temp_dir / f"{task_uuid}.8.abcdefgh"
    file.write_text("a file where a folder is expected")
    os.utime(file, (0, 0))
    assert node.clean() == []
    assert all(path.exists() for path in [*kept, file])


def test_links_are_not_followed(node: Node, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("kept")
    node.submit()
    lease = node.claim()
    work = node.work_folder(lease)
    (work / "link").symlink_to(elsewhere)
    (node.temp_dir / f"{lease.id}.{lease.fence}.linkname").symlink_to(elsewhere)
    node.broker.tasks.release(lease)
    assert node.clean() == [work.name]
    assert (elsewhere / "precious").read_text() == "kept"


def test_files_of_an_unknown_task_stay_for_a_day(node: Node) -> None:
    folders = [node.temp_dir / f"{uuid.uuid4()}.1.abcdefgh", pending_dir(node.output_dir) / f"{uuid.uuid4()}.1"]
    for folder in folders:
        folder.mkdir(parents=True)
    assert node.clean() == []
    for folder in folders:
        os.utime(folder, (time.time() - A_DAY_S - 1,) * 2)
    assert sorted(node.clean()) == sorted(folder.name for folder in folders)


def test_an_unfinished_file_of_a_dead_uploader_goes_once_no_uploader_has_the_result(node: Node) -> None:
    task_uuid, folder = node.made()
    lease = node.upload()
    stem_dir = node.output_dir / "stems"
    put = [sys.executable, "-c", DYING_STORE, stem_dir, folder / "vocals.wav", f"eu/{task_uuid}_vocals.wav"]
    subprocess.run(put, cwd=ROOT, check=False, timeout=60)
    [unfinished] = (stem_dir / "eu").iterdir()
    assert node.clean() == []
    node.broker.results.release(lease)
    assert node.clean() == [unfinished.name]
    assert not unfinished.exists()
    assert folder.is_dir()


def test_nothing_is_removed_while_redis_is_down(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        settings = settings_for(server.connection_kwargs, tmp_path)
        clients = connect(settings)
        node = Node(settings, Broker(settings, clients))
        node.submit()
        lease = node.claim()
        work = node.work_folder(lease)
        node.broker.tasks.release(lease)
        server.stop()
        with pytest.raises(RedisError):
            node.clean()
        clients.close()
    assert work.is_dir()


@pytest.mark.parametrize("query", ["tasks.holder", "store.get"])
def test_stems_that_are_handed_over_between_two_queries_stay(
    node: Node, monkeypatch: pytest.MonkeyPatch, query: str
) -> None:
    node.submit()
    lease = node.claim()
    folder = node.publish(lease)
    part, method = query.split(".")
    ask = getattr(getattr(node.broker, part), method)

    def answer_then_finish(task_uuid: str) -> Any:
        answer = ask(task_uuid)
        node.finish(lease)
        return answer

    monkeypatch.setattr(getattr(node.broker, part), method, answer_then_finish)
    assert node.clean() == []
    assert folder.is_dir()


def test_nothing_that_is_needed_is_removed_while_processors_run(node: Node) -> None:
    """A cleaner without pauses next to two processors that finish every task they claim."""
    ids = [node.submit() for _ in range(60)]

    def process() -> list[bool]:
        fine = []
        while (lease := node.broker.tasks.claim()) is not None:
            work = node.work_folder(lease)
            published = node.publish(lease)
            fine += [(work / "source").exists(), node.finish(lease), (published / "vocals.wav").exists()]
        return fine

    with ThreadPoolExecutor() as threads:
        processors = [threads.submit(process) for _ in range(2)]
        while not all(processor.done() for processor in processors):
            node.clean()
    node.clean()
    assert [fine for processor in processors for fine in processor.result()] == [True] * 3 * len(ids)
    left = [folder.name for folder in pending_dir(node.output_dir).iterdir()]
    assert sorted(name.partition(".")[0] for name in left if not name.endswith(".peaks")) == sorted(ids)
    assert sum(name.endswith(".peaks") for name in left) == len(ids)
    assert list(node.temp_dir.iterdir()) == []
