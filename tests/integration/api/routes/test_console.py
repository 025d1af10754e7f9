"""GET / and /console/…: a page for browsers, a text for programs, and nothing that leads out of web/."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from config import ROOT, VERSION
from tests.support.api import application, settings_for
from uvr.api.routes import console

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
WEB = ROOT / "web"
FILES = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*") if path.suffix in console._TYPES)


@pytest.mark.parametrize("accept", ["*/*", "", "text/plain", "application/json", "text/plain, text/html"])
def test_programs_get_a_text_that_says_what_this_is(client: FlaskClient, accept: str) -> None:
    answer = client.get("/", headers={"Accept": accept})
    assert (answer.status_code, answer.content_type) == (200, "text/plain; charset=utf-8")
    assert answer.text.startswith(f"uvr-api {VERSION} splits songs into stems")
    assert "In a browser   http://uvr.test/\n" in answer.text
    for path in re.findall(r"http://uvr\.test(/\S*)", answer.text):
        assert client.get(path).status_code in (200, 405), path
    assert "Accept" in answer.headers["Vary"]


def test_browsers_get_a_page_that_allows_nothing_inline_and_nothing_from_elsewhere(client: FlaskClient) -> None:
    answer = client.get("/", headers=BROWSER)
    assert (answer.status_code, answer.content_type) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert "unsafe" not in str(policy)
    assert (answer.headers["Referrer-Policy"], answer.headers["X-Frame-Options"]) == ("same-origin", "DENY")
    assert "Accept" in answer.headers["Vary"]
    assert not re.search(r"<style|<script(?![^>]* src=)| style=| on\w+=", answer.text)
    for link in re.findall(r'(?:href|src)="([^"]*)"', answer.text):
        assert not link.startswith(("/", "http")), "relative, for proxies that add a prefix to the path"
        assert client.get(f"/{link}").status_code in (200, 503), link


@pytest.mark.parametrize("name", FILES)
def test_files_of_the_page_are_served_with_their_type_and_compressed(client: FlaskClient, name: str) -> None:
    content = (WEB / name).read_bytes()
    plain = client.get(f"/console/{name}")
    assert (plain.status_code, plain.data) == (200, content)
    assert plain.content_type == console._TYPES[Path(name).suffix]
    assert plain.headers["Cache-Control"] == "no-cache"
    small = client.get(f"/console/{name}", headers={"Accept-Encoding": "gzip, br"})
    if small.headers.get("Content-Encoding") == "gzip":
        assert (gzip.decompress(small.data), small.headers["ETag"] != plain.headers["ETag"]) == (content, True)
    for answer, encoding in ((plain, ""), (small, "gzip")):
        headers = {"If-None-Match": answer.headers["ETag"], "Accept-Encoding": encoding}
        again = client.get(f"/console/{name}", headers=headers)
        assert (again.status_code, again.data) == (304, b"")
        assert "Accept-Encoding" in again.headers["Vary"]
    assert client.head(f"/console/{name}").status_code == 200


def test_a_file_that_changes_is_served_anew(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "WEB", tmp_path)
    (tmp_path / "a.js").write_text("one")
    old = client.get("/console/a.js")
    (tmp_path / "a.js").write_text("three")
    new = client.get("/console/a.js", headers={"If-None-Match": old.headers["ETag"]})
    assert (new.status_code, new.text) == (200, "three")


@pytest.mark.parametrize(
    "name",
    [
        "",
        "none.js",
        "texts",
        "texts/",
        "../app.py",
        "../config.py",
        "..%2fapp.py",
        "%2e%2e/web/console.js",
        "/etc/passwd",
        "texts/../../app.py",
        "..\\app.py",
        "a.js%00.css",
        "secret.txt",
        "link.js",
        pytest.param(f"{'a' * 300}.js", id="a name that no file can have"),
    ],
)
def test_nothing_else_can_be_reached(
    client: FlaskClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    web = tmp_path / "web"
    web.mkdir()
    (web / "secret.txt").write_text("no type of the page")
    (tmp_path / "outside.js").write_text("outside")
    (web / "link.js").symlink_to(tmp_path / "outside.js")
    monkeypatch.setattr(console, "WEB", web)
    assert client.get(f"/console/{name}").status_code == 404


@pytest.mark.parametrize("off", ["off", "false", "0"])
def test_without_the_console_browsers_get_the_text(redis_client: Redis, tmp_path: Path, off: str) -> None:
    settings: dict[str, Any] = {"console": off}
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path, **settings)) as app:
        client = app.test_client()
        answer = client.get("/", headers=BROWSER)
        assert answer.content_type == "text/plain; charset=utf-8"
        assert "In a browser" not in answer.text
        assert client.get("/console/console.css").status_code == 404


def test_both_languages_have_all_texts(client: FlaskClient) -> None:
    keys = [re.findall(r"^  (\w+):", (WEB / "texts" / name).read_text(), re.MULTILINE) for name in ("en.js", "zh.js")]
    assert keys[0] == keys[1]
    used = set(re.findall(r'data-(?:text|label)="(\w+)"', client.get("/", headers=BROWSER).text))
    assert used <= set(keys[0])
    for module in WEB.rglob("*.js"):
        used |= set(re.findall(r"[tT]exts\.(\w+)", module.read_text()))
    assert used >= set(keys[0]), "a text that nothing shows"
