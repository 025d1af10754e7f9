"""How long tasks wait for a processor, by queueing theory, and how many processors keep the wait below a target.

The queue is M/G/c with non-preemptive priorities: songs arrive at random (Poisson), each processor separates one at a
time, and the highest priority goes first. With one service time for all priorities:

    W_k = W_0 / ((1 - s_(k-1)) * (1 - s_k)),    W_0 = C(c, a) * S / c * (1 + cv^2) / 2

where a = arrivals * S is the offered load, C the Erlang C formula (the probability that all c processors are busy), s_k
the load of priority k and all higher ones per processor, and cv the coefficient of variation of the service time S. For
cv = 1 this is exact (Cobham, "Priority assignment in waiting line problems", Operations Research 2, 1954); the last
factor is the approximation of Allen and Cunneen for other service times. Waits are means, in seconds; `tail_s` gives
the wait that 95 of 100 tasks do not exceed.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DAY_S = 86_400


@dataclass(frozen=True)
class Song:
    """A task as it arrives: when, with which priority, and for how long it occupies a processor."""

    arrives_s: float
    priority: int
    service_s: float


def erlang_c(processors: int, load: float) -> float:
    """The probability that a task finds all processors busy; `load` is arrivals per second times the service time.

    By the recursion of Erlang B, which needs no factorials. 1 for a load that the processors cannot carry.
    """
    if load >= processors:
        return 1.0
    blocked = 1.0
    for number in range(1, processors + 1):
        blocked = load * blocked / (number + load * blocked)
    return blocked / (1 - load / processors * (1 - blocked))


def waits_s(
    processors: int, service_s: float, per_second: Mapping[int, float], *, variation: float = 1.0
) -> dict[int, float]:
    """The mean wait of each priority, infinite where the load of it and all higher ones is too much.

    `per_second` has the arrivals by priority, `variation` is the coefficient of variation of the service time.
    """
    load = service_s * sum(per_second.values())
    # Under an overload erlang_c is 1: all processors are always busy, and one of them becomes free after S / c.
    residual_s = erlang_c(processors, load) * service_s / processors * (1 + variation**2) / 2
    found, above = {}, 0.0
    for priority in sorted(per_second, reverse=True):
        upto = above + per_second[priority] * service_s / processors
        found[priority] = residual_s / ((1 - above) * (1 - upto)) if upto < 1 else math.inf
        above = upto
    return found


def tail_s(mean_wait_s: float, probability_of_wait: float, *, share: float = 0.95) -> float:
    """The wait that `share` of the tasks of one priority do not exceed, if waits of those that wait are exponential.

    That holds exactly for first in, first out with exponential service, and for the highest priority. The waits of low
    priorities are more spread, so their tail is longer.
    """
    if math.isinf(mean_wait_s) or probability_of_wait <= 1 - share:
        return mean_wait_s if math.isinf(mean_wait_s) else 0.0
    return mean_wait_s / probability_of_wait * math.log(probability_of_wait / (1 - share))


def processors_for(
    service_s: float, per_second: Mapping[int, float], max_wait_s: Mapping[int, float], *, variation: float = 1.0
) -> int:
    """The fewest processors with which the mean wait of each priority in `max_wait_s` stays within its target."""
    count = math.floor(service_s * sum(per_second.values())) + 1
    while any(
        wait_s > max_wait_s.get(priority, math.inf)
        for priority, wait_s in waits_s(count, service_s, per_second, variation=variation).items()
    ):
        count += 1
    return count


def ideal_waits_s(processors: int, songs: Sequence[Song]) -> list[float]:
    """How long each of these songs waits in an ideal queue, which costs no time at all. `songs` are in their order.

    The same songs in a real queue show what the queue costs, without the chance of random arrivals.
    """
    free_at = [0.0] * processors
    waiting: list[tuple[int, int]] = []
    waits, arrived = [0.0] * len(songs), 0
    while arrived < len(songs) or waiting:
        now = heapq.heappop(free_at)
        if not waiting:
            now = max(now, songs[arrived].arrives_s)
        while arrived < len(songs) and songs[arrived].arrives_s <= now:
            heapq.heappush(waiting, (-songs[arrived].priority, arrived))
            arrived += 1
        _, number = heapq.heappop(waiting)
        waits[number] = now - songs[number].arrives_s
        heapq.heappush(free_at, now + songs[number].service_s)
    return waits
