"""A song through all three stages in one process: decode, network, encode.

The command line's benches and tests go this way; the service runs the same stages in processes of their own
(`separator`), so that one song's can overlap another's.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from uvr.audio.output_format import OutputFormat
from uvr.separation.engine import Engine, Separation
from uvr.separation.full_disk import full_disk_as_transient
from uvr.separation.mixture import take_in
from uvr.separation.progress import SeparationObserver, never, unheard
from uvr.separation.stem_writer import save_stems


def separate_song(
    engine: Engine,
    source: Path,
    output_dir: Path,
    *,
    max_seconds: float,
    output_format: OutputFormat = OutputFormat.WAV,
    on_progress: Callable[[float], None] = unheard,
    cancelled: Callable[[], bool] = never,
) -> Separation:
    """Split `source` into <stem>.wav, or `output_format`, under `output_dir`.

    `on_progress` gets a growing share of the work, 0.0 to 1.0, once per segment. Raises `PermanentError` for a
    source that is no audio or longer than `max_seconds`, `TransientError` when the disk is full, and
    `CancelledError` within a segment after `cancelled()` has become true. Nothing is left behind then.
    """
    watch = SeparationObserver(on_progress, cancelled)
    with full_disk_as_transient(), tempfile.TemporaryDirectory(dir=output_dir, prefix=".separating-") as name:
        folder = Path(name)
        mixture = take_in(source, folder, max_seconds=max_seconds, watch=watch)
        estimates = engine.separate(mixture, folder, watch)
        return save_stems(estimates, mixture, folder, output_dir, output_format, watch)
