"""The file formats of stems, for code that only passes their names on and must not import an encoder."""

from __future__ import annotations

from enum import StrEnum


class OutputFormat(StrEnum):
    """The file format of stems; the value is what clients send and the suffix of file names."""

    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    M4A = "m4a"
    OGG = "ogg"
    """Opus in Ogg, like `OPUS`; only the file name differs."""
    OPUS = "opus"

    @property
    def suffix(self) -> str:
        """The suffix of file names, with its dot."""
        return f".{self.value}"
