"""What a song says about itself, title and cover, carried over into its stems as far as their format can hold it.

Only what stays true of a stem is kept: not who encoded the song, nor how loud it was.
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

KEPT = frozenset(
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
"""Tags that are carried over, by the names that FFmpeg has for them in every format."""
MAX_TEXT_CHARACTERS = 4096
MAX_COVER_BYTES = 8 * 2**20
"""Longer texts and larger covers are left behind: each is held in memory, and each goes into every stem."""

_MIME_TYPES = {"mjpeg": "image/jpeg", "png": "image/png"}
_FRONT_COVER = 3
_OGG = {OutputFormat.OGG, OutputFormat.OPUS}
_ATTACHED = {OutputFormat.FLAC, OutputFormat.MP3, OutputFormat.M4A}


@dataclass(frozen=True)
class Cover:
    """A picture as it lies in the song's file: FFmpeg's name of its codec, its size in pixels, its bytes."""

    codec: str
    width: int
    height: int
    data: bytes


@dataclass(frozen=True)
class Tags:
    """Texts by FFmpeg's names for them, and the first cover picture, if it is a JPEG or a PNG."""

    text: Mapping[str, str] = field(default_factory=dict)
    cover: Cover | None = None


NO_TAGS = Tags()


def read_tags(path: Path) -> Tags:
    """The tags of a song; `PermanentError` if it is none."""
    with path.open("rb") as file, open_media(file) as container:
        # Elsewhere a stream's own tags are about the stream: "English, 5.1".
        holder = audio_track(container).stream if container.format.name == "ogg" else container
        return Tags(_kept(holder.metadata), _cover_of(container))


def add_text(tags: Tags, container: Any, stream: Any, form: OutputFormat) -> None:
    """Write the texts into a `container` of this format whose audio is `stream`, before any samples."""
    container.metadata.update(tags.text)
    if tags.cover and form in _OGG:
        # Ogg has no place for pictures but a text (https://wiki.xiph.org/VorbisComment#METADATA_BLOCK_PICTURE).
        stream.metadata["METADATA_BLOCK_PICTURE"] = base64.b64encode(_picture_block(tags.cover)).decode()


def add_cover(tags: Tags, container: Any, form: OutputFormat) -> None:
    """Write the cover into a `container` of this format after all streams were added; not all formats have covers."""
    if not tags.cover or form not in _ATTACHED:
        return
    stream = container.add_mux_stream(tags.cover.codec, width=tags.cover.width, height=tags.cover.height)
    stream.disposition = av.stream.Disposition.attached_pic
    packet = av.Packet(tags.cover.data)
    packet.stream, packet.pts, packet.dts = stream, 0, 0
    container.mux(packet)


def _kept(metadata: Mapping[str, str]) -> dict[str, str]:
    """Known tags in one spelling; those with bytes that are no text are left out, not spread further."""
    named = {name.lower(): text for name, text in metadata.items()}
    return {
        name: text
        for name, text in sorted(named.items())
        if name in KEPT and 0 < len(text) <= MAX_TEXT_CHARACTERS and "\ufffd" not in text
    }


def _cover_of(container: Any) -> Cover | None:
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic and stream.codec_context:
            return _picture(container, stream)
    return None


def _picture(container: Any, stream: Any) -> Cover | None:
    context = stream.codec_context
    try:
        packet = next((packet for packet in container.demux(stream) if packet.size), None)
    except (av.error.FFmpegError, OSError):  # a song is worth separating without its cover
        return None
    if context.name not in _MIME_TYPES or packet is None or packet.size > MAX_COVER_BYTES:
        return None
    return Cover(context.name, context.width, context.height, bytes(packet))


def _picture_block(cover: Cover) -> bytes:
    """`cover` as a picture block of FLAC (RFC 9639, section 8.8), without a description."""
    mime_type = _MIME_TYPES[cover.codec].encode()
    return (
        struct.pack(f">II{len(mime_type)}sI", _FRONT_COVER, len(mime_type), mime_type, 0)
        + struct.pack(">IIIII", cover.width, cover.height, 24, 0, len(cover.data))
        + cover.data
    )
