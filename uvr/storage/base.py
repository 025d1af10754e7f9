"""The interface that every storage implements, and the errors it raises.

Every method raises `TransientError` where a retry may succeed (a 5xx, a time-out), `DiskFullError` for a full disk of
the service, else `PermanentError` with a sentence that says which setting to check (no such bucket, access denied).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol


class Storage(Protocol):
    """Stores files under keys such as `{task_uuid}_vocals.wav`; storing under the same key again replaces the file."""

    @property
    def kind(self) -> Literal["s3", "local"]:
        """Which storage this is, as logs and metrics name it."""

    def put(self, path: Path, key: str, content_type: str, download_name: str = "") -> None:
        """Store the file at `path`. When this returns, the whole file is stored durably.

        `download_name` is what clients save it as; "" means the end of its key.
        """

    def url(self, key: str, ttl_s: int) -> str:
        """A link with which anyone can download the file for at least `ttl_s` seconds."""

    def get(self, key: str, path: Path) -> None:
        """Write the file to a new file at `path`.

        Raises a `PermanentError` with the fact `reason` "missing" if there is no such file.
        """

    def size_bytes(self, key: str) -> int:
        """The size of the file; raises like `get`."""

    def read(self, key: str, start: int, max_bytes: int) -> bytes:
        """At most `max_bytes` of the file from byte `start` on, fewer only at its end; raises like `get`."""

    def copy(self, source: str, target: str, download_name: str = "") -> None:
        """Store an independent copy of the file under the key `target`; raises like `get`.

        `download_name` is that of the copy; "" keeps the one that the file has.
        """

    def delete(self, key: str) -> None:
        """Delete the file; it is no error if there is none."""

    def check(self) -> list[str]:
        """Store a small file and delete it again; raises like `put` if it cannot be stored.

        Returns a sentence for everything else that is wrong, such as a missing right to read or to delete.
        """
