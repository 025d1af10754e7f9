"""The progress of a command for the person who runs it: a bar on a terminal, a line every now and then in a log."""

from __future__ import annotations

import time
from typing import TextIO

from uvr.models.files import DownloadProgress

_BAR_WIDTH = 30
_REDRAW_S = 0.1
_LINE_BYTES = 20_000_000  # between two lines, where nobody knows how large a download is


class ProgressLine:
    """How far `name` is, on `out`: a bar that is redrawn on a terminal, a line every now and then elsewhere."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._live = out.isatty()
        self._drawn_at = 0.0
        self._next_share = 0.0
        self._next_bytes = _LINE_BYTES
        self._is_announced = False

    def downloaded(self, transfer: DownloadProgress) -> None:
        """Show once what is downloaded, from where and how large it is, and then how much of it has arrived."""
        if not self._is_announced:
            self._is_announced = True
            self._next_share = 1 / 5
            size = f" ({megabytes(transfer.total_bytes)})" if transfer.total_bytes else ""
            self._out.write(f"Downloading {self._name}{size} from {transfer.source}\n")
            self._out.flush()  # before a server is asked that may not answer for a long time
        if transfer.done_bytes:
            self.transferred(transfer.done_bytes, transfer.total_bytes)

    def transferred(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes are here, or there; `total` is None when nobody knows it."""
        if total:
            self.show(done / total, f"{megabytes(done)} of {megabytes(total)}")
        elif self._live:
            self._draw(megabytes(done))
        elif done >= self._next_bytes:
            self._next_bytes = done + _LINE_BYTES
            self._out.write(f"{self._name}: {megabytes(done)}\n")

    def advanced(self, share: float) -> None:
        """Show that this share of the work, 0.0 to 1.0, is done."""
        self.show(share, f"{share:4.0%}")

    def show(self, share: float, words: str) -> None:
        """Show this share of the work, 0.0 to 1.0, and these words beside it."""
        if self._live:
            bar = ("█" * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH, "░")
            self._draw(f"{bar} {words}", is_last=share >= 1)
        elif share >= self._next_share:
            self._next_share = (int(share * 5) + 1) / 5
            self._out.write(f"{self._name}: {words.strip()}\n")

    def close(self) -> None:
        """Leave the line, so that what is written next stands below it."""
        if self._live and self._drawn_at:
            self._out.write("\n")

    def _draw(self, line: str, *, is_last: bool = False) -> None:
        if time.monotonic() - self._drawn_at < _REDRAW_S and not is_last:
            return
        self._drawn_at = time.monotonic()
        self._out.write(f"\r{self._name} {line}\x1b[K")
        self._out.flush()


def megabytes(size: int) -> str:
    """A size in bytes, for people."""
    return f"{size / 1e6:.1f} MB"
