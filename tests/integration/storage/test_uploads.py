"""Uploaded songs are stored, fetched and deleted, and a failed request leaves nothing behind."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from redis.exceptions import OutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError
from structlog.testing import capture_logs

from redis_queue import RedisQueue
from tests.support.api import CREDENTIALS, USER, application, services_of, settings_for
from tests.support.leases import claim
from tests.support.ports import free_port
from tests.support.redis_server import redis_server
from tests.support.s3_server import BUCKET, READER, S3Server
from uvr.api.services import Services
from uvr.errors import PermanentError, TransientError
from uvr.storage import uploads as uploads_module
from uvr.tasks.model import Status, Task, record
from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.stale_uploads import StaleUploads

SONG = b"RIFF" + bytes(range(256)) * 100
LIMIT = 2**18
HOUR_MS = 3_600_000


@pytest.fixture(params=["local", "s3"])
def api_settings(request: Any, tmp_path: Path) -> dict[str, Any]:
    """Either storage, so that each test runs with both."""
    chosen: dict[str, Any] = {"max_audio_bytes": LIMIT, "min_free_bytes": 0}
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        chosen |= {name.lower(): value for name, value in s3.settings.items()} | {"s3_key_prefix": f"{tmp_path.name}/"}
    return chosen


def send(client: FlaskClient, content: bytes = SONG, name: str = "song.mp3", key: str = "", **fields: Any) -> Any:
    headers = {"Idempotency-Key": key} if key else {}
    form = {"audio": (io.BytesIO(content), name), **fields}
    return client.post("/generate", data=form, auth=CREDENTIALS, headers=headers)


def services(client: FlaskClient) -> Services:
    return services_of(client.application)


def sent_task(client: FlaskClient, **options: Any) -> Task:
    answer = send(client, **options)
    assert answer.status_code == 202, answer.text
    task = services(client).store.get(answer.json["task_uuid"])
    assert task is not None
    return task


def stored_names(client: FlaskClient, request: pytest.FixtureRequest) -> list[str]:
    """Names of all files below OUTPUT_DIR and of all objects below the key prefix of the test."""
    settings = services(client).settings
    found = [path.name for path in settings.output_dir.rglob("*") if path.is_file()]
    if settings.s3_bucket_name:
        listing = request.getfixturevalue("s3").client().list_objects_v2(Bucket=BUCKET, Prefix=settings.s3_key_prefix)
        found += [entry["Key"] for entry in listing.get("Contents", [])]
    return found


def listed(client: FlaskClient) -> dict[str, int]:
    return dict(services(client).broker.uploads.all())


def clear(client: FlaskClient, clock: ClockReading | None = None) -> None:
    stale_uploads = StaleUploads(services(client).settings, services(client).broker, services(client).uploads)
    stale_uploads.clear(clock or ClockReading(now_ms()))


def test_an_uploaded_song_waits_for_the_processor(client: FlaskClient, tmp_path: Path) -> None:
    fields = {"priority": "5", "output_format": "flac", "callback_events": "started, completed"}
    task = sent_task(client, name="../music/my song.mp3", **fields)
    assert (task.audio, task.priority, task.output_format, task.status) == ("my song.mp3", 5, "flac", Status.QUEUED)
    assert task.callback_events == ["started", "completed"]
    services(client).uploads.fetch(task.upload, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == SONG
    assert listed(client) == {task.upload: 0}


def test_its_key_cannot_be_guessed_and_is_not_shown(client: FlaskClient) -> None:
    task = sent_task(client)
    assert len(task.upload.rpartition(".")[2]) == 32
    shown = client.get(f"/tasks/{task.task_uuid}", auth=CREDENTIALS).text
    assert task.upload not in shown


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"priority": "9"}, "priority"),
        ({"priority": "high"}, "priority"),
        ({"output_format": "aiff"}, "output_format"),
        ({"callback_events": "finished"}, "callback_events.0"),
        ({"hook_url": "http://127.0.0.1/hook"}, "hook_url"),
        ({"content": b""}, "audio"),
        ({"content": bytes(LIMIT + 1)}, "audio"),
        ({"content": bytes(LIMIT + 100_000)}, "audio"),
    ],
)
def test_a_form_that_is_refused_leaves_nothing(
    client: FlaskClient, request: pytest.FixtureRequest, redis_client: Redis, fields: dict[str, Any], field: str
) -> None:
    answer = send(client, **fields)
    assert answer.status_code == (413 if len(fields.get("content", b"")) > LIMIT else 400)
    assert [fault["field"] for fault in answer.json["errors"]] == [field]
    assert stored_names(client, request) == []
    assert listed(client) == {}
    assert redis_client.zcard("uvr_tasks") == 0


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"priority": "3"}, "audio is required."),
        ({"audio": "https://example.com/a.mp3"}, "audio must be a file, with a file name, in a form."),
        ({"song": (SONG, "a.mp3")}, "audio is required."),
        ({"audio": (SONG, "a.mp3"), "b": (SONG, "b.mp3")}, "body must contain only one file."),
    ],
)
def test_a_form_without_its_one_file_is_refused(
    client: FlaskClient, request: pytest.FixtureRequest, form: dict[str, Any], sentence: str
) -> None:
    data = {name: part if isinstance(part, str) else (io.BytesIO(part[0]), part[1]) for name, part in form.items()}
    answer = client.post("/generate", data=data, content_type="multipart/form-data", auth=CREDENTIALS)
    assert (answer.status_code, answer.json["detail"]) == (400, sentence)
    assert stored_names(client, request) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no form",
        b"--b\r\n",
        b'--b\r\nContent-Disposition: form-data; name="audio"; filename="a.mp3"\r\n\r\nRIFF',
        b"--b\r\nContent-Type: audio/mpeg\r\n\r\nRIFF\r\n--b--\r\n",
        b'--b\r\nContent-Disposition: form-data; filename="a.mp3"\r\n\r\nRIFF\r\n--b--\r\n',
    ],
    ids=["empty", "no-form", "cut-at-once", "cut-in-the-file", "no-disposition", "no-name"],
)
def test_a_broken_form_is_a_400_and_leaves_nothing(
    client: FlaskClient, request: pytest.FixtureRequest, body: bytes
) -> None:
    answer = client.post("/generate", data=body, content_type="multipart/form-data; boundary=b", auth=CREDENTIALS)
    assert answer.status_code == 400
    assert stored_names(client, request) == []


def test_a_form_without_a_boundary_is_a_400(client: FlaskClient) -> None:
    answer = client.post("/generate", data=b"x", content_type="multipart/form-data", auth=CREDENTIALS)
    assert answer.status_code == 400


def test_text_that_is_too_long_is_a_413_and_leaves_nothing(client: FlaskClient, request: pytest.FixtureRequest) -> None:
    answer = send(client, hook_url="https://example.com/" + "a" * 200_000)
    assert answer.status_code == 413
    assert stored_names(client, request) == []


def test_without_credentials_nothing_can_be_uploaded(client: FlaskClient, request: pytest.FixtureRequest) -> None:
    answer = client.post("/generate", data={"audio": (io.BytesIO(SONG), "a.mp3")})
    assert answer.status_code == 401
    assert stored_names(client, request) == []


def test_the_same_form_under_one_key_is_one_task_and_one_file(
    client: FlaskClient, request: pytest.FixtureRequest
) -> None:
    first = send(client, key="one", priority="4")
    again = send(client, key="one", priority="4", name="renamed.mp3")
    other_song = send(client, key="one", priority="4", content=SONG + b".")
    other_options = send(client, key="one", priority="5")
    assert (first.status_code, again.status_code) == (202, 202)
    assert (first.json, again.headers.get("Idempotency-Replayed")) == (again.json, "true")
    assert "Idempotency-Replayed" not in first.headers
    assert (other_song.status_code, other_options.status_code) == (409, 409)
    assert len(stored_names(client, request)) == len(listed(client)) == 1


def test_too_little_room_is_a_503_and_leaves_nothing(
    redis_client: Redis, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, min_free_bytes=2**60)
    with application(settings) as app, app.test_client() as client:
        answer = send(client)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "60")
        assert stored_names(client, request) == []
        assert listed(client) == {}


def test_an_unreachable_bucket_is_a_503_and_leaves_nothing(
    redis_client: Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uvr.storage.s3_connection._TRIES", 1)
    away = {"s3_bucket_name": BUCKET, "s3_endpoint_url": f"http://127.0.0.1:{free_port()}", "min_free_bytes": 0}
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b"}
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, **away, **keys)
    with application(settings) as app, app.test_client() as client:
        answer = send(client)
        assert answer.status_code == 503
        assert "S3_ENDPOINT_URL" in answer.json["detail"]
        assert [path for path in settings.output_dir.rglob("*") if path.is_file()] == []
        assert redis_client.zcard("uvr_tasks") == 0


@pytest.mark.parametrize("part_bytes", [2**24, 2**14], ids=["whole", "in-parts"])
def test_a_bucket_that_refuses_the_song_is_a_503_and_leaves_nothing(
    redis_client: Redis,
    tmp_path: Path,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    s3: S3Server,
    part_bytes: int,
) -> None:
    monkeypatch.setattr("uvr.storage.s3._PART_BYTES", part_bytes)
    bucket = {name.lower(): value for name, value in s3.settings.items()} | {"s3_key_prefix": f"{tmp_path.name}/"}
    read_only = {"aws_access_key_id": READER.access_key_id, "aws_secret_access_key": READER.secret_access_key}
    redis = redis_client.get_connection_kwargs()
    with application(settings_for(redis, tmp_path, min_free_bytes=0, **bucket | read_only)) as app:
        client = app.test_client()
        answer = send(client, key="mine")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert answer.content_type == "application/problem+json"
        assert answer.json["detail"].startswith("The service cannot store uploads at the moment. The storage refuses ")
        assert not [secret for secret in vars(READER).values() if secret in answer.text]
        assert stored_names(client, request) == []
        assert redis_client.zcard("uvr_tasks") == 0
    with application(settings_for(redis, tmp_path, min_free_bytes=0, **bucket)) as app:
        client = app.test_client()
        clear(client)
        assert listed(client) == {}
        again = send(client, key="mine")
        assert (again.status_code, "Idempotency-Replayed" in again.headers) == (202, False)


def test_a_redis_that_is_full_is_a_503_and_leaves_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with (
        redis_server(tmp_path) as server,
        Redis(**server.connection_kwargs) as redis,
        application(settings_for(server.connection_kwargs, tmp_path, min_free_bytes=0)) as app,
    ):
        redis.config_set("maxmemory", "1")
        client = app.test_client()
        assert send(client).status_code == 503
        assert stored_names(client, request) == []


def test_the_song_is_deleted_if_redis_becomes_full_meanwhile(
    client: FlaskClient, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> bool:
        raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'")

    monkeypatch.setattr(RedisQueue, "enqueue", refused)
    assert send(client).status_code == 503
    assert (stored_names(client, request), listed(client)) == ([], {})


def test_the_song_stays_for_housekeeping_if_redis_does_not_answer(
    client: FlaskClient, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, redis_client: Redis
) -> None:
    enqueue = RedisQueue.enqueue

    def unanswered(self: RedisQueue, *arguments: Any, **options: Any) -> bool:
        enqueue(self, *arguments, **options)
        raise RedisTimeoutError("no answer")

    monkeypatch.setattr(RedisQueue, "enqueue", unanswered)
    assert send(client, key="mine").status_code == 503
    monkeypatch.undo()
    again = send(client, key="mine")
    assert (again.status_code, again.headers["Idempotency-Replayed"]) == (202, "true")
    clear(client)
    assert len(stored_names(client, request)) == len(listed(client)) == redis_client.zcard("uvr_tasks") == 1


def ended(client: FlaskClient, status: Status, ago_ms: int = 0, **options: Any) -> Task:
    """A task with an upload, ended with `status`."""
    task = sent_task(client, **options)
    broker = services(client).broker
    broker.tasks.finish(claim(broker.tasks), record=record(status=status, finished_ms=now_ms() - ago_ms))
    return task


def test_housekeeping_keeps_what_a_task_needs_and_nothing_else(
    client: FlaskClient, request: pytest.FixtureRequest
) -> None:
    ended(client, Status.SUCCESS)
    ended(client, Status.FAILED, 25 * HOUR_MS)
    ended(client, Status.CANCELLED, 25 * HOUR_MS)
    deleted = ended(client, Status.FAILED)
    assert services(client).broker.tasks.forget(deleted.task_uuid, [], ["failed"])
    needed = {ended(client, Status.FAILED, HOUR_MS).upload, sent_task(client).upload}
    clear(client)
    assert listed(client).keys() == needed
    assert {name.rpartition("/")[2] for name in stored_names(client, request)} == {
        key.rpartition("/")[2] for key in needed
    }


def test_a_song_without_a_task_is_deleted_after_an_hour(
    client: FlaskClient, request: pytest.FixtureRequest, redis_client: Redis, tmp_path: Path
) -> None:
    song = tmp_path / "song"
    song.write_bytes(SONG)
    upload = services(client).uploads.store(song, "0" * 8 + "-0000-0000-0000-" + "0" * 12, USER)
    clear(client)
    assert len(stored_names(client, request)) == 1
    redis_client.zadd("uvr_tasks:uploads", {upload.key: now_ms() - HOUR_MS - 1000})
    clear(client)
    assert (stored_names(client, request), listed(client)) == ([], {})


def test_a_task_cannot_take_a_song_that_is_being_deleted(client: FlaskClient, tmp_path: Path) -> None:
    song = tmp_path / "song"
    song.write_bytes(SONG)
    upload = services(client).uploads.store(song, "late", USER)
    assert services(client).broker.uploads.mark_for_deletion(upload.key, listed(client)[upload.key])
    with pytest.raises(TransientError, match="send it again"):
        services(client).store.submit(Task("late", "song", 3, now_ms(), upload=upload.key))
    assert services(client).store.get("late") is None


def test_an_interrupted_deletion_is_completed(client: FlaskClient, request: pytest.FixtureRequest) -> None:
    task = ended(client, Status.FAILED)
    assert services(client).broker.uploads.mark_for_deletion(task.upload, 0)
    clear(client)
    assert (stored_names(client, request), listed(client)) == ([], {})


def test_an_upload_that_the_storage_does_not_delete_keeps_no_other(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, _other, _third = (ended(client, Status.SUCCESS) for _ in range(3))
    delete = services(client).uploads._storage.delete

    def refuse_one(key: str) -> None:
        if key == stuck.upload:
            raise PermanentError("The object is locked.")
        delete(key)

    monkeypatch.setattr(services(client).uploads._storage, "delete", refuse_one)
    with capture_logs() as logs:
        clear(client)
    assert listed(client) == {stuck.upload: -1}
    assert [log["task_uuid"] for log in logs if log["event"] == "upload.not_removed"] == [stuck.task_uuid]
    monkeypatch.undo()
    clear(client)
    assert listed(client) == {}


def test_while_the_clocks_cannot_be_trusted_only_what_no_task_needs_is_deleted(client: FlaskClient) -> None:
    failed = ended(client, Status.FAILED, 25 * HOUR_MS)
    ended(client, Status.SUCCESS)
    clear(client, ClockReading(now_ms(), "The clocks differ."))
    assert listed(client).keys() == {failed.upload}
    clear(client)
    assert listed(client) == {}


def test_a_deleted_song_is_a_permanent_error_with_advice(client: FlaskClient, tmp_path: Path) -> None:
    task = sent_task(client)
    services(client).uploads.remove(task.upload)
    with pytest.raises(PermanentError, match="no longer stored; submit it again"):
        services(client).uploads.fetch(task.upload, tmp_path / "fetched")


def test_parts_received_by_a_killed_api_are_deleted_after_a_day(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    parts = [uploads_module.part_file(settings, str(number)) for number in range(2)]
    parts[0].parent.mkdir(parents=True)
    for part in parts:
        part.write_bytes(b"RIFF")
    os.utime(parts[0], (time.time() - 90_000,) * 2)
    uploads_module.remove_abandoned_parts(settings, ClockReading(now_ms()).has_passed)
    assert [part.exists() for part in parts] == [False, True]


def test_a_file_missing_from_the_index_is_deleted_after_a_day(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, min_free_bytes=0)
    with application(settings) as app, app.test_client() as client:
        indexed, old = sent_task(client), sent_task(client)
        fresh = sent_task(client)
        redis_client.zrem("uvr_tasks:uploads", old.upload, fresh.upload)
        for task in (indexed, old):
            os.utime(settings.output_dir / task.upload, (time.time() - 90_000,) * 2)
        clear(client)
    left = {path.name for path in (settings.output_dir / "uploads").iterdir()}
    assert left == {Path(task.upload).name for task in (indexed, fresh)}
