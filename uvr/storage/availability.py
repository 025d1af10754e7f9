"""Whether the storage accepts files at the moment, found out by storing a small one.

The storage is checked at the start and after each file that it refuses. An unavailable storage must not make tasks
fail: until a later check succeeds, uploaders announce the reason (`uvr.liveness.workers`), processors begin no task and
results wait on the disk.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from uvr.errors import UvrError
from uvr.storage.base import Storage

log = structlog.get_logger()

_FIRST_CHECK_S = 5.0
_NOT_CHECKED_YET = "The storage has not answered yet."


class StorageAvailability:
    """Checks `storage`; `problem` is a sentence that says why nothing can be stored, or "" if it is available.

    While there is a problem, the storage is checked again every `recheck_s` seconds. Several threads may use one
    object.
    """

    def __init__(self, storage: Storage, *, recheck_s: float = 5.0) -> None:
        self._storage = storage
        self._recheck_s = recheck_s
        self._check_lock = threading.Lock()
        self._checked_at = 0.0
        self._on_change: Callable[[], None] = lambda: None
        self._warnings: list[str] = []
        self.problem = ""

    @contextmanager
    def watching(self, on_change: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Check as long as the block runs; it begins after the first check, or after a few seconds without a result.

        `on_change` is called whenever `problem` has changed, from any thread.
        """
        self._on_change = on_change
        self.problem = _NOT_CHECKED_YET
        checked, ended = threading.Event(), threading.Event()

        def watch() -> None:
            while not ended.is_set():
                if self.problem:
                    self._check(time.monotonic())
                checked.set()
                ended.wait(self._recheck_s)

        # The thread is not joined: if the server does not answer, a check may take a minute.
        threading.Thread(target=watch, name="storage-availability", daemon=True).start()
        checked.wait(_FIRST_CHECK_S)
        try:
            yield
        finally:
            ended.set()

    def confirm_outage(self) -> bool:
        """Check now, after a file could not be stored, and return whether the whole storage is unavailable."""
        return bool(self._check(time.monotonic()))

    def _check(self, asked_at: float) -> str:
        """Return the problem found by a check that began after `asked_at`, which may be the check of another thread."""
        with self._check_lock:
            if self._checked_at >= asked_at:
                return self.problem
            self._checked_at = time.monotonic()
            problem, warnings = "", self._warnings
            try:
                warnings = self._storage.check()
            except UvrError as error:
                problem = error.message
                if problem != self.problem:
                    log.error("storage.unusable", error=problem, **error.facts)
            except Exception:
                # A bug in the check must not keep stems from being stored.
                log.exception("storage.check_broke")
            if warnings != self._warnings:
                log.warning("storage.limited", warnings=warnings)
            self._warnings = warnings
            previous, self.problem = self.problem, problem
            if problem != previous:
                if previous not in ("", _NOT_CHECKED_YET) and not problem:
                    log.info("storage.usable")
                self._on_change()
            return problem
