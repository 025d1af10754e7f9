"""Passes stems from the processor to the uploader in a folder below OUTPUT_DIR/pending that appears only when complete.

The processor writes into `{task_uuid}.{fence}.part`, syncs it to the disk and renames it. Only then is the result
enqueued, so a result always finds its stems, even after a power cut. The name contains the fence of the lease, so a
worker that lost its lease cannot touch the folder of the next attempt, and the janitor knows the owner of each folder.

The peaks of the stems lie beside that folder, in `{task_uuid}.{fence}.peaks`, and are complete before it appears. An
uploader of an older version takes everything in the folder itself for a stem.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uvr.disk import sync

PEAKS_SUFFIX = ".peaks"


class StagingFolder:
    """The folder of one lease: it lies at `path` until it is published; the task record stores its `name`."""

    def __init__(self, output_dir: Path, task_uuid: str, fence: int) -> None:
        self.name = f"{task_uuid}.{fence}"
        self._final = pending_dir(output_dir) / self.name
        self.path = self._final.with_name(f"{self.name}.part")
        self.peaks_path = peaks_dir(output_dir, self.name)
        self._is_published = False

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """An empty folder for the stems, and one for their peaks.

        Both are deleted at the end of the block unless `publish` was called.
        """
        for folder in (self.path, self.peaks_path):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        try:
            yield self.path
        finally:
            if not self._is_published:
                shutil.rmtree(self.path, ignore_errors=True)
                shutil.rmtree(self.peaks_path, ignore_errors=True)

    def publish(self) -> None:
        """Sync stems and peaks to the disk and rename the folder of the stems to its final name."""
        for folder in (self.peaks_path, self.path):
            for file in folder.iterdir():
                sync(file)
            sync(folder)
        shutil.rmtree(self._final, ignore_errors=True)
        self.path.rename(self._final)
        self._is_published = True
        sync(self._final.parent)


def stems_of(output_dir: Path, name: str) -> dict[str, Path]:
    """The published stems by name ("vocals" -> …/vocals.wav), in alphabetical order; empty if there is no folder."""
    folder = pending_dir(output_dir) / name
    return {path.stem: path for path in sorted(folder.iterdir())} if name and folder.is_dir() else {}


def peaks_of(output_dir: Path, name: str) -> dict[str, Path]:
    """The peaks of published stems ("vocals.fine" -> …/vocals.fine.dat); empty if there are none."""
    folder = peaks_dir(output_dir, name)
    return {path.stem: path for path in sorted(folder.iterdir())} if name and folder.is_dir() else {}


def remove(output_dir: Path, name: str) -> None:
    """Delete a published folder after its stems are stored; an empty `name` means that the task has none."""
    if name:
        shutil.rmtree(pending_dir(output_dir) / name, ignore_errors=True)
        shutil.rmtree(peaks_dir(output_dir, name), ignore_errors=True)


def peaks_dir(output_dir: Path, name: str) -> Path:
    """The folder of the peaks that belong to the folder `name`."""
    return pending_dir(output_dir) / f"{name}{PEAKS_SUFFIX}"


def pending_dir(output_dir: Path) -> Path:
    """The parent of all staging folders."""
    return output_dir / "pending"
