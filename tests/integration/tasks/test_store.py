"""Tasks in Redis: they are read as they were written, and listed page by page."""

from __future__ import annotations

import pytest
from redis import Redis

from redis_queue import NOW, RedisQueue
from tests.support.leases import claim
from uvr.audio.output_format import OutputFormat
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.tasks.store import TaskFilter, TaskStore
from uvr.timestamps import iso_time

pytestmark = pytest.mark.every_redis


@pytest.fixture
def store(redis_client: Redis, queue: RedisQueue) -> TaskStore:
    return TaskStore(redis_client, queue)


def task(number: int, **fields: object) -> Task:
    return Task(f"task{number}", "https://example.org/a.mp3", 3, created_ms=1_700_000_000_000 + number, **fields)  # type: ignore[arg-type]


def test_a_task_comes_back_as_it_was_submitted(store: TaskStore) -> None:
    submitted = task(
        1,
        hook_url="https://example.org/hook",
        output_format=OutputFormat.FLAC,
        progress=0.25,
        stems={"vocals": "键.wav"},
        facts={"gain": 0.5, "model": "M"},
        webhook=WebhookState.PENDING,
        webhook_tries=[{"status_code": None, "outcome": "retry"}],
    )
    assert store.submit(submitted)
    assert store.get("task1") == submitted


def test_the_times_of_a_record_are_those_of_redis(store: TaskStore, queue: RedisQueue, redis_client: Redis) -> None:
    before_s, _ = redis_client.time()
    store.submit(Task("new", "now", 3, created_ms=0))
    queue.finish(claim(queue), record=record(status=Status.FAILED, finished_ms=NOW, error_message=NOW))
    ended = store.get("new")
    assert ended is not None
    after_s, _ = redis_client.time()
    for time_ms in (ended.created_ms, ended.finished_ms):
        assert before_s <= time_ms / 1000 < after_s + 1
    assert (ended.audio, ended.error_message) == ("now", "now"), "only in a field for a time"
    assert [listed.task_uuid for listed in store.page(TaskFilter(since_ms=before_s * 1000)).tasks] == ["new"]


def test_a_new_record_holds_only_what_is_not_the_default() -> None:
    new = task(1, owner="anna", webhook=WebhookState.PENDING)
    always = {"task_uuid", "audio", "priority", "created_ms", "status", "owner"}
    assert set(new.to_record()) == {*always, "webhook"}


def test_an_existing_id_is_not_submitted_again(store: TaskStore) -> None:
    store.submit(task(1))
    assert not store.submit(task(1, hook_url="https://example.org/other"))
    stored = store.get("task1")
    assert stored is not None
    assert stored.hook_url == ""


def test_an_unknown_id_gives_none(store: TaskStore) -> None:
    assert store.get("unknown") is None


def test_fields_of_a_newer_version_are_skipped(store: TaskStore, redis_client: Redis) -> None:
    store.submit(task(1))
    redis_client.hset("tasks:task:task1", "invented_later", "x")
    assert store.get("task1") == task(1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("output_format", "invented_later"),
        ("webhook", "invented_later"),
        ("progress", "half"),
        ("started_ms", "1.5"),
        ("stems", "{broken"),
        ("webhook_tries", '{"no": "list"}'),
    ],
)
def test_a_value_that_cannot_be_read_reads_as_its_default(
    store: TaskStore, redis_client: Redis, field: str, value: str
) -> None:
    store.submit(task(1))
    redis_client.hset("tasks:task:task1", field, value)
    assert store.get("task1") == task(1)


def test_a_status_of_a_newer_version_is_unknown_and_neither_queued_nor_final(
    store: TaskStore, redis_client: Redis
) -> None:
    store.submit(task(1))
    redis_client.hset("tasks:task:task1", "status", "invented_later")
    found = store.get("task1")
    assert found is not None
    assert (found.status, found.status.is_final) == (Status.UNKNOWN, False)


def test_a_broken_record_hides_no_task(store: TaskStore, redis_client: Redis) -> None:
    for number in range(3):
        store.submit(task(number))
    redis_client.hdel("tasks:task:task1", "audio")
    redis_client.delete("tasks:task:task2")
    assert [found.task_uuid for found in store.page().tasks] == ["task0"]
    assert store.get("task1") is None


def test_pages_list_tasks_newest_first_without_gaps_or_repeats(store: TaskStore) -> None:
    for number in range(7):
        store.submit(task(number))
    listed, cursor, pages = [], "", 0
    while True:
        page = store.page(cursor=cursor, limit=3)
        listed += [found.task_uuid for found in page.tasks]
        cursor, pages = page.next_cursor, pages + 1
        if not cursor:
            break
    assert listed == [f"task{number}" for number in (6, 5, 4, 3, 2, 1, 0)]
    assert pages == 3


def test_a_new_task_does_not_disturb_paging(store: TaskStore) -> None:
    for number in range(4):
        store.submit(task(number))
    first = store.page(limit=2)
    store.submit(task(9))
    second = store.page(limit=2, cursor=first.next_cursor)
    assert [found.task_uuid for found in second.tasks] == ["task1", "task0"]


def test_pages_filter_by_status(store: TaskStore, queue: RedisQueue) -> None:
    for number in range(3):
        store.submit(task(number))
    lease = queue.claim()
    assert lease is not None
    queue.finish(lease, record=record(status=Status.SUCCESS))
    assert [found.task_uuid for found in store.page(TaskFilter(status=Status.SUCCESS)).tasks] == ["task0"]
    assert [found.task_uuid for found in store.page(TaskFilter(status=Status.QUEUED)).tasks] == ["task2", "task1"]
    assert store.page(TaskFilter(status=Status.FAILED)).tasks == []


def test_position_counts_the_tasks_before(store: TaskStore) -> None:
    for number in range(3):
        store.submit(task(number))
    assert [store.position(f"task{number}") for number in range(3)] == [0, 1, 2]


def test_times_read_as_iso_8601() -> None:
    assert iso_time(0) is None
    assert iso_time(1_700_000_000_123) == "2023-11-14T22:13:20.123Z"
