"""How stems pass from processor to uploader: a folder below OUTPUT_DIR/pending that is there whole or not at all.

The processor fills `{task_uuid}.{fence}.part`, syncs it to disk and renames it; only then is the result enqueued, so a
result always finds its stems, even after a power cut. The lease's fence in the name keeps a worker that lost its lease
from touching what its successor makes, and tells the janitor whose a folder is.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uvr.disk import sync


class StagingFolder:
    """The folder of one claim; `path` while it is being filled, `name` for the task record once published."""

    def __init__(self, output_dir: Path, task_uuid: str, fence: int) -> None:
        self.name = f"{task_uuid}.{fence}"
        self._final = pending_dir(output_dir) / self.name
        self.path = self._final.with_name(f"{self.name}.part")

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """An empty folder to write stems into, removed again unless `publish` is reached."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        try:
            yield self.path
        finally:
            shutil.rmtree(self.path, ignore_errors=True)

    def publish(self) -> None:
        """Sync the stems to disk and let the folder appear under its final name."""
        for stem in self.path.iterdir():
            sync(stem)
        sync(self.path)
        shutil.rmtree(self._final, ignore_errors=True)
        self.path.rename(self._final)
        sync(self._final.parent)


def stems_of(output_dir: Path, name: str) -> dict[str, Path]:
    """The published stems by name ("vocals" -> …/vocals.wav), in alphabetical order; empty when the folder is gone."""
    folder = pending_dir(output_dir) / name
    return {path.stem: path for path in sorted(folder.iterdir())} if name and folder.is_dir() else {}


def remove(output_dir: Path, name: str) -> None:
    """Delete a published folder, its stems being stored; nothing for a task that has none."""
    if name:
        shutil.rmtree(pending_dir(output_dir) / name, ignore_errors=True)


def pending_dir(output_dir: Path) -> Path:
    """Where all of them stand."""
    return output_dir / "pending"
