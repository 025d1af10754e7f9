"""`python -m uvr retention` beside a real Redis: why things are kept, and the operator's confirmation."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from redis import Redis

from config import Settings
from tests.support.api import settings_for
from uvr.cli import retention
from uvr.liveness.workers import WorkerPresence
from uvr.timestamps import now_ms
from uvr.uploader.housekeeping.clock import ClockReading, HousekeepingClock
from uvr.uploader.housekeeping.mass_expiry import MassExpiry

REASON = "Nothing is deleted because of its age: …"


@pytest.fixture
def settings(redis_client: Redis, tmp_path: Path) -> Settings:
    return settings_for(redis_client.get_connection_kwargs(), tmp_path)


def run(settings: Settings, action: str) -> int:
    parser = argparse.ArgumentParser()
    retention.add_parser(parser.add_subparsers())
    return retention.run(parser.parse_args(["retention", action]), settings)


def test_the_reasons_of_all_uploaders_are_shown_once(
    settings: Settings, redis_client: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = (WorkerPresence(redis_client, "uvr_tasks", "uploader", lambda: {"retention": REASON}) for _ in range(2))
    two.name += ":2"
    with one.announced(), two.announced():
        assert run(settings, "show") == 0
    assert capsys.readouterr().out == f"{REASON}\n"


def test_without_a_reason_nothing_is_printed_but_a_note(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(settings, "show") == 0
    printed = capsys.readouterr()
    assert (printed.out, "Nothing is kept" in printed.err) == ("", True)


def test_a_confirmation_ends_every_wait(
    settings: Settings, redis_client: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, mass_expiry = HousekeepingClock(redis_client, "uvr_tasks"), MassExpiry(redis_client, "uvr_tasks")
    clock.read()
    redis_client.hset("uvr_tasks:retention", "even_since_ms", now_ms())
    assert clock.read().distrust
    for kind in ("tasks", "stems"):
        assert mass_expiry.cutoff(kind, 1, ClockReading(now_ms()), total=20, expired=lambda _since: range(20)).problem
    assert run(settings, "confirm") == 0
    assert capsys.readouterr().out == "The next round deletes what is too old: tasks, stems.\n"
    assert clock.read().distrust == ""
    assert mass_expiry.cutoff("tasks", 1, ClockReading(now_ms()), total=20, expired=lambda _since: []).problem == ""


def test_a_redis_that_does_not_answer_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in ("show", "confirm"):
        assert run(settings_for({"path": tmp_path / "nothing.sock"}, tmp_path), action) == 2
        assert "Redis does not answer" in capsys.readouterr().err
