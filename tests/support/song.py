"""A song through all three stages in one process: decode, network, encode.

Tests and benches of the stages themselves go this way. The service runs the same stages in child processes
(`uvr.separation.separator`), so that the stages of two songs can overlap.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from uvr.audio.output_format import OutputFormat
from uvr.errors import full_disk_explained
from uvr.separation.engine import Engine, Separation
from uvr.separation.mixture import decode_mixture
from uvr.separation.progress import SeparationObserver, ignore_progress, never_cancelled
from uvr.separation.stem_writer import write_stems


def separate_song(
    engine: Engine,
    source: Path,
    output_dir: Path,
    *,
    max_seconds: float,
    output_format: OutputFormat = OutputFormat.WAV,
    on_progress: Callable[[float], None] = ignore_progress,
    cancelled: Callable[[], bool] = never_cancelled,
) -> Separation:
    """Split `source` into `output_dir`/{stem}.{output_format}.

    Calls `on_progress` with a growing share of the work, 0.0 to 1.0, once per segment. Raises `PermanentError` for a
    source that is not audio or is longer than `max_seconds`, `DiskFullError` when the disk is full, and
    `CancelledError` within a segment after `cancelled()` has become true. An error leaves no files behind.
    """
    observer = SeparationObserver(on_progress, cancelled)
    with full_disk_explained(), tempfile.TemporaryDirectory(dir=output_dir, prefix=".separating-") as name:
        work_dir = Path(name)
        mixture = decode_mixture(source, work_dir, max_seconds=max_seconds, observer=observer)
        estimates = engine.separate(mixture, work_dir, observer)
        return write_stems([estimates], mixture, work_dir, output_dir, output_format, observer)
