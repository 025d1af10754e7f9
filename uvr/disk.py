"""What makes a file survive a power cut: the one step that every "whole or not at all" here ends with."""

from __future__ import annotations

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return once the content of `path` is on the disk: a file's bytes, or a folder's names after a rename in it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
