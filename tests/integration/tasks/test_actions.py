"""Tasks cancelled, retried and deleted over HTTP, in every state, while the uploader's workers run."""

from __future__ import annotations

import threading
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, application, settings_for
from tests.support.http_server import Answer, http_server
from tests.support.leases import begin, claim, dead_ids
from tests.support.s3_server import BUCKET, S3Server
from tests.support.tcp_proxy import tcp_proxy
from tests.support.waiting import eventually
from tests.support.workshop import Workshop, open_workshop, working
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.orphans import OrphanCleaner

HOOK = "https://receiver.example/hook"
ID = "00000000-0000-4000-8000-00000000000a"
STEMS = {"vocals": b"RIFF vocals", "instrumental": b"RIFF instrumental"}


def submitted(workshop: Workshop, **fields: Any) -> None:
    task = Task(ID, "https://songs.example/a.mp3", 3, 1_700_000_000_000, **fields)
    assert workshop.broker.store.submit(task)


def processing(workshop: Workshop, **fields: Any) -> Any:
    """A task that a processor works on; its lease."""
    submitted(workshop, **fields)
    lease = begin(workshop.broker.tasks)
    workshop.broker.tasks.extend(lease, record(status=Status.PROCESSING, attempt=1, progress=0.5))
    return lease


def failed(workshop: Workshop) -> None:
    """A task that was given up by the processor, and whose webhook was delivered."""
    lease = processing(workshop, hook_url=HOOK, webhook=WebhookState.PENDING)
    end = record(status=Status.FAILED, error_message="It was not audio.", finished_ms=1_700_000_001_000)
    assert workshop.broker.tasks.bury(lease, next_queue=workshop.broker.webhooks, record=end)
    workshop.broker.webhooks.finish(claim(workshop.broker.webhooks), record=record(webhook=WebhookState.DELIVERED))


def stored(workshop: Workshop) -> list[Path]:
    """A task whose stems are in the local storage."""
    folder = workshop.separated(ID, STEMS)
    with working(workshop):
        eventually(lambda: workshop.task(ID).status == Status.SUCCESS)
        eventually(lambda: not folder.exists())
        eventually(lambda: not workshop.broker.webhooks.contains(ID))
    return [workshop.settings.output_dir / "stems" / key for key in workshop.task(ID).stems.values()]


def post(client: FlaskClient, verb: str, task_uuid: str = ID) -> Any:
    return client.post(f"/tasks/{task_uuid}/{verb}", auth=CREDENTIALS)


def delete(client: FlaskClient, task_uuid: str = ID) -> int:
    status: int = client.delete(f"/tasks/{task_uuid}", auth=CREDENTIALS).status_code
    return status


def in_any_queue(workshop: Workshop) -> bool:
    broker = workshop.broker
    return any(queue.contains(ID) for queue in (broker.tasks, broker.results, broker.webhooks))


def test_a_task_that_waits_is_cancelled_at_once(workshop: Workshop, client: FlaskClient) -> None:
    submitted(workshop, hook_url=HOOK, webhook=WebhookState.PENDING)
    answer = post(client, "cancel")
    assert answer.status_code == 200
    assert (answer.json["status"], answer.json["position"], answer.json["eta_s"]) == ("cancelled", None, None)
    assert answer.json["finished_at"] is not None
    assert answer.json["webhook"]["state"] == "none"
    assert not in_any_queue(workshop)


def test_a_task_at_work_is_cancelled_and_its_worker_changes_nothing(workshop: Workshop, client: FlaskClient) -> None:
    lease = processing(workshop)
    assert post(client, "cancel").json["status"] == "cancelled"
    late = record(status=Status.UPLOADING)
    assert not workshop.broker.tasks.finish(lease, next_queue=workshop.broker.results, record=late)
    assert workshop.task(ID).status == Status.CANCELLED


def test_cancelling_again_changes_nothing(workshop: Workshop, client: FlaskClient) -> None:
    submitted(workshop)
    first = post(client, "cancel")
    again = post(client, "cancel")
    assert (again.status_code, again.json) == (200, first.json)


@pytest.mark.parametrize("status", ["uploading", "success", "failed"])
def test_a_task_whose_stems_are_made_is_not_cancelled(workshop: Workshop, client: FlaskClient, status: str) -> None:
    submitted(workshop, status=Status(status))
    answer = post(client, "cancel")
    assert answer.status_code == 409
    assert status in answer.json["detail"]
    assert workshop.task(ID).status == status


def test_a_cancelled_task_has_no_webhook(workshop: Workshop, client: FlaskClient) -> None:
    submitted(workshop, hook_url=HOOK)
    post(client, "cancel")
    answer = post(client, "webhook")
    assert answer.status_code == 409
    assert "cancelled" in answer.json["detail"]


def test_a_cancelled_task_is_listed_as_such(workshop: Workshop, client: FlaskClient) -> None:
    submitted(workshop)
    post(client, "cancel")
    assert len(client.get("/tasks?status=cancelled", auth=CREDENTIALS).json["tasks"]) == 1
    assert client.get("/tasks?status=queued", auth=CREDENTIALS).json["tasks"] == []


def test_a_failed_task_goes_back_to_the_queue(workshop: Workshop, client: FlaskClient) -> None:
    failed(workshop)
    answer = post(client, "retry")
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/tasks/{ID}"
    assert (answer.json["status"], answer.json["error_message"], answer.json["position"]) == ("queued", None, 0)
    assert (answer.json["finished_at"], answer.json["webhook"]["state"]) == (None, "pending")
    assert dead_ids(workshop.broker.tasks) == []
    lease = claim(workshop.broker.tasks)
    assert (lease.id, lease.failures) == (ID, 0)


def test_a_failed_task_goes_back_also_if_its_dead_letter_was_dropped(workshop: Workshop, client: FlaskClient) -> None:
    failed(workshop)
    assert workshop.broker.tasks.drop(ID)
    assert post(client, "retry").json["status"] == "queued"
    assert claim(workshop.broker.tasks).id == ID


def test_stems_that_could_not_be_stored_are_stored_again(workshop: Workshop, client: FlaskClient) -> None:
    workshop.separated(ID, STEMS)
    lease = claim(workshop.broker.results)
    assert workshop.broker.results.bury(lease, record=record(status=Status.FAILED, error_message="No such bucket."))
    assert post(client, "retry").json["status"] == "uploading"
    with working(workshop):
        eventually(lambda: workshop.task(ID).status == Status.SUCCESS)


def test_a_cancelled_task_begins_again(workshop: Workshop, client: FlaskClient) -> None:
    processing(workshop, hook_url=HOOK)
    post(client, "cancel")
    answer = post(client, "retry")
    assert (answer.status_code, answer.json["status"], answer.json["progress"]) == (202, "queued", 0)
    assert answer.json["webhook"]["state"] == "pending"
    assert claim(workshop.broker.tasks).attempt == 1


@pytest.mark.parametrize("status", ["queued", "processing", "uploading", "success"])
def test_a_task_that_did_not_fail_is_not_retried(workshop: Workshop, client: FlaskClient, status: str) -> None:
    submitted(workshop, status=Status(status))
    answer = post(client, "retry")
    assert answer.status_code == 409
    assert status in answer.json["detail"]


def test_two_retries_at_once_queue_one_task(workshop: Workshop, client: FlaskClient) -> None:
    processing(workshop)
    post(client, "cancel")
    app, answers = client.application, []
    threads = [
        threading.Thread(target=lambda: answers.append(post(app.test_client(), "retry").status_code)) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [202, 409, 409, 409]
    assert workshop.broker.tasks.sizes().waiting == 1


def test_a_deleted_task_is_gone_with_its_stems(workshop: Workshop, client: FlaskClient, redis_client: Redis) -> None:
    stems = stored(workshop)
    assert all(stem.exists() for stem in stems)
    assert delete(client) == 204
    assert not any(stem.exists() for stem in stems)
    assert client.get(f"/tasks/{ID}", auth=CREDENTIALS).status_code == 404
    assert list(redis_client.scan_iter(f"*{ID}*")) == []
    assert client.get("/tasks", auth=CREDENTIALS).json["tasks"] == []
    assert delete(client) == 404


@pytest.mark.parametrize("state", [Status.QUEUED, Status.FAILED])
def test_a_deleted_task_takes_its_upload_with_it(workshop: Workshop, client: FlaskClient, state: Status) -> None:
    form = {"audio": (BytesIO(b"a song"), "song.mp3")}
    task_uuid = client.post("/generate", data=form, auth=CREDENTIALS).json["task_uuid"]
    if state is Status.FAILED:
        workshop.broker.tasks.bury(claim(workshop.broker.tasks), record=record(status=state))
    folder = workshop.settings.output_dir / "uploads"
    assert [path.name.partition(".")[0] for path in folder.iterdir()] == [task_uuid]
    assert delete(client, task_uuid) == 204
    assert list(folder.iterdir()) == []
    assert list(workshop.broker.uploads.all()) == []


def test_a_task_is_deleted_in_every_state_but_done(workshop: Workshop, client: FlaskClient) -> None:
    for prepare in (submitted, processing, failed, lambda workshop: workshop.separated(ID, STEMS)):
        prepare(workshop)
        assert delete(client) == 204
        assert workshop.broker.store.get(ID) is None
        assert not in_any_queue(workshop)


def test_a_task_that_waits_on_another_node_is_deleted_too(
    workshop: Workshop, client: FlaskClient, redis_client: Redis
) -> None:
    redis_client.zadd("uvr_tasks:nodes", {"uploader:north": 0})
    north = workshop.broker.result_queue("north")
    lease = processing(workshop)
    made = record(status=Status.UPLOADING, handover=f"{ID}.1", node="north")
    assert workshop.broker.tasks.finish(lease, next_queue=north, record=made)
    assert delete(client) == 204
    assert not north.contains(ID)


def test_a_webhook_on_its_way_is_not_sent_for_a_deleted_task(workshop: Workshop, client: FlaskClient) -> None:
    with http_server() as receiver:
        hook_url = receiver.answer("/hook", Answer(503), Answer(204))
        workshop.separated(ID, STEMS, hook_url=hook_url)
        with working(workshop):
            eventually(lambda: workshop.broker.webhooks.sizes().delayed == 1)
            assert delete(client) == 204
            assert not in_any_queue(workshop)
    assert len(receiver.requests) == 1


def test_the_files_of_a_deleted_task_go_in_the_next_housekeeping_round(workshop: Workshop, client: FlaskClient) -> None:
    folder = workshop.separated(ID, STEMS)
    assert delete(client) == 204
    removed = OrphanCleaner(workshop.settings, workshop.broker).clean(ClockReading(now_ms()))
    assert sorted(removed) == [folder.name, f"{folder.name}.peaks"]
    assert list(folder.parent.iterdir()) == []


def test_stems_that_are_stored_while_their_task_is_deleted_are_deleted_again(
    s3: S3Server, redis_client: Redis, tmp_path: Path
) -> None:
    bucket = {name.lower(): value for name, value in s3.settings.items()}
    with (
        tcp_proxy(s3.port) as proxy,
        open_workshop(redis_client, tmp_path, **{**bucket, "s3_endpoint_url": proxy.url}) as workshop,
        application(settings_for(redis_client.get_connection_kwargs(), tmp_path, **bucket)) as app,
        working(workshop),
    ):
        proxy.stall(2)
        folder = workshop.separated(ID, STEMS)
        eventually(lambda: proxy.stalled == 2)
        assert delete(app.test_client()) == 204
        assert len(dict(workshop.broker.strays.all())) == 2
        proxy.release()
        eventually(lambda: not folder.exists())
        assert dict(workshop.broker.strays.all()) == {}, "the uploader has deleted them"
    assert "Contents" not in s3.client().list_objects_v2(Bucket=BUCKET, Prefix=ID)


def test_a_task_stays_when_the_storage_cannot_delete_its_stems(
    s3: S3Server, redis_client: Redis, tmp_path: Path
) -> None:
    bucket = {name.lower(): value for name, value in s3.settings.items()}
    away = settings_for(redis_client.get_connection_kwargs(), tmp_path, **{**bucket, "s3_bucket_name": "no-bucket"})
    with open_workshop(redis_client, tmp_path, **bucket) as workshop, application(away) as app:
        workshop.separated(ID, STEMS)
        workshop.broker.tasks.annotate(ID, record(stems={"vocals": f"{ID}_vocals.wav"}))
        assert delete(app.test_client()) >= 500
        assert workshop.task(ID).status == Status.CANCELLED
        with application(workshop.settings) as mended:
            assert delete(mended.test_client()) == 204
        assert workshop.broker.store.get(ID) is None


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_an_unknown_task_is_a_404(client: FlaskClient, verb: str) -> None:
    assert post(client, verb, "unknown").status_code == 404
    assert delete(client, "unknown") == 404


def test_credentials_are_required(workshop: Workshop, client: FlaskClient) -> None:
    submitted(workshop)
    assert client.post(f"/tasks/{ID}/cancel").status_code == 401
    assert client.post(f"/tasks/{ID}/retry").status_code == 401
    assert client.delete(f"/tasks/{ID}").status_code == 401
    assert workshop.task(ID).status == Status.QUEUED
