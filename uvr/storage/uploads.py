"""Uploaded songs, from the first byte of POST /generate until their task no longer needs them.

They are kept in the storage, where every processor can fetch them: in the bucket, or below OUTPUT_DIR on a service
without one. A key begins with the id of its task and cannot be guessed, because a bucket may be public.

    {S3_KEY_PREFIX}uploads/{task_uuid}.{32 hex digits}   in the bucket
    OUTPUT_DIR/uploads/{task_uuid}.{32 hex digits}       without a bucket
    OUTPUT_DIR/uploads/.{task_uuid}.part                 while it is received

When a task succeeds or is deleted, its song is deleted at once. Housekeeping (uvr.uploader.housekeeping) deletes all
others that are no longer needed.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

import structlog
from redis import RedisError

from config import Settings
from uvr.errors import PermanentError, TooManyUploadBytesError, UvrError
from uvr.storage.factory import open_upload_storage
from uvr.storage.upload_index import UploadIndex
from uvr.storage.upload_room import UploadRoom

log = structlog.get_logger()

_CONTENT_TYPE = "application/octet-stream"
_ABANDONED_AFTER_MS = 86_400_000
_MAX_OTHER_BYTES = 2**20
"""What a body may contain besides its song (`uvr.api.multipart`)."""

HasPassed = Callable[[float, float], bool]
"""Whether so many ms have passed since a time in ms since 1970; False while the clocks cannot be trusted."""


def upload_dir(settings: Settings) -> Path:
    """The folder where uploads are received, and kept if there is no bucket."""
    return settings.output_dir / "uploads"


def part_file(settings: Settings, task_uuid: str) -> Path:
    """The file that a song is received into."""
    return upload_dir(settings) / f".{task_uuid}.part"


class Uploads:
    """The stored songs of clients; `index` lists all of them."""

    def __init__(self, settings: Settings, index: UploadIndex) -> None:
        self._index = index
        self._storage = open_upload_storage(settings)
        self._room = UploadRoom(settings, upload_dir(settings))
        self._prefix = settings.s3_key_prefix if settings.s3_bucket_name else ""
        self._max_bytes = settings.upload_bytes_limit

    def require_allowance(self, owner: str, body_bytes: int) -> None:
        """Raise `TooManyUploadBytesError` if a song in a body of this size is certainly too much for `owner` now.

        Spares a client to send a song that `store` will refuse.
        """
        stored_bytes = self._index.bytes_of(owner) if self._max_bytes else 0
        if stored_bytes and stored_bytes + body_bytes - _MAX_OTHER_BYTES > self._max_bytes:
            raise self._too_many_bytes()

    def require_room(self, part: Path) -> None:
        """Raise `DiskFullError` unless there is room for this partly received song and for what it will become."""
        self._room.require(part)

    def store(self, path: Path, task_uuid: str, owner: str) -> Upload:
        """Store the song at `path` for a task that the caller then enqueues; stores nothing if it raises.

        Raises `TooManyUploadBytesError` if `owner` has too many bytes stored.
        """
        key = f"{self._prefix}uploads/{task_uuid}.{secrets.token_hex(16)}"
        state = self._index.add(key, owner, path.stat().st_size, self._max_bytes)
        if not state:
            raise self._too_many_bytes()
        upload = Upload(self, key, state)
        try:
            self._storage.put(path, key, _CONTENT_TYPE)
        except UvrError:
            upload.withdraw()
            raise
        return upload

    def fetch(self, key: str, path: Path) -> None:
        """Write the song to a new file at `path`; do not write to that file afterwards."""
        try:
            self._storage.get(key, path)
        except PermanentError as error:
            if error.facts.get("reason") != "missing":
                raise
            raise PermanentError("The uploaded song is no longer stored; submit it again.") from error

    def remove(self, key: str, state: int = 0) -> bool:
        """Delete a song if its state in the index is still `state`; False if it has changed."""
        if not self._index.mark_for_deletion(key, state):
            return False
        self._storage.delete(key)
        self._index.remove(key)
        return True

    def _too_many_bytes(self) -> TooManyUploadBytesError:
        return TooManyUploadBytesError(
            f"Together with this song, your uploads exceed {self._max_bytes / 2**20:.6g} MiB, which is the limit. They "
            "are kept until their tasks succeed: try again in half a minute, or when some tasks have, or delete tasks "
            "that failed or were cancelled."
        )

    def try_to_remove(self, key: str, state: int = 0) -> None:
        """Like `remove`, but log errors; housekeeping deletes the song later."""
        try:
            self.remove(key, state)
        except (RedisError, UvrError) as error:
            log.warning("upload.not_removed", error_kind=type(error).__name__, error=str(error))


class Upload:
    """A song stored under `key` whose task is not enqueued yet."""

    def __init__(self, uploads: Uploads, key: str, state: int) -> None:
        self._uploads = uploads
        self.key = key
        self._state = state

    def withdraw(self) -> None:
        """Delete the song unless its task has been enqueued."""
        self._uploads.try_to_remove(self.key, self._state)


def is_abandoned(path: Path, has_passed: HasPassed) -> bool:
    """Whether a file has not changed for so long that no process can still be writing it."""
    try:
        return has_passed(path.stat().st_mtime * 1000, _ABANDONED_AFTER_MS)
    except FileNotFoundError:
        return False


def remove_abandoned_parts(settings: Settings, has_passed: HasPassed) -> None:
    """Delete partly received songs of an API process that was killed."""
    for path in upload_dir(settings).glob(".*.part"):
        if is_abandoned(path, has_passed):
            discard(path)


def discard(path: Path) -> None:
    """Delete a file, or log the error; housekeeping tries again in its next round."""
    try:
        path.unlink(missing_ok=True)
        log.info("upload.removed", name=path.name)
    except OSError as error:
        log.warning("upload.not_removed", name=path.name, error=str(error))


def task_uuid_of(key: str) -> str:
    """The id of the task in a key."""
    return key.rpartition("/")[2].partition(".")[0]
