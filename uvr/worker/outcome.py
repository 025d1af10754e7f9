"""What a handler returns: the item is done, or must come back later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from redis_queue import Record, RedisQueue


@dataclass(frozen=True)
class Done:
    """The item is finished: write `record`, and move the item on to `next_queue` if there is one.

    `afterwards` runs once the queue has acknowledged the item. It is for steps that must not happen earlier, such as
    deleting local files.
    """

    record: Record = field(default_factory=dict)
    next_queue: RedisQueue | None = None
    afterwards: Callable[[], None] | None = None


@dataclass(frozen=True)
class Later:
    """The handler did its part, but the item must be handled again after `delay_s`, for instance by a retry schedule.

    `counts_as` as in `RedisQueue.retry`: the queue puts items without failures first.
    """

    delay_s: float
    record: Record = field(default_factory=dict)
    counts_as: str = ""
