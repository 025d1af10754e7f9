"""The interface of all storages: one thin adapter per outside system, and errors that say whether a retry makes sense.

Every method raises `PermanentError` with a sentence that says what to check (no such bucket, access denied), or
`TransientError` for what may pass (a 5xx, a time-out, a full disk).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol


class Storage(Protocol):
    """A place for files under keys such as `{task_uuid}_vocals.wav`; storing under a key again replaces the file."""

    @property
    def kind(self) -> Literal["s3", "local"]:
        """Which of the storages this is."""

    def put(self, path: Path, key: str, content_type: str) -> None:
        """Store the file at `path`; once this returns it is there, whole and for good."""

    def url(self, key: str, ttl_s: int) -> str:
        """An address under which anyone can get the file, for at least `ttl_s` seconds."""

    def get(self, key: str, path: Path) -> None:
        """Write the file into a new one at `path`.

        Raises a `PermanentError` whose fact `reason` is "missing" when there is no such file.
        """

    def copy(self, source: str, target: str) -> None:
        """Store the file once more under another key, each independent of the other; raises as `get` does."""

    def delete(self, key: str) -> None:
        """Remove the file; a key that is not there is no error."""

    def check(self) -> list[str]:
        """Store something small and take it out again. Raises unless it can be stored, as `put` does.

        What else is wrong, such as a missing right to read or to delete, is returned, a sentence each.
        """
