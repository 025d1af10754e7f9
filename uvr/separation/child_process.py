"""A warm child process, so that what a song or a network breaks costs one attempt of one task.

`Child` promises its caller, the parent:

- its network, if it has one, is loaded and warmed up once, and stays so from song to song;
- a job's `UvrError`s arrive as they were raised; a fault nobody foresaw arrives as a `TransientError`, and its
  traceback is in the log; the child's death, by a signal or by exiting, arrives as a `CrashError`;
- the next job finds a fresh child where the last one died;
- a job nobody wants any more, or that takes too long, ends within 0.2 s, because the child is killed;
- a child never outlives its parent by more than a second, not even when the parent dies by SIGKILL;
- SIGTERM and SIGINT to the whole process group leave the child at work: when it stops is the parent's decision;
- the parent loads no numpy, no decoder and no network runtime.

The child is spawned, not forked, so the parent may have threads. It imports what its jobs need and not the parent's
main module: what crosses over must therefore be defined in modules. What runs inside the child is in `child_main`.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import wait
from types import ModuleType
from typing import Any

import structlog

from uvr.errors import CancelledError, CrashError, TransientError, UvrError
from uvr.metrics.definitions import CHILD_CRASHES
from uvr.separation.child_main import ChildLogs, EngineFactory, Order, serve
from uvr.separation.jobs import Job
from uvr.separation.progress import ignore_progress, never_cancelled

log = structlog.get_logger()

_SPAWN = multiprocessing.get_context("spawn")
_GROUP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_SPAWNING = threading.Lock()
"""One thread at a time: what is hidden meanwhile is hidden from the whole process."""
_POLL_S = 0.1
_CLOSE_GRACE_S = 2.0


class Child:
    """A process with what `build` loads; used by one thread at a time, whichever it is.

    `build` is pickled; `name` is the process's in the log, `log_level` and `log_format` are those of
    `uvr.logs.configure`.
    """

    def __init__(self, build: EngineFactory, name: str, *, log_level: str = "info", log_format: str = "auto") -> None:
        self._build = build
        self._name = name
        self._logs = ChildLogs(log_level, log_format)
        self._process: _Process | None = None
        self._provider = ""

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda"; empty before the first start and without a network."""
        return self._provider

    def start(self) -> None:
        """Block until a living child is ready for jobs; raises `UvrError` with the reason if none gets there."""
        self._running(_Patience())

    def run(
        self,
        job: Job,
        *,
        timeout_s: float,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
    ) -> Any:
        """What `job` gives, done in the child; starts a child if there is none.

        Besides the job's own errors it raises `CrashError` when the child dies, `TransientError` when all of it takes
        longer than `timeout_s`, and `CancelledError` at most 0.2 s after `cancelled()` has become true. After these
        three, as after an exception from `on_progress`, the child is gone and the next call starts a fresh one.
        """
        patience = _Patience(cancelled, timeout_s)
        process = self._running(patience)
        with self._killed_on_error():
            process.send(Order(job, structlog.contextvars.get_contextvars()))
            reply = process.answer(patience, on_progress)
        return _unless_error(reply)

    def close(self) -> None:
        """End the child, by force if it does not end by itself; harmless when there is none."""
        self._end(_CLOSE_GRACE_S)

    def _running(self, patience: _Patience) -> _Process:
        if self._process and self._process.is_alive():
            return self._process
        if self._process:
            log.warning("child.died_idle", child=self._name, cause=self._process.cause_of_death())
            CHILD_CRASHES.add(child=self._name)
            self._end()
        return self._start(patience)

    def _start(self, patience: _Patience) -> _Process:
        started = time.monotonic()
        process = self._process = _Process(self._build, self._logs, self._name)
        with self._killed_on_error():
            self._provider = _unless_error(process.answer(patience))
        elapsed_s = round(time.monotonic() - started, 3)
        log.info("child.started", child=self._name, pid=process.pid, provider=self._provider, elapsed_s=elapsed_s)
        return process

    @contextmanager
    def _killed_on_error(self) -> Iterator[None]:
        """A child whose answer was not waited for is of no further use: what it says next is about the past."""
        try:
            yield
        except BaseException:
            self._end()
            raise

    def _end(self, grace_s: float = 0) -> None:
        process, self._process = self._process, None
        if process:
            process.end(grace_s)


@dataclass(frozen=True)
class _Patience:
    """How long to wait for an answer."""

    cancelled: Callable[[], bool] = never_cancelled
    timeout_s: float = math.inf
    since: float = field(default_factory=time.monotonic)

    def check(self) -> None:
        """Raise if it has run out."""
        if self.cancelled():
            raise CancelledError("The separation was stopped because its result is no longer wanted.")
        if time.monotonic() - self.since >= self.timeout_s:
            raise TransientError(f"The separation took longer than {self.timeout_s:g} s and was stopped.")


class _Process:
    """One child process and this end of the pipe to it, from spawning to reaping."""

    def __init__(self, build: EngineFactory, child_logs: ChildLogs, name: str) -> None:
        self._connection, childs_end = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=serve, args=(childs_end, build, child_logs, name), name=name, daemon=True)
        with childs_end, _SPAWNING, _group_signals_blocked(), _main_module_hidden():
            self._process.start()
        # At exit, multiprocessing would send SIGTERM, which the child has blocked, and wait for its end for ever.
        atexit.register(self._process.kill)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send(self, order: Order) -> None:
        # A child that has just died is noticed by `answer`, which knows what to say about it.
        with suppress(OSError):
            self._connection.send(order)

    def answer(self, patience: _Patience, on_progress: Callable[[float], None] = ignore_progress) -> Any:
        """The child's next message that is not about progress."""
        while True:
            patience.check()
            message = self._next_message()
            if isinstance(message, float):
                on_progress(message)
            elif message is not None:
                return message

    def _next_message(self) -> Any:
        """One message, or None if none came for a moment; `CrashError` if none can come any more."""
        ready = wait([self._connection, self._process.sentinel], _POLL_S)
        if not ready:
            return None
        if self._connection in ready:
            with suppress(EOFError, OSError):
                return self._connection.recv()
        self._process.join(_POLL_S)
        if self._process.is_alive():
            return None
        CHILD_CRASHES.add(child=self._process.name)
        raise CrashError(
            f"The {self._process.name} process of the separation died: {self.cause_of_death()}.",
            exit_code=self._process.exitcode,
        )

    def cause_of_death(self) -> str:
        """The signal or the exit code that ended the process, in words."""
        exit_code = self._process.exitcode
        if exit_code is None or exit_code >= 0:
            return f"exit code {exit_code}"
        if -exit_code == signal.SIGKILL:
            return "SIGKILL, most often the kernel's out-of-memory killer"
        with suppress(ValueError):
            return signal.Signals(-exit_code).name
        return f"signal {-exit_code}"

    def end(self, grace_s: float) -> None:
        """Close the pipe, at which an idle child ends by itself, and kill what is not gone after `grace_s`."""
        self._connection.close()
        self._process.join(grace_s)
        self._process.kill()
        self._process.join()
        atexit.unregister(self._process.kill)
        self._process.close()


@contextmanager
def _group_signals_blocked() -> Iterator[None]:
    """Block the signals that reach whole process groups; what is spawned meanwhile has them blocked for life."""
    # Spawning first starts this helper of multiprocessing's if it does not run yet, and that would lift the block.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep multiprocessing from importing the main module in what is spawned meanwhile: a door takes half a second."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _unless_error(reply: Any) -> Any:
    if isinstance(reply, UvrError):
        raise reply
    return reply
