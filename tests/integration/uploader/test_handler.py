"""Results through the uploader's own workers, with a real queue and a real S3 server behind a bad network."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
from redis import Redis
from structlog.testing import capture_logs

from tests.support.api import CREDENTIALS, application
from tests.support.http_server import Answer, http_server
from tests.support.leases import dead_ids, waiting_ids
from tests.support.s3_server import BUCKET, READER, KeyPair, S3Server
from tests.support.small_disk import small_disk
from tests.support.tcp_proxy import TcpProxy, tcp_proxy
from tests.support.waiting import eventually
from tests.support.workshop import Workshop, open_workshop, working
from uvr.storage.availability import StorageAvailability
from uvr.storage.s3 import S3Storage
from uvr.storage.uploads import Uploads
from uvr.tasks.actions import TaskActions
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.model import Status, Task, WebhookState
from uvr.worker.admission import Admission

STEMS = {"vocals": b"RIFF vocals", "instrumental": b"RIFF instrumental"}
CHECK = f"/{BUCKET}/.uvr-write-check"
REFUSED = b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>"
LARGE = {name: bytes(20 * 2**20) for name in STEMS}


def settings_of(keys: KeyPair) -> dict[str, str]:
    return {"aws_access_key_id": keys.access_key_id, "aws_secret_access_key": keys.secret_access_key}


class Opener(Protocol):
    """Opens a workshop with these settings on the test's Redis and folder."""

    def __call__(self, **settings: Any) -> AbstractContextManager[Workshop]: ...


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[TcpProxy]:
    with tcp_proxy(s3.port) as running:
        yield running


@pytest.fixture
def opened(s3: S3Server, proxy: TcpProxy, redis_client: Redis, tmp_path: Path) -> Opener:
    """By default the storage is the S3 server, behind the proxy."""

    def open_with(**settings: Any) -> AbstractContextManager[Workshop]:
        bucket = {name.lower(): value for name, value in s3.settings.items()}
        return open_workshop(redis_client, tmp_path, **{**bucket, "s3_endpoint_url": proxy.url, **settings})

    return open_with


def stored(s3: S3Server, task_uuid: str) -> dict[str, bytes]:
    """The stored objects of a task, by stem name."""
    found = s3.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{task_uuid}_").get("Contents", [])
    objects = {part["Key"]: s3.client().get_object(Bucket=BUCKET, Key=part["Key"])["Body"].read() for part in found}
    return {key.removeprefix(f"{task_uuid}_").removesuffix(".wav"): body for key, body in objects.items()}


def is_at(workshop: Workshop, task_uuid: str, status: Status) -> bool:
    return workshop.task(task_uuid).status == status


def failures(workshop: Workshop, task_uuid: str) -> int:
    return int(workshop.client.hget(f"uvr_results:item:{task_uuid}", "failures") or 0)


def test_stems_are_stored_and_then_deleted_from_the_disk(s3: S3Server, opened: Opener) -> None:
    with opened() as workshop:
        folder = workshop.separated("good", STEMS)
        with working(workshop):
            eventually(lambda: is_at(workshop, "good", Status.SUCCESS))
            eventually(lambda: not folder.exists())
    assert stored(s3, "good") == STEMS


def test_peaks_are_stored_copied_and_deleted_with_the_stems(s3: S3Server, opened: Opener) -> None:
    peaks = {"vocals.fine": b"fine", "vocals.coarse": b"coarse"}
    in_storage = STEMS | {f"{name}.peaks.dat": content for name, content in peaks.items()}
    with opened() as workshop:
        workshop.separated("drawn", STEMS, peaks=peaks)
        with working(workshop):
            eventually(lambda: is_at(workshop, "drawn", Status.SUCCESS))
            assert set(workshop.task("drawn").stems) == set(STEMS)
            assert workshop.task("drawn").peaks == {name: f"drawn_{name}.peaks.dat" for name in peaks}
            assert stored(s3, "drawn") == in_storage
            copy = Task("copy", "https://songs.example/a.mp3", 3, 1, status=Status.UPLOADING, copy_of="drawn")
            assert workshop.broker.results.enqueue("copy", 3, copy.to_record()).accepted
            eventually(lambda: is_at(workshop, "copy", Status.SUCCESS))
            assert stored(s3, "copy") == in_storage
            eventually(lambda: not list((workshop.settings.output_dir / "pending").iterdir()))
        uploads = Uploads(workshop.settings, workshop.broker.uploads)
        actions = TaskActions(workshop.broker, DeadLetters(workshop.broker), workshop.storage, uploads)
        eventually(lambda: actions.delete("drawn"))
    assert stored(s3, "drawn") == {}
    assert stored(s3, "copy") == in_storage


def test_the_stems_of_a_song_are_stored_in_parallel(s3: S3Server, proxy: TcpProxy, opened: Opener) -> None:
    proxy.stall(2)
    with opened() as workshop:
        workshop.separated("both", STEMS)
        with working(workshop):
            eventually(lambda: proxy.stalled == 2)
            proxy.release()
            eventually(lambda: is_at(workshop, "both", Status.SUCCESS))
    assert stored(s3, "both") == STEMS


@pytest.mark.parametrize("room", [0, 2**14], ids=["full", "too-full-for-a-stem"])
def test_stems_wait_for_room_on_a_full_disk_and_no_try_counts(redis_client: Redis, tmp_path: Path, room: int) -> None:
    (tmp_path / "output").mkdir()
    with (
        small_disk(tmp_path / "output" / "stems", 1) as disk,
        open_workshop(redis_client, tmp_path) as workshop,
        working(workshop, watched=True),
    ):
        ballast = disk.path / "of another program"
        ballast.write_bytes(bytes(2**20 - room))
        with capture_logs() as lines:
            workshop.separated("waits", {"vocals": bytes(2**15)})
            eventually(lambda: "claim.waits_for_room" in [line["event"] for line in lines])
        assert is_at(workshop, "waits", Status.UPLOADING)
        assert failures(workshop, "waits") == 0
        ballast.unlink()
        eventually(lambda: is_at(workshop, "waits", Status.SUCCESS))


def test_a_hanging_upload_delays_neither_other_songs_nor_webhooks(
    s3: S3Server, proxy: TcpProxy, opened: Opener
) -> None:
    proxy.stall(2)
    with opened() as workshop, http_server() as receiver, working(workshop):
        workshop.separated("hangs", STEMS)
        eventually(lambda: proxy.stalled == 2)
        workshop.separated("other", STEMS, hook_url=receiver.answer("/hook", Answer(204)))
        eventually(lambda: workshop.task("other").webhook == WebhookState.DELIVERED)
        assert is_at(workshop, "hangs", Status.UPLOADING)
        proxy.release()
        eventually(lambda: is_at(workshop, "hangs", Status.SUCCESS))
    assert stored(s3, "hangs") == STEMS


def test_a_storage_that_is_down_is_retried_until_it_is_back(s3: S3Server, opened: Opener) -> None:
    with opened() as workshop, http_server() as receiver, working(workshop, watched=True):
        s3.kill()
        folder = workshop.separated("patient", STEMS, hook_url=receiver.answer("/hook", Answer(204)))
        eventually(lambda: failures(workshop, "patient") > 0)
        assert is_at(workshop, "patient", Status.UPLOADING)
        assert folder.exists()
        s3.start()
        eventually(lambda: workshop.task("patient").webhook == WebhookState.DELIVERED)
        eventually(lambda: not folder.exists())
    assert stored(s3, "patient") == STEMS
    assert [json.loads(request.body)["status"] for request in receiver.requests] == ["success"]


def test_a_connection_that_breaks_in_the_middle_of_a_part_costs_an_attempt(
    s3: S3Server, proxy: TcpProxy, opened: Opener
) -> None:
    proxy.reset_after(4 * 2**20)
    with opened() as workshop:
        workshop.separated("large", LARGE)
        with working(workshop):
            eventually(lambda: failures(workshop, "large") > 0)
            assert is_at(workshop, "large", Status.UPLOADING)
            proxy.reset_after(None)
            eventually(lambda: is_at(workshop, "large", Status.SUCCESS))
    assert proxy.resets > 3
    assert stored(s3, "large") == LARGE
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=BUCKET, Prefix="large_")


@pytest.mark.parametrize(
    ("task_uuid", "fault", "sentence"),
    [
        ("key", {"aws_access_key_id": "nobody"}, "AWS_ACCESS_KEY_ID"),
        ("secret", {"aws_secret_access_key": "wrong"}, "AWS_SECRET_ACCESS_KEY"),
        ("bucket", {"s3_bucket_name": "another-bucket"}, "S3_BUCKET_NAME"),
        ("right", settings_of(READER), "rights on S3_BUCKET_NAME"),
    ],
)
def test_while_the_storage_refuses_everything_results_wait_and_then_continue_by_themselves(
    s3: S3Server, opened: Opener, task_uuid: str, fault: dict[str, str], sentence: str
) -> None:
    with opened(**fault) as workshop, capture_logs() as logs:
        folder = workshop.separated(task_uuid, STEMS)
        availability = StorageAvailability(workshop.storage)
        with availability.watching():
            assert sentence in availability.problem
            assert not Admission(lambda: availability.problem).enter()
        assert [(entry["event"], entry["log_level"]) for entry in logs] == [("storage.unusable", "error")]
        with working(workshop):
            eventually(lambda: failures(workshop, task_uuid) == 1)
        assert is_at(workshop, task_uuid, Status.UPLOADING)
        assert sorted(path.name for path in folder.iterdir()) == ["instrumental.wav", "vocals.wav"]
        assert dead_ids(workshop.broker.results) == []
    assert stored(s3, task_uuid) == {}
    with opened() as workshop, working(workshop, watched=True):
        eventually(lambda: is_at(workshop, task_uuid, Status.SUCCESS))
        eventually(lambda: not folder.exists())
    assert stored(s3, task_uuid) == STEMS


def test_a_check_that_succeeds_later_opens_the_storage_again() -> None:
    changes: list[str] = []
    with http_server() as server:
        server.answer(CHECK, Answer(403, body=REFUSED), Answer(403, body=REFUSED), Answer())
        storage = S3Storage(bucket=BUCKET, endpoint_url=server.url(""), access_key_id="a", secret_access_key="b")
        availability = StorageAvailability(storage, recheck_s=0.05)
        with capture_logs() as logs, availability.watching(lambda: changes.append(availability.problem)):
            eventually(lambda: not availability.problem)
    assert [change[:27] for change in changes] == ["The storage refuses access:", ""]
    assert [entry["event"] for entry in logs] == ["storage.unusable", "storage.usable"]
    assert [request.method for request in server.requests] == ["PUT", "PUT", "PUT", "GET", "DELETE"]


def test_stems_that_the_storage_refuses_while_it_accepts_others_fail_and_wait_for_an_operator(
    s3: S3Server, opened: Opener
) -> None:
    with http_server() as storage:
        storage.answer(CHECK, Answer())
        for stem in STEMS:
            storage.answer(f"/{BUCKET}/refused_{stem}.wav", Answer(403, body=REFUSED))
        with opened(s3_endpoint_url=storage.url("")) as workshop, working(workshop):
            folder = workshop.separated("refused", STEMS)
            eventually(lambda: is_at(workshop, "refused", Status.FAILED))
            assert "rights on S3_BUCKET_NAME" in workshop.task("refused").error_message
            assert dead_ids(workshop.broker.results) == ["refused"]
    with opened() as workshop:
        assert DeadLetters(workshop.broker).retry("refused")
        with working(workshop):
            eventually(lambda: not folder.exists())
    assert stored(s3, "refused") == STEMS


def test_half_a_result_is_neither_shown_nor_left_in_the_storage(opened: Opener) -> None:
    with http_server() as storage, opened(s3_endpoint_url=storage.url("")) as workshop:
        storage.answer(CHECK, Answer())
        storage.answer(f"/{BUCKET}/half_vocals.wav", Answer(200))
        storage.answer(f"/{BUCKET}/half_instrumental.wav", Answer(403, body=REFUSED))
        folder = workshop.separated("half", STEMS)
        with working(workshop):
            eventually(lambda: is_at(workshop, "half", Status.FAILED))
        with application(workshop.settings) as app:
            shown = app.test_client().get("/tasks/half", auth=CREDENTIALS).json
    stems = [request for request in storage.requests if request.path.partition("?")[0] != CHECK]
    asked = [(request.method, request.path.rpartition("_")[2]) for request in stems]
    assert sorted(asked[:2]) == [("PUT", "instrumental.wav"), ("PUT", "vocals.wav")]
    assert sorted(asked[2:]) == [("DELETE", "instrumental.wav"), ("DELETE", "vocals.wav")]
    assert (shown["status"], shown["stems"], shown["vocals"]) == ("failed", {}, None)
    assert folder.exists()


def test_the_keys_are_recorded_before_anything_is_stored(proxy: TcpProxy, opened: Opener) -> None:
    proxy.stall(2)
    with opened() as workshop:
        workshop.separated("noted", STEMS)
        with working(workshop):
            eventually(lambda: proxy.stalled == 2)
            assert workshop.task("noted").stems == {name: f"noted_{name}.wav" for name in STEMS}
            proxy.release()


def test_a_task_whose_stems_are_gone_is_separated_again(opened: Opener) -> None:
    with opened() as workshop:
        folder = workshop.separated("gone", STEMS)
        folder.rename(folder.with_name("elsewhere"))
        with working(workshop):
            eventually(lambda: is_at(workshop, "gone", Status.QUEUED))
        assert waiting_ids(workshop.broker.tasks) == ["gone"]
        assert (workshop.task("gone").handover, workshop.task("gone").losses) == ("", 1)


def test_a_task_whose_stems_are_gone_repeatedly_fails(opened: Opener) -> None:
    with opened() as workshop:
        folder = workshop.separated("gone", STEMS)
        folder.rename(folder.with_name("elsewhere"))
        workshop.client.hset("uvr_tasks:task:gone", "losses", workshop.settings.max_attempts)
        with working(workshop):
            eventually(lambda: is_at(workshop, "gone", Status.FAILED))
    assert "share OUTPUT_DIR" in workshop.task("gone").error_message
