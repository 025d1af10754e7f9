"""Storage on this machine's disk, for a service without a bucket; the API serves the files under links that expire.

A file appears under its key only when it is complete, and is synced to the disk before `put` returns. No key leads
outside of the root folder. A link is signed for one file and one expiry.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlencode

from uvr.disk import sync
from uvr.errors import PermanentError, disk_error

_PROBE_BYTES = 4096  # an empty file also fits on a full disk


class LocalStorage:
    """Files below `root`, linked as `{base_url}/files/{key}?expires=…&signature=…`.

    The signature is HMAC-SHA256 over the expiry, in seconds since 1970, and the key, so a link is valid at every
    address of the service. `link_key` is called only for links: the storage can be opened without Redis.
    """

    kind: Literal["local"] = "local"

    def __init__(self, root: Path, base_url: str, link_key: Callable[[], bytes]) -> None:
        self.root = root
        """The folder with all files."""
        self._base_url = base_url.rstrip("/")
        self._link_key = link_key

    def put(self, path: Path, key: str, content_type: str, download_name: str = "") -> None:
        """Store by a hard link if `path` and the root are on one file system, else by a copy.

        `content_type` and `download_name` are not stored; the API finds both when it serves the file.
        """
        target = self._path(key)
        unfinished = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
        with _translated_disk_errors():
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                _link_or_copy(path, unfinished)
                sync(unfinished)
                unfinished.replace(target)
                sync(target.parent)
            finally:
                # It still exists after a failure, and after a rename to a hard link to the same file (a no-op).
                unfinished.unlink(missing_ok=True)

    def url(self, key: str, ttl_s: int, base_url: str = "") -> str:
        """A link that `verify` accepts for `ttl_s` seconds; `base_url` replaces the usual address of the service."""
        self._path(key)
        expires = int(time.time()) + ttl_s
        query = urlencode({"expires": expires, "signature": self._signature(key, str(expires))})
        return f"{base_url or self._base_url}/files/{quote(key)}?{query}"

    def verify(self, key: str, expires: str, signature: str) -> Path:
        """The path of the file that a link leads to.

        Raises `PermanentError` with the fact `reason` "signature", "expired" or "missing".
        """
        if not hmac.compare_digest(self._signature(key, expires).encode(), signature.encode()):
            raise PermanentError("This link is not valid; copy it from the task again.", reason="signature")
        if int(expires) < time.time():
            raise PermanentError("This link has expired; ask for the task again to get a new one.", reason="expired")
        return self._existing(key)

    def get(self, key: str, path: Path) -> None:
        """Hard-link the file to `path`, or copy it to another file system; do not write to `path` afterwards."""
        with _translated_disk_errors():
            _link_or_copy(self._existing(key), path)

    def path_of(self, key: str) -> Path:
        """Where the file is; raises like `get`."""
        return self._existing(key)

    def size_bytes(self, key: str) -> int:
        """The size of the file."""
        with _translated_disk_errors():
            return self._existing(key).stat().st_size

    def read(self, key: str, start: int, max_bytes: int) -> bytes:
        """A part of the file."""
        with _translated_disk_errors(), self._existing(key).open("rb") as file:
            file.seek(start)
            return file.read(max_bytes)

    def copy(self, source: str, target: str, download_name: str = "") -> None:
        """Store an independent entry for the same content, like `put`."""
        self.put(self._existing(source), target, "")

    def delete(self, key: str) -> None:
        """Delete the file if it exists."""
        with _translated_disk_errors():
            self._path(key).unlink(missing_ok=True)

    def check(self) -> list[str]:
        """Write a small file and delete it again."""
        probe = self.root / f".{secrets.token_hex(8)}"
        with _translated_disk_errors():
            self.root.mkdir(parents=True, exist_ok=True)
            try:
                probe.write_bytes(bytes(_PROBE_BYTES))
            finally:
                probe.unlink(missing_ok=True)
        return []

    def stored_bytes(self, max_files: int) -> int | None:
        """The size of all complete files; None for more than `max_files`, because counting them would take long."""
        found = 0
        total_bytes = 0
        for folder, folders, names in os.walk(self.root):
            folders[:] = [name for name in folders if not name.startswith(".")]
            complete = [name for name in names if not name.startswith(".")]
            found += len(complete)
            if found > max_files:
                return None
            for name in complete:
                with suppress(FileNotFoundError):  # deleted at this moment
                    total_bytes += Path(folder, name).stat().st_size
        return total_bytes

    def _path(self, key: str) -> Path:
        # Names that begin with a dot are reserved for unfinished files.
        if not key.isprintable() or any(not part or part.startswith(".") for part in key.split("/")):
            raise PermanentError("This is not the name of a stored file.", reason="missing")
        return self.root / key

    def _existing(self, key: str) -> Path:
        path = self._path(key)
        if not path.is_file():
            raise PermanentError("This file is no longer stored.", reason="missing")
        return path

    def _signature(self, key: str, expires: str) -> str:
        return hmac.new(self._link_key(), f"{expires}\n{key}".encode(), hashlib.sha256).hexdigest()


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


@contextmanager
def _translated_disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise disk_error(error, "The file could not be stored below OUTPUT_DIR") from error
