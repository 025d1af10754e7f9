"""Whether a worker may claim a task now."""

from __future__ import annotations

from collections.abc import Callable, Sequence


class Admission:
    """Lets a worker claim whenever `why_paused()` gives no reason against it; by default always.

    `Worker` asks before every claim, from the thread that is about to claim.
    """

    def __init__(self, why_paused: Callable[[], str] = lambda: "") -> None:
        self._why_paused = why_paused

    def enter(self) -> bool:
        """Whether the calling thread may claim; if so, it calls `leave` once the claim has ended or found nothing."""
        return not self._why_paused()

    def leave(self) -> None:
        """End what `enter` began."""

    def idle(self) -> str:
        """The name of this process while it has nothing to do, "" if others need not know (see `RedisQueue.claim`)."""
        return ""

    def loaded(self) -> Sequence[str]:
        """The models that this process prefers (see `RedisQueue.claim`)."""
        return ()
