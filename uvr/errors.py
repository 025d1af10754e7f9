"""The errors of the service: what went wrong, in a sentence for the user, and whether a retry may succeed.

A worker decides by the class alone: after a `TransientError` the task goes back to the queue, a `PermanentError` ends
it. Clients see the message, so it never contains a path, a secret or a signed URL. Details for the log are keyword
arguments, kept in `facts`.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ROOM_CHECK_S = 60.0


class UvrError(Exception):
    """Base class of all errors that the service raises deliberately."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class TransientError(UvrError):
    """A retry may succeed: a time-out, a 503, a full disk. `retry_after_s` is the pause that a server asked for."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, **facts: object) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s


class DiskFullError(TransientError):
    """A disk of the service is full, or a quota on it is used up. The task waits until there is room.

    This never counts as a failed try, because neither the song nor its host is to blame.
    """

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message, retry_after_s=_ROOM_CHECK_S, **facts)


class NoRoomForModelError(DiskFullError):
    """A disk has no room for what a model is converted into; the size of the song makes no difference."""


class ChangedModelError(TransientError):
    """A file of a model was replaced or removed before it could be checked, which says nothing about the model."""


class OutOfMemoryError(TransientError):
    """There is not enough memory, of the machine or of its graphics card, for what a model needs."""


class UserLimitError(TransientError):
    """A user has reached a limit, and may go on once work of theirs is done."""


class TooManyTasksError(UserLimitError):
    """The owner has as many waiting tasks as the service allows."""


class TooManyUploadBytesError(UserLimitError):
    """Uploads of the owner that are kept have as many bytes as the service allows."""


class RepeatedRequestError(UvrError):
    """An idempotency key came again: `task_uuid` and `priority` are those of the task that the first request made.

    For a request that made a batch, `task_uuid` is the batch.

    `asks_for_the_same` is False when this request differs from the first one.
    """

    def __init__(self, task_uuid: str, priority: int, *, asks_for_the_same: bool) -> None:
        super().__init__(
            "This Idempotency-Key was used for another request in the last 24 hours; use a new one for each request."
        )
        self.task_uuid = task_uuid
        self.priority = priority
        self.asks_for_the_same = asks_for_the_same


class PermanentError(UvrError):
    """No retry can succeed: not audio, 404, too long. The task fails with this message."""


class CrashError(UvrError):
    """The child process that computes died (segmentation fault, out-of-memory kill); crashes are counted separately."""


class CancelledError(UvrError):
    """The work was stopped because its result is no longer needed: the lease is lost or the process shuts down."""


def disk_error(error: OSError, failure: str) -> TransientError:
    """The error for a file that cannot be written; `failure` begins its sentence ("The audio could not be saved")."""
    if error.errno in _FULL:
        return DiskFullError(f"{failure}: the service's disk is full.")
    return TransientError(f"{failure}: the service's disk is not writable.", reason=str(error))


@contextmanager
def full_disk_explained() -> Iterator[None]:
    """Raise `DiskFullError` in place of the `OSError` for a full disk; other errors pass through."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise DiskFullError("The disk is full; the song can be separated once there is room.") from error
