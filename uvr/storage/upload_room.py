"""Room for uploads: a song is accepted only if there is room for what all accepted songs will become.

Without a bucket, an upload stays in OUTPUT_DIR/uploads until its task has ended, and then its stems are in OUTPUT_DIR,
usually on the disk that also has TEMP_DIR. If uploads could fill the disk to the last byte that processors need free
before they begin, no task would ever end, and no upload would be deleted. So for each of them its stems are added, and
for the next one also the samples on disk during its separation. With a bucket, only uploads that are being received
are on the disk, and nothing follows.

All API processes count the same files. A file that is being received has its announced size from the beginning,
although the disk has only what has arrived (a sparse file). So no other record of the uploads can be out of date.

How long a song is, is unknown until it is decoded. The estimates are for stems as WAV files, of a song that is not
compressed, or compressed without loss to a half, or with loss to 128 kbit/s, and of at most MAX_AUDIO_SECONDS.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache
from pathlib import Path

from config import Settings
from uvr.disk import bytes_free, bytes_occupied
from uvr.errors import DiskFullError

STEMS = 2
_PCM = 1
_LOSSLESS = 2
_LOSSY = 11  # 1411 kbit/s of 16-bit stereo at 44.1 kHz, for 128 kbit/s
_PCM_BYTES_PER_S = 176_400
_SAMPLES_PER_STEM = 2  # bytes in TEMP_DIR for each byte of a 16-bit stem: the mixture and the estimate are float32
_STALLED_S = 600  # longer than any upload may pause, so this file has lost its process
_MAGIC_BYTES = 12


class UploadRoom:
    """The disk of OUTPUT_DIR as the API sees it. `folder` has the uploads of all processes."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._folder = folder
        self._min_free_bytes = settings.min_free_bytes
        self._max_pcm_bytes = round(settings.max_audio_seconds * _PCM_BYTES_PER_S)
        self._stays_on_disk = not settings.s3_bucket_name

    def require(self, upload: Path) -> None:
        """Raise `DiskFullError` if there is no room for `upload`, a file of the folder that has its announced size.

        MIN_FREE_BYTES must stay free when all uploads have become stems and this one is being separated.
        """
        if not self._min_free_bytes:
            return
        to_come_bytes = sum(map(self._to_come_bytes, _files_in(self._folder)))
        if self._stays_on_disk:
            to_come_bytes += self._stem_bytes(upload) * _SAMPLES_PER_STEM
        left_bytes = bytes_free(self._folder) - to_come_bytes
        if left_bytes < self._min_free_bytes:
            short_gib = (self._min_free_bytes - left_bytes) / 2**30
            raise DiskFullError(
                "The service does not have enough disk space for this upload at the moment, because of the songs that "
                f"wait and of what their stems will take ({short_gib:.2f} GiB are missing); try again later."
            )

    def _to_come_bytes(self, upload: Path) -> int:
        """What will be written for `upload` until its task has ended, without the temporary files."""
        try:
            status = upload.stat()
        except FileNotFoundError:
            return 0  # its task has ended
        if not upload.name.startswith("."):
            return self._stem_bytes(upload)
        if time.time() - status.st_mtime > _STALLED_S:
            return 0
        missing_bytes = max(0, status.st_size - bytes_occupied(status))
        return missing_bytes + (self._stem_bytes(upload) if self._stays_on_disk else 0)

    def _stem_bytes(self, upload: Path) -> int:
        """The estimated size of all stems."""
        try:
            size = upload.stat().st_size
            growth = _growth_when_received(upload) if not upload.name.startswith(".") else _growth(upload)
        except FileNotFoundError:
            return 0
        return STEMS * max(size, min(size * growth, self._max_pcm_bytes))


def _files_in(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [Path(entry.path) for entry in entries if entry.is_file(follow_symlinks=False)]
    except FileNotFoundError:
        return []


def _growth(path: Path) -> int:
    """How much larger a song is as a WAV file, by the first bytes of its file."""
    with path.open("rb") as file:
        magic = file.read(_MAGIC_BYTES)
    if not magic.strip(b"\0") or magic[:4] in (b"RIFF", b"RF64", b"FORM"):
        return _PCM  # or nothing has arrived yet, and the file is checked again
    return _LOSSLESS if magic[:4] in (b"fLaC", b"wvpk", b"MAC ") else _LOSSY


@lru_cache(maxsize=10_000)
def _growth_when_received(path: Path) -> int:
    """The same for a file that does not change any more."""
    return _growth(path)
