"""Progress events: sent once, with webhook ids of their own, and never in place of the final webhook."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.http_server import Answer, HttpServer
from tests.support.leases import waiting_ids
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.workshop import Workshop, working
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.webhooks import progress_events


@pytest.fixture
def workshop_settings() -> dict[str, Any]:
    return {"webhook_timeout_seconds": PATIENCE_S}


def processing(workshop: Workshop, hook_url: str, **fields: Any) -> Task:
    """A task that a processor has claimed."""
    facts = {"status": Status.PROCESSING, "progress": 0.5, "callback_events": ["started", "progress"], **fields}
    task = Task("a", "https://songs.example/a.mp3", 3, 1_700_000_000_000, hook_url=hook_url, **facts)
    assert workshop.broker.tasks.enqueue("a", 3, task.to_record()).accepted
    return task


def end(workshop: Workshop) -> None:
    lease = workshop.broker.tasks.claim()
    assert lease is not None
    failed = record(status=Status.FAILED, error_message="It was not audio.", webhook=WebhookState.PENDING)
    assert workshop.broker.tasks.finish(lease, next_queue=workshop.broker.webhooks, record=failed)


def is_idle(workshop: Workshop) -> bool:
    sizes = workshop.broker.webhooks.sizes()
    return not (sizes.waiting or sizes.leased or sizes.delayed)


def received(receiver: HttpServer) -> list[str]:
    return [json.loads(request.body)["status"] for request in receiver.requests]


def test_the_events_that_were_asked_for_arrive_before_the_end(workshop: Workshop, receiver: HttpServer) -> None:
    task = processing(workshop, receiver.answer("/hook", Answer(204)))
    with working(workshop):
        for event in (progress_events.STARTED, progress_events.PROGRESS):
            progress_events.send(workshop.broker, task, event)
            eventually(lambda: is_idle(workshop))
        end(workshop)
        eventually(lambda: is_idle(workshop))
    bodies = [json.loads(request.body) for request in receiver.requests]
    assert received(receiver) == ["started", "progress", "failed"]
    assert (bodies[1]["task_uuid"], bodies[1]["progress"]) == ("a", 0.5)
    ids = [request.headers["webhook-id"] for request in receiver.requests]
    assert (ids[0].startswith("a.started."), ids[1].startswith("a.progress."), ids[2]) == (True, True, "a.failed")
    assert [tried["webhook_id"] for tried in workshop.task("a").webhook_tries] == ["a.failed"]


@pytest.mark.parametrize("status", [500, 404, 410])
def test_a_refused_event_is_not_sent_again_but_the_end_is_sent(
    workshop: Workshop, receiver: HttpServer, status: int
) -> None:
    task = processing(workshop, receiver.answer("/hook", Answer(status), Answer(204)))
    with working(workshop):
        progress_events.send(workshop.broker, task, progress_events.STARTED)
        eventually(lambda: is_idle(workshop))
        assert received(receiver) == ["started"]
        end(workshop)
        eventually(lambda: workshop.task("a").webhook == WebhookState.DELIVERED)
    assert received(receiver) == ["started", "failed"]


def test_no_event_is_sent_for_a_task_that_has_ended(workshop: Workshop, receiver: HttpServer) -> None:
    task = processing(workshop, receiver.answer("/hook", Answer(204)))
    progress_events.send(workshop.broker, task, progress_events.PROGRESS)
    end(workshop)
    with working(workshop):
        eventually(lambda: is_idle(workshop))
    assert received(receiver) == ["failed"]


def test_the_end_is_not_sent_while_an_event_is_still_being_sent(workshop: Workshop, receiver: HttpServer) -> None:
    """Not even by another uploader."""
    task = processing(workshop, receiver.answer("/hook", Answer(204, delay_s=10 * PATIENCE_S)))
    with working(workshop), working(workshop):
        progress_events.send(workshop.broker, task, progress_events.PROGRESS)
        eventually(lambda: received(receiver) == ["progress"])
        end(workshop)
        eventually(lambda: int(workshop.client.hget("uvr_webhooks:item:a", "attempt") or 0) >= 2)
        assert received(receiver) == ["progress"]
        receiver.stopping.set()  # the receiver answers
        eventually(lambda: received(receiver) == ["progress", "failed"])
        eventually(lambda: is_idle(workshop))
    assert len(workshop.task("a").webhook_tries) == 1


@pytest.mark.parametrize("in_flight", [progress_events.STARTED, "failed"])
def test_no_event_is_sent_while_what_it_follows_is_still_being_sent(
    workshop: Workshop, receiver: HttpServer, in_flight: str
) -> None:
    task = processing(workshop, receiver.answer("/hook", Answer(204, delay_s=10 * PATIENCE_S)))
    with working(workshop):
        if in_flight == "failed":
            end(workshop)
        else:
            progress_events.send(workshop.broker, task, in_flight)
        eventually(lambda: received(receiver) == [in_flight])
        workshop.broker.tasks.annotate("a", record(status=Status.PROCESSING))  # as after a retry
        progress_events.send(workshop.broker, task, progress_events.PROGRESS)
        eventually(lambda: not workshop.broker.webhooks.contains("a.progress"))
        receiver.stopping.set()
        eventually(lambda: is_idle(workshop))
    assert received(receiver) == [in_flight]


def test_an_event_waits_behind_every_final_webhook_and_once_for_each_kind(
    workshop: Workshop, receiver: HttpServer
) -> None:
    task = processing(workshop, receiver.url("/hook"))
    for _ in range(3):
        progress_events.send(workshop.broker, task, progress_events.PROGRESS)
    end(workshop)
    assert waiting_ids(workshop.broker.webhooks) == ["a", "a.progress"]


@pytest.mark.parametrize("fields", [{"callback_events": ["completed"]}, {"callback_events": []}, {"hook_url": ""}])
def test_no_event_is_sent_that_was_not_asked_for(workshop: Workshop, fields: dict[str, Any]) -> None:
    task = processing(workshop, **{"hook_url": "https://hooks.example/", **fields})
    for event in (progress_events.STARTED, progress_events.PROGRESS):
        progress_events.send(workshop.broker, task, event)
    assert is_idle(workshop)


def test_progress_is_sent_only_every_few_seconds(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    task = processing(workshop, "https://hooks.example/")
    report = progress_events.progress_reporter(workshop.broker, task)
    report()
    assert is_idle(workshop)
    monkeypatch.setattr(progress_events, "_PROGRESS_EVERY_S", 0)
    report()
    assert waiting_ids(workshop.broker.webhooks) == ["a.progress"]
