"""The longest song that is accepted, and its refusal before anything is decoded.

Twelve hours of silence are a FLAC file of 8 MB, and decoding only the first of them takes half a minute and a gigabyte
of disk. Packets say how long they last, and are read at some ten thousand times real time, so those are added up first,
whatever a header says about the whole. One packet may claim hours (a gap, a damaged table), and all of a file may be
wrong by the same factor (its clock); so a song that seems too long is added up once more, and no packet counts for more
than the longest of those that the song's first second decodes to. What seems short enough proves nothing either:
samples are counted all the same while the song is decoded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate, islice
from pathlib import Path
from typing import Any

import av

from uvr.audio.container import audio_track, open_media, seek_song
from uvr.audio.ogg_opus import OPUS_RATE_HZ, packet_samples
from uvr.errors import PermanentError

FULL_RATE_HZ = 192_000
"""The highest sample rate at which songs may be as long as the limit; the limit thus bounds their decoded size too."""

_PADDING_S = 1.0
"""What the packets of a song may last longer than its samples: encoders pad both ends."""
_FIRST_PACKETS = 500
"""The most that are decoded of a song that seems too long; they may be damaged, or as short as 2.5 ms."""


def max_samples(max_seconds: float, sample_rate: int) -> float:
    """The samples accepted at `sample_rate` Hz: those of `max_seconds`, beyond 192 kHz no more than there."""
    return max_seconds * min(sample_rate, FULL_RATE_HZ)


def claimed_seconds(path: Path, max_seconds: float) -> float:
    """How long the song in a file is by its packets.

    Raises `PermanentError` if that is longer than `max_seconds`, and when there is no audio. Reads the file until the
    limit is passed, and keeps nothing of it. Without a limit it reads nothing and gives 0.
    """
    if math.isinf(max_seconds):
        return 0.0
    limit_s = max_seconds + _PADDING_S
    with path.open("rb") as file:
        seek_song(file)
        if _sum(packet_samples(file), limit_s * OPUS_RATE_HZ) > limit_s * OPUS_RATE_HZ:
            raise too_long(max_seconds)
    claimed_s = _packets_s(path, limit_s)
    if claimed_s > limit_s:
        claimed_s = _packets_s(path, limit_s, packet_s=_max_packet_s(path))
    if claimed_s > limit_s:
        raise too_long(max_seconds)
    return claimed_s


def _sum(durations: Iterable[float], limit: float) -> float:
    """The sum, or a part of it that is beyond `limit`."""
    total = 0.0
    for total in accumulate(durations):
        if total > limit:
            break
    return total


def _packets_s(path: Path, limit_s: float, *, packet_s: float = math.inf) -> float:
    """What the packets of the song claim to last, each `packet_s` at most; reads no further than `limit_s`."""
    with path.open("rb") as file, open_media(file) as container:
        stream = audio_track(container).stream
        unit_s = float(stream.time_base)
        claims = (min((packet.duration or 0) * unit_s, packet_s) for packet in _readable(container.demux(stream)))
        return _sum(claims, limit_s)


def _max_packet_s(path: Path) -> float:
    """The most that a packet decodes to, among those of the first second of the song."""
    max_s = decoded_s = 0.0
    with path.open("rb") as file, open_media(file) as container:
        for packet in islice(_readable(container.demux(audio_track(container).stream)), _FIRST_PACKETS):
            lasts_s = 0.0
            with suppress(av.error.FFmpegError):  # damage is what the decoding of the song reports
                lasts_s = sum(frame.samples / frame.sample_rate for frame in packet.decode() if frame.sample_rate)
            max_s, decoded_s = max(max_s, lasts_s), decoded_s + lasts_s
            if decoded_s > 1:
                break
    return max_s


def _readable(packets: Iterator[Any]) -> Iterator[Any]:
    """`packets`, up to where a file breaks off; the decoder says so."""
    with suppress(av.error.FFmpegError, OSError):
        yield from packets


def too_long(seconds: float) -> PermanentError:
    """The error for a song longer than `seconds`."""
    spoken = f"{seconds / 60:.4g} minutes" if seconds >= 120 else f"{seconds:.4g} seconds"
    return PermanentError(f"The audio is longer than {spoken}, the longest accepted.")
