"""What a handler returns: the item is done, or has to come back later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from redis_queue import Record, RedisQueue


@dataclass(frozen=True)
class Done:
    """The item is finished; it goes on to `next_queue` if there is one.

    `afterwards` runs once the queue has taken note, for what must not happen earlier, such as deleting local files.
    """

    record: Record = field(default_factory=dict)
    next_queue: RedisQueue | None = None
    afterwards: Callable[[], None] | None = None


@dataclass(frozen=True)
class Later:
    """Nothing failed, but the item is to be looked at again after `delay_s`, for instance by a retry schedule."""

    delay_s: float
    record: Record = field(default_factory=dict)
