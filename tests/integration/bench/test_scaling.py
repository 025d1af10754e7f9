"""The benchmarks behind docs/scaling.md measure what they say, with a handful of tasks."""

from __future__ import annotations

import sys

import pytest
from redis import Redis

from bench import deep_queue, scaling
from bench.deep_queue import FilledQueue
from bench.queueing import Song, ideal_waits_s
from bench.waits import measured_waits_s
from redis_queue import RedisQueue
from tests.support.waiting import PROMPT_S


def test_real_processors_let_songs_wait_as_long_as_an_ideal_queue_does() -> None:
    songs = [Song(0.0, 3, 2.0), Song(0.0, 3, 2.0), Song(0.5, 1, 0.1), Song(0.5, 5, 0.1)]
    ideal, measured = ideal_waits_s(2, songs), measured_waits_s(2, songs)
    assert ideal == pytest.approx([0, 0, 1.5, 1.5])
    for ideal_s, real_s in zip(ideal, measured, strict=True):
        assert ideal_s - 0.1 < real_s < ideal_s + PROMPT_S


def test_a_queue_is_as_deep_after_the_calls_as_before(redis_client: Redis) -> None:
    queue = FilledQueue(redis_client, 300, owners=7)
    assert queue.bytes_per_task > 500
    for call in queue.calls.values():
        for _ in range(3):
            call()
    sizes = RedisQueue(redis_client, "tasks").sizes()
    assert (sizes.waiting, sizes.leased) == (300, 0)


def test_a_queue_beside_itself_has_a_row_for_each_call(redis_client: Redis, capsys: pytest.CaptureFixture[str]) -> None:
    queue = FilledQueue(redis_client, 200, owners=0)
    deep_queue.report([queue, queue], calls=3)
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("| ")]
    assert rows == ["call", *queue.calls]


def test_more_songs_need_more_processors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["scaling", "--service-s", "48"])
    scaling.main()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[2:]]
    counts = [int(row[4].replace(",", "")) for row in rows]
    assert [row[0] for row in rows] == ["1,000", "100,000", "10,000,000"]
    assert counts[0] < counts[1] < counts[2]
    assert counts[1] >= 100_000 * 2 / 86_400 * 48 / 0.9
