"""Progress for whoever watches a command: a bar on a terminal, a line every now and then in a log."""

from __future__ import annotations

import time
from typing import TextIO

_BAR_WIDTH = 30
_REDRAW_S = 0.1


class ProgressLine:
    """How far `name` is, on `out`: a bar that is redrawn on a terminal, a line every fifth elsewhere."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._live = out.isatty()
        self._drawn_at = 0.0
        self._next_share = 0.0

    def transferred(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes have arrived."""
        amount = f"{megabytes(done)} of {megabytes(total)}" if total else megabytes(done)
        self.show(done / total if total else 0.0, amount)

    def advanced(self, share: float) -> None:
        """Show that this share of the work, 0.0 to 1.0, is done."""
        self.show(share, f"{share:4.0%}")

    def show(self, share: float, words: str) -> None:
        """Show this share of the work, 0.0 to 1.0, and these words beside it."""
        if self._live:
            self._draw(share, words)
        elif share >= self._next_share:
            self._next_share = (int(share * 5) + 1) / 5
            self._out.write(f"{self._name}: {words.strip()}\n")

    def close(self) -> None:
        """Leave the line, so that what is written next stands below it."""
        if self._live and self._drawn_at:
            self._out.write("\n")

    def _draw(self, share: float, words: str) -> None:
        if time.monotonic() - self._drawn_at < _REDRAW_S and share < 1:
            return
        self._drawn_at = time.monotonic()
        bar = ("█" * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH, "░")
        self._out.write(f"\r{self._name} {bar} {words}\x1b[K")
        self._out.flush()


def megabytes(size: int) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e6:.1f} MB"
