"""The `task.ended` line: once for each end of a task, whatever ends it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from tests.support.http_server import Answer, HttpServer
from tests.support.waiting import eventually
from tests.support.workshop import Workshop, open_workshop, working
from uvr.metrics.definitions import UNSENT
from uvr.storage.uploads import Uploads
from uvr.tasks.actions import TaskActions
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.model import Status, Task, WebhookState, record

STEMS = {"vocals": b"RIFF vocals", "instrumental": b"RIFF instrumental"}


@pytest.fixture
def workshop_settings() -> dict[str, Any]:
    return {"webhook_retry_seconds": "0.1,0.1"}


@pytest.fixture
def lines() -> Iterator[list[Any]]:
    """Every line that is logged meanwhile, with what is bound to it."""
    with structlog.testing.capture_logs(processors=[structlog.contextvars.merge_contextvars]) as lines:
        yield lines


def ends(lines: list[Any]) -> list[Any]:
    return [line for line in lines if line["event"] == "task.ended"]


def control(workshop: Workshop) -> TaskActions:
    uploads = Uploads(workshop.settings, workshop.broker.uploads)
    return TaskActions(workshop.broker, DeadLetters(workshop.broker), workshop.storage, uploads)


def end(workshop: Workshop, hook_url: str = "") -> None:
    """A task that has failed, its webhook queued."""
    webhook = WebhookState.PENDING if hook_url else WebhookState.NONE
    failure = {"status": Status.FAILED, "error_message": "It was not audio.", "request_id": "r-1", "attempt": 3}
    times = {"created_ms": 1_700_000_000_000, "started_ms": 1_700_000_002_000, "finished_ms": 1_700_000_005_500}
    task = Task("a", "https://songs.example/a.mp3", 4, hook_url=hook_url, webhook=webhook, **failure, **times)
    assert workshop.broker.webhooks.enqueue("a", 4, task.to_record()).accepted


def finish(workshop: Workshop) -> None:
    with working(workshop):
        eventually(lambda: not workshop.broker.webhooks.contains("a"))


def test_a_task_without_a_hook_is_logged_at_its_end(workshop: Workshop, lines: list[Any]) -> None:
    end(workshop)
    finish(workshop)
    [line] = ends(lines)
    logged = {name: line[name] for name in ("task_uuid", "request_id", "status", "error", "priority", "attempts")}
    assert logged == {
        "task_uuid": "a",
        "request_id": "r-1",
        "status": "failed",
        "error": "It was not audio.",
        "priority": 4,
        "attempts": 3,
    }
    assert (line["total_s"], line["queued_s"], line["webhook"]) == (5.5, 2.0, "none")


def test_a_stored_task_is_logged_with_all_its_times(workshop: Workshop, lines: list[Any]) -> None:
    workshop.separated("a", STEMS)
    workshop.broker.tasks.annotate("a", record(facts={"model": "M", "separation_s": 2.5, "notes": []}))
    with working(workshop):
        eventually(lambda: ends(lines))
    [line] = ends(lines)
    assert (line["status"], line["model"], line["separation_s"]) == ("success", "M", 2.5)
    assert line["store_s"] > 0
    assert "notes" not in line, "what is empty is left out"


def test_delivery_attempts_do_not_log_the_end_again(workshop: Workshop, receiver: HttpServer, lines: list[Any]) -> None:
    end(workshop, receiver.answer("/hook", Answer(503), Answer(503), Answer(204)))
    finish(workshop)
    assert len(receiver.requests) == 3
    assert [line["webhook"] for line in ends(lines)] == ["pending"]


def test_sending_a_webhook_again_does_not_log_the_end_again(
    workshop: Workshop, receiver: HttpServer, lines: list[Any]
) -> None:
    end(workshop, receiver.answer("/hook", Answer(204)))
    finish(workshop)
    assert workshop.broker.webhooks.renew("a", 4, record(webhook=WebhookState.PENDING, webhook_step=0))
    finish(workshop)
    assert len(receiver.requests) == 2
    assert [line["webhook"] for line in ends(lines)] == ["delivered"]


def test_a_retried_task_is_logged_at_each_end(workshop: Workshop, lines: list[Any]) -> None:
    end(workshop)
    finish(workshop)
    assert workshop.broker.webhooks.renew("a", 4, record(revivals=1))
    finish(workshop)
    assert [line.get("revivals") for line in ends(lines)] == [0, 1]


@pytest.mark.parametrize("way", ["cancel", "delete"])
def test_a_task_that_is_stopped_is_logged_once(workshop: Workshop, lines: list[Any], way: str) -> None:
    workshop.broker.store.submit(Task("a", "https://songs.example/a.mp3", 3, 1_700_000_000_000, request_id="r-1"))
    UNSENT.take()
    for _ in range(2):
        getattr(control(workshop), way)("a")
    [line] = ends(lines)
    assert (line["status"], line["request_id"]) == ("cancelled", "r-1")
    assert UNSENT.take()["uvr_tasks_ended_total", "", "cancelled"] == 1


def test_every_line_of_a_claim_names_the_request(workshop: Workshop, receiver: HttpServer, lines: list[Any]) -> None:
    end(workshop, receiver.answer("/hook", Answer(204)))
    finish(workshop)
    about = [line for line in lines if line["event"] in ("webhook.tried", "task.ended", "claim.settled")]
    assert [line.get("request_id") for line in about] == ["r-1"] * 3
    [request] = receiver.requests
    assert request.headers["X-Request-ID"] == "r-1"
    assert json.loads(request.body)["status"] == "failed"


def test_the_next_claim_of_the_thread_names_its_own_request(workshop: Workshop, lines: list[Any]) -> None:
    with open_workshop(workshop.client, workshop.settings.output_dir, webhook_threads=1) as one:
        end(one)
        task = Task("b", "https://songs.example/b.mp3", 1, 1_700_000_000_000, status=Status.FAILED)
        assert one.broker.webhooks.enqueue("b", 1, task.to_record()).accepted
        with working(one):
            eventually(lambda: not (one.broker.webhooks.contains("a") or one.broker.webhooks.contains("b")))
    settled = {line["task_uuid"]: line.get("request_id") for line in lines if line["event"] == "claim.settled"}
    assert settled == {"a": "r-1", "b": None}
