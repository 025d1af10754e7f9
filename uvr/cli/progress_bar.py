"""The progress of a command: a bar on a terminal, or some lines of text in a log."""

from __future__ import annotations

import time
from typing import TextIO

from uvr.client import Task
from uvr.models.files import DownloadProgress

_BAR_WIDTH = 30
_REDRAW_S = 0.1
_LINE_BYTES = 20_000_000  # between two lines, if the size of a download is not known


class ProgressLine:
    """Shows the progress of `name`: a bar if `out` is a terminal, otherwise a line for every fifth of the work."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._live = out.isatty()
        self._drawn_at = 0.0
        self._next_share = 0.0
        self._next_bytes = _LINE_BYTES
        self._source = ""

    def downloaded(self, transfer: DownloadProgress) -> None:
        """Print what is downloaded, its size and each source that is tried; then show how much has arrived."""
        if transfer.source != self._source:
            self._source, self._next_share = transfer.source, 1 / 5
            size = f" ({megabytes(transfer.total_bytes)})" if transfer.total_bytes else ""
            self._out.write(f"Downloading {self._name}{size} from {transfer.source}\n")
            self._out.flush()  # the server may take a long time to answer
        if transfer.done_bytes:
            self.transferred(transfer.done_bytes, transfer.total_bytes)

    def transferred(self, done: int, total: int | None) -> None:
        """Show that `done` of `total` bytes were transferred; `total` is None if it is not known."""
        if total:
            self.show(done / total, f"{megabytes(done)} of {megabytes(total)}")
        elif self._live:
            self._draw(megabytes(done))
        elif done >= self._next_bytes:
            self._next_bytes = done + _LINE_BYTES
            self._out.write(f"{self._name}: {megabytes(done)}\n")

    def advanced(self, share: float) -> None:
        """Show that this share of the work, 0.0 to 1.0, is done, as a percentage."""
        self.show(share, f"{share:4.0%}")

    def followed(self, task: Task) -> None:
        """Show the state of a task, and the estimated time until its stems are made."""
        if task.status == "queued":
            words = f"queued, {task.position} ahead of it" if task.position else "queued"
        elif task.status == "uploading":
            words = "storing the stems"
        else:
            words = f"{task.progress:4.0%}"
        self.show(task.progress, words if task.eta_s is None else f"{words}, about {task.eta_s} s left")

    def show(self, share: float, words: str) -> None:
        """Show that this share of the work, 0.0 to 1.0, is done, followed by these words."""
        if self._live:
            bar = ("█" * round(share * _BAR_WIDTH)).ljust(_BAR_WIDTH, "░")
            self._draw(f"{bar} {words}", is_last=share >= 1)
        elif share >= self._next_share:
            self._next_share = (int(share * 5) + 1) / 5
            self._out.write(f"{self._name}: {words.strip()}\n")

    def close(self) -> None:
        """End the line, so that further output starts on a new one."""
        if self._live and self._drawn_at:
            self._out.write("\n")

    def _draw(self, line: str, *, is_last: bool = False) -> None:
        if time.monotonic() - self._drawn_at < _REDRAW_S and not is_last:
            return
        self._drawn_at = time.monotonic()
        self._out.write(f"\r{self._name} {line}\x1b[K")
        self._out.flush()


def megabytes(size: int) -> str:
    """A size in bytes as text: "59.1 MB"."""
    return f"{size / 1e6:.1f} MB"
