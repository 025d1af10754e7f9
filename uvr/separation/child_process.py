"""A warm child process: a crash in a decoder or in the network costs one attempt of one task, not the worker.

`Child` promises to the parent that:

- its network, if it has one, is loaded and warmed up once, and stays loaded from song to song;
- the `UvrError`s of a job are raised in the parent unchanged; an unexpected exception is raised as a `TransientError`,
  with its traceback in the log; a child that dies, by a signal or by exiting, is raised as a `CrashError`;
- after a child died, the next job gets a new one;
- a job that is cancelled or exceeds its time limit ends within 0.2 s, because the child is killed;
- a child outlives its parent by a second at most, even if the parent dies by SIGKILL;
- the child ignores SIGTERM and SIGINT that are sent to the whole process group: the parent decides when it stops;
- the child's environment has no passwords (`uvr.separation.child_environment`);
- the parent loads no numpy, no decoder and no network runtime.

The child is spawned, not forked, so the parent may have threads. It does not import the parent's main module: the
classes of everything sent to it must be defined in other modules. `child_main` is what runs inside the child.
"""

from __future__ import annotations

import atexit
import math
import multiprocessing
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import resource_tracker, util
from multiprocessing.connection import wait
from types import ModuleType
from typing import Any

import structlog

from uvr.errors import CancelledError, CrashError, TransientError, UvrError
from uvr.metrics.definitions import CHILD_CRASHES
from uvr.separation.child_environment import child_environment
from uvr.separation.child_main import ChildLogs, EngineFactory, JobMessage, Loaded, serve
from uvr.separation.jobs import Job
from uvr.separation.progress import ignore_progress, never_cancelled

log = structlog.get_logger()

_SPAWN = multiprocessing.get_context("spawn")
_GROUP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
_SPAWNING = threading.Lock()
"""Only one thread may spawn at a time: hiding the main module and the environment affects the whole process."""
_POLL_S = 0.1
_CLOSE_GRACE_S = 2.0


class Child:
    """A child process with the engine that `build` makes. Used by any thread, but one at a time.

    `build` is pickled. `name` is the name of the process in the log. `log_level` and `log_format` are those of
    `uvr.logs.configure`. With `downloads` the child may download what `build` needs, through the usual proxies.
    `work` is what messages call its jobs.
    """

    def __init__(
        self,
        build: EngineFactory,
        name: str,
        *,
        log_level: str = "info",
        log_format: str = "auto",
        downloads: bool = False,
        work: str = "separation",
    ) -> None:
        self._build = build
        self._work = work
        self._name = name
        self._logs = ChildLogs(log_level, log_format)
        self._downloads = downloads
        self._process: _Process | None = None
        self._loaded = Loaded()

    @property
    def provider(self) -> str:
        """What the network runs on: "cpu", "cuda"; empty before the first start and without a network."""
        return self._loaded.provider

    @property
    def fingerprint(self) -> str:
        """That of the engine that was loaded last; empty before the first start and without a network."""
        return self._loaded.fingerprint

    @property
    def pid(self) -> int | None:
        """The process id of the running child; None if there is none, or if it has died."""
        process = self._process
        return process.pid if process and process.is_alive() else None

    def start(self, *, timeout_s: float = math.inf, cancelled: Callable[[], bool] = never_cancelled) -> None:
        """Block until a child is ready for jobs. Raises `UvrError` with the reason if it cannot be started.

        `timeout_s` and `cancelled` as for `run`.
        """
        self._running(_WaitLimits(cancelled, timeout_s, work=self._work))

    def run(
        self,
        job: Job,
        *,
        timeout_s: float,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
    ) -> Any:
        """The result of `job`, run in the child. Starts a child if none is running.

        Apart from the job's own errors it raises `CrashError` if the child dies, `TransientError` if starting the
        child and running the job take longer than `timeout_s`, and `CancelledError` within 0.2 s after `cancelled()`
        has become true. After these three, and after an exception from `on_progress`, the child has been killed and
        the next call starts a new one.
        """
        limits = _WaitLimits(cancelled, timeout_s, work=self._work)
        process = self._running(limits)
        with self._killed_on_error():
            process.send(JobMessage(job, structlog.contextvars.get_contextvars()))
            reply = process.receive(limits, on_progress)
        return _raise_if_error(reply)

    def close(self) -> None:
        """End the child, if there is one; kill it if it does not end by itself."""
        self._end(_CLOSE_GRACE_S)

    def _running(self, limits: _WaitLimits) -> _Process:
        """The running child process, started if necessary."""
        if self._process and self._process.is_alive():
            return self._process
        if self._process:
            log.warning("child.died_idle", child=self._name, cause=self._process.cause_of_death())
            CHILD_CRASHES.add(child=self._name)
            self._end()
        started = time.monotonic()
        process = self._process = _Process(self._build, self._logs, self._name, downloads=self._downloads)
        with self._killed_on_error():
            self._loaded = _raise_if_error(process.receive(limits))
        elapsed_s = round(time.monotonic() - started, 3)
        log.info("child.started", child=self._name, pid=process.pid, provider=self.provider, elapsed_s=elapsed_s)
        return process

    @contextmanager
    def _killed_on_error(self) -> Iterator[None]:
        """Kill the child on any error: its next message would be about the job that was given up."""
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
class _WaitLimits:
    """How long to wait for a message from the child."""

    cancelled: Callable[[], bool] = never_cancelled
    timeout_s: float = math.inf
    since: float = field(default_factory=time.monotonic)
    work: str = "separation"

    def check(self) -> None:
        """Raise if the wait is over."""
        if self.cancelled():
            raise CancelledError(f"The {self.work} was stopped because its result is no longer needed.")
        if time.monotonic() - self.since >= self.timeout_s:
            raise TransientError(f"The {self.work} took longer than {self.timeout_s:g} s and was stopped.")


class _Process:
    """One operating system process and the parent's end of the pipe to it, from spawning to reaping."""

    def __init__(self, build: EngineFactory, child_logs: ChildLogs, name: str, *, downloads: bool) -> None:
        self._connection, childs_end = _SPAWN.Pipe()
        self._process = _SPAWN.Process(target=serve, args=(childs_end, build, child_logs, name), name=name, daemon=True)
        variables = child_environment(downloads=downloads)
        with childs_end, _SPAWNING, _spawned_with(variables), _group_signals_blocked(), _main_module_hidden():
            self._process.start()
        # At exit, multiprocessing would send SIGTERM, which the child blocks, and wait forever.
        atexit.register(self._process.kill)

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send(self, message: JobMessage) -> None:
        # If the child has just died, `receive` raises the error that says why.
        with suppress(OSError):
            self._connection.send(message)

    def receive(self, limits: _WaitLimits, on_progress: Callable[[float], None] = ignore_progress) -> Any:
        """The child's next message that is not a progress share."""
        while True:
            limits.check()
            message = self._next_message()
            if isinstance(message, float):
                on_progress(message)
            elif message is not None:
                return message

    def _next_message(self) -> Any:
        """One message, or None if none arrived within 0.1 s. Raises `CrashError` if the child is dead."""
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
        """The signal or the exit code that ended the process, for messages."""
        exit_code = self._process.exitcode
        if exit_code is None or exit_code >= 0:
            return f"exit code {exit_code}"
        if -exit_code == signal.SIGKILL:
            return "SIGKILL, usually sent by the kernel's out-of-memory killer"
        with suppress(ValueError):
            return signal.Signals(-exit_code).name
        return f"signal {-exit_code}"

    def end(self, grace_s: float) -> None:
        """Close the pipe, upon which an idle child ends by itself; kill the child if it still runs after `grace_s`."""
        self._connection.close()
        self._process.join(grace_s)
        self._process.kill()
        self._process.join()
        atexit.unregister(self._process.kill)
        self._process.close()


@contextmanager
def _group_signals_blocked() -> Iterator[None]:
    """Block the signals that are sent to whole process groups. A process spawned meanwhile keeps them blocked."""
    # Spawning would start this helper process of multiprocessing if it is not running, and that would unblock them.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _GROUP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _spawned_with(variables: dict[str, str]) -> Iterator[None]:
    """Give a process spawned meanwhile these environment variables alone."""
    # multiprocessing passes on the whole environment. Changing os.environ meanwhile would disturb other threads, and
    # what a child deletes from its own environment stays readable below /proc.
    module: Any = util
    usual = module.spawnv_passfds

    def spawn(path: bytes, arguments: Sequence[str], descriptors: Sequence[int]) -> int:
        process = subprocess.Popen(  # noqa: S603  # the command of multiprocessing
            arguments, executable=path, env=variables, pass_fds=descriptors, restore_signals=False
        )
        process.returncode = 0  # it is multiprocessing that waits for the process
        return process.pid

    module.spawnv_passfds = spawn
    try:
        yield
    finally:
        module.spawnv_passfds = usual


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """Keep a process spawned meanwhile from importing the main module, which would take half a second."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _raise_if_error(reply: Any) -> Any:
    if isinstance(reply, UvrError):
        raise reply
    return reply
