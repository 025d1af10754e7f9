"""A disk of a few MiB that a test can fill without harm to anything else."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A file system in memory at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def grow(self, mib: int) -> None:
        """Give the disk this size."""
        _mount("-o", f"remount,size={mib}m", self.path)


@contextmanager
def small_disk(path: Path, mib: int) -> Iterator[SmallDisk]:
    """A disk of this size, mounted at the new folder `path`. The test is skipped without the right to mount one."""
    path.mkdir()
    try:
        _mount("-t", "tmpfs", "-o", f"size={mib}m", "uvr-test", path)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to mount a small disk: run the tests as root")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", path], check=True)


def _mount(*arguments: str | Path) -> None:
    subprocess.run(["mount", *arguments], check=True, capture_output=True)
