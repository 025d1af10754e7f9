"""Which media type a stored file has, by its name: the same when it is stored and when it is served."""

from __future__ import annotations

import mimetypes
from pathlib import PurePosixPath

# Written out, because the tables of operating systems differ: .wav is audio/wav here and audio/x-wav there.
_AUDIO_TYPES = {
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".opus": "audio/ogg",
    ".wav": "audio/wav",
}


def content_type(name: str) -> str:
    """The media type of a file called `name`, `application/octet-stream` when its ending says nothing."""
    known = _AUDIO_TYPES.get(PurePosixPath(name).suffix.lower())
    return known or mimetypes.guess_type(name)[0] or "application/octet-stream"
