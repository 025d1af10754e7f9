"""Logs are JSON lines without secrets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from uvr.logs import (
    MAX_CHARS,
    MAX_SENTENCE_CHARS,
    MAX_TRACE_CHARS,
    safe_sentence,
    safe_text,
    safe_trace,
    without_secrets,
)

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


@pytest.mark.parametrize(
    ("unsafe", "escaped"),
    [
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[2J\x07\x7f", r"\x1b[2J\x07\x7f"),
        ("\x9b31m", r"\x9b31m"),
        ("\u202egnp.exe\u2066\u200f", r"\u202egnp.exe\u2066\u200f"),
        ("one\u2028two", r"one\u2028two"),
        ("half \ud800", r"half \ud800"),
        ("Ünïcode 歌 🎵", "Ünïcode 歌 🎵"),
    ],
)
def test_characters_that_control_a_terminal_are_escaped(unsafe: str, escaped: str) -> None:
    assert safe_text(unsafe) == safe_sentence(unsafe) == escaped


def test_what_clients_choose_is_cut() -> None:
    assert len(safe_text("a" * 5000)) == MAX_CHARS
    assert len(safe_text("\x1b" * 5000)) == MAX_CHARS
    assert safe_text("a" * MAX_CHARS) == "a" * MAX_CHARS


def test_a_sentence_stays_readable_and_what_it_quotes_is_cut() -> None:
    ours = "The host of the song answered with something else than a song. " * 10
    assert safe_sentence(ours) == ours
    assert len(safe_sentence(f"{'x' * 5000} is not a song")) == MAX_CHARS + len(" is not a song")
    assert len(safe_sentence("word " * 5000)) == MAX_SENTENCE_CHARS


def test_a_trace_keeps_its_lines_and_its_end() -> None:
    trace = "Traceback\n\tline\n" * 5000 + "ValueError: \x1b[2J\u202e"
    assert safe_trace(trace).endswith("line\nValueError: \\x1b[2J\\u202e")
    assert len(safe_trace(trace)) == MAX_TRACE_CHARS


def test_a_secret_is_not_uncovered_by_cutting() -> None:
    assert safe_text(f"https://user:{'p' * 500}@host/a") == "https://…@host/a"
    assert safe_text(f"/a?signature={'p' * 500}") == "/a?…"


def test_the_time_for_a_field_does_not_grow_with_the_square_of_its_length() -> None:
    started = time.process_time()
    for text in ("/" * 200_000 + " ?", "a" * 200_000 + "@", "a://" * 50_000 + "@", "?" * 200_000):
        safe_text(text)
        safe_sentence(text)
        without_secrets(text)
    assert time.process_time() - started < 5


def record(fields: str) -> Any:
    """The record that a process logs with these fields."""
    code = f"import structlog; from uvr import logs; logs.configure('info', 'json', process='test'); {fields}"
    return json.loads(logged(code))


def test_every_field_of_every_kind_is_made_safe() -> None:
    fields = record(
        "bad = '\\x1b' + 'a' * 300; structlog.get_logger().info(bad * 9, any_name=bad, names=[bad, {'x': (bad,)}],"
        " number=3, flag=True, none=None, path=__import__('pathlib').Path(bad), deep=[[[[[bad]]]]], many=[1] * 1000,"
        " inner={'password': 'p', bad: 1})"
    )
    assert "\x1b" not in json.dumps(fields, ensure_ascii=False)
    assert len(fields["any_name"]) == len(fields["path"]) == len(fields["names"][1]["x"][0]) == MAX_CHARS
    assert (fields["number"], fields["flag"], fields["none"]) == (3, True, None)
    assert (fields["inner"]["password"], len(fields["many"])) == ("…", 50)


def test_records_of_libraries_are_made_safe() -> None:
    fields = record("import logging; logging.getLogger('other').warning('from %s', '\\x1b[2J' + 'a' * 300)")
    assert fields["event"].startswith(r"from \x1b[2Jaaa")
    assert len(fields["event"]) == len("from ") + MAX_CHARS


def test_a_trace_on_a_terminal_contains_no_line_that_looks_like_a_record() -> None:
    code = (
        "import structlog; from uvr import logs; logs.configure('info', 'console', process='test')\n"
        "try: raise ValueError('x\\n2026-11-28 [info] forged \\x1b[2J')\n"
        "except ValueError: structlog.get_logger().exception('a.b')"
    )
    text = logged(code)
    assert "  2026-11-28 [info] forged \\x1b[2J" in text
    assert not [line for line in text.splitlines()[1:] if line and not line.startswith("  ")]


def logged(code: str) -> str:
    """The output on stderr of a process that runs `code`."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return done.stderr
