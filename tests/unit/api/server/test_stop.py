"""A stop of the API reaches workers that are starting at the same moment."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace

import pytest

from uvr.api.server.gunicorn import _stop_new_worker_too


@pytest.fixture(autouse=True)
def _keep_the_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize(
    ("received", "lives"),
    [([], True), ([signal.SIGCHLD], True), ([signal.SIGTERM], False), ([signal.SIGCHLD, signal.SIGTERM], False)],
)
def test_a_signal_that_a_new_worker_took_for_the_master_stops_it(received: list[int], lives: bool) -> None:
    arbiter = SimpleNamespace(SIG_QUEUE=SimpleQueue())
    worker = SimpleNamespace(alive=True, handle_exit=lambda *_: None)
    for number in received:
        arbiter.SIG_QUEUE.put(number)
    _stop_new_worker_too(arbiter, worker)
    assert worker.alive is lives
    assert signal.getsignal(signal.SIGTERM) is worker.handle_exit
