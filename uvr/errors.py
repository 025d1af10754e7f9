"""The errors of the service: what went wrong, in a sentence for the user, and whether a retry may succeed.

A worker decides by the class alone: after a `TransientError` the task goes back to the queue, a `PermanentError` ends
it. Clients see the message, so it never contains a path, a secret or a signed URL. Details for the log are keyword
arguments, kept in `facts`.
"""

from __future__ import annotations


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


class UserLimitError(TransientError):
    """A user has reached a limit, and may go on once work of theirs is done."""


class TooManyTasksError(UserLimitError):
    """The owner has as many waiting tasks as the service allows."""


class TooManyUploadBytesError(UserLimitError):
    """Uploads of the owner that are kept have as many bytes as the service allows."""


class RepeatedRequestError(UvrError):
    """An idempotency key came again: `task_uuid` and `priority` are those of the task that the first request made.

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
