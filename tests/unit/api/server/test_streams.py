"""The thread of the streams calls everything in one thread, the earliest first."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.waiting import PATIENCE_S
from uvr.api.server.streams import StreamThread

LATER_S = 100 * PATIENCE_S


@pytest.fixture
def streams() -> Iterator[StreamThread]:
    streams = StreamThread()
    yield streams
    streams.stop()


def test_what_is_due_first_comes_first(streams: StreamThread) -> None:
    called: list[str] = []
    begin, end = threading.Event(), threading.Event()
    streams.submit(begin.wait, PATIENCE_S)
    streams.submit_later(LATER_S, called.append, "much later")
    streams.submit_later(0.02, end.set)
    streams.submit_later(0.01, called.append, "later")
    streams.submit(called.append, "now")
    begin.set()
    assert end.wait(PATIENCE_S)
    assert called == ["now", "later"]


def test_a_step_that_fails_ends_no_other(streams: StreamThread) -> None:
    end = threading.Event()
    streams.submit(int, "no number")
    streams.submit(end.set)
    assert end.wait(PATIENCE_S)


def test_all_pauses_end_when_the_process_stops(streams: StreamThread) -> None:
    earlier, later = threading.Event(), threading.Event()
    streams.submit_later(LATER_S, earlier.set)
    streams.hurry()
    streams.submit_later(LATER_S, later.set)
    assert earlier.wait(PATIENCE_S)
    assert later.wait(PATIENCE_S)


def test_all_steps_run_in_one_thread(streams: StreamThread) -> None:
    names: list[str] = []
    end = threading.Event()
    for _ in range(3):
        streams.submit(lambda: names.append(threading.current_thread().name))
    streams.submit(end.set)
    assert end.wait(PATIENCE_S)
    assert names == ["streams"] * 3
