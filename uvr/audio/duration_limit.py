"""The limit on a song's duration, checked before anything is decoded.

Twelve hours of silence fit into a FLAC file of 8 MB, and decoding only the first hour takes half a minute and 1 GB of
disk. So the durations that the packets declare are added up first, at about ten thousand times real time, whatever a
header declares about the whole file.

The declared durations can be wrong in both directions. One packet may claim hours (a gap, a damaged table), and the
clock of a file may be wrong by a factor. So if a song seems too long, its packets are added up again, and none counts
for more than the longest one that is decoded within the song's first second. A song that seems short enough is not
trusted either: samples are counted again while it is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import av

from uvr.audio.container import audio_track, open_media, seek_to_media
from uvr.audio.ogg_opus import OPUS_RATE_HZ, packet_samples
from uvr.errors import PermanentError

FULL_RATE_HZ = 192_000
"""Above this sample rate the limit shrinks in proportion, so that it bounds the decoded size too."""

_PADDING_S = 1.0
"""How much longer than the samples the packets of a song may be: encoders pad both ends."""
_MAX_FIRST_PACKETS = 500
"""How many packets are decoded to find the longest one; they may be damaged, or as short as 2.5 ms."""


def max_samples(max_seconds: float, sample_rate: int) -> float:
    """How many samples per channel are accepted at `sample_rate` Hz."""
    return max_seconds * min(sample_rate, FULL_RATE_HZ)


def claimed_duration_s(path: Path, max_seconds: float) -> float:
    """The duration of the song in `path` as its packets declare it, in seconds.

    Reads the file until the limit is exceeded and stores nothing. Without a limit (infinity) it reads nothing and
    returns 0. Raises `PermanentError` if the song is longer than `max_seconds` or there is no audio.
    """
    if math.isinf(max_seconds):
        return 0.0
    limit_s = max_seconds + _PADDING_S
    with path.open("rb") as file:
        seek_to_media(file)
        if _sum_up_to(packet_samples(file), limit_s * OPUS_RATE_HZ) > limit_s * OPUS_RATE_HZ:
            raise too_long_error(max_seconds)
    claimed_s = _packets_s(path, limit_s)
    if claimed_s > limit_s:
        claimed_s = _packets_s(path, limit_s, max_packet_s=_max_decoded_packet_s(path))
    if claimed_s > limit_s:
        raise too_long_error(max_seconds)
    return claimed_s


def _sum_up_to(durations: Iterable[float], limit: float) -> float:
    """The sum of `durations`, or a partial sum above `limit`."""
    total = 0.0
    for total in accumulate(durations):
        if total > limit:
            break
    return total


def _packets_s(path: Path, limit_s: float, *, max_packet_s: float = math.inf) -> float:
    """The sum of the declared packet durations, each capped at `max_packet_s`; stops reading above `limit_s`."""
    with path.open("rb") as file, open_media(file) as container:
        stream = audio_track(container).stream
        unit_s = float(stream.time_base)
        claims = (min((packet.duration or 0) * unit_s, max_packet_s) for packet in _readable(container.demux(stream)))
        return _sum_up_to(claims, limit_s)


def _max_decoded_packet_s(path: Path) -> float:
    """The duration of the longest decoded packet within the first second of the song."""
    max_s = decoded_s = 0.0
    with path.open("rb") as file, open_media(file) as container:
        for packet in islice(_readable(container.demux(audio_track(container).stream)), _MAX_FIRST_PACKETS):
            packet_s = 0.0
            with suppress(av.error.FFmpegError):  # `AudioReader` reports damage
                packet_s = sum(frame.samples / frame.sample_rate for frame in packet.decode() if frame.sample_rate)
            max_s, decoded_s = max(max_s, packet_s), decoded_s + packet_s
            if decoded_s > 1:
                break
    return max_s


def _readable(packets: Iterator[Any]) -> Iterator[Any]:
    """`packets` up to the point where a truncated file breaks off, which `AudioReader` reports."""
    with suppress(av.error.FFmpegError, OSError):
        yield from packets


def too_long_error(max_seconds: float) -> PermanentError:
    """The error for a song longer than `max_seconds`."""
    limit = f"{max_seconds / 60:.4g} minutes" if max_seconds >= 120 else f"{max_seconds:.4g} seconds"
    return PermanentError(f"The audio is longer than {limit}, the maximum.")
