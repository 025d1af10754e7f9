"""The stages of the tasks that a processor has claimed, and what they allow to happen next.

    claiming ─▶ fetching ─▶ fetched ─▶ decoding ─▶ decoded ─▶ in the network ─▶ behind
                download    on disk                waits                        encode, pass on

A slow download must not keep the network idle, and a quick one must not lose its place. So

- the next task is claimed when nothing is ahead of the network but slow downloads, of which there are at most
  `max_downloads`. While the network is idle, a download counts as slow after a second, otherwise after ten: then there
  is time, and tasks stay in the queue, where every processor can take them and a higher priority passes them;
- only one song at a time is decoded ahead of a busy network, and at most three songs exist as samples: ahead of the
  network, in it and behind it. Only they take much disk space and memory;
- the next task should have the models of the last one that was claimed and not of the one that is in the network now,
  or networks would be loaded in turns;
- of the fetched songs, the first in order is decoded next, and of the decoded ones, the first in order enters the
  network: a higher priority first, and within a priority the task that was claimed first;
- a fetched song that a waiting task overtakes goes back to the queue. If its download was slow, which is not repeated
  lightly, it stays on disk instead, unless all download places are taken.

Nothing here waits or locks; `uvr.processor.scheduler` does both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import Enum, auto

from redis_queue import Lease

MAX_DECODED = 3
"""One song ahead of the network, one in it, one behind it."""

_SLOW_S = 1.0
"""While the network is idle, a stage that takes longer does not keep another task from being claimed."""
_SLOW_WHILE_BUSY_S = 10.0
"""The same for a download while the network is busy."""


class Stage(Enum):
    """How far a task is."""

    CLAIMING = auto()
    """A worker waits for a task."""
    FETCHING = auto()
    """Its song is being downloaded."""
    FETCHED = auto()
    """Its song waits on disk."""
    DECODING = auto()
    """Its song is being decoded."""
    DECODED = auto()
    """Its song waits for the network."""
    IN_NETWORK = auto()
    """The only one that uses the network."""
    BEHIND = auto()
    """Its stems are being encoded and passed on."""


_AHEAD = (Stage.DECODING, Stage.DECODED)


@dataclass
class _Held:
    """What one worker holds. `rank` orders tasks that were claimed: the lowest goes first."""

    stage: Stage
    since: float
    rank: tuple[int, int] = (0, 0)
    models: str = ""
    """The models of the task, as its record has them."""
    was_slow: bool = False
    """Whether its download was."""
    overtaken: bool = False
    """Whether a task in the queue goes before it."""
    displaced: bool = False
    """Whether the task that overtook it has been claimed."""

    @property
    def priority(self) -> int:
        return -self.rank[0]


class Stages:
    """The stage of each worker's task. Workers are known by a number, such as the id of their thread."""

    def __init__(self, max_downloads: int) -> None:
        self._max_downloads = max_downloads
        self._held: dict[int, _Held] = {}

    def move(self, worker: int, stage: Stage, lease: Lease | None = None) -> None:
        """The task of `worker` enters `stage`; `lease` gives it its place in the order."""
        rank, models = ((-lease.priority, lease.fence), lease.models) if lease else ((0, 0), "")
        before, now = self._held.get(worker), time.monotonic()
        was_slow = before is not None and before.stage is Stage.FETCHING and now - before.since > _SLOW_S
        self._held[worker] = _Held(stage, now, rank, models, was_slow)

    def begin(self, worker: int, lease: Lease) -> None:
        """The task of `worker` may be fetched: it was claimed before those that it has overtaken."""
        for held in self._in(Stage.DECODED):
            held.displaced = held.overtaken
        self.move(worker, Stage.FETCHING, lease)

    def end(self, worker: int) -> None:
        """The worker holds nothing any more."""
        self._held.pop(worker, None)

    def overtake(self, worker: int, *, overtaken: bool) -> None:
        """Note whether a task in the queue goes before the one of this worker; others may be claimed past it then."""
        self._held[worker].overtaken = overtaken

    def overtake_none(self) -> None:
        """The task that overtook others has gone again; whether there is another one is not known yet."""
        for held in self._held.values():
            held.overtaken = False

    def count(self, *stages: Stage) -> int:
        """How many tasks are in these stages."""
        return len(self._in(*stages))

    @property
    def is_network_busy(self) -> bool:
        """Whether a task is in the network."""
        return self.count(Stage.IN_NETWORK) > 0

    @property
    def last_models(self) -> str | None:
        """The models of the task that enters the network last, or of the one in it; None if there is no such task."""
        last = self._in(Stage.FETCHING, Stage.FETCHED, *_AHEAD) or self._in(Stage.IN_NETWORK)
        return max(last, key=lambda held: held.rank).models if last else None

    @property
    def only_downloading(self) -> bool:
        """Whether the network has nothing to do because all songs ahead of it are still being downloaded."""
        others = self.count(Stage.FETCHED, *_AHEAD, Stage.IN_NETWORK)
        return not others and self.count(Stage.FETCHING) > 0

    @property
    def is_full(self) -> bool:
        """Whether all download places are taken."""
        return self.count(Stage.FETCHING, Stage.FETCHED) >= self._max_downloads

    def may_claim(self) -> bool:
        """Whether a worker may claim another task now. Only one at a time, so that tasks start in their order."""
        if self.count(Stage.CLAIMING) or self.is_full:
            return False
        return not any(map(self._keeps_others_back, self._held.values()))

    def may_decode(self, worker: int) -> bool:
        """Whether the fetched song of `worker` is the one to decode now."""
        mine = self._held[worker]
        if self.count(*_AHEAD, Stage.IN_NETWORK, Stage.BEHIND) >= MAX_DECODED:
            return False
        if any(map(self._keeps_others_back, self._in(*_AHEAD))):
            return False
        others = [held for held in self._in(Stage.FETCHING, Stage.FETCHED) if self._keeps_others_back(held)]
        return not mine.overtaken and all(mine.rank <= other.rank for other in others)

    def may_enter(self, worker: int) -> bool:
        """Whether the decoded song of `worker` is the one to enter the network now."""
        mine = self._held[worker]
        if self.is_network_busy or mine.displaced:
            return False
        return all(mine.rank <= other.rank for other in self._in(Stage.DECODED) if not other.displaced)

    def must_give_way(self, worker: int, *, keeps_songs: bool = False) -> bool:
        """Whether an overtaken song has to leave the disk: it came quickly, or the better task has no other place.

        With `keeps_songs` one that came quickly stays as well.
        """
        mine = self._held[worker]
        if not (mine.overtaken and (mine.was_slow or keeps_songs)):
            return mine.overtaken
        if not self.is_full or any(map(self._keeps_others_back, self._held.values())):
            return False
        return all(mine.rank >= other.rank for other in self._in(Stage.FETCHED))

    def is_outranked(self, worker: int) -> bool:
        """Whether the decoded song of `worker` should go back: a claimed task goes before it, or a fetched one does."""
        mine = self._held[worker]
        return mine.displaced or any(held.priority > mine.priority for held in self._in(Stage.FETCHED))

    def _in(self, *stages: Stage) -> list[_Held]:
        return [held for held in self._held.values() if held.stage in stages]

    def _keeps_others_back(self, held: _Held) -> bool:
        """Whether no other task should be claimed or decoded because of this one."""
        age_s, busy = time.monotonic() - held.since, self.is_network_busy
        if held.stage is Stage.FETCHING:
            return age_s <= (_SLOW_WHILE_BUSY_S if busy else _SLOW_S)
        if held.stage is Stage.FETCHED:
            return not held.overtaken
        return held.stage in _AHEAD and not held.overtaken and (busy or age_s <= _SLOW_S)
