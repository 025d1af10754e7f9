"""The one error tree: what went wrong, in a sentence for the user, and whether another try makes sense.

A worker decides by the class alone: `TransientError` goes back to the queue after a pause, `PermanentError` ends the
task. The message is shown to clients, so it never carries a path, a secret or a signed URL; facts for the log are
keyword arguments and become attributes of `facts`.
"""

from __future__ import annotations


class UvrError(Exception):
    """Base of every error this service raises on purpose."""

    def __init__(self, message: str, **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts


class TransientError(UvrError):
    """Another try may succeed: a time-out, a 503, a full disk. `retry_after_s` is the other side's wish, if any."""

    def __init__(self, message: str, *, retry_after_s: float | None = None, **facts: object) -> None:
        super().__init__(message, **facts)
        self.retry_after_s = retry_after_s


class LimitExceededError(TransientError):
    """Somebody asks for more than their share of the service for now."""


class DuplicateRequestError(UvrError):
    """A request that counts once came again: `task_uuid` and `priority` are of the task that the first one made.

    `is_same_request` is False when it asks for something else now.
    """

    def __init__(self, task_uuid: str, priority: int, *, is_same_request: bool) -> None:
        super().__init__(
            "This Idempotency-Key came with another request in the last 24 hours; use a new one for each request."
        )
        self.task_uuid = task_uuid
        self.priority = priority
        self.is_same_request = is_same_request


class PermanentError(UvrError):
    """No further try will help: not audio, 404, too long. The task fails with this message."""


class CrashError(UvrError):
    """The child that computes died (segmentation fault, out-of-memory kill); counted apart from handled failures."""


class CancelledError(UvrError):
    """The work was stopped because nobody wants its result any more: the lease is lost or the process shuts down."""
