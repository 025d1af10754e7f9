"""Webhooks through the uploader's own workers, with a real queue and real receivers."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.workshop import Workshop, working
from uvr.tasks.model import Status, Task, WebhookState

SECRET = "whsec_dGVzdGtleQ=="


@pytest.fixture
def workshop_settings() -> dict[str, Any]:
    return {"webhook_secret": SECRET, "webhook_timeout_seconds": 30}


def end(workshop: Workshop, task_uuid: str, hook_url: str, **fields: Any) -> None:
    """A task that has ended, with its webhook queued."""
    facts = {"status": Status.FAILED, "error_message": "It was not audio.", "webhook": WebhookState.PENDING, **fields}
    task = Task(task_uuid, "https://songs.example/a.mp3", 3, 1_700_000_000_000, hook_url=hook_url, **facts)
    assert workshop.broker.webhooks.enqueue(task_uuid, 3, task.to_record()).accepted


def is_settled(workshop: Workshop, task_uuid: str) -> bool:
    return not workshop.broker.webhooks.contains(task_uuid)


def pause_s(workshop: Workshop, task_uuid: str) -> float:
    """The time from the end of the latest delivery attempt until the next one is due."""
    due_ms = workshop.client.zscore("uvr_webhooks:delayed", task_uuid)
    attempt = workshop.task(task_uuid).webhook_tries[-1]
    ended_ms = datetime.fromisoformat(attempt["at"]).timestamp() * 1000 + attempt["duration_ms"]
    return float(due_ms - ended_ms) / 1000


def seconds_until_due(workshop: Workshop, task_uuid: str) -> float:
    due_ms = workshop.client.zscore("uvr_webhooks:delayed", task_uuid)
    now_s, now_us = workshop.client.time()
    return due_ms / 1000 - now_s - now_us / 1e6


def let_time_pass(workshop: Workshop, task_uuid: str) -> float:
    """Make the webhook due now; returns how many seconds were left."""
    left_s = seconds_until_due(workshop, task_uuid)
    workshop.client.zadd("uvr_webhooks:delayed", {task_uuid: 0})
    workshop.client.zadd("uvr_webhooks:wake", {"wake": 0})
    return left_s


def test_a_webhook_has_all_stems_and_what_the_client_chose(workshop: Workshop, receiver: HttpServer) -> None:
    chosen = {"models": ["four.ckpt"], "preset": "drums", "wanted_stems": ["drums"], "metadata": {"order": "4711"}}
    stems = {"drums": "a_drums.wav", "status": "a_status.wav"}
    hook_url = receiver.answer("/hook", Answer(204))
    end(workshop, "a", hook_url, status=Status.SUCCESS, error_message="", stems=stems, **chosen)
    with working(workshop):
        eventually(lambda: is_settled(workshop, "a"))
    payload = json.loads(receiver.requests[0].body)
    assert list(payload) == [
        *("task_uuid", "status", "timestamp", "time", "drums"),
        *("stems", "model", "preset", "metadata"),
    ]
    assert payload["status"] == "success"
    assert {name: link.partition("?")[0].rpartition("/")[2] for name, link in payload["stems"].items()} == stems
    assert payload["drums"] == payload["stems"]["drums"]
    assert (payload["model"], payload["preset"], payload["metadata"]) == ("four.ckpt", "drums", {"order": "4711"})


def test_a_webhook_is_delivered_signed_and_recorded(workshop: Workshop, receiver: HttpServer) -> None:
    end(workshop, "a", receiver.answer("/hook", Answer(204)))
    with working(workshop):
        eventually(lambda: is_settled(workshop, "a"))
    request = receiver.requests[0]
    assert Webhook(SECRET).verify(request.body, dict(request.headers)) == json.loads(request.body)
    assert request.headers["webhook-id"] == "a.failed"
    task = workshop.task("a")
    assert task.webhook == WebhookState.DELIVERED
    [tried] = task.webhook_tries
    assert (tried["webhook_id"], tried["status_code"], tried["outcome"]) == ("a.failed", 204, "delivered")
    assert tried["duration_ms"] >= 0
    assert tried["at"].endswith("Z")


def test_a_receiver_that_is_down_for_a_day_still_gets_its_webhook(workshop: Workshop) -> None:
    with http_server() as gone:
        url = gone.url("/hook")
    end(workshop, "a", url)
    passed_s = 0.0
    with working(workshop):
        for tries in range(1, 8):
            eventually(lambda tries=tries: workshop.task("a").webhook_step == tries)
            eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
            assert workshop.task("a").webhook == WebhookState.PENDING
            if tries < 7:
                passed_s += let_time_pass(workshop, "a")
        assert passed_s < 24 * 3600 < passed_s + seconds_until_due(workshop, "a")
        with http_server(port=gone.port) as back:
            back.answer("/hook", Answer(200))
            let_time_pass(workshop, "a")
            eventually(lambda: is_settled(workshop, "a"))
    assert [request.headers["webhook-id"] for request in back.requests] == ["a.failed"]
    task = workshop.task("a")
    assert task.webhook == WebhookState.DELIVERED
    assert [tried["outcome"] for tried in task.webhook_tries] == ["retry"] * 7 + ["delivered"]
    assert {tried["webhook_id"] for tried in task.webhook_tries} == {"a.failed"}


def test_a_receiver_that_always_fails_is_given_up_after_the_whole_schedule(
    workshop: Workshop, receiver: HttpServer
) -> None:
    end(workshop, "a", receiver.answer("/hook", Answer(503)))
    pauses_s: list[float] = []
    schedule_s = workshop.settings.webhook_retry_seconds
    with working(workshop):
        for _ in schedule_s:
            eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
            pauses_s.append(pause_s(workshop, "a"))
            let_time_pass(workshop, "a")
            eventually(lambda: len(receiver.requests) == len(pauses_s) + 1)
        eventually(lambda: is_settled(workshop, "a"))
    assert pauses_s == pytest.approx(schedule_s, abs=3)
    assert {request.headers["webhook-id"] for request in receiver.requests} == {"a.failed"}
    assert workshop.task("a").webhook == WebhookState.FAILED


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_refusal_is_final(workshop: Workshop, receiver: HttpServer, status: int) -> None:
    end(workshop, "a", receiver.answer("/hook", Answer(status)))
    with working(workshop):
        eventually(lambda: is_settled(workshop, "a"))
    assert workshop.task("a").webhook == WebhookState.FAILED
    assert len(receiver.requests) == 1


@pytest.mark.parametrize("status", [408, 425, 429])
def test_a_transient_failure_is_retried_when_the_receiver_says(
    workshop: Workshop, receiver: HttpServer, status: int
) -> None:
    end(workshop, "a", receiver.answer("/hook", Answer(status, headers={"Retry-After": "100"})))
    with working(workshop):
        eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
    assert pause_s(workshop, "a") == pytest.approx(100, abs=3)


def test_a_hundred_webhooks_to_a_hanging_receiver_delay_no_other(workshop: Workshop, receiver: HttpServer) -> None:
    hanging = receiver.answer("/hook", Answer(delay_s=10 * PATIENCE_S))
    with http_server() as quick:
        quick.answer("/hook", Answer(204))
        for number in range(100):
            end(workshop, f"hanging-{number}", hanging)
        with working(workshop):
            eventually(lambda: len(receiver.requests) == workshop.settings.webhook_threads // 4)
            for number in range(10):
                end(workshop, f"quick-{number}", quick.url("/hook"))
            eventually(lambda: len(quick.requests) == 10, "the others are delivered meanwhile")
            assert not any(workshop.task(f"hanging-{number}").webhook_tries for number in range(100))
            time.sleep(1)
            still_hanging = len(receiver.requests)
            claims = sum(int(workshop.client.hget(f"uvr_webhooks:item:hanging-{n}", "attempt")) for n in range(100))
            receiver.stopping.set()
    assert still_hanging == workshop.settings.webhook_threads // 4
    assert claims < 400, "the webhooks in excess came back all the time"


def test_webhooks_in_excess_go_back_without_an_attempt_and_are_delivered_later(
    workshop: Workshop, receiver: HttpServer
) -> None:
    slow = receiver.answer("/hook", Answer(204, delay_s=0.1))
    for number in range(20):
        end(workshop, f"task-{number}", slow)
    with working(workshop):
        eventually(lambda: len(receiver.requests) == 20)
        eventually(lambda: workshop.broker.webhooks.sizes().leased == 0)
    tasks = [workshop.task(f"task-{number}") for number in range(20)]
    assert {task.webhook for task in tasks} == {WebhookState.DELIVERED}
    assert {len(task.webhook_tries) for task in tasks} == {1}


def test_a_failed_attempt_is_a_failure_of_the_item_so_that_first_attempts_go_first(
    workshop: Workshop, receiver: HttpServer
) -> None:
    """The queue puts items with failures behind those without."""
    end(workshop, "failed", receiver.answer("/hook", Answer(503)))
    with working(workshop):
        eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
    assert workshop.client.hget("uvr_webhooks:item:failed", "failures") == "1"


def test_a_webhook_that_is_turned_away_has_not_failed(workshop: Workshop, receiver: HttpServer) -> None:
    hanging = receiver.answer("/hook", Answer(delay_s=10 * PATIENCE_S))
    for number in range(10):
        end(workshop, f"task-{number}", hanging)
    with working(workshop):
        eventually(lambda: workshop.broker.webhooks.sizes().delayed == 8)
        failures = [workshop.client.hget(f"uvr_webhooks:item:task-{number}", "failures") for number in range(10)]
        receiver.stopping.set()
    assert failures == ["0"] * 10


def test_a_retried_task_has_no_webhook_until_it_ends_again(workshop: Workshop, receiver: HttpServer) -> None:
    end(workshop, "a", receiver.answer("/hook", Answer(204)), status=Status.UPLOADING)
    with working(workshop):
        eventually(lambda: is_settled(workshop, "a"))
    assert receiver.requests == []
    assert workshop.task("a").webhook == WebhookState.PENDING


def test_a_status_of_a_newer_version_waits_for_an_uploader_of_that_version(
    workshop: Workshop, receiver: HttpServer
) -> None:
    end(workshop, "a", receiver.answer("/hook", Answer(204)), status="invented_later")
    with working(workshop):
        eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
    assert receiver.requests == []


def test_the_record_lists_only_the_latest_attempts(workshop: Workshop, receiver: HttpServer) -> None:
    earlier = [{"at": str(number), "outcome": "retry"} for number in range(100)]
    end(workshop, "a", receiver.answer("/hook", Answer(204)), webhook_tries=earlier)
    with working(workshop):
        eventually(lambda: is_settled(workshop, "a"))
    tries = workshop.task("a").webhook_tries
    assert [tried["at"] for tried in tries[:-1]] == [str(number) for number in range(61, 100)]
    assert tries[-1]["outcome"] == "delivered"


def test_first_attempts_go_before_retries(workshop: Workshop, receiver: HttpServer) -> None:
    end(workshop, "retry", receiver.answer("/down", Answer(503)))
    with working(workshop):
        eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
    end(workshop, "first", receiver.url("/hook"))
    workshop.client.zadd("uvr_webhooks:delayed", {"retry": 0})
    queue = workshop.broker.webhooks
    assert [queue.claim().id, queue.claim().id] == ["first", "retry"]
