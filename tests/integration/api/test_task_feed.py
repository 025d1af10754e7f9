"""The feed of all tasks: each client learns each change once, for a bounded effort."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from redis import Redis

from config import Settings
from tests.support.api import application, settings_for
from tests.support.leases import begin
from uvr.api import task_feed
from uvr.api.eta import EtaEstimator
from uvr.api.task_feed import Changes, ReadingPace, TaskFeed, TaskFeeds
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.model import FINAL_STATUSES, Status, Task, WebhookState, record

MANY = 300


class Feed:
    """A feed whose clock a test moves on, and the tasks in it."""

    def __init__(self, settings: Settings, owner: str = "") -> None:
        self._clients = connect(settings)
        self.broker = Broker(settings, self._clients)
        self._now_s = 0.0
        self._submitted = 0
        self.feed = TaskFeed(self.broker.store, EtaEstimator(self.broker), owner, clock=lambda: self._now_s)

    def submit(self, task_uuid: str, **fields: Any) -> None:
        self._submitted += 1
        task = Task(task_uuid, "https://songs.example/a.mp3", 3, 1_700_000_000_000 + self._submitted, **fields)
        assert self.broker.store.submit(task)

    def changes(self, version: str = "") -> Changes:
        """What a client learns that knows `version`, at the next reading."""
        self._now_s += task_feed.READ_EVERY_S
        return self.feed.changes_since(version)

    def close(self) -> None:
        self._clients.close()


@pytest.fixture
def feed(redis_client: Redis, tmp_path: Path) -> Any:
    feed = Feed(settings_for(redis_client.get_connection_kwargs(), tmp_path))
    yield feed
    feed.close()


def ids(changes: Changes) -> list[str]:
    return [json.loads(text)["task_uuid"] for text in changes.tasks]


def only(changes: Changes, *names: str) -> Sequence[Any]:
    """These values of the only task that has changed."""
    assert not changes.is_all
    [text] = changes.tasks
    task = json.loads(text)
    return [task[name] for name in names]


def test_a_client_gets_all_tasks_and_then_each_change_once(feed: Feed) -> None:
    feed.submit("a")
    feed.submit("b")
    first = feed.changes()
    assert (first.is_all, ids(first), first.removed, first.left_out) == (True, ["b", "a"], [], False)
    assert feed.changes(first.version) == Changes(first.version, False, [], [], False)

    lease = begin(feed.broker.tasks)
    feed.broker.tasks.extend(lease, record(status=Status.PROCESSING, attempt=1))
    started = feed.changes(first.version)
    told = {json.loads(text)["task_uuid"]: json.loads(text) for text in started.tasks}
    assert (told["a"]["status"], told["a"]["position"]) == ("processing", None)
    assert told["b"]["position"] == 0, "the one behind it has moved up"

    feed.broker.tasks.extend(lease, record(progress=0.5))
    moved = feed.changes(started.version)
    assert only(moved, "task_uuid", "progress") == ["a", 0.5]
    feed.broker.tasks.finish(lease, record=record(status=Status.FAILED, error_message="It was not audio."))
    ended = feed.changes(moved.version)
    assert only(ended, "status", "error_message") == ["failed", "It was not audio."]
    assert feed.changes(ended.version).tasks == []


def test_stems_are_named_once_they_can_be_downloaded(feed: Feed) -> None:
    stems = {"vocals": "a_vocals.wav", "drums": "a_drums.wav"}
    feed.submit("a", stems=stems)
    first = feed.changes()
    assert json.loads(first.tasks[0])["stems"] == [], "they are still being stored"
    lease = begin(feed.broker.tasks)
    feed.broker.tasks.finish(lease, record=record(status=Status.SUCCESS, stems=stems))
    ended = feed.changes(first.version)
    assert only(ended, "status", "stems") == ["success", ["vocals", "drums"]]


def test_deleted_tasks_are_removed_and_new_ones_appear(feed: Feed) -> None:
    feed.submit("a")
    first = feed.changes()
    feed.broker.tasks.cancel("a", [], [Status.QUEUED], record(status=Status.CANCELLED))
    feed.broker.tasks.forget("a", [], FINAL_STATUSES, on_request=True)
    feed.submit("b")
    changes = feed.changes(first.version)
    assert (changes.removed, ids(changes)) == (["a"], ["b"])
    feed.submit("a")
    changes = feed.changes(first.version)
    assert (changes.removed, ids(changes)) == ([], ["a", "b"])


def test_what_changes_in_a_record_alone_is_noticed_in_turn(feed: Feed) -> None:
    for number in range(2 * task_feed._READ_IN_TURN):
        feed.submit(f"t{number}", status=Status.SUCCESS, webhook=WebhookState.PENDING)
    first = feed.changes()
    feed.broker.tasks.annotate("t7", record(webhook=WebhookState.DELIVERED))
    found = [feed.changes(first.version) for _ in range(4)]
    assert only(found[-1], "task_uuid", "webhook") == ["t7", "delivered"]


def test_a_client_that_comes_back_gets_what_it_missed(feed: Feed) -> None:
    feed.submit("a")
    feed.submit("b")
    first = feed.changes()
    feed.changes(first.version)
    lease = begin(feed.broker.tasks)
    feed.broker.tasks.finish(lease, record=record(status=Status.SUCCESS))
    later = feed.changes("")
    assert later.is_all
    missed = feed.changes(first.version)
    assert (missed.is_all, set(ids(missed))) == (False, {"a", "b"})
    assert missed.version == later.version


@pytest.mark.parametrize(
    "version",
    [
        "",
        ".",
        "x.1",
        "{id}",
        "{id}.",
        "{id}.-1",
        "{id}.99",
        "{id}.1.1",
        "{id}.²",
        "{id}.1\n",
        pytest.param("{id}." + 5000 * "9", id="huge"),
    ],
)
def test_a_client_with_an_unknown_version_gets_all(feed: Feed, version: str) -> None:
    feed.submit("a")
    known = feed.changes().version.partition(".")[0]
    assert feed.changes(version.format(id=known)).is_all


def test_a_client_that_missed_too_many_deletions_gets_all(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_feed, "_MAX_REMOVALS", 2)
    for name in "abc":
        feed.submit(name, status=Status.SUCCESS)
    versions = [feed.changes().version]
    for name in "abc":
        feed.broker.tasks.forget(name, [], FINAL_STATUSES, on_request=True)
        versions.append(feed.changes(versions[-1]).version)
    assert [feed.changes(version).is_all for version in versions] == [True, False, False, False]


def test_tasks_at_work_are_shown_whatever_their_age(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_feed, "MAX_TASKS", 3)
    for number in range(5):
        feed.submit(f"t{number}")
    lease = begin(feed.broker.tasks)
    feed.broker.tasks.extend(lease, record(status=Status.PROCESSING))
    first = feed.changes()
    assert (ids(first), first.left_out) == (["t0", "t4", "t3"], True)
    feed.broker.tasks.finish(lease, record=record(status=Status.SUCCESS))
    changes = feed.changes(first.version)
    assert (changes.removed, ids(changes)) == (["t0"], ["t2"]) or "t2" in ids(changes)


def test_users_follow_their_own_tasks_and_share_what_is_read(
    redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    anna = Feed(settings_for(redis_client.get_connection_kwargs(), tmp_path), owner="anna")
    try:
        anna.submit("a", owner="anna")
        anna.submit("b", owner="bert")
        assert ids(anna.changes()) == ["a"]
        reads: list[str] = []
        statuses = anna.broker.store.statuses
        monkeypatch.setattr(
            anna.broker.store, "statuses", lambda **options: reads.append("read") or statuses(**options)
        )
        for _ in range(5):
            anna.feed.changes_since("")
        assert reads == []
        anna.changes()
        assert reads == ["read"]
    finally:
        anna.close()


def test_reading_many_tasks_takes_few_round_trips(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(MANY):
        feed.submit(f"t{number}", status=Status.SUCCESS)
    first = feed.changes()
    assert len(first.tasks) == MANY
    read: list[int] = []
    get_many = feed.broker.store.get_many
    monkeypatch.setattr(feed.broker.store, "get_many", lambda found: read.append(len(found)) or get_many(found))
    assert feed.changes(first.version).tasks == []
    assert read == [task_feed._READ_IN_TURN]


def test_long_addresses_of_songs_are_cut(feed: Feed) -> None:
    task = Task("long", f"https://songs.example/{'a' * 8000}.mp3", 3, 1_700_000_000_000)
    assert feed.broker.store.submit(task)
    [text] = feed.changes().tasks
    assert len(json.loads(text)["audio"]) == 301


def test_tasks_are_read_in_pages(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_feed, "_PAGE", 2)
    for name in "abcde":
        feed.submit(name)
    first = feed.changes()
    assert ids(first) == list("edcba")
    for name in "ac":
        feed.broker.tasks.forget(name, [], [Status.QUEUED], on_request=True)
    changes = feed.changes(first.version)
    assert sorted(changes.removed) == ["a", "c"]


def test_a_process_keeps_the_feeds_that_are_followed_and_a_few_others(
    redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_feed, "_MAX_UNUSED_FEEDS", 2)
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path)) as app:
        services = app.extensions["uvr"]
        feeds = TaskFeeds(services.store, services.eta)
        followed, ended = feeds.of("anna"), ref(feeds.of("dora"))
        assert ended() is feeds.of("dora")
        feeds.of("bert")
        feeds.of("")
        assert feeds.of("anna") is followed
        assert ended() is None


def test_many_feeds_are_read_less_often(feed: Feed) -> None:
    pace = ReadingPace()
    feeds = [TaskFeed(feed.broker.store, EtaEstimator(feed.broker), f"user {number}", pace=pace) for number in range(8)]
    for one in feeds:
        pace.took(one, 0.01)
    assert pace.every_s == task_feed.READ_EVERY_S
    for one in feeds:
        pace.took(one, 0.1)
    assert pace.every_s == pytest.approx(0.8 / task_feed._MAX_SHARE_OF_CORE)
    del feeds, one
    pace.took(feed.feed, 0.1)
    assert pace.every_s == task_feed.READ_EVERY_S
