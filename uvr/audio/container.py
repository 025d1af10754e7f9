"""Opening untrusted media files with FFmpeg, and choosing the audio track to decode.

Every file from a client is opened here and nowhere else. A media file can name others (playlists, nested files, URLs);
`open_media` makes sure that FFmpeg reads only the given file.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn

import av
from av.format import Flags
from av.stream import Disposition

from uvr.audio.downmix import declared_channel_names
from uvr.audio.wav_probe import holds_samples
from uvr.audio.wav_valid_bits import ValidBits, valid_bits
from uvr.errors import PermanentError

EMPTY_MESSAGE = "The audio is empty: it has no samples."

# Containers that hold their content themselves. Formats that refer to other files (hls, concat, dash, sdp, image2, …)
# are excluded, and so are raw and exotic formats that FFmpeg would guess from almost any bytes.
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nut,ogg,tak,truehd,tta,voc,w64,wav,wv"
)
# FFmpeg's "iff" demuxer reads a family of Amiga formats, including pictures; only DSDIFF is accepted.
_DSDIFF, _DSDIFF_DEMUXER = b"FRM8", "iff"

MAX_ID3_BYTES = 12 * 2**20
"""Larger tags are hidden from FFmpeg, which needs sixteen times the size of some frames (PRIV) in memory."""

_ID3_HEADER_BYTES = 10
_ID3_FOOTER_FLAG = 0x10

_OPEN_ERRORS = av.error.FFmpegError, OSError, ValueError

_FOR_SOME_LISTENERS = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired
"""Marks of tracks such as commentaries, which are chosen only if there is no other track."""


def open_media(file: BinaryIO) -> Any:
    """A PyAV container that reads `file` and cannot open anything else; `PermanentError` if it is not a media file.

    The format list, the protocol list and the callback are all needed: FFmpeg's concat demuxer never asks the callback.
    """
    first, *others = _start_positions(file)
    try:
        return _open_at(file, first)
    except _OPEN_ERRORS as error:
        first_error = error
    for start in others:
        with suppress(*_OPEN_ERRORS):
            return _open_at(file, start)
    if not file.seek(0, os.SEEK_END):
        raise PermanentError(EMPTY_MESSAGE)
    return reject("its format is not known, or its beginning is damaged", ffmpeg=str(first_error))


def _open_at(file: BinaryIO, start: int) -> Any:
    demuxers = f"{DEMUXERS},{_DSDIFF_DEMUXER}" if _bytes_at(file, start).startswith(_DSDIFF) else DEMUXERS
    options = {"format_whitelist": demuxers, "protocol_whitelist": ""}
    if holds_samples(file, start):
        options["max_probe_packets"] = "1"
    return av.open(
        _FileView(file, start, valid_bits(file, start)),
        "r",
        options=options,
        metadata_errors="replace",
        io_open=_deny_other_files,
    )


def seek_to_media(file: BinaryIO) -> None:
    """Move `file` to the most probable start of the media data, behind tags that do not belong to the format."""
    file.seek(_start_positions(file)[0])


def misread_bits(file: BinaryIO) -> ValidBits | None:
    """The sample size of `file` if FFmpeg would misread it, otherwise None."""
    return next(filter(None, (valid_bits(file, start) for start in _start_positions(file))), None)


@dataclass(frozen=True)
class Track:
    """The audio track that is decoded."""

    stream: Any
    channel_names: tuple[str, ...]
    """As the file declares them (see `downmix`)."""
    note: str
    """A sentence for the client if the file has other tracks, otherwise ""."""


def audio_track(container: Any) -> Track:
    """The track that players choose: of those that can be decoded, the one marked as default, or else the first.

    Raises `PermanentError` when there is none.
    """
    streams = container.streams.audio
    if not streams:
        raise PermanentError("The file has no audio stream.")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        reject("its audio codec is not supported")
    chosen = min(
        decodable,
        key=lambda stream: (
            not stream.disposition & Disposition.default,
            bool(stream.disposition & _FOR_SOME_LISTENERS),
        ),
    )
    note = ""
    if len(streams) > 1:
        unsupported = [str(number) for number, stream in enumerate(streams, 1) if stream.codec_context is None]
        skipped = f"; the codec of track {', '.join(unsupported)} is not supported" if unsupported else ""
        note = f"The file has {len(streams)} audio tracks; track {streams.index(chosen) + 1} was used{skipped}."
    return Track(chosen, declared_channel_names(chosen), note)


def other_tracks_start_s(container: Any, stream: Any) -> float | None:
    """When the first video or audio track other than `stream` starts, in seconds; None if there is no other."""
    starts = [
        float(other.start_time * other.time_base)
        for other in (*container.streams.video, *container.streams.audio)
        if other is not stream and other.start_time is not None and not other.disposition & Disposition.attached_pic
    ]
    return min(starts, default=None)


def clock_may_jump(container: Any) -> bool:
    """Whether time stamps of this format may jump without a gap in the sound, as in joined recordings."""
    return bool(container.format.flags & Flags.ts_discont.value)


def reject(reason: str, **facts: object) -> NoReturn:
    """Raise the error for a file that cannot be decoded; `reason` completes its sentence."""
    raise PermanentError(f"The file is not audio that can be decoded: {reason}.", **facts) from None


class _FileView:
    """What FFmpeg sees of a file: the bytes from `start` on, with sample sizes that FFmpeg reads correctly.

    The file's name is hidden, because FFmpeg would trust its suffix more than the content.
    """

    def __init__(self, file: BinaryIO, start: int, bits: ValidBits | None) -> None:
        self._file = file
        self._start = file.seek(start)
        self._bits = bits

    def read(self, size: int) -> bytes:
        """Up to `size` bytes from the current position."""
        if self._bits is None:
            return self._file.read(size)
        position = self._file.tell()
        return self._bits.corrected(self._file.read(size), position)

    def tell(self) -> int:
        """The current position, counted from `start`."""
        return self._file.tell() - self._start

    def seek(self, offset: int, whence: int) -> int:
        """Move, and return the new position; a negative number for a place before `start`, as in damaged files."""
        if whence == os.SEEK_SET:
            offset = offset + self._start if offset >= 0 else offset
        try:
            return self._file.seek(offset, whence) - self._start
        except (OSError, ValueError):  # PyAV would print the traceback, for some files thousands of times
            return -errno.EINVAL


def _start_positions(file: BinaryIO) -> list[int]:
    """Positions at which FFmpeg may start to read, the most promising first.

    Some programs write ID3 tags in front of any file. FFmpeg expects them only before MPEG audio, and it finds nothing
    behind large ones.
    """
    tags_bytes = 0
    # There may be several tags, one behind the other (ID3v2.4, sections 3.1 and 3.4).
    while (
        (header := _bytes_at(file, tags_bytes)).startswith(b"ID3")
        and len(header) == _ID3_HEADER_BYTES
        and max(header[6:]) < 128
    ):
        size = sum(part << shift for part, shift in zip(header[6:], (21, 14, 7, 0), strict=True))
        tags_bytes += size + _ID3_HEADER_BYTES * (2 if header[5] & _ID3_FOOTER_FLAG else 1)
    if not tags_bytes:
        return [0]
    if tags_bytes > MAX_ID3_BYTES:
        return [tags_bytes]
    mpeg_sync = int.from_bytes(_bytes_at(file, tags_bytes)[:2], "big")
    return [0, tags_bytes] if mpeg_sync & 0xFFE0 == 0xFFE0 else [tags_bytes, 0]


def _bytes_at(file: BinaryIO, position: int) -> bytes:
    file.seek(position)
    return file.read(_ID3_HEADER_BYTES)


def _deny_other_files(_url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    raise PermissionError("a media file tried to open another file")
