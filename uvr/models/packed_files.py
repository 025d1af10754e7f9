"""The packed files of RoFormers (`uvr.separation.roformer.packed_weights`): where they lie, and when they go.

A packed file is about as large as its model, so it is kept like one: beside it, on a disk that may also have the
songs, and only as long as the model is there. Where the models cannot be written to, it lies in MODEL_CACHE_DIR.
Imports nothing heavy: child processes make the files, and the processor looks after them.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog

from uvr.disk import bytes_free, existing_part
from uvr.errors import NoRoomForModelError
from uvr.models.roformers import roformer_description
from uvr.privacy import make_private_folder

if TYPE_CHECKING:
    from config import Settings

log = structlog.get_logger()

SUFFIX = ".packed"
_NAME = re.compile(rf"\.(?P<owner>.+)\.[0-9a-f]{{16}}{re.escape(SUFFIX)}")


@dataclass(frozen=True)
class PackedFilesPolicy:
    """Where the packed files of a process go, and what they leave on the disk of the songs."""

    cache_dir: Path | None = None
    """For the models of folders that cannot be written to; None for a folder among the temporary files."""
    min_free_bytes: int = 0
    """What stays free on the disks of `song_folders` (MIN_FREE_BYTES)."""
    song_folders: tuple[Path, ...] = ()

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The policy of a processor with these settings."""
        return cls(settings.model_cache_dir, settings.min_free_bytes, (settings.temp_dir, settings.output_dir))

    def folder_for(self, models: Path, *, create: bool = True) -> Path:
        """The folder for the packed files of the models in the folder `models`. Raises `OSError`."""
        if _is_writable(models):
            return models
        folder = self._cache_dir(create=create) / hashlib.sha256(os.fsencode(models.resolve())).hexdigest()[:16]
        if create:
            folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def require_room(self, folder: Path, name: str, needed_bytes: int) -> None:
        """Raise `NoRoomForModelError` unless `needed_bytes` fit into `folder`, beside the room of songs on its disk."""
        kept_bytes = self.min_free_bytes if self._is_on_disk_of_songs(folder) else 0
        if bytes_free(folder) >= needed_bytes + kept_bytes:
            return
        beside = f", and {kept_bytes >> 20} MiB more for songs (MIN_FREE_BYTES)" if kept_bytes else ""
        raise NoRoomForModelError(
            f"{name} needs {needed_bytes >> 20} MiB of free disk space beside it (in MODEL_CACHE_DIR if its folder is "
            f"read-only){beside}: its weights are kept there in the order in which processors read them."
        )

    def remove_unowned(self, models: Path) -> list[str]:
        """Remove the packed files whose models in the folder `models` are gone or newer; returns their names.

        A process that still maps such a file keeps it until it ends. Raises `OSError`.
        """
        found = self.folder_for(models, create=False).glob(f".*{SUFFIX}")
        return [path.name for path in list(found) if not _has_owner(path, models) and _removed(path)]

    def _cache_dir(self, *, create: bool) -> Path:
        if self.cache_dir:
            if create:
                with suppress(OSError):
                    self.cache_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_writable(existing_part(self.cache_dir)):
                return self.cache_dir
        own = Path(tempfile.gettempdir()) / f"uvr-packed-models-{os.geteuid()}"
        if create:
            make_private_folder(own)
        return own

    def _is_on_disk_of_songs(self, folder: Path) -> bool:
        disk = existing_part(folder).stat().st_dev
        return any(existing_part(each).stat().st_dev == disk for each in self.song_folders)


BESIDE_MODELS = PackedFilesPolicy()
"""Beside the models, or among the temporary files, without regard to songs."""


def owner_of(packed: Path) -> str:
    """The file name of the model that a packed file, or a part of one, was made from; "" if it is another file."""
    match = _NAME.match(packed.name)
    return match["owner"] if match else ""


def _has_owner(packed: Path, models: Path) -> bool:
    """Whether its model is there and not newer; a model with an older date is noticed when it is loaded."""
    if not (name := owner_of(packed)):
        return True
    description = roformer_description(name, models)
    try:
        made, changed = packed.stat().st_mtime, (models / name).stat().st_mtime
        if description:
            changed = max(changed, description.stat().st_mtime)
    except FileNotFoundError:
        return False
    return changed <= made or changed > time.time()  # a date in the future says nothing


def _removed(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False  # another process was faster
    log.info("model.packed_file_removed", file=path.name)
    return True


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
