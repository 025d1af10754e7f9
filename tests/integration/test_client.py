"""The client against a server that fails in the ways that real services and proxies fail."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.formparser import parse_form_data

from tests.support.http_server import Answer, HttpServer, Received, http_server
from tests.support.ports import free_port
from uvr import client as module
from uvr.client import (
    BusyError,
    Client,
    ClientError,
    ConflictError,
    CredentialsError,
    RefusedError,
    UnknownTaskError,
    UnreachableError,
)

SONG = "https://songs.example.com/a.mp3"
LINK = "/files/7_vocals.wav"


@pytest.fixture
def web() -> Iterator[HttpServer]:
    with http_server() as server:
        yield server


@pytest.fixture
def client(web: HttpServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client with short pauses between retries."""
    monkeypatch.setattr(module, "_RETRY_PAUSES_S", (0.01, 0.01, 0.01))
    with Client(web.url(""), "ännä", "pass:wörd") as client:
        yield client


def json_answer(code: int = 200, headers: dict[str, str] | None = None, /, **body: Any) -> Answer:
    return Answer(code, json.dumps(body).encode(), headers={"Content-Type": "application/json", **(headers or {})})


def problem(status: int, detail: str, **headers: str) -> Answer:
    return json_answer(status, headers, detail=detail, status=status)


ACCEPTED = json_answer(202, task_uuid="7", status="queued", priority=3)


def truncated(answer: Answer) -> Answer:
    """An answer that ends before its last byte."""
    return Answer(answer.status, answer.body[:-1], answer.headers, length=len(answer.body))


def keys(web: HttpServer) -> list[str]:
    return [request.headers["Idempotency-Key"] for request in web.requests]


def form_of(request: Received) -> tuple[dict[str, str], dict[str, tuple[str | None, bytes]]]:
    environ = {
        "wsgi.input": io.BytesIO(request.body),
        "CONTENT_TYPE": request.headers["Content-Type"],
        "CONTENT_LENGTH": request.headers["Content-Length"],
        "REQUEST_METHOD": "POST",
    }
    _stream, texts, files = parse_form_data(environ, silent=False)
    received = {name: (file.filename, file.read()) for name, file in files.items()}
    for file in files.values():
        file.close()
    return texts.to_dict(), received


def test_a_url_is_sent_with_credentials_and_options(web: HttpServer, client: Client) -> None:
    web.answer("/generate", ACCEPTED)
    task = client.submit(SONG, priority=5, output_format="flac")
    assert (task.task_uuid, task.status, task.priority, task.is_final) == ("7", "queued", 3, False)
    (request,) = web.requests
    assert json.loads(request.body) == {"audio": SONG, "priority": 5, "output_format": "flac"}
    assert request.headers["Authorization"] == "Basic w6RubsOkOnBhc3M6d8O2cmQ="


def test_a_token_is_sent_instead_of_a_password_but_not_to_other_hosts(web: HttpServer, tmp_path: Path) -> None:
    with http_server() as bucket, Client(web.url(""), token="uvr_abc-_") as client:
        bucket.answer(LINK, Answer(body=b"vocals"))
        web.answer("/tasks/7", json_answer(task_uuid="7", status="success", stems={"vocals": bucket.url(LINK)}))
        client.download("7", tmp_path)
        assert web.requests[0].headers["Authorization"] == "Bearer uvr_abc-_"
        assert bucket.requests[0].headers["Authorization"] is None


@pytest.mark.parametrize("token", ["uvr_abc\n", "uvr abc", "uvr_ä"])
def test_a_token_that_is_none_is_refused_before_anything_is_sent(token: str) -> None:
    with pytest.raises(ClientError, match="copy it again"):
        Client("https://stems.example.com", token=token)


def test_a_file_is_uploaded_unchanged(web: HttpServer, client: Client, tmp_path: Path) -> None:
    web.answer("/generate", ACCEPTED)
    song = tmp_path / 'Mein "Lied" 二.mp3'
    song.write_bytes(bytes(range(256)) * 1000 + b"\r\n--")
    sent: list[tuple[int, int | None]] = []
    client.submit(song, priority=5, on_upload=lambda done, total: sent.append((done, total)))
    texts, files = form_of(web.requests[0])
    assert (texts, files) == ({"priority": "5"}, {"audio": (song.name, song.read_bytes())})
    assert sent[-1] == (256_004, 256_004)
    assert len(sent) > 1


MANY = {"model": ["A", "B"], "stems": ["vocals", "drums"], "metadata": {"order": "4711", "für": "Ännä"}}


def test_lists_and_mappings_are_json_in_json_and_text_in_a_form(
    web: HttpServer, client: Client, tmp_path: Path
) -> None:
    web.answer("/generate", ACCEPTED, ACCEPTED)
    (tmp_path / "song.mp3").write_bytes(b"sound")
    client.submit(SONG, **MANY)
    client.submit(tmp_path / "song.mp3", **MANY, priority=2)
    assert json.loads(web.requests[0].body) == {"audio": SONG, **MANY}
    texts, _ = form_of(web.requests[1])
    metadata = json.loads(texts.pop("metadata"))
    assert (texts, metadata) == ({"model": "A,B", "stems": "vocals,drums", "priority": "2"}, MANY["metadata"])


def test_a_batch_is_one_request_whose_options_a_song_may_override(web: HttpServer, client: Client) -> None:
    tasks = [{"task_uuid": "1", "priority": 3}, {"task_uuid": "2", "priority": 5}]
    web.answer("/generate", problem(503, "Full."), json_answer(202, status="queued", batch="b", tasks=tasks))
    songs = [SONG, {"audio": SONG, "priority": 5}]
    found = client.submit_batch(songs, priority=3, stems=["vocals"])
    assert [(task.task_uuid, task.priority, task.status, task.batch) for task in found] == [
        ("1", 3, "queued", "b"),
        ("2", 5, "queued", "b"),
    ]
    assert json.loads(web.requests[0].body) == [
        {"audio": SONG, "priority": 3, "stems": ["vocals"]},
        {"audio": SONG, "priority": 5, "stems": ["vocals"]},
    ]
    assert keys(web)[0] == keys(web)[1]


def test_the_priority_of_a_task_is_changed(web: HttpServer, client: Client) -> None:
    web.answer("/tasks/7", json_answer(task_uuid="7", status="queued", priority=5), problem(409, "It no longer waits."))
    assert client.change_priority("7", 5).priority == 5
    assert (web.requests[0].method, json.loads(web.requests[0].body)) == ("PATCH", {"priority": 5})
    with pytest.raises(ConflictError, match="no longer waits"):
        client.change_priority("7", 1)


def test_an_archive_is_complete_or_not_there_and_needs_credentials(
    web: HttpServer, client: Client, tmp_path: Path
) -> None:
    archive = Answer(body=b"PK" * 1000)
    web.answer("/tasks/7", json_answer(task_uuid="7", status="success", audio="https://a.example/Mein%20Lied.mp3"))
    web.answer("/tasks/7/stems.zip", truncated(archive), archive)
    assert client.download_zip("7", tmp_path / "new") == tmp_path / "new" / "Mein Lied.zip"
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "Mein Lied.zip"]
    assert (tmp_path / "new" / "Mein Lied.zip").read_bytes() == archive.body
    assert all(request.headers["Authorization"] for request in web.requests)
    web.answer("/tasks/7/stems.zip", problem(410, "A stem of this task is no longer stored."))
    with pytest.raises(RefusedError, match="no longer stored"):
        client.download_zip("7", tmp_path / "other", "name")
    assert list((tmp_path / "other").iterdir()) == []


def test_a_busy_service_is_retried_after_the_time_it_asks_for(web: HttpServer, client: Client) -> None:
    web.answer("/generate", problem(503, "Full.", **{"Retry-After": "1"}), problem(429, "Too many."), ACCEPTED)
    began = time.monotonic()
    assert client.submit(SONG).task_uuid == "7"
    assert time.monotonic() - began > 1
    assert len(set(keys(web))) == 1
    assert len(keys(web)) == 3


def test_after_a_lost_response_the_song_is_sent_again_with_the_same_key(
    web: HttpServer, client: Client, tmp_path: Path
) -> None:
    web.answer("/generate", truncated(ACCEPTED), ACCEPTED)
    song = tmp_path / "song.mp3"
    song.write_bytes(b"x" * 200_000)
    client.submit(song)
    first, second = web.requests
    assert first.body == second.body
    assert len(set(keys(web))) == 1


def test_each_call_has_a_key_of_its_own_unless_one_is_given(web: HttpServer, client: Client) -> None:
    web.answer("/generate", ACCEPTED)
    for key in ("", "", "mine", "mine"):
        client.submit(SONG, idempotency_key=key)
    assert len(set(keys(web))) == 3


def test_the_client_does_not_wait_if_the_service_asks_for_an_hour(web: HttpServer, client: Client) -> None:
    web.answer("/generate", problem(429, "You have sent too many requests.", **{"Retry-After": "3600"}))
    with pytest.raises(BusyError, match="too many") as caught:
        client.submit(SONG)
    assert (caught.value.retry_after_s, len(web.requests)) == (3600, 1)


def test_retries_end(web: HttpServer, client: Client) -> None:
    web.answer("/generate", problem(503, "The queue cannot be reached."))
    with pytest.raises(BusyError, match="cannot be reached"):
        client.submit(SONG)
    assert len(web.requests) == 4


def test_a_service_that_never_answered_is_not_retried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_PAUSES_S", (60,))
    address = f"http://127.0.0.1:{free_port()}"
    with Client(address, "a", "b") as client, pytest.raises(UnreachableError, match=f"{address} does not answer."):
        client.get("7")


def test_a_service_that_restarts_is_retried(web: HttpServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RETRY_PAUSES_S", (0.01, 0.3, 0.3))
    with Client(web.url(""), "a", "b") as client:
        web.answer("/tasks/7", json_answer(task_uuid="7", status="queued"))
        client.get("7")
        web.shutdown()
        web.socket.close()
        with pytest.raises(UnreachableError):
            client.get("7")
        with http_server(port=web.port) as again:
            again.answer("/tasks/7", json_answer(task_uuid="7", status="success"))
            assert client.get("7").status == "success"


@pytest.mark.parametrize(
    ("answer", "kind", "sentence"),
    [
        (problem(401, "No."), CredentialsError, "No."),
        (problem(404, "task_uuid names no task."), UnknownTaskError, "task_uuid names no task."),
        (problem(409, "Too late."), ConflictError, "Too late."),
        (problem(400, "audio is required."), RefusedError, "audio is required."),
        (Answer(500, b"<html>"), RefusedError, "/tasks/7 answered 500 Internal Server Error."),
        (Answer(301, headers={"Location": "https://b/"}), RefusedError, "301 Moved Permanently https://b/."),
        (Answer(200, b"<html>"), UnreachableError, "is not a uvr-api; check the URL."),
        (Answer(200, b"[1]"), UnreachableError, "is not a uvr-api; check the URL."),
        (Answer(200, b"{}"), UnreachableError, "is not a uvr-api; check the URL."),
    ],
)
def test_each_refusal_has_its_class_and_text(
    web: HttpServer, client: Client, answer: Answer, kind: type[ClientError], sentence: str
) -> None:
    web.answer("/tasks/7", answer)
    with pytest.raises(ClientError) as caught:
        client.get("7")
    assert type(caught.value) is kind
    assert sentence in str(caught.value)
    assert len(web.requests) == 1


@pytest.mark.parametrize(
    "address", ["", "example.com", "ftp://example.com", "http://", "http://[", "http://a:b@example.com"]
)
def test_an_invalid_url_is_an_error(address: str) -> None:
    with pytest.raises(ClientError, match="is not the URL of a service"):
        Client(address, "a", "b")


def test_a_file_that_cannot_be_read_is_not_sent(web: HttpServer, client: Client, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.submit(tmp_path / "gone.mp3")
    with pytest.raises(IsADirectoryError):
        client.submit(tmp_path)
    assert not web.requests


def test_lists_are_fetched_page_by_page(web: HttpServer, client: Client) -> None:
    pages = [([{"task_uuid": "3", "status": "failed"}], "3:a"), ([{"task_uuid": "1", "status": "failed"}], None)]
    web.answer("/tasks", *(json_answer(tasks=tasks, next_cursor=cursor) for tasks, cursor in pages))
    assert [task.task_uuid for task in client.list(status="failed", limit=1)] == ["3", "1"]
    assert [request.path for request in web.requests] == [
        "/tasks?status=failed&limit=1&cursor=",
        "/tasks?status=failed&limit=1&cursor=3%3Aa",
    ]


def test_wait_returns_when_the_task_has_ended(web: HttpServer, client: Client) -> None:
    states = ["queued", "processing", "uploading", "failed"]
    web.answer("/tasks/7", *(json_answer(task_uuid="7", status=status, error_message=status) for status in states))
    seen: list[str] = []
    assert client.wait("7", on_progress=lambda task: seen.append(task.status)).error_message == "failed"
    assert seen == states


def finished(web: HttpServer, link: str, **more: Any) -> None:
    """Task 7 has ended with one stem at `link`."""
    web.answer("/tasks/7", json_answer(task_uuid="7", status="success", audio=SONG, stems={"vocals": link}, **more))


def test_credentials_are_not_sent_to_the_hosts_of_links(web: HttpServer, client: Client, tmp_path: Path) -> None:
    with http_server() as bucket:
        finished(web, bucket.answer("/b/7_vocals.flac", Answer(body=b"stem")) + "?signature=1")
        assert client.download("7", tmp_path / "new") == {"vocals": tmp_path / "new" / "a_vocals.flac"}
        assert bucket.requests[0].headers["Authorization"] is None
    assert (tmp_path / "new" / "a_vocals.flac").read_bytes() == b"stem"


def test_an_interrupted_download_starts_again(web: HttpServer, client: Client, tmp_path: Path) -> None:
    finished(web, web.answer(LINK, truncated(Answer(body=b"x" * 100_000)), Answer(body=b"y" * 100_000)))
    client.download("7", tmp_path, "song")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"song_vocals.wav": b"y" * 100_000}


def test_a_failed_download_keeps_the_existing_file(web: HttpServer, client: Client, tmp_path: Path) -> None:
    (tmp_path / "a_vocals.wav").write_bytes(b"old")
    finished(web, web.answer(LINK, truncated(Answer(body=b"new"))))
    with pytest.raises(UnreachableError):
        client.download("7", tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a_vocals.wav": b"old"}


def test_a_task_without_stems_cannot_be_downloaded(web: HttpServer, client: Client, tmp_path: Path) -> None:
    web.answer("/tasks/7", json_answer(task_uuid="7", status="queued", stems={}))
    with pytest.raises(ClientError, match="its status is queued"):
        client.download("7", tmp_path)


def test_no_proxy_is_used_for_this_machine(web: HttpServer, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    web.answer("/tasks/7", json_answer(task_uuid="7", status="queued"))
    assert client.get("7").status == "queued"


def test_a_webhook_secret_is_made_shown_and_removed(client: Client, web: HttpServer) -> None:
    info = {"is_set": True, "created_at": "2026-11-22T16:46:01.361Z", "fingerprint": "9f2b6c1d0a4e", "replaced": []}
    path = "/users/me/webhook-secret"
    web.answer(path, json_answer(201, **info, secret="whsec_AA=="), json_answer(**info), Answer(204))
    assert client.make_webhook_secret() == {**info, "secret": "whsec_AA=="}
    assert client.webhook_secret() == info
    client.remove_webhook_secret()
    assert [(request.method, request.path) for request in web.requests] == [
        ("POST", path),
        ("GET", path),
        ("DELETE", path),
    ]
