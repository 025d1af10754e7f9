"""Model files on disk: their hashes, how they come to stand there whole or not at all, and how far a download is.

A reader never sees half a model, and two processes that miss the same model fetch it once.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog

from uvr.disk import sync

log = structlog.get_logger()

TAIL_BYTES = 10_240_000
"""How much of a file's end UVR hashes to name its parameters; a smaller file is hashed whole."""


@dataclass(frozen=True)
class DownloadProgress:
    """How far a download is."""

    source: str
    """Where it comes from: an address without secrets, or the name of a package."""
    done_bytes: int = 0
    total_bytes: int | None = None
    """None while the size is not known."""


ProgressCallback = Callable[[DownloadProgress], None]
"""Called when a download begins, before anything has arrived, and again and again while it arrives."""


def progress_log(name: str) -> ProgressCallback:
    """Progress of the model `name` for the log of a process in the background: the beginning, then every fifth."""
    logged_fifths = -1

    def log_progress(transfer: DownloadProgress) -> None:
        nonlocal logged_fifths
        fifths = 5 * transfer.done_bytes // transfer.total_bytes if transfer.total_bytes else 0
        if fifths > logged_fifths:
            logged_fifths = fifths
            facts = {"source": transfer.source, "bytes": transfer.done_bytes, "total_bytes": transfer.total_bytes}
            log.info("model.fetching", model=name, **facts)

    return log_progress


def tail_md5(path: Path) -> str:
    """MD5 of the last 10,240,000 bytes of `path`, in hex: UVR's name for a model's parameters."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of `path`, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def recorded_sha256(path: Path) -> str:
    """What `sha256(path)` was when the file arrived; "" for a file that was put there by hand."""
    record = _record_of(path)
    return record.read_text(encoding="utf-8").partition(" ")[0] if record.is_file() else ""


def publish(made: Path, path: Path) -> None:
    """Move the complete file `made` to `path` in the same folder, atomically, its SHA-256 recorded beside it."""
    sync(made)
    # The form of sha256sum, so that `sha256sum --check` works in the folder. First, so that no file lacks its record.
    _record_of(path).write_text(f"{sha256(made)}  {path.name}\n", encoding="utf-8")
    made.replace(path)
    sync(path.parent)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the right to make `path`, waiting for whoever holds it; the kernel takes it back from a dead process."""
    with path.with_name(f".{path.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
