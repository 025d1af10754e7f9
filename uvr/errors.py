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


class PermanentError(UvrError):
    """No further try will help: not audio, 404, too long. The task fails with this message."""


class CrashError(UvrError):
    """The child that computes died (segmentation fault, out-of-memory kill); counted apart from handled failures."""


class CancelledError(UvrError):
    """The work was stopped because nobody wants its result any more: the lease is lost or the process shuts down."""
