"""Old tasks and stems are deleted, but nothing that a webhook, a retry or a client still needs."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from config import Settings
from tests.support.api import CREDENTIALS, application, settings_for
from tests.support.leases import claim
from uvr.redis.clients import RedisClients, connect
from uvr.storage.factory import open_storage
from uvr.tasks.broker import Broker
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.retention import Retention

HOUR_MS = 3_600_000
LONG_AGO_MS = now_ms() - 1000 * HOUR_MS


class Keeper:
    """Tasks that ended at chosen times, and one round of retention."""

    def __init__(self, settings: Settings, clients: RedisClients, broker: Broker) -> None:
        self.settings = settings
        self.clients = clients
        self.broker = broker
        self.storage = open_storage(settings, lambda: b"key")
        self.dead_letters = DeadLetters(broker)

    def enforce(self, clock: ClockReading | None = None) -> str:
        retention = Retention(self.settings, self.broker, self.dead_letters, self.storage)
        return retention.enforce(clock or ClockReading(now_ms()))

    def ended(self, status: Status, finished_ms: int = LONG_AGO_MS, *, delivered: bool = True) -> str:
        """A task that went through the task queue, or into its dead letters, and then through the webhook queue."""
        task = Task(str(uuid.uuid4()), "https://example.org/a.mp3", 3, created_ms=LONG_AGO_MS)
        self.broker.store.submit(task)
        lease = claim(self.broker.tasks)
        step = self.broker.tasks.bury if status == Status.FAILED else self.broker.tasks.finish
        step(lease, next_queue=self.broker.webhooks, record=record(status=status, finished_ms=finished_ms))
        if delivered:
            self.broker.webhooks.finish(claim(self.broker.webhooks))
        return task.task_uuid

    def stem(
        self, task_uuid: str, *, age_ms: int = now_ms() - LONG_AGO_MS, prefix: str = "", name: str = "vocals"
    ) -> Path:
        """A stored stem of this age."""
        source = self.settings.output_dir / "source.wav"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(b"stem")
        os.utime(source, ((now_ms() - age_ms) / 1000,) * 2)
        key = f"{prefix}{task_uuid}_{name}.wav"
        self.storage.put(source, key, "audio/wav")
        source.unlink()
        self.broker.tasks.annotate(task_uuid, record(stems={name: key}))
        return self.settings.output_dir / "stems" / key


@pytest.fixture
def keeper(redis_client: Redis, tmp_path: Path) -> Iterator[Keeper]:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    clients = connect(settings)
    yield Keeper(settings, clients, Broker(settings, clients))
    clients.close()


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.FAILED])
def test_a_task_that_ended_long_ago_is_deleted_completely(keeper: Keeper, redis_client: Redis, status: Status) -> None:
    before = set(redis_client.keys())
    keeper.ended(status)
    keeper.enforce()
    left = set(redis_client.keys()) - before
    assert {key for key in left if not key.endswith((":seq", ":turn", ":fence", ":wake"))} == set()


def test_a_task_that_ended_lately_is_kept_however_long_it_took(keeper: Keeper) -> None:
    kept = keeper.ended(Status.SUCCESS, now_ms() - HOUR_MS)
    keeper.enforce()
    assert keeper.broker.store.get(kept) is not None


def test_a_task_whose_webhook_is_not_delivered_yet_is_kept(keeper: Keeper) -> None:
    kept = keeper.ended(Status.FAILED, delivered=False)
    keeper.enforce()
    keeper.broker.webhooks.retry(claim(keeper.broker.webhooks), delay_s=3600)
    keeper.enforce()
    assert keeper.broker.store.get(kept) is not None
    assert [letter.id for letter in keeper.broker.tasks.dead_letters()] == [kept]


def test_a_retried_task_is_kept(keeper: Keeper) -> None:
    kept = keeper.ended(Status.FAILED)
    assert keeper.dead_letters.retry(kept)
    keeper.enforce()
    assert keeper.broker.store.get(kept) is not None


def test_a_page_of_tasks_that_must_stay_hides_no_old_task(keeper: Keeper) -> None:
    for _ in range(150):
        keeper.ended(Status.SUCCESS, now_ms())
    last = keeper.ended(Status.SUCCESS)
    keeper.enforce()
    assert keeper.broker.store.get(last) is None
    assert len(keeper.broker.store.page(limit=200).tasks) == 150


def test_dead_letters_of_all_nodes_are_deleted_with_their_task(keeper: Keeper, redis_client: Redis) -> None:
    redis_client.zadd("uvr_tasks:nodes", {"uploader:north": 0})
    north = keeper.broker.result_queue("north")
    task = Task(str(uuid.uuid4()), "https://example.org/a.mp3", 3, created_ms=LONG_AGO_MS)
    keeper.broker.store.submit(task)
    keeper.broker.tasks.finish(claim(keeper.broker.tasks), next_queue=north)
    north.bury(claim(north), record=record(status=Status.FAILED, finished_ms=LONG_AGO_MS))
    keeper.enforce()
    assert keeper.broker.store.get(task.task_uuid) is None
    assert north.dead_letters() == []


def test_zero_hours_keep_everything(keeper: Keeper, redis_client: Redis, tmp_path: Path) -> None:
    unlimited = settings_for(
        redis_client.get_connection_kwargs(), tmp_path, task_retention_hours=0, stem_retention_hours=0
    )
    kept = keeper.ended(Status.SUCCESS)
    stem = keeper.stem(kept)
    Retention(unlimited, keeper.broker, keeper.dead_letters, keeper.storage).enforce(ClockReading(now_ms()))
    assert keeper.broker.store.get(kept) is not None
    assert stem.exists()


def test_old_stems_are_deleted_and_their_task_says_so(keeper: Keeper) -> None:
    week_ms = 168 * HOUR_MS
    old = keeper.ended(Status.SUCCESS, now_ms() - week_ms - 1)
    young = keeper.ended(Status.SUCCESS, now_ms() - week_ms + 60_000)
    stems = {task_uuid: keeper.stem(task_uuid, prefix="eu/") for task_uuid in (old, young)}
    keeper.enforce()
    assert not stems[old].exists()
    assert stems[young].exists()
    with application(keeper.settings) as app, app.test_client() as client:
        answers = {task_uuid: client.get(f"/tasks/{task_uuid}", auth=CREDENTIALS).json for task_uuid in stems}
    assert answers[old]["status"] == "success"
    assert (answers[old]["stems"], answers[old]["vocals"]) == ({}, None)
    assert answers[old]["stems_deleted_at"].endswith("Z")
    assert list(answers[young]["stems"]) == ["vocals"]
    assert answers[young]["stems_deleted_at"] is None


@pytest.mark.parametrize("name", ["lead_vocals", "lead-vocals", "a b", "1.5", "人声"])
def test_old_stems_are_deleted_whatever_their_model_calls_them(keeper: Keeper, name: str) -> None:
    task_uuid = keeper.ended(Status.SUCCESS, now_ms() - 200 * HOUR_MS)
    stem = keeper.stem(task_uuid, name=name)
    assert stem.exists()
    keeper.enforce()
    assert not stem.exists()
    task = keeper.broker.store.get(task_uuid)
    assert task is not None
    assert task.stems_deleted_ms


def test_stems_of_a_task_that_has_not_succeeded_stay(keeper: Keeper) -> None:
    failed = keeper.stem(keeper.ended(Status.FAILED, now_ms()))
    waiting = keeper.ended(Status.FAILED, now_ms())
    keeper.dead_letters.retry(waiting)
    stem = keeper.stem(waiting)
    keeper.enforce()
    assert failed.exists()
    assert stem.exists()


def test_stems_stay_until_their_webhook_is_settled(keeper: Keeper) -> None:
    task_uuid = keeper.ended(Status.SUCCESS, now_ms() - 200 * HOUR_MS)
    stem = keeper.stem(task_uuid)
    keeper.broker.tasks.annotate(task_uuid, record(webhook=WebhookState.PENDING))
    keeper.enforce()
    assert stem.exists()
    keeper.broker.tasks.annotate(task_uuid, record(webhook=WebhookState.FAILED))
    keeper.enforce()
    assert not stem.exists()


def test_stems_without_a_task_are_deleted_by_their_own_age(keeper: Keeper) -> None:
    old = keeper.stem(str(uuid.uuid4()))
    young = keeper.stem(str(uuid.uuid4()), age_ms=HOUR_MS)
    keeper.enforce()
    assert not old.exists()
    assert young.exists()


def test_files_that_are_not_stems_stay(keeper: Keeper) -> None:
    folder = keeper.settings.output_dir / "stems"
    folder.mkdir(parents=True)
    foreign = [folder / "README.txt", folder / f"{uuid.uuid4()}.wav", folder / "my_vocals.wav"]
    for path in foreign:
        path.write_text("not ours")
        os.utime(path, (0, 0))
    keeper.enforce()
    assert all(path.exists() for path in foreign)


def test_while_the_clocks_cannot_be_trusted_everything_stays(keeper: Keeper) -> None:
    kept = keeper.ended(Status.SUCCESS)
    stem = keeper.stem(kept)
    keeper.enforce(ClockReading(now_ms(), "The clocks differ."))
    assert keeper.broker.store.get(kept) is not None
    assert stem.exists()


def test_more_than_half_of_all_tasks_and_stems_stay_for_a_day(keeper: Keeper) -> None:
    tasks = [keeper.ended(Status.SUCCESS) for _ in range(11)]
    stems = [keeper.stem(task_uuid) for task_uuid in tasks]
    problem = keeper.enforce()
    assert "More than half of all stems" in problem
    assert "More than half of all tasks" in problem
    assert all(stem.exists() for stem in stems)
    assert keeper.enforce(ClockReading(now_ms() + 25 * HOUR_MS)) == ""
    assert not any(stem.exists() for stem in stems)
    assert not any(keeper.broker.store.get(task_uuid) for task_uuid in tasks)
