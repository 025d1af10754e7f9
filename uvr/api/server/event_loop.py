"""An event loop: calls back when a socket is ready, or when another thread asks it to."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from selectors import EVENT_READ, DefaultSelector
from typing import Any

import structlog

log = structlog.get_logger()

_WAKE_BYTES = 4096

Callback = Callable[[], object]


class EventLoop:
    """Runs in the thread that calls `turn`. Only `call_soon` may be called from other threads and signal handlers."""

    def __init__(self) -> None:
        self._selector = DefaultSelector()
        self._callbacks: SimpleQueue[Callback] = SimpleQueue()
        self._wake_reader, self._wake_writer = os.pipe()
        os.set_blocking(self._wake_reader, False)
        os.set_blocking(self._wake_writer, False)
        self._selector.register(self._wake_reader, EVENT_READ, self._run_callbacks)

    def call_soon(self, callback: Callback) -> None:
        """Call `callback` in this loop's thread."""
        self._callbacks.put(callback)
        with suppress(BlockingIOError):  # the pipe is full of wake-ups, one of which will find this callback
            os.write(self._wake_writer, b"\0")

    def watch(self, sock: Any, events: int, callback: Callback) -> None:
        """Call `callback` whenever `sock` is ready for `events`, until `forget`."""
        self._selector.register(sock, events, callback)

    def forget(self, sock: Any) -> None:
        """Stop watching `sock`, if it is watched."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    def turn(self, timeout_s: float) -> None:
        """Wait for at most `timeout_s` and call back. A callback that fails is logged and stops no other."""
        for key, _ in self._selector.select(timeout_s):
            self._call(key.data)

    def close(self) -> None:
        """Release the file descriptors."""
        self._selector.close()
        os.close(self._wake_reader)
        os.close(self._wake_writer)

    def _run_callbacks(self) -> None:
        os.read(self._wake_reader, _WAKE_BYTES)
        while True:
            try:
                callback = self._callbacks.get_nowait()
            except Empty:
                return
            self._call(callback)

    def _call(self, callback: Callback) -> None:
        try:
            callback()
        except Exception:
            log.exception("server.callback_failed")
