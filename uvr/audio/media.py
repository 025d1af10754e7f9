"""The one place that lets FFmpeg near a client's bytes: what may be opened, and that nothing else is opened with it.

A media file can name others (playlists, nested files, URLs). Here the file given is the only thing FFmpeg reads.
"""

from __future__ import annotations

import errno
import os
from typing import Any, BinaryIO, NoReturn

import av

from uvr.errors import PermanentError

EMPTY = "The audio is empty: it has no samples."

# Containers whose content lies in the file itself. Whatever names other files (hls, concat, dash, sdp, image2, …) is
# left out, and so are raw and exotic formats that FFmpeg would guess from almost any bytes.
DEMUXERS = (
    "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dsf,dts,eac3,flac,flv,matroska,mov,mp3,mpc,mpc8,mpeg,mpegts,"
    "mxf,nut,ogg,tak,truehd,tta,voc,w64,wav,wv"
)


MAX_ID3_BYTES = 12 * 2**20
"""Larger tags are not shown to FFmpeg, which takes sixteen times the size of some of their frames (PRIV) in memory."""

_ID3_HEAD_BYTES = 10
_ID3_FOOTER = 0x10


def open_media(file: BinaryIO) -> Any:
    """A container over `file` that opens nothing else; `PermanentError` when it is no media file.

    Format, protocol and callback each stop what another lets through: FFmpeg's concat never asks the callback.
    """
    try:
        return av.open(
            _Readable(file),
            "r",
            options={"format_whitelist": DEMUXERS, "protocol_whitelist": ""},
            metadata_errors="replace",
            io_open=_refuse_nested,
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if not file.seek(0, os.SEEK_END):
            raise PermanentError(EMPTY) from None
        refuse("its format is not known, or its beginning is damaged", ffmpeg=str(error))


def first_audio_stream(container: Any) -> Any:
    """The stream that is decoded; `PermanentError` when there is none that could be."""
    if not container.streams.audio:
        raise PermanentError("The file has no audio stream.")
    stream = container.streams.audio[0]
    if stream.codec_context is None:
        refuse("its audio codec is not supported")
    return stream


def refuse(reason: str, **facts: object) -> NoReturn:
    """Raise the error for a file whose content is the trouble; `reason` ends its sentence."""
    raise PermanentError(f"The file is not audio that can be decoded: {reason}.", **facts) from None


class _Readable:
    """A file as FFmpeg gets to see it: without huge tags, and without its name.

    The name's ending would tell FFmpeg more than the content does.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        tags = _id3_bytes(file)
        self._begin = file.seek(tags if tags > MAX_ID3_BYTES else 0)
        self.read = file.read

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
