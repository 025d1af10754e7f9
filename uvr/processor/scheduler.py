"""Decides which task enters the network next, and how many tasks a processor claims ahead of it.

A processor works on several tasks at once, each in a thread of its own: some are downloaded, one is decoded or waits,
one is in the network, one is encoded. So the network rarely has to wait for anything but the next task's slot, and
never for a slow server while other songs are there. `uvr.processor.stages` has the rules. `InferenceScheduler` makes
the threads keep them, and makes sure that

- nothing is claimed while there is a reason to pause, such as a full disk;
- a decoded task that waits for the network is released to the queue, uncounted, when a task that goes before it has
  arrived, when another processor has nothing to do, or when this process is stopping.

Tasks that were turned away, because their host or user has all downloads it may have, come back to their old places.
They would overtake everything behind them again and again. So for a minute after one was turned away, a task is
released only if the one that overtook it has really been claimed and is downloaded.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

import structlog
from redis import RedisError

from redis_queue import Lease, RedisQueue
from uvr.errors import CancelledError
from uvr.metrics.definitions import NETWORK_BUSY_SECONDS, NETWORK_DOWNLOAD_WAIT_SECONDS, NETWORK_GAP_SECONDS
from uvr.processor.stages import MAX_DECODED, Stage, Stages
from uvr.worker.admission import Admission
from uvr.worker.heartbeat import Heartbeat

log = structlog.get_logger()

_CHECK_EVERY_S = 0.25
_YIELD_S = 1.0
"""How long nothing is claimed after a task was released to an idle processor, which might otherwise come too late."""
_TURNED_AWAY_PAUSE_S = 0.05
"""How long nothing is claimed after a task was turned away: a long row of them must not occupy Redis."""
_EXCESS_S = 90.0
"""For how long tasks that were turned away may come back; longer than their longest pause."""
_LONG_WAIT_S = 5.0
"""For how long the network waits for downloads before operators learn it."""


def thread_count(max_downloads: int) -> int:
    """How many threads a processor needs for all stages of its tasks."""
    return max_downloads + MAX_DECODED


class InferenceScheduler(Admission):
    """Gives the tasks claimed from `queue` their turns. Used by all worker threads of a processor.

    `name` distinguishes this processor from all others. `why_paused` gives the reason why nothing may be claimed at
    the moment, or "". At most `max_downloads` songs are downloaded, or wait on disk, at the same time. `loaded` has the
    values of the records' field `models` whose networks are loaded now, or nothing where loading takes no time.
    """

    def __init__(
        self,
        queue: RedisQueue,
        name: str,
        why_paused: Callable[[], str],
        max_downloads: int,
        loaded: Callable[[], Sequence[str]] = lambda: (),
    ) -> None:
        super().__init__(why_paused)
        self._loaded = loaded
        self._queue = queue
        self._name = name
        self._change = threading.Condition()
        self._stages = Stages(max_downloads)
        self._acquired_at = self._released_at = time.monotonic()
        self._downloading_since = self._counted_until = math.inf
        self._paused_until = self._excess_until = 0.0

    def enter(self) -> bool:
        """Whether the calling thread may claim a task ahead of the network; `leave` ends this."""
        # The first look costs nothing; the reasons for a pause may take a look at Redis.
        if not self._may_claim() or not super().enter():
            return False
        with self._changing():
            if not self._may_claim():
                return False
            self._stages.move(threading.get_ident(), Stage.CLAIMING)
            return True

    def leave(self) -> None:
        """End what `enter` began."""
        with self._changing():
            self._stages.end(threading.get_ident())

    def idle(self) -> str:
        """The name of this processor while its network has nothing to do."""
        with self._change:
            return "" if self._stages.is_network_busy else self._name

    def loaded(self) -> Sequence[str]:
        """What will be loaded when the next task enters the network.

        If the last of the claimed tasks loads a network, the others may have to make room for it.
        """
        loaded = self._loaded()
        with self._change:
            last = self._stages.last_models
        return loaded if not loaded or last is None or last in loaded else (last,)

    def why_idle(self) -> str:
        """A sentence while the network has nothing to do because songs are still being downloaded, else ""."""
        with self._changing():
            downloads = self._stages.count(Stage.FETCHING)
            if time.monotonic() - self._downloading_since < _LONG_WAIT_S:
                return ""
        songs = "the only claimed song is" if downloads == 1 else f"all {downloads} claimed songs are"
        return f"The network has nothing to do: {songs} still being downloaded."

    def begin(self, lease: Lease) -> None:
        """The calling thread fetches the song of the task that it has claimed.

        Raises `CancelledError` if the network is busy and another processor is idle. All of them wait for tasks, and
        most of those that find one may be busy; without this, it would come to the idle one after as many downloads.
        """
        with self._change:
            is_ahead = self._stages.is_network_busy
        if is_ahead and not self._has_excess() and self._is_overtaken(lease, self._name):
            self._paused_until = time.monotonic() + _YIELD_S
            raise self._cancelled("Another processor is idle.")
        with self._changing():
            self._stages.begin(threading.get_ident(), lease)

    def turn_away(self) -> None:
        """The calling thread returns its task, which may not be downloaded now; the next claim waits for a moment."""
        with self._changing():
            now = time.monotonic()
            self._excess_until = now + _EXCESS_S
            self._paused_until = max(self._paused_until, now + _TURNED_AWAY_PAUSE_S)
            self._stages.overtake_none()

    def prepare(self, lease: Lease, heartbeat: Heartbeat) -> None:
        """Wait until the fetched song may be decoded. Raises `CancelledError` when the task should be released."""
        worker = threading.get_ident()
        with self._changing():
            self._stages.move(worker, Stage.FETCHED, lease)
        while not self._try_to_decode(worker, lease):
            if heartbeat.stopping():
                raise self._cancelled("The process is stopping before this task has entered the network.")
            with self._change:
                must_give_way = self._stages.must_give_way(worker, keeps_songs=self._has_excess())
                self._change.wait_for(lambda: self._stages.may_decode(worker), 0 if must_give_way else _CHECK_EVERY_S)
            if must_give_way:
                raise self._cancelled("A task that goes before this one has arrived.")

    def acquire(self, lease: Lease, heartbeat: Heartbeat) -> None:
        """Wait until the network is free, and occupy it. Raises `CancelledError` when the task should be released."""
        worker = threading.get_ident()
        with self._changing():
            self._stages.move(worker, Stage.DECODED, lease)
        while not self._try_to_occupy(worker, lease):
            if heartbeat.stopping():
                raise self._cancelled("The process is stopping before this task has entered the network.")
            if self._should_go_back(worker, lease):
                self._paused_until = time.monotonic() + _YIELD_S
                raise self._cancelled("A task that goes before this one has arrived, or another processor is idle.")
        if not self._has_excess() and self._is_overtaken(lease):
            raise self._cancelled("A task that goes before this one has arrived.")
        self._acquired_at = time.monotonic()

    def release(self) -> None:
        """Leave the network; from now on another task may enter it."""
        gap_s, stay_s = self._acquired_at - self._released_at, time.monotonic() - self._acquired_at
        log.info("network.left", stay_s=round(stay_s, 3), gap_s=round(gap_s, 3))
        NETWORK_GAP_SECONDS.observe(gap_s)
        NETWORK_BUSY_SECONDS.add(stay_s)
        self._released_at = time.monotonic()
        with self._changing():
            self._paused_until = 0.0  # a task that was left to an idle processor may as well come to this one now
            self._stages.move(threading.get_ident(), Stage.BEHIND)

    def _may_claim(self) -> bool:
        with self._change:
            return time.monotonic() >= self._paused_until and self._stages.may_claim()

    def _try_to_decode(self, worker: int, lease: Lease) -> bool:
        """Enter the stage of decoding if the rules allow it now."""
        overtaken = self._is_overtaken(lease)
        with self._changing():
            # While all places are taken, the task that goes before this one cannot be claimed, so it is not known
            # whether it would be turned away.
            is_unknown = self._has_excess() and self._stages.is_full
            self._stages.overtake(worker, overtaken=overtaken and not is_unknown)
            if may_decode := self._stages.may_decode(worker):
                self._stages.move(worker, Stage.DECODING, lease)
            return may_decode

    def _try_to_occupy(self, worker: int, lease: Lease) -> bool:
        """Occupy the network if it becomes free for this task within a moment."""
        with self._change:
            if not self._change.wait_for(lambda: self._stages.may_enter(worker), _CHECK_EVERY_S):
                return False
            with self._changing():
                self._stages.move(worker, Stage.IN_NETWORK, lease)
            return True

    def _should_go_back(self, worker: int, lease: Lease) -> bool:
        """Whether a decoded task that waits for the network should be released."""
        with self._change:
            if self._stages.is_outranked(worker):
                return True
        if not self._is_overtaken(lease, self._name):
            return False
        if not self._has_excess():
            return True
        overtaken = self._is_overtaken(lease)
        with self._changing():
            self._stages.overtake(worker, overtaken=overtaken)
        return not overtaken  # then another processor is idle

    def _has_excess(self) -> bool:
        return time.monotonic() < self._excess_until

    def _cancelled(self, reason: str) -> CancelledError:
        """The error with which the calling thread's task goes back; its place is free from now on."""
        self.leave()
        return CancelledError(reason)

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Change stages under the lock, and count for how long the network has been waiting for downloads."""
        with self._change:
            now = time.monotonic()
            if self._stages.only_downloading:
                NETWORK_DOWNLOAD_WAIT_SECONDS.add(now - self._counted_until)
            yield
            self._counted_until = now
            if not self._stages.only_downloading:
                self._downloading_since = math.inf
            elif self._downloading_since == math.inf:
                self._downloading_since = now
            self._change.notify_all()

    def _is_overtaken(self, lease: Lease, own_name: str = "") -> bool:
        try:
            return self._queue.overtaken(lease, own_name)
        except RedisError as error:
            log.debug("turn.not_checked", error=str(error))
            return False


class InferenceSlot:
    """One stay of a task in the network: a context manager whose block runs alone. Use it once.

    `waited_s` is how long the task waited for it, on disk and decoded.
    """

    def __init__(self, scheduler: InferenceScheduler, lease: Lease, heartbeat: Heartbeat) -> None:
        self._scheduler = scheduler
        self._lease = lease
        self._heartbeat = heartbeat
        self.waited_s = 0.0

    def prepare(self) -> None:
        """Wait until the fetched song may be decoded."""
        started = time.monotonic()
        self._scheduler.prepare(self._lease, self._heartbeat)
        self.waited_s += time.monotonic() - started

    def __enter__(self) -> Self:
        started = time.monotonic()
        self._scheduler.acquire(self._lease, self._heartbeat)
        self.waited_s += time.monotonic() - started
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._scheduler.release()
