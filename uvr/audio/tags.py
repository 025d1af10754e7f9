"""Copying a song's tags and cover picture into its stems, as far as their file format can hold them.

Only what is also true of a stem is copied, so not the encoder's name or the loudness.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av

from uvr.audio.container import audio_track, open_media
from uvr.audio.output_format import OutputFormat

COPIED_TAGS = frozenset(
    {
        "title",
        "artist",
        "album",
        "album_artist",
        "composer",
        "performer",
        "publisher",
        "track",
        "disc",
        "date",
        "genre",
        "isrc",
        "copyright",
        "comment",
    }
)
"""The tags that are copied, by FFmpeg's names, which are the same for every format."""
MAX_TEXT_CHARACTERS = 4096
MAX_COVER_BYTES = 8 * 2**20
"""Longer texts and larger covers are not copied: they are held in memory and written into every stem."""

_MIME_TYPES = {"mjpeg": "image/jpeg", "png": "image/png"}
_FRONT_COVER = 3
_WITH_COVER_AS_TAG = {OutputFormat.OGG, OutputFormat.OPUS}
_WITH_COVER_AS_STREAM = {OutputFormat.FLAC, OutputFormat.MP3, OutputFormat.M4A}


@dataclass(frozen=True)
class Cover:
    """An encoded picture from the song's file, with FFmpeg's name of its codec and its size in pixels."""

    codec: str
    width: int
    height: int
    data: bytes

    def flac_picture_block(self) -> bytes:
        """A FLAC picture block without a description (RFC 9639, section 8.8)."""
        mime_type = _MIME_TYPES[self.codec].encode()
        return (
            struct.pack(f">II{len(mime_type)}sI", _FRONT_COVER, len(mime_type), mime_type, 0)
            + struct.pack(">IIIII", self.width, self.height, 24, 0, len(self.data))
            + self.data
        )


@dataclass(frozen=True)
class Tags:
    """Texts by FFmpeg's tag names, and the first cover picture if it is a JPEG or a PNG."""

    text: Mapping[str, str] = field(default_factory=dict)
    cover: Cover | None = None


NO_TAGS = Tags()


def read_tags(path: Path) -> Tags:
    """The tags of the song in `path`; `PermanentError` if it is not audio."""
    with path.open("rb") as file, open_media(file) as container:
        # In other containers a stream's tags describe the stream, such as "English, 5.1".
        holder = audio_track(container).stream if container.format.name == "ogg" else container
        tags = {name.lower(): text for name, text in holder.metadata.items()}
        copied = {
            name: text
            for name, text in sorted(tags.items())
            # U+FFFD stands for bytes that are not text.
            if name in COPIED_TAGS and 0 < len(text) <= MAX_TEXT_CHARACTERS and "\ufffd" not in text
        }
        return Tags(copied, _cover(container))


def add_text(tags: Tags, container: Any, stream: Any, output_format: OutputFormat) -> None:
    """Write the texts into `container`, whose audio is `stream`; call it before any samples are written."""
    container.metadata.update(tags.text)
    if tags.cover and output_format in _WITH_COVER_AS_TAG:
        # In Ogg a picture is a text tag (https://wiki.xiph.org/VorbisComment#METADATA_BLOCK_PICTURE).
        stream.metadata["METADATA_BLOCK_PICTURE"] = base64.b64encode(tags.cover.flac_picture_block()).decode()


def add_cover(tags: Tags, container: Any, output_format: OutputFormat) -> None:
    """Write the cover into `container` if the format stores it as a stream; call it after all streams were added."""
    if not tags.cover or output_format not in _WITH_COVER_AS_STREAM:
        return
    stream = container.add_mux_stream(tags.cover.codec, width=tags.cover.width, height=tags.cover.height)
    stream.disposition = av.stream.Disposition.attached_pic
    packet = av.Packet(tags.cover.data)
    packet.stream, packet.pts, packet.dts = stream, 0, 0
    container.mux(packet)


def _cover(container: Any) -> Cover | None:
    """The first attached picture; None if there is none that can be copied."""
    attached = av.stream.Disposition.attached_pic
    pictures = (stream for stream in container.streams.video if stream.disposition & attached and stream.codec_context)
    stream = next(pictures, None)
    if stream is None:
        return None
    context = stream.codec_context
    try:
        packet = next((packet for packet in container.demux(stream) if packet.size), None)
    except (av.error.FFmpegError, OSError):  # a damaged cover must not prevent the separation
        return None
    if context.name not in _MIME_TYPES or packet is None or packet.size > MAX_COVER_BYTES:
        return None
    return Cover(context.name, context.width, context.height, bytes(packet))
