"""The one place that lets FFmpeg near a client's bytes: what may be opened, and that nothing else is opened with it.

A media file can name others (playlists, nested files, URLs). Here the file given is the only thing FFmpeg reads.
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
from uvr.audio.wav_valid_bits import ValidBits, valid_bits
from uvr.errors import PermanentError

EMPTY = "The audio is empty: it has no samples."

# Containers whose content lies in the file itself. Whatever names other files (hls, concat, dash, sdp, image2, …) is
# left out, and so are raw and exotic formats that FFmpeg would guess from almost any bytes.
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nut,ogg,tak,truehd,tta,voc,w64,wav,wv"
)
# FFmpeg's "iff" reads a family of Amiga formats, pictures among them; of these only DSDIFF is let in.
_DSDIFF, _DSDIFF_DEMUXER = b"FRM8", "iff"

MAX_ID3_BYTES = 12 * 2**20
"""Larger tags are not shown to FFmpeg, which takes sixteen times the size of some of their frames (PRIV) in memory."""

_ID3_HEAD_BYTES = 10
_ID3_FOOTER = 0x10

_UNREADABLE = av.error.FFmpegError, OSError, ValueError

_ASIDE = Disposition.comment | Disposition.hearing_impaired | Disposition.visual_impaired
"""Tracks for some listeners only, which are the song's only where nothing else is."""


def open_media(file: BinaryIO) -> Any:
    """A container over `file` that opens nothing else; `PermanentError` when it is no media file.

    Format, protocol and callback each stop what another lets through: FFmpeg's concat never asks the callback.
    """
    first, *others = _beginnings(file)
    try:
        return _opened(file, first)
    except _UNREADABLE as error:
        trouble = error
    for begin in others:
        with suppress(*_UNREADABLE):
            return _opened(file, begin)
    if not file.seek(0, os.SEEK_END):
        raise PermanentError(EMPTY)
    return refuse("its format is not known, or its beginning is damaged", ffmpeg=str(trouble))


def _opened(file: BinaryIO, begin: int) -> Any:
    demuxers = f"{DEMUXERS},{_DSDIFF_DEMUXER}" if _bytes_at(file, begin).startswith(_DSDIFF) else DEMUXERS
    return av.open(
        _Readable(file, begin, valid_bits(file, begin)),
        "r",
        options={"format_whitelist": demuxers, "protocol_whitelist": ""},
        metadata_errors="replace",
        io_open=_refuse_nested,
    )


def seek_song(file: BinaryIO) -> None:
    """Go to where the song most probably begins: behind tags of other formats."""
    file.seek(_beginnings(file)[0])


def misread_bits(file: BinaryIO) -> ValidBits | None:
    """The size of the file's samples, if it is one that FFmpeg would have misread."""
    return next(filter(None, (valid_bits(file, begin) for begin in _beginnings(file))), None)


@dataclass(frozen=True)
class Track:
    """The audio track that is decoded, and a sentence for the song's owner if there were others ("" if not)."""

    stream: Any
    places: tuple[str, ...]
    """Of its channels, as the file names them."""
    note: str


def audio_track(container: Any) -> Track:
    """The track that players take: the one marked as default, else the first, of those that can be decoded.

    Raises `PermanentError` when there is none.
    """
    streams = container.streams.audio
    if not streams:
        raise PermanentError("The file has no audio stream.")
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        refuse("its audio codec is not supported")
    chosen = min(
        decodable,
        key=lambda stream: (not stream.disposition & Disposition.default, bool(stream.disposition & _ASIDE)),
    )
    return Track(chosen, declared_channel_names(chosen), _track_note(streams, chosen))


def _track_note(streams: tuple[Any, ...], chosen: Any) -> str:
    if len(streams) == 1:
        return ""
    number = streams.index(chosen) + 1
    unknown = [str(place) for place, stream in enumerate(streams, 1) if stream.codec_context is None]
    skipped = f"; the codec of track {', '.join(unknown)} is not supported" if unknown else ""
    return f"The file has {len(streams)} audio tracks; track {number} was taken{skipped}."


def others_begin_s(container: Any, stream: Any) -> float | None:
    """When the first picture or sound of the file begins that is not of `stream`; None if there is no other."""
    starts = [
        float(other.start_time * other.time_base)
        for other in (*container.streams.video, *container.streams.audio)
        if other is not stream and other.start_time is not None and not other.disposition & Disposition.attached_pic
    ]
    return min(starts, default=None)


def clock_may_jump(container: Any) -> bool:
    """Whether jumps of the format's time stamps need not be gaps: parts of different recordings may be joined."""
    return bool(container.format.flags & Flags.ts_discont.value)


def refuse(reason: str, **facts: object) -> NoReturn:
    """Raise the error for a file whose content is the trouble; `reason` ends its sentence."""
    raise PermanentError(f"The file is not audio that can be decoded: {reason}.", **facts) from None


class _Readable:
    """A file as FFmpeg gets to see it: from `begin` on, with sizes of samples that it understands, without its name.

    The name's ending would tell FFmpeg more than the content does.
    """

    def __init__(self, file: BinaryIO, begin: int, bits: ValidBits | None) -> None:
        self._file = file
        self._begin = file.seek(begin)
        self._bits = bits
        self.read = self._corrected if bits else file.read

    def tell(self) -> int:
        """Where the file stands now."""
        return self._file.tell() - self._begin

    def seek(self, offset: int, whence: int) -> int:
        """Where the file stands now. Damaged files lead FFmpeg to places before their beginning: a negative number."""
        if whence == os.SEEK_SET:
            offset = offset + self._begin if offset >= 0 else offset
        try:
            return self._file.seek(offset, whence) - self._begin
        except (OSError, ValueError):  # PyAV would print the traceback, for some files thousands of times
            return -errno.EINVAL

    def _corrected(self, size: int) -> bytes:
        assert self._bits is not None
        position = self._file.tell()
        return self._bits.corrected(self._file.read(size), position)


def _beginnings(file: BinaryIO) -> list[int]:
    """Where FFmpeg may begin to read, the most promising place first.

    Of ID3 tags in front of a file, FFmpeg understands only those of MPEG audio, and behind large ones it finds nothing
    else either; some programs put them before any file.
    """
    tags = _id3_bytes(file)
    if not tags:
        return [0]
    if tags > MAX_ID3_BYTES:
        return [tags]
    sync = int.from_bytes(_bytes_at(file, tags)[:2], "big")
    return [0, tags] if sync & 0xFFE0 == 0xFFE0 else [tags, 0]


def _id3_bytes(file: BinaryIO) -> int:
    """How much of the beginning of `file` is ID3 tags, one behind the other (ID3v2.4, sections 3.1 and 3.4)."""
    end = 0
    while (head := _bytes_at(file, end)).startswith(b"ID3") and len(head) == _ID3_HEAD_BYTES and max(head[6:]) < 128:
        size = sum(part << shift for part, shift in zip(head[6:], (21, 14, 7, 0), strict=True))
        end += size + _ID3_HEAD_BYTES * (2 if head[5] & _ID3_FOOTER else 1)
    return end


def _bytes_at(file: BinaryIO, position: int) -> bytes:
    file.seek(position)
    return file.read(_ID3_HEAD_BYTES)


def _refuse_nested(_url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
    raise PermissionError("a media file wanted to open another file")
