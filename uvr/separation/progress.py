"""What whoever waits for a separation wants to hear, and whether its result is still wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from uvr.errors import CancelledError

DECODED, SEPARATED = 0.02, 0.98
"""The share of the work that is done once the song is decoded, and once its stems are known."""

T = TypeVar("T")


def ignore_progress(_share: float) -> None:
    """The `report` of callers that do not want to hear."""


def never_cancelled() -> bool:
    """The `cancelled` of callers that always want the result."""
    return False


class SeparationObserver:
    """`report` is told a growing share of the work, 0.0 to 1.0."""

    def __init__(self, report: Callable[[float], None], cancelled: Callable[[], bool] = never_cancelled) -> None:
        self.report = report
        self._cancelled = cancelled

    def check(self) -> None:
        """Raise `CancelledError` if the result is no longer wanted."""
        if self._cancelled():
            raise CancelledError("The separation was stopped because its result is no longer wanted.")

    def over(self, blocks: Iterator[T]) -> Iterator[T]:
        """`blocks`, ending with `CancelledError` when they are no longer wanted."""
        for block in blocks:
            self.check()
            yield block

    def separated(self, share: float) -> None:
        """Report that this share of the mixture, 0.0 to 1.0, has been through the network."""
        self.report(DECODED + (SEPARATED - DECODED) * share)
