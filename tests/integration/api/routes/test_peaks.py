"""GET /tasks/{id}/peaks, and what the page of the service gets of a bucket: it may load nothing from other hosts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS, application, credentials, htpasswd, services_of, settings_for
from tests.support.s3_server import S3Server
from uvr.audio.peaks import PeaksWriter
from uvr.tasks.model import Status, Task

TASK_UUID = "6a7f6c1e-5b8b-4f3c-9d51-0c6f5a7d1a12"
STEM_KEY = f"{TASK_UUID}_vocals.wav"
PEAK_KEYS = {f"vocals.{size}": f"{TASK_UUID}_vocals.{size}.peaks.dat" for size in ("fine", "coarse")}
STEM = np.arange(3 * 2**20, dtype=np.uint16).tobytes()
OWN_PAGE = {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}

Opener = Callable[..., FlaskClient]


@pytest.fixture(params=["local", "s3"])
def storage_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    if request.param == "local":
        return {}
    s3: S3Server = request.getfixturevalue("s3")
    return {name.lower(): value for name, value in s3.settings.items()}


@pytest.fixture
def opened(redis_client: Redis, tmp_path: Path) -> Iterator[Opener]:
    """A client of an API in whose storage a stem of anna and its peaks lie."""
    (tmp_path / "users").write_text(htpasswd("anna", "bert"))
    with PeaksWriter(tmp_path / "vocals.fine", tmp_path / "vocals.coarse", 44100) as writer:
        writer.write(np.linspace(-1, 0.5, 20_000, dtype=np.float32)[None])
    (tmp_path / "stem").write_bytes(STEM)
    with ExitStack() as stack:

        def open_with(peaks: dict[str, str] = PEAK_KEYS, **settings: Any) -> FlaskClient:
            chosen = settings_for(
                redis_client.get_connection_kwargs(), tmp_path, basic_auth_users_file=tmp_path / "users", **settings
            )
            app = stack.enter_context(application(chosen))
            storage = services_of(app).storage
            storage.put(tmp_path / "stem", STEM_KEY, "audio/wav")
            for name, key in PEAK_KEYS.items():
                storage.put(tmp_path / name, key, "application/octet-stream")
            stems = {"vocals": STEM_KEY}
            done = Task(TASK_UUID, "a.mp3", 3, 1, status=Status.SUCCESS, owner="anna", stems=stems, peaks=peaks)
            services_of(app).store.submit(done)
            return app.test_client()

        yield open_with


def fetch(client: FlaskClient, query: str, user: str = "anna") -> Any:
    return client.get(f"/tasks/{TASK_UUID}/peaks?{query}", auth=credentials(user), buffered=True)


def fetch_as_page(client: FlaskClient, **headers: str) -> Any:
    name, password = credentials("anna")
    signed_in = client.post("/session", json={"username": name, "password": password}, headers=OWN_PAGE)
    assert signed_in.status_code == 200
    return client.get(f"/tasks/{TASK_UUID}/stems/vocals", headers={**OWN_PAGE, **headers}, buffered=True)


def test_peaks_come_in_two_resolutions_and_two_forms(
    opened: Opener, storage_settings: dict[str, str], tmp_path: Path
) -> None:
    client = opened(**storage_settings)
    for resolution, samples, pairs in (("fine", 512, 40), ("coarse", 8192, 3)):
        answer = fetch(client, f"stem=vocals&resolution={resolution}")
        assert (answer.status_code, answer.content_type) == (200, "application/octet-stream")
        assert answer.data == (tmp_path / f"vocals.{resolution}").read_bytes()
        read = fetch(client, f"stem=vocals&resolution={resolution}&format=json").json
        values = read.pop("data")
        assert read == {
            "version": 2, "channels": 1, "sample_rate": 44100, "samples_per_pixel": samples, "bits": 8, "length": pairs,
        }  # fmt: skip
        assert (len(values), values[0], values[-1]) == (2 * pairs, -128, 64)
    assert fetch(client, "stem=vocals").data == (tmp_path / "vocals.coarse").read_bytes()


def test_peaks_belong_to_the_owner_and_the_admin(opened: Opener) -> None:
    client = opened()
    assert fetch(client, "stem=vocals", user="bert").status_code == 404
    path = f"/tasks/{TASK_UUID}/peaks?stem=vocals"
    assert client.get(path).status_code == 401
    assert client.get(path, auth=CREDENTIALS, buffered=True).status_code == 200


def test_what_is_not_there_is_a_problem(opened: Opener, storage_settings: dict[str, str], redis_client: Redis) -> None:
    client = opened(**storage_settings)
    assert fetch(client, "stem=drums").json["detail"] == "The task has no stem of this name; it has vocals."
    assert fetch(client, "").status_code in (400, 422)
    assert fetch(client, "stem=vocals&resolution=huge").status_code in (400, 422)
    services_of(client.application).storage.delete(PEAK_KEYS["vocals.fine"])
    for form in ("dat", "json"):
        assert fetch(client, f"stem=vocals&resolution=fine&format={form}").status_code == 410
    redis_client.hset(f"uvr_tasks:task:{TASK_UUID}", "stems_deleted_ms", 5)
    assert fetch(client, "stem=vocals").status_code == 410


def test_a_task_of_an_older_version_has_no_peaks_and_says_so(opened: Opener) -> None:
    answer = fetch(opened(peaks={}), "stem=vocals")
    assert (answer.status_code, answer.content_type) == (404, "application/problem+json")
    assert "older version" in answer.json["detail"]


def test_answers_about_the_task_do_not_show_the_peaks(opened: Opener) -> None:
    client = opened()
    answer = client.get(f"/tasks/{TASK_UUID}", auth=credentials("anna"))
    assert "peaks" not in json.dumps(answer.json)


def test_the_page_gets_stems_from_the_service_wherever_they_are(
    opened: Opener, storage_settings: dict[str, str]
) -> None:
    client = opened(**storage_settings)
    whole = fetch_as_page(client)
    assert (whole.status_code, whole.content_type, len(whole.data)) == (200, "audio/wav", len(STEM))
    assert whole.data == STEM, "longer than a part that is read at once"
    for asked, start, end in (
        ("bytes=4-7", 4, 8),
        ("bytes=-10", len(STEM) - 10, len(STEM)),
        ("bytes=0-", 0, len(STEM)),
    ):
        part = fetch_as_page(client, Range=asked)
        assert (part.status_code, part.data) == (206, STEM[start:end])
        assert part.headers["Content-Range"] == f"bytes {start}-{end - 1}/{len(STEM)}"
    beyond = fetch_as_page(client, Range=f"bytes={len(STEM)}-")
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(STEM)}")
    services_of(client.application).storage.delete(STEM_KEY)
    assert fetch_as_page(client).status_code == 410


def test_long_downloads_from_a_bucket_are_limited_like_archives_and_parts_are_not(opened: Opener, s3: S3Server) -> None:
    client = opened(api_threads=4, **{name.lower(): value for name, value in s3.settings.items()})
    for _ in range(2):  # a finished one counts no more
        assert fetch_as_page(client).status_code == 200
    with services_of(client.application).archive_slots.take("anna"):
        assert fetch_as_page(client, Range="bytes=0-99").status_code == 206
        answer = fetch_as_page(client)
        assert (answer.status_code, answer.headers["Retry-After"]) == (429, "10")
