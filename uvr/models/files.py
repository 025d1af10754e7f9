"""Model files on disk: hashes, atomic publication, a lock per file, and the progress of a download.

Readers never see a partial file, and processes that need the same model download it once.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from uvr.disk import sync

log = structlog.get_logger()

TAIL_BYTES = 10_240_000
"""UVR identifies a model by the hash of this many bytes at the end of its file; smaller files are hashed whole."""


Stamp = tuple[tuple[str, int, int], ...]
"""Path, size and time of change of each file of a model: files with the same stamp need not be read again."""


@dataclass(frozen=True)
class DownloadProgress:
    """The progress of a download."""

    source: str
    """A URL without secrets, or the name of a package."""
    done_bytes: int = 0
    total_bytes: int | None = None
    """None while the size is unknown."""


ProgressCallback = Callable[[DownloadProgress], None]
"""Called when a download starts, before anything is received, and repeatedly until its end."""


def progress_log(name: str) -> ProgressCallback:
    """A callback that logs the download of the model `name`: its start, then every fifth of it."""
    logged_fifths = -1

    def log_progress(progress: DownloadProgress) -> None:
        nonlocal logged_fifths
        fifths = 5 * progress.done_bytes // progress.total_bytes if progress.total_bytes else 0
        if fifths > logged_fifths:
            logged_fifths = fifths
            facts = {"source": progress.source, "bytes": progress.done_bytes, "total_bytes": progress.total_bytes}
            log.info("model.fetching", model=name, **facts)

    return log_progress


def tail_md5(path: Path) -> str:
    """MD5 of the last 10,240,000 bytes of `path`, in hex; UVR's tables of parameters use it as the key."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def sha256(path: Path) -> str:
    """SHA-256 of `path`, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fingerprint(files: Iterable[Path], *facts: str) -> str:
    """A hash, in hex, of the content of model files and of what else decides about their results."""
    return hashlib.sha256("\n".join([*map(sha256, files), *facts]).encode()).hexdigest()


def stamp_of(files: Iterable[Path]) -> Stamp:
    """The stamp of `files` as they are now; a missing one is left out."""
    found = []
    for path in files:
        with suppress(OSError):
            status = path.stat()
            found.append((str(path), status.st_size, status.st_mtime_ns))
    return tuple(found)


def recorded_sha256(path: Path) -> str:
    """`sha256(path)` as recorded when the file was published; "" for a file that was copied there by hand."""
    record = _record_of(path)
    return record.read_text(encoding="utf-8").partition(" ")[0] if record.is_file() else ""


def publish(made: Path, path: Path) -> None:
    """Move the complete file `made` to `path` in the same folder, atomically, and record its SHA-256 next to it."""
    sync(made)
    # In the format of sha256sum, so that `sha256sum --check` works. Before the move, so that no file lacks its record.
    _record_of(path).write_text(f"{sha256(made)}  {path.name}\n", encoding="utf-8")
    made.replace(path)
    sync(path.parent)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Wait for the exclusive lock on `path` and hold it; the kernel releases the lock of a dead process."""
    with path.with_name(f".{path.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def is_locked(path: Path) -> bool:
    """Whether a process holds the lock on `path`."""
    with path.with_name(f".{path.name}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")
