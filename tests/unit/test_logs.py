"""Logs are JSON lines without secrets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from uvr.logs import without_secrets

ROOT = Path(__file__).resolve().parent.parent.parent


def test_signatures_and_credentials_in_urls_are_masked() -> None:
    text = "GET https://user:pass@host.example/a/b.wav?X-Amz-Signature=abc&x=1 failed"
    assert without_secrets(text) == "GET https://…@host.example/a/b.wav?… failed"


def test_signatures_are_masked_in_the_path_of_a_url() -> None:
    text = "Max retries exceeded with url: /a/b.wav?X-Amz-Signature=abc (Caused by ...)"
    assert without_secrets(text) == "Max retries exceeded with url: /a/b.wav?… (Caused by ...)"


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://host.example/it's.wav?signature=abc", "https://host.example/it's.wav?…"),
        ("https://host.example/a.wav?title='x'&signature=abc", "https://host.example/a.wav?…"),
        ('https://host.example/a.wav?"&signature=abc', "https://host.example/a.wav?…"),
        ("https://host.example?signature=abc", "https://host.example?…"),
        ("redis://:pass@word@host:6379/0", "redis://…@host:6379/0"),
        ("https://host.example/@a/b@c.wav", "https://host.example/@a/b@c.wav"),
    ],
)
def test_secrets_are_masked_in_unusual_urls(url: str, masked: str) -> None:
    assert without_secrets(url) == masked
    assert without_secrets(f"url='{url}', next").startswith(f"url='{masked}")


def test_records_are_json_lines_with_event_and_fields() -> None:
    code = (
        "import structlog, logging; from uvr import logs; logs.configure('info', 'json', process='test');"
        "structlog.get_logger().info('task.fetched', url='http://h/x?secret=1', password='p', bytes=3);"
        "logging.getLogger('other').warning('seen %s', 'too')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    ours, other = map(json.loads, done.stderr.splitlines())
    assert (ours["event"], ours["bytes"], ours["process"], ours["level"]) == ("task.fetched", 3, "test", "info")
    assert (ours["url"], ours["password"]) == ("http://h/x?…", "…")
    assert other["event"] == "seen too"


def test_records_of_threads_contain_their_process() -> None:
    code = (
        "import structlog, threading; from uvr import logs; logs.configure('info', 'json', process='test');"
        "t = threading.Thread(target=structlog.get_logger().info, args=('a.b',)); t.start(); t.join()"
    )
    assert json.loads(logged(code))["process"] == "test"


def test_traces_on_a_terminal_show_no_local_variables() -> None:
    code = (
        "import structlog; from uvr import logs; logs.configure('info', 'console', process='test')\n"
        "password = 'do-not-' + 'show'\n"
        "try: 1 / 0\n"
        "except ZeroDivisionError: structlog.get_logger().exception('a.b')"
    )
    text = logged(code)
    assert "ZeroDivisionError" in text
    assert "do-not-show" not in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_signatures_and_credentials_in_traces_are_masked(form: str) -> None:
    code = (
        f"import structlog; from uvr import logs; logs.configure('info', '{form}', process='test')\n"
        "signature, password = 'do-not-' + 'show', 'do-not-' + 'show'\n"
        "try: raise ValueError(f'https://user:{password}@host/a?signature={signature}')\n"
        "except ValueError: structlog.get_logger().exception('a.b')"
    )
    text = logged(code)
    assert "https://…@host/a?…" in text
    assert "do-not-show" not in text


def test_libraries_write_no_requests_at_debug_level() -> None:
    code = (
        "import logging, structlog; from uvr import logs; logs.configure('debug', 'json', process='test');"
        "structlog.get_logger().debug('a.b');"
        "logging.getLogger('urllib3.connectionpool').debug('GET /a');"
        "logging.getLogger('botocore.auth').debug('Signature')"
    )
    assert [json.loads(line)["event"] for line in logged(code).splitlines()] == ["a.b"]


def logged(code: str) -> str:
    """The output on stderr of a process that runs `code`."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stderr
