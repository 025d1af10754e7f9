"""Which models are being downloaded: one task waits for each of them, so that the others do not take all places."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

PAUSE_S = 5.0
"""When a task is looked at again whose model is being downloaded for another task."""


class ModelDownloads:
    """The models that tasks of this processor are downloading. Used by several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._models: Counter[str] = Counter()

    def include(self, models: Iterable[str]) -> bool:
        """Whether one of `models` is being downloaded."""
        with self._lock:
            return any(self._models[model] for model in models)

    @contextmanager
    def of(self, models: Iterable[str]) -> Iterator[None]:
        """The block downloads `models`, as far as they are missing."""
        names = list(models)
        with self._lock:
            self._models.update(names)
        try:
            yield
        finally:
            with self._lock:
                self._models.subtract(names)
