"""Nodes that fall silent: songs whose stems were not stored are separated again, and nothing else is touched."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from redis import Redis

from redis_queue import Lease
from tests.support.api import settings_for
from tests.support.leases import dead_ids, waiting_ids
from uvr.liveness.nodes import Node
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, record

pytestmark = pytest.mark.every_redis

TIMEOUT_S, LEASE_S = 300, 60


@dataclass(frozen=True)
class Member:
    """One worker process of a node, as Redis sees it."""

    node: Node
    broker: Broker

    def stage(self, task_uuid: str, priority: int = 3) -> None:
        """Bring a new task to this node's result queue, as if its stems were staged."""
        task = Task(task_uuid, "https://songs.test/a.wav", priority, created_ms=1)
        assert self.broker.store.submit(task)
        made = record(status=Status.UPLOADING, progress=1.0, handover=f"{task_uuid}.1", node="any")
        assert self.broker.tasks.finish(self.claimed(), next_queue=self.broker.results, record=made)

    def claimed(self) -> Lease:
        lease = self.broker.tasks.claim()
        assert lease is not None
        return lease


Join = Callable[..., Member]


@pytest.fixture
def join(redis_client: Redis, tmp_path: Path) -> Iterator[Join]:
    """`join(node_id, kind="uploader")`: one more worker process, which sends no heartbeat by itself."""
    with ExitStack() as clients_in_use:

        def join(node_id: str, kind: str = "uploader") -> Member:
            bucket = {"s3_bucket_name": "stems"}
            settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, node_id=node_id, **bucket)
            assert (settings.node_timeout_seconds, settings.lease_seconds) == (TIMEOUT_S, LEASE_S)
            clients = connect(settings)
            clients_in_use.callback(clients.close)
            broker = Broker(settings, clients)
            return Member(Node(settings, broker, kind), broker)

        yield join


def pass_time(redis: Redis, seconds: float, *, unwatched: bool = False) -> None:
    """Make all heartbeats, and the record of who listened, that much older."""
    for member in redis.zrange("uvr_tasks:nodes", 0, -1):
        redis.zincrby("uvr_tasks:nodes", -seconds * 1000, member)
    redis.hincrby("uvr_tasks:nodes:watch", "since", round(-seconds * 1000))
    if unwatched:
        redis.hincrby("uvr_tasks:nodes:watch", "last", round(-seconds * 1000))


def test_the_results_of_a_silent_node_are_queued_as_tasks_again(join: Join, redis_client: Redis) -> None:
    silent, other = join("one"), join("two")
    for task_uuid, priority in {"waiting": 2, "delayed": 4, "leased": 5}.items():
        silent.stage(task_uuid, priority)
    silent.broker.results.claim()
    delayed = silent.broker.results.claim()
    assert delayed is not None
    silent.broker.results.retry(delayed, delay_s=3600)
    silent.node.beat()
    pass_time(redis_client, TIMEOUT_S + 1)

    other.node.beat()

    assert waiting_ids(other.broker.tasks) == ["leased", "delayed", "waiting"], "by priority"
    assert silent.broker.results.sizes().leased == 0
    task = other.broker.store.get("leased")
    assert task is not None
    assert (task.status, task.progress, task.handover, task.node) == (Status.QUEUED, 0, "", "")
    assert task.lost_with == "one"


def test_a_node_that_sends_heartbeats_keeps_its_results(join: Join, redis_client: Redis) -> None:
    living, other = join("one"), join("two")
    living.stage("a")
    living.node.beat()
    pass_time(redis_client, TIMEOUT_S - 1)
    other.node.beat()
    assert waiting_ids(living.broker.results) == ["a"]
    living.node.beat()
    pass_time(redis_client, TIMEOUT_S - 1)
    other.node.beat()
    assert waiting_ids(living.broker.results) == ["a"]


def test_only_heartbeats_of_the_uploader_count(join: Join, redis_client: Redis) -> None:
    uploader, processor, other = join("one"), join("one", "processor"), join("two")
    uploader.node.beat()
    processor.stage("a")
    pass_time(redis_client, TIMEOUT_S + 1)
    processor.node.beat()
    assert waiting_ids(processor.broker.results) == ["a"], "it is its own node, whose disk it sees"
    other.node.beat()
    assert waiting_ids(other.broker.tasks) == ["a"]


def test_workers_without_a_node_id_are_one_node(join: Join, redis_client: Redis) -> None:
    unnamed, named = join(""), join("one")
    unnamed.stage("before NODE_ID was set")
    assert unnamed.broker.results.name == "uvr_results"
    unnamed.node.beat()
    pass_time(redis_client, TIMEOUT_S + 1)
    named.node.beat()
    assert waiting_ids(named.broker.tasks) == ["before NODE_ID was set"]


def test_a_silent_node_that_returns_changes_nothing(join: Join, redis_client: Redis) -> None:
    silent, other = join("one"), join("two")
    silent.stage("a")
    held = silent.broker.results.claim()
    assert held is not None
    silent.node.beat()
    pass_time(redis_client, TIMEOUT_S + 1)
    other.node.beat()

    stored = record(status=Status.SUCCESS)
    assert not silent.broker.results.extend(held)
    assert not silent.broker.results.finish(held, next_queue=silent.broker.webhooks, record=stored)
    assert silent.broker.webhooks.sizes().waiting == 0

    # Not even when the task comes to the same node again.
    made_again = record(status=Status.UPLOADING)
    assert silent.broker.tasks.finish(silent.claimed(), next_queue=silent.broker.results, record=made_again)
    held_again = silent.broker.results.claim()
    assert held_again is not None
    assert not silent.broker.results.finish(held, record=stored)
    assert silent.broker.results.finish(held_again, record=stored)


def test_two_rescuers_queue_every_task_once(join: Join, redis_client: Redis) -> None:
    silent, rescuers = join("one"), [join("two"), join("three")]
    ids = [f"task-{number:03d}" for number in range(250)]
    for task_uuid in ids:
        silent.stage(task_uuid)
    silent.node.beat()
    pass_time(redis_client, TIMEOUT_S + 1)
    threads = [threading.Thread(target=rescuer.node.beat) for rescuer in rescuers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(waiting_ids(silent.broker.tasks, 1000)) == ids


def test_another_node_continues_when_a_rescuer_dies(join: Join, redis_client: Redis) -> None:
    silent, other = join("one"), join("two")
    for task_uuid in ("a", "b", "c"):
        silent.stage(task_uuid)
    silent.node.beat()
    pass_time(redis_client, TIMEOUT_S + 1)
    assert silent.broker.results.evacuate(silent.broker.tasks, limit=1) == ["a"]
    other.node.beat()
    assert waiting_ids(other.broker.tasks) == ["a", "b", "c"]


def test_an_outage_of_redis_does_not_make_nodes_silent(join: Join, redis_client: Redis) -> None:
    slow, quick = join("one"), join("two")
    slow.stage("a")
    for member in (slow, quick):
        member.node.beat()
    pass_time(redis_client, 86_400, unwatched=True)
    quick.node.beat()
    assert waiting_ids(slow.broker.results) == ["a"]
    pass_time(redis_client, TIMEOUT_S - 1)
    quick.node.beat()
    assert waiting_ids(slow.broker.results) == ["a"], "it has the whole time-out to send a heartbeat again"
    pass_time(redis_client, 2)
    quick.node.beat()
    assert waiting_ids(quick.broker.tasks) == ["a"]


def test_a_node_still_falls_silent_after_the_clock_of_redis_was_a_month_ahead(join: Join, redis_client: Redis) -> None:
    silent, other = join("one"), join("two")
    silent.stage("a")
    silent.node.beat()
    other.node.beat()
    pass_time(redis_client, -31 * 86_400, unwatched=True)  # as if these heartbeats had come at the wrong time
    other.node.beat()
    assert waiting_ids(other.broker.tasks) == []
    pass_time(redis_client, TIMEOUT_S + 1)
    other.node.beat()
    assert waiting_ids(other.broker.tasks) == ["a"]


def test_a_retired_node_is_forgotten(join: Join, redis_client: Redis) -> None:
    retired, other = join("one"), join("two")
    retired.node.beat()
    join("one", "processor").node.beat()
    pass_time(redis_client, TIMEOUT_S + LEASE_S + 1)
    other.node.beat()
    assert other.broker.node_ids() == ["two"]


def test_a_node_is_remembered_while_its_processor_may_finish_stems(join: Join, redis_client: Redis) -> None:
    processor, other = join("one", "processor"), join("two")
    join("one").node.beat()
    pass_time(redis_client, TIMEOUT_S + LEASE_S + 1)
    processor.node.beat()
    other.node.beat()
    assert other.broker.node_ids() == ["one", "two"]
    processor.stage("a long song")
    other.node.beat()
    assert waiting_ids(other.broker.tasks) == ["a long song"]


def test_a_node_is_remembered_while_it_has_dead_letters(join: Join, redis_client: Redis) -> None:
    silent, other = join("one"), join("two")
    silent.stage("a")
    lease = silent.broker.results.claim()
    assert lease is not None
    silent.broker.results.bury(lease)
    silent.node.beat()
    pass_time(redis_client, TIMEOUT_S + LEASE_S + 1)
    other.node.beat()
    assert dead_ids(silent.broker.results) == ["a"], "an operator decides about it"
    assert silent.broker.results.revive("a")
    other.node.beat()
    assert waiting_ids(other.broker.tasks) == ["a"], "once revived, it is separated again"


def test_a_processor_without_an_uploader_pauses_while_other_nodes_live(join: Join, redis_client: Redis) -> None:
    uploader, processor, other = join("one"), join("one", "processor"), join("two")
    uploader.node.beat()
    pass_time(redis_client, TIMEOUT_S + 1)
    processor.node.beat()
    assert processor.node.why_paused() == "", "without other nodes it continues: the stems wait for their uploader"
    other.node.beat()
    processor.node.beat()
    assert "uploader of this node is silent" in processor.node.why_paused()
    uploader.node.beat()
    processor.node.beat()
    assert processor.node.why_paused() == ""


def test_heartbeats_reach_a_full_redis(join: Join, redis_client: Redis) -> None:
    member = join("one")
    redis_client.config_set("maxmemory", 1)
    try:
        member.node.beat()
    finally:
        redis_client.config_set("maxmemory", 0)
    assert member.broker.node_ids() == ["one"]


def test_heartbeats_run_in_a_thread_of_their_own_and_survive_an_outage_of_redis(tmp_path: Path) -> None:
    nowhere = settings_for({"path": tmp_path / "nothing.sock"}, tmp_path)
    clients = connect(nowhere)
    node = Node(nowhere, Broker(nowhere, clients), "processor")
    with node.beating():
        assert node.why_paused() == "Redis does not receive the heartbeats of this node."
    clients.close()
