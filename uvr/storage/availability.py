"""Whether anything can be stored at the moment: found by storing something, at the start and after every refusal.

A storage that takes nothing must not cost songs. While it does, uploaders announce why (`uvr.liveness.workers`),
processors begin nothing, results wait on the disk, and all go on by themselves once a later check succeeds.
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
_NOT_KNOWN_YET = "The storage has not answered yet."


class StorageWatch:
    """Checks `storage`; `problem` is a sentence about why nothing can be stored, "" when there is nothing in the way.

    While there is a problem it is checked again every `again_s` seconds. Used by several threads.
    """

    def __init__(self, storage: Storage, *, again_s: float = 5.0) -> None:
        self._storage = storage
        self._again_s = again_s
        self._checking = threading.Lock()
        self._checked_at = 0.0
        self._on_change: Callable[[], None] = lambda: None
        self._warnings: list[str] = []
        self.problem = ""

    @contextmanager
    def watching(self, on_change: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Check until the block ends, which begins after the first check, or without it when that takes long.

        `on_change` is called, from any thread, when `problem` is another one.
        """
        self._on_change = on_change
        self.problem = _NOT_KNOWN_YET
        first, ended = threading.Event(), threading.Event()

        def watch() -> None:
            while not ended.is_set():
                if self.problem:
                    self._check(time.monotonic())
                first.set()
                ended.wait(self._again_s)

        # Not waited for at the end: a server that does not answer may hold a check for a minute.
        threading.Thread(target=watch, name="storage-watch", daemon=True).start()
        first.wait(_FIRST_CHECK_S)
        try:
            yield
        finally:
            ended.set()

    def is_to_blame(self) -> bool:
        """Check now, because something could not be stored: whether that is so for everything."""
        return bool(self._check(time.monotonic()))

    def _check(self, asked_at: float) -> str:
        """The problem as a check finds it that began later than `asked_at`."""
        with self._checking:
            if self._checked_at < asked_at:
                self._checked_at = time.monotonic()
                self._note(*self._find())
            return self.problem

    def _find(self) -> tuple[str, list[str]]:
        try:
            return "", self._storage.check()
        except UvrError as error:
            if error.message != self.problem:
                log.error("storage.unusable", error=error.message, **error.facts)
            return error.message, self._warnings
        except Exception:
            # A fault of ours in the check must not keep songs from being stored.
            log.exception("storage.check_broke")
            return "", self._warnings

    def _note(self, problem: str, warnings: list[str]) -> None:
        if warnings != self._warnings:
            log.warning("storage.limited", warnings=warnings)
        self._warnings = warnings
        before, self.problem = self.problem, problem
        if problem != before:
            if before not in ("", _NOT_KNOWN_YET) and not problem:
                log.info("storage.usable")
            self._on_change()
