"""GET /files/{key}: signed links to local stems, and only those."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import application, services_of, settings_for
from uvr.storage.link_key import LinkKey
from uvr.storage.local import LocalStorage

KEY = "one_vocals.wav"
STEM = bytes(range(256)) * 4


@pytest.fixture
def client(client: FlaskClient, tmp_path: Path) -> FlaskClient:
    """A client of an API in whose storage a stem lies."""
    source = tmp_path / "vocals.wav"
    source.write_bytes(STEM)
    services_of(client.application).storage.put(source, KEY, "audio/wav")
    return client


def link(client: FlaskClient, key: str = KEY, ttl_s: int = 60) -> str:
    """A signed link without its host, for the test client."""
    parts = urlsplit(services_of(client.application).storage.url(key, ttl_s))
    return f"{parts.path}?{parts.query}"


def fetch(client: FlaskClient, url: str, **headers: str) -> Any:
    """GET the URL and read the whole response, so that its file is closed."""
    return client.get(url, headers={name.replace("_", "-"): value for name, value in headers.items()}, buffered=True)


def test_link_returns_the_stem_without_credentials(client: FlaskClient) -> None:
    answer = fetch(client, link(client))
    assert (answer.status_code, answer.data) == (200, STEM)
    assert answer.content_type == "audio/wav"
    assert answer.headers["Content-Disposition"] == f"attachment; filename={KEY}"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert "private" in answer.headers["Cache-Control"]


def test_range_returns_that_part(client: FlaskClient) -> None:
    answer = fetch(client, link(client), Range="bytes=10-19")
    assert (answer.status_code, answer.data) == (206, STEM[10:20])
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(STEM)}"


@pytest.mark.parametrize(("asked", "start"), [("bytes=10-", 10), ("bytes=-5", len(STEM) - 5)])
def test_range_may_be_open(client: FlaskClient, asked: str, start: int) -> None:
    answer = fetch(client, link(client), Range=asked)
    assert (answer.status_code, answer.data) == (206, STEM[start:])


def test_range_past_the_end_is_a_416_problem(client: FlaskClient) -> None:
    answer = fetch(client, link(client), Range="bytes=5000-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(STEM)}"
    assert answer.content_type == "application/problem+json"


def test_head_returns_the_length(client: FlaskClient) -> None:
    answer = client.head(link(client), buffered=True)
    assert (answer.status_code, answer.data) == (200, b"")
    assert answer.headers["Content-Length"] == str(len(STEM))


def test_unchanged_stem_is_not_sent_again(client: FlaskClient) -> None:
    etag = fetch(client, link(client)).headers["ETag"]
    assert fetch(client, link(client), If_None_Match=etag).status_code == 304


def test_expired_link_is_refused(client: FlaskClient) -> None:
    answer = fetch(client, link(client, ttl_s=-5))
    assert answer.status_code == 403
    assert "expired" in answer.json["detail"]


@pytest.mark.parametrize(
    "change",
    [
        lambda url: url.replace("vocals", "instrumental"),
        lambda url: url.replace("expires=", "expires=9"),
        lambda url: url[:-1] + ("0" if url[-1] != "0" else "1"),
        lambda url: url.partition("&")[0],
        lambda url: url.partition("?")[0],
        lambda url: url.partition("?")[0] + "?expires=x&signature=y",
        lambda url: url.partition("?")[0] + "?expires=9999999999&signature=%ff%00",
        lambda url: url.replace(KEY, f"x/../{KEY}"),
    ],
)
def test_tampered_link_is_refused(client: FlaskClient, change: object) -> None:
    answer = fetch(client, change(link(client)))  # type: ignore[operator]
    assert answer.status_code == 403
    assert answer.content_type == "application/problem+json"


def test_link_to_a_deleted_stem_is_a_404(client: FlaskClient) -> None:
    url = link(client)
    services_of(client.application).storage.delete(KEY)
    assert fetch(client, url).status_code == 404


def test_signature_with_another_key_is_refused(client: FlaskClient, tmp_path: Path) -> None:
    forged = LocalStorage(tmp_path, "", lambda: b"x" * 32).url(KEY, 60)
    assert fetch(client, forged).status_code == 403


def test_all_processes_create_the_same_signatures(client: FlaskClient, redis_client: Redis, tmp_path: Path) -> None:
    where = redis_client.get_connection_kwargs()
    with application(settings_for(where, tmp_path)) as other:
        assert fetch(other.test_client(), link(client)).status_code == 200
    assert len(LinkKey(redis_client, "uvr_tasks")()) == 32
    assert parse_qs(urlsplit(link(client)).query).keys() == {"expires", "signature"}


def test_files_of_an_object_store_are_not_served(redis_client: Redis, tmp_path: Path) -> None:
    where = redis_client.get_connection_kwargs()
    with application(settings_for(where, tmp_path, s3_bucket_name="stems")) as app:
        assert app.test_client().get("/files/one_vocals.wav?expires=1&signature=x").status_code == 404


def test_links_without_redis_are_a_503(redis_client: Redis, tmp_path: Path) -> None:
    where = redis_client.get_connection_kwargs()
    nowhere = settings_for(where, tmp_path, redis_url=f"unix://{tmp_path}/nobody.sock")
    with application(nowhere) as app:
        assert app.test_client().get(f"/files/{KEY}?expires=1&signature=x").status_code == 503
