"""A node that is about to stop waits for its processor, and until its uploader has stored all stems."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr
from redis import Redis

from config import Settings
from tests.support.api import settings_for
from tests.support.ports import free_port
from tests.support.threads import in_thread
from tests.support.waiting import PROMPT_S, eventually
from uvr.liveness import drain as drain_module
from uvr.liveness.drain import drain, what_is_left
from uvr.liveness.workers import WorkerPresence
from uvr.redis.clients import connect
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, record


@pytest.fixture
def settings(redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Those of the node `one`, which looks more often than in earnest."""
    monkeypatch.setattr(drain_module, "_QUIET_S", 0.2)
    monkeypatch.setattr(drain_module, "_LOOK_EVERY_S", 0.02)
    return settings_for(redis_client.get_connection_kwargs(), tmp_path, node_id="one", s3_bucket_name="stems")


@pytest.fixture
def broker(settings: Settings) -> Iterator[Broker]:
    """What Redis holds, as the node `one` sees it."""
    clients = connect(settings)
    yield Broker(settings, clients)
    clients.close()


def stage(broker: Broker, task_uuid: str, node: str = "one") -> None:
    """Bring a new task to the result queue of a node."""
    assert broker.store.submit(Task(task_uuid, "https://songs.test/a.wav", 3, created_ms=1))
    lease = broker.tasks.claim()
    assert lease is not None
    made = record(status=Status.UPLOADING, progress=1.0, handover=f"{task_uuid}.1", node=node)
    assert broker.tasks.finish(lease, next_queue=broker.result_queue(node), record=made)


def processor_on(broker: Broker, host: str) -> WorkerPresence:
    presence = WorkerPresence(broker.client, broker.root, "processor", dict)
    presence.name = f"processor:{host}:1"
    return presence


def test_nothing_is_left_of_an_idle_node(settings: Settings) -> None:
    assert drain(settings, PROMPT_S) == ""


def test_the_processor_of_this_node_is_waited_for_and_that_of_another_is_not(broker: Broker) -> None:
    with processor_on(broker, "elsewhere").announced():
        assert what_is_left(broker) == ""
    with processor_on(broker, socket.gethostname()).announced():
        assert what_is_left(broker) == "The processor of this node still works."
    assert what_is_left(broker) == ""


def test_stems_are_left_until_they_are_stored(broker: Broker) -> None:
    stage(broker, "a")
    stage(broker, "b", node="two")
    assert what_is_left(broker) == "Results whose stems are not stored yet: 1."
    lease = broker.results.claim()
    assert lease is not None
    assert "1" in what_is_left(broker), "an uploader is storing them"
    assert broker.results.retry(lease, delay_s=0.1, counts_as="")
    assert "1" in what_is_left(broker), "the storage was away, and they are tried again"
    again = eventually(broker.results.claim)
    assert broker.results.finish(again, record=record(status=Status.SUCCESS))
    assert what_is_left(broker) == ""


def test_it_ends_when_the_last_result_is_stored(settings: Settings, broker: Broker) -> None:
    stage(broker, "a")
    outcomes: list[str] = []
    drained = lambda: outcomes.append(drain(settings, 2 * PROMPT_S))  # noqa: E731
    with in_thread(drained, lambda: None, name="drain"):
        lease = eventually(broker.results.claim)
        assert outcomes == []
        assert broker.results.finish(lease, record=record(status=Status.SUCCESS))
    assert outcomes == [""]


def test_it_says_after_its_time_what_is_left(settings: Settings, broker: Broker) -> None:
    stage(broker, "a")
    assert drain(settings, 0.1) == "Results whose stems are not stored yet: 1."


def test_without_redis_nothing_counts_as_stored(settings: Settings) -> None:
    nowhere = settings.model_copy(update={"redis_url": SecretStr(f"redis://127.0.0.1:{free_port()}")})
    assert drain(nowhere, 0.5).startswith("Redis does not answer, so it is not known what is left: ")
