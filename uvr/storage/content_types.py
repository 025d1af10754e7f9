"""The media type of a stored file by its name, so that it is stored and served with the same one."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

# Not taken from `mimetypes`, whose table depends on the operating system: .wav is audio/wav or audio/x-wav.
_TYPES = {
    ".dat": "application/octet-stream",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
}


def content_type(name: str) -> str:
    """The media type of a file called `name`; `application/octet-stream` if its extension is unknown."""
    known_type = _TYPES.get(PurePosixPath(name).suffix.lower())
    return known_type or mimetypes.guess_type(name)[0] or "application/octet-stream"
