"""The longest song that is accepted, and its refusal before anything is decoded.

Twelve hours of silence are a FLAC file of 8 MB, and decoding only the first of them takes half a minute and a gigabyte
of disk. Packets tell how long they last at some ten thousand times real time, whatever a header says about the whole,
so they are counted first. What they make too long is refused at once: a lie there hurts only the liar. What they make
short enough proves nothing, so whoever decodes counts samples all the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from itertools import accumulate
from pathlib import Path

import av

from uvr.audio.media import first_audio_stream, open_media
from uvr.audio.ogg_opus import OPUS_RATE_HZ, packet_samples
from uvr.errors import PermanentError

FULL_RATE_HZ = 192_000
"""The highest sample rate at which songs may be as long as the limit; the limit thus bounds their decoded size too."""

_PADDING_S = 1.0
"""What the packets of a song may last longer than its samples: encoders pad both ends."""


def most_samples(max_seconds: float, sample_rate: int) -> float:
    """The samples accepted at `sample_rate` Hz: those of `max_seconds`, beyond 192 kHz no more than there."""
    return max_seconds * min(sample_rate, FULL_RATE_HZ)


def refuse_longer(path: Path, max_seconds: float) -> None:
    """Raise `PermanentError` if the packets of the first audio stream last longer than `max_seconds`.

    Raises it too when there is no such stream. Reads the file until the limit is passed, and keeps nothing of it.
    """
    if math.isinf(max_seconds):
        return
    with path.open("rb") as file:
        _refuse_longer(packet_samples(file), max_seconds, OPUS_RATE_HZ)
    # A file that breaks off in the middle ends there; the decoder says so.
    with path.open("rb") as file, open_media(file) as container, suppress(av.error.FFmpegError, OSError):
        stream = first_audio_stream(container)
        durations = (packet.duration or 0 for packet in container.demux(stream))
        _refuse_longer(durations, max_seconds, 1 / stream.time_base)


def _refuse_longer(durations: Iterable[int], max_seconds: float, per_second: float) -> None:
    longest = (max_seconds + _PADDING_S) * per_second
    if any(lasted > longest for lasted in accumulate(durations)):
        raise too_long(max_seconds)


def too_long(seconds: float) -> PermanentError:
    """The error for a song longer than `seconds`."""
    spoken = f"{seconds / 60:.4g} minutes" if seconds >= 120 else f"{seconds:.4g} seconds"
    return PermanentError(f"The audio is longer than {spoken}, the longest accepted.")
