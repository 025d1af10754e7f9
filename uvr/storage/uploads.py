"""Songs that clients sent along with POST /generate, from their last byte until their task needs them no more.

They wait in the storage, so that any processor can have them: in the bucket, or below OUTPUT_DIR on a service without
one. A key begins with the id of its task and cannot be guessed, for a bucket may be public.

    {S3_KEY_PREFIX}uploads/{task_uuid}.{32 hex digits}   in the bucket
    OUTPUT_DIR/uploads/{task_uuid}.{32 hex digits}       without one
    OUTPUT_DIR/uploads/.{task_uuid}.part                 while it is being received

A task that succeeded or is deleted gives its song back at once; what else is left is cleared away by
uvr.uploader.housekeeping.
"""

from __future__ import annotations

import secrets
import time
from pathlib import Path

import structlog
from redis import RedisError

from config import Settings
from uvr.errors import PermanentError, UvrError
from uvr.storage.factory import open_upload_storage
from uvr.storage.upload_index import UploadIndex

log = structlog.get_logger()

_CONTENT_TYPE = "application/octet-stream"
_UNCHANGED_S = 86_400


def upload_dir(settings: Settings) -> Path:
    """Where uploads are received, and where they stay without a bucket."""
    return settings.output_dir / "uploads"


def part_file(settings: Settings, task_uuid: str) -> Path:
    """The file for what is received of a song."""
    return upload_dir(settings) / f".{task_uuid}.part"


class Uploads:
    """The songs that wait; `listed` is the list of them all."""

    def __init__(self, settings: Settings, listed: UploadIndex) -> None:
        self._listed = listed
        self._storage = open_upload_storage(settings)
        self._prefix = settings.s3_key_prefix if settings.s3_bucket_name else ""

    def store(self, path: Path, task_uuid: str) -> Upload:
        """Store the song at `path` for its task, which is to be enqueued next; leaves nothing behind when it raises."""
        key = f"{self._prefix}uploads/{task_uuid}.{secrets.token_hex(16)}"
        upload = Upload(self, key, self._listed.add(key))
        try:
            self._storage.put(path, key, _CONTENT_TYPE)
        except UvrError:
            upload.withdraw()
            raise
        return upload

    def fetch(self, key: str, path: Path) -> None:
        """Write the song into a new file at `path`, which is not to be written to afterwards."""
        try:
            self._storage.get(key, path)
        except PermanentError as error:
            if error.facts.get("reason") != "missing":
                raise
            raise PermanentError("The song that was sent along is no longer stored; submit it again.") from error

    def remove(self, key: str, beside: int = 0) -> bool:
        """Delete a song, unless its task has got it meanwhile, or somebody else did; `beside` is from the list."""
        if not self._listed.mark_for_deletion(key, beside):
            return False
        self._storage.delete(key)
        self._listed.remove(key)
        return True

    def try_to_remove(self, key: str, beside: int = 0) -> None:
        """`remove`, and leave to the housekeeping what cannot be done now."""
        try:
            self.remove(key, beside)
        except (RedisError, UvrError) as error:
            log.warning("upload.not_removed", error_kind=type(error).__name__, error=str(error))


class Upload:
    """A song whose task is not enqueued yet, stored under `key`."""

    def __init__(self, uploads: Uploads, key: str, beside: int) -> None:
        self._uploads = uploads
        self.key = key
        self._beside = beside

    def withdraw(self) -> None:
        """Delete it again, unless its task is enqueued after all."""
        self._uploads.try_to_remove(self.key, self._beside)


def is_abandoned(path: Path) -> bool:
    """Whether a file has not changed for so long that nobody can be at work on it."""
    try:
        return time.time() - path.stat().st_mtime > _UNCHANGED_S
    except FileNotFoundError:
        return False


def remove_abandoned_parts(settings: Settings) -> None:
    """Delete what an API that was killed has left of songs which it was receiving."""
    for path in upload_dir(settings).glob(".*.part"):
        if is_abandoned(path):
            discard(path)


def discard(path: Path) -> None:
    """Delete a file that nobody needs, or leave it to the next round."""
    try:
        path.unlink(missing_ok=True)
        log.info("upload.removed", name=path.name)
    except OSError as error:
        log.warning("upload.not_removed", name=path.name, error=str(error))


def task_uuid_of(key: str) -> str:
    """The id in a key."""
    return key.rpartition("/")[2].partition(".")[0]
