"""Songs that are sent along: into the storage and out of it, and nothing of them anywhere when it ends badly."""

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

from redis_queue import RedisQueue
from tests.support.api import CREDENTIALS, application, services_of, settings_for
from tests.support.leases import claim
from tests.support.ports import free_port
from tests.support.redis_server import redis_server
from tests.support.s3_server import BUCKET, S3Server
from uvr.api.services import Services
from uvr.errors import PermanentError, TransientError
from uvr.storage import uploads as uploads_module
from uvr.tasks.model import Status, Task, record
from uvr.timestamps import now_ms
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


def kept(client: FlaskClient, request: pytest.FixtureRequest) -> list[str]:
    """Every file below OUTPUT_DIR, and every object in the test's part of the bucket."""
    settings = services(client).settings
    found = [path.name for path in settings.output_dir.rglob("*") if path.is_file()]
    if settings.s3_bucket_name:
        listing = request.getfixturevalue("s3").client().list_objects_v2(Bucket=BUCKET, Prefix=settings.s3_key_prefix)
        found += [entry["Key"] for entry in listing.get("Contents", [])]
    return found


def listed(client: FlaskClient) -> dict[str, int]:
    return dict(services(client).queues.uploads.all())


def clear(client: FlaskClient) -> None:
    StaleUploads(services(client).settings, services(client).queues).clear()


def test_a_song_that_is_sent_along_waits_for_its_processor(client: FlaskClient, tmp_path: Path) -> None:
    fields = {"priority": "5", "output_format": "flac", "callback_events": "started, completed"}
    task = sent_task(client, name="../music/my song.mp3", **fields)
    assert (task.audio, task.priority, task.output_format, task.status) == ("my song.mp3", 5, "flac", Status.QUEUED)
    assert task.callback_events == ["started", "completed"]
    services(client).uploads.fetch(task.upload, tmp_path / "fetched")
    assert (tmp_path / "fetched").read_bytes() == SONG
    assert listed(client) == {task.upload: 0}


def test_no_one_can_guess_where_it_is_or_follow_a_link_to_it(client: FlaskClient) -> None:
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
    assert kept(client, request) == []
    assert listed(client) == {}
    assert redis_client.zcard("uvr_tasks") == 0


@pytest.mark.parametrize(
    ("form", "sentence"),
    [
        ({"priority": "3"}, "audio is required."),
        ({"audio": "https://example.com/a.mp3"}, "audio must be a file, with a file name, in a form."),
        ({"song": (SONG, "a.mp3")}, "audio is required."),
        ({"audio": (SONG, "a.mp3"), "b": (SONG, "b.mp3")}, "body must have one file only."),
    ],
)
def test_a_form_without_its_one_file_is_refused(
    client: FlaskClient, request: pytest.FixtureRequest, form: dict[str, Any], sentence: str
) -> None:
    data = {name: part if isinstance(part, str) else (io.BytesIO(part[0]), part[1]) for name, part in form.items()}
    answer = client.post("/generate", data=data, content_type="multipart/form-data", auth=CREDENTIALS)
    assert (answer.status_code, answer.json["detail"]) == (400, sentence)
    assert kept(client, request) == []


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
    assert kept(client, request) == []


def test_a_form_without_a_boundary_is_a_400(client: FlaskClient) -> None:
    answer = client.post("/generate", data=b"x", content_type="multipart/form-data", auth=CREDENTIALS)
    assert answer.status_code == 400


def test_text_that_is_too_long_is_a_413_and_leaves_nothing(client: FlaskClient, request: pytest.FixtureRequest) -> None:
    answer = send(client, hook_url="https://example.com/" + "a" * 200_000)
    assert answer.status_code == 413
    assert kept(client, request) == []


def test_a_stranger_cannot_send_anything(client: FlaskClient, request: pytest.FixtureRequest) -> None:
    answer = client.post("/generate", data={"audio": (io.BytesIO(SONG), "a.mp3")})
    assert answer.status_code == 401
    assert kept(client, request) == []


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
    assert len(kept(client, request)) == len(listed(client)) == 1


def test_too_little_room_is_a_503_and_leaves_nothing(
    redis_client: Redis, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, min_free_bytes=2**60)
    with application(settings) as app, app.test_client() as client:
        answer = send(client)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
        assert kept(client, request) == []
        assert listed(client) == {}


def test_a_bucket_that_is_away_is_a_503_and_leaves_nothing(
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


def test_a_redis_that_is_full_is_a_503_and_leaves_nothing(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    with (
        redis_server(tmp_path) as server,
        Redis(**server.connection_kwargs) as redis,
        application(settings_for(server.connection_kwargs, tmp_path, min_free_bytes=0)) as app,
    ):
        redis.config_set("maxmemory", "1")
        client = app.test_client()
        assert send(client).status_code == 503
        assert kept(client, request) == []


def test_a_redis_that_fills_up_meanwhile_takes_back_the_song(
    client: FlaskClient, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> bool:
        raise OutOfMemoryError("command not allowed when used memory > 'maxmemory'")

    monkeypatch.setattr(RedisQueue, "enqueue", refused)
    assert send(client).status_code == 503
    assert (kept(client, request), listed(client)) == ([], {})


def test_a_redis_that_falls_silent_leaves_the_song_to_the_housekeeping(
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
    assert len(kept(client, request)) == len(listed(client)) == redis_client.zcard("uvr_tasks") == 1


def ended(client: FlaskClient, status: Status, ago_ms: int = 0, **options: Any) -> Task:
    """A task with an upload that has ended."""
    task = sent_task(client, **options)
    queues = services(client).queues
    queues.tasks.finish(claim(queues.tasks), record=record(status=status, finished_ms=now_ms() - ago_ms))
    return task


def test_housekeeping_keeps_what_a_task_needs_and_nothing_else(
    client: FlaskClient, request: pytest.FixtureRequest
) -> None:
    ended(client, Status.SUCCESS)
    ended(client, Status.FAILED, 25 * HOUR_MS)
    ended(client, Status.CANCELLED, 25 * HOUR_MS)
    deleted = ended(client, Status.FAILED)
    assert services(client).queues.tasks.forget(deleted.task_uuid, [], ["failed"])
    needed = {ended(client, Status.FAILED, HOUR_MS).upload, sent_task(client).upload}
    clear(client)
    assert listed(client).keys() == needed
    assert {name.rpartition("/")[2] for name in kept(client, request)} == {key.rpartition("/")[2] for key in needed}


def test_a_song_that_no_task_came_for_goes_after_an_hour(
    client: FlaskClient, request: pytest.FixtureRequest, redis_client: Redis, tmp_path: Path
) -> None:
    song = tmp_path / "song"
    song.write_bytes(SONG)
    upload = services(client).uploads.keep(song, "0" * 8 + "-0000-0000-0000-" + "0" * 12)
    clear(client)
    assert len(kept(client, request)) == 1
    redis_client.zadd("uvr_tasks:uploads", {upload.key: now_ms() - HOUR_MS - 1000})
    clear(client)
    assert (kept(client, request), listed(client)) == ([], {})


def test_a_task_cannot_take_a_song_that_is_being_deleted(client: FlaskClient, tmp_path: Path) -> None:
    song = tmp_path / "song"
    song.write_bytes(SONG)
    upload = services(client).uploads.keep(song, "late")
    assert services(client).queues.uploads.condemn(upload.key, listed(client)[upload.key])
    with pytest.raises(TransientError, match="send it again"):
        services(client).store.submit(Task("late", "song", 3, now_ms(), upload=upload.key))
    assert services(client).store.get("late") is None


def test_a_deletion_that_was_cut_off_is_made_up_for(client: FlaskClient, request: pytest.FixtureRequest) -> None:
    task = ended(client, Status.FAILED)
    assert services(client).queues.uploads.condemn(task.upload, 0)
    clear(client)
    assert (kept(client, request), listed(client)) == ([], {})


def test_a_song_that_is_gone_is_told_in_a_sentence(client: FlaskClient, tmp_path: Path) -> None:
    task = sent_task(client)
    services(client).uploads.remove(task.upload)
    with pytest.raises(PermanentError, match="no longer stored; submit it again"):
        services(client).uploads.fetch(task.upload, tmp_path / "fetched")


def test_what_a_killed_api_had_received_goes_after_a_day(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path)
    parts = [uploads_module.unfinished(settings, str(number)) for number in range(2)]
    parts[0].parent.mkdir(parents=True)
    for part in parts:
        part.write_bytes(b"RIFF")
    os.utime(parts[0], (time.time() - 90_000,) * 2)
    uploads_module.remove_unfinished(settings)
    assert [part.exists() for part in parts] == [False, True]


def test_a_file_that_no_list_knows_goes_after_a_day(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, min_free_bytes=0)
    with application(settings) as app, app.test_client() as client:
        known, old = sent_task(client), sent_task(client)
        fresh = sent_task(client)
        redis_client.zrem("uvr_tasks:uploads", old.upload, fresh.upload)
        for task in (known, old):
            os.utime(settings.output_dir / task.upload, (time.time() - 90_000,) * 2)
        clear(client)
    left = {path.name for path in (settings.output_dir / "uploads").iterdir()}
    assert left == {Path(task.upload).name for task in (known, fresh)}
