"""Progress reports of a separation, and the check whether it has been cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from uvr.errors import CancelledError

DECODED, SEPARATED = 0.02, 0.98
"""The share of the work that is done when the song is decoded, and when its stems are estimated."""

T = TypeVar("T")


def ignore_progress(_share: float) -> None:
    """The `report` of callers that do not need progress."""


def never_cancelled() -> bool:
    """The `cancelled` of callers that never cancel."""
    return False


class SeparationObserver:
    """Passes the share of the work that is done, growing from 0.0 to 1.0, to `report`."""

    def __init__(self, report: Callable[[float], None], cancelled: Callable[[], bool] = never_cancelled) -> None:
        self.report = report
        self._cancelled = cancelled

    def raise_if_cancelled(self) -> None:
        """Raise `CancelledError` if the result is no longer needed."""
        if self._cancelled():
            raise CancelledError("The separation was stopped because its result is no longer needed.")

    def until_cancelled(self, blocks: Iterator[T]) -> Iterator[T]:
        """Yield `blocks`; raise `CancelledError` as soon as the separation is cancelled."""
        for block in blocks:
            self.raise_if_cancelled()
            yield block

    def report_separated(self, share: float) -> None:
        """Report that the network has processed this share of the mixture, 0.0 to 1.0."""
        self.report(DECODED + (SEPARATED - DECODED) * share)
