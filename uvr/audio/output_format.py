"""The names of the formats that stems come in, for whoever passes them on without encoding anything."""

from __future__ import annotations

from enum import StrEnum


class OutputFormat(StrEnum):
    """The format of stem files; the value is what clients write and what file names end in."""

    WAV = "wav"
    FLAC = "flac"
    MP3 = "mp3"
    M4A = "m4a"
    OGG = "ogg"
    """Opus in Ogg, like `OPUS`; the two differ in the file name only."""
    OPUS = "opus"

    @property
    def suffix(self) -> str:
        """What file names end in, with its dot."""
        return f".{self.value}"
