"""What has changed among the tasks of a user, for all clients of this process that follow them.

Nothing in Redis tells of changes, so a `TaskFeed` reads the tasks once a second while anybody asks, and compares. It
reads once for all clients of a user, and for all that look at the tasks of every user. The effort of a reading is
bounded: the indexes by status, which show what is new, gone, or in another state; the records of those and of the tasks
that are worked on; and in turn a part of all other records, for what changes rarely, such as the state of a webhook.
If the tasks of many users are followed, all feeds are read less often, and this takes a quarter of a core at most.

Each change has a number. A client that comes back with the number of the last change that it knows gets the changes
since then, also if nobody has asked in between.
"""

from __future__ import annotations

import re
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from weakref import WeakKeyDictionary, WeakValueDictionary

from uvr.api.eta import EtaEstimator
from uvr.api.schemas.responses import feed_task
from uvr.tasks.model import Status, Task
from uvr.tasks.store import TaskStore

MAX_TASKS = 5000
READ_EVERY_S = 1.0

_READ_IN_TURN = 100
_MAX_NEW_POSITIONS = 100
_PAGE = 500
_NUMBER = re.compile("[0-9]{1,15}")
_MAX_REMOVALS = 1000
_MAX_UNUSED_FEEDS = 16
_MAX_SHARE_OF_CORE = 0.25


@dataclass(frozen=True)
class Changes:
    """What a client has to learn. `is_all`: it must forget the tasks that it knows; these are all."""

    version: str
    is_all: bool
    tasks: list[str]
    """The tasks as JSON (`FeedTask`), the newest first."""
    removed: list[str]
    """Ids of tasks that were deleted, or of which there are too many newer ones."""
    left_out: bool
    """Whether there are more than MAX_TASKS."""


@dataclass(frozen=True)
class _Entry:
    number: int
    status: Status
    text: str


class ReadingPace:
    """How often the feeds of a process are read: so often that this takes a quarter of a core at most."""

    def __init__(self) -> None:
        self.every_s = READ_EVERY_S
        self._lock = threading.Lock()
        self._took_s: WeakKeyDictionary[TaskFeed, float] = WeakKeyDictionary()

    def took(self, feed: TaskFeed, seconds: float) -> None:
        """Note how much processor time the last reading of `feed` took."""
        with self._lock:
            self._took_s[feed] = seconds
            self.every_s = max(READ_EVERY_S, sum(self._took_s.values()) / _MAX_SHARE_OF_CORE)


class TaskFeed:
    """The tasks of `owner`, "" for those of all users, for many threads. Methods may raise `redis.RedisError`."""

    def __init__(
        self,
        store: TaskStore,
        eta: EtaEstimator,
        owner: str,
        clock: Callable[[], float] = time.monotonic,
        pace: ReadingPace | None = None,
    ) -> None:
        self._store = store
        self._eta = eta
        self._owner = owner
        self._clock = clock
        self._pace = pace or ReadingPace()
        self._id = secrets.token_hex(4)
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._number = 0
        self._entries: dict[str, _Entry] = {}
        self._removals: deque[tuple[int, str]] = deque()
        self._answers: dict[int, Changes] = {}  # most clients know the same number
        self._forgotten_until = 0
        self._in_turn: deque[str] = deque()
        self._left_out = False

    def changes_since(self, version: str) -> Changes:
        """The changes after `version`, an earlier `Changes.version` or any text; all tasks if those are not known."""
        with self._lock:
            if self._clock() - self._read_at >= self._pace.every_s:
                self._read_at_pace()
            since = self._number_of(version)
            if since is None:
                tasks = [entry.text for entry in self._entries.values()]
                return Changes(f"{self._id}.{self._number}", True, tasks, [], self._left_out)
            if since not in self._answers:
                self._answers[since] = self._changes_after(since)
            return self._answers[since]

    def _read_at_pace(self) -> None:
        is_first, began = not self._entries, time.thread_time()
        self._read()
        self._answers = {}
        self._read_at = self._clock()
        if not is_first:  # which takes much longer than all others
            self._pace.took(self, time.thread_time() - began)

    def _changes_after(self, since: int) -> Changes:
        tasks, removed = [], []
        if since < self._number:
            tasks = [entry.text for entry in self._entries.values() if entry.number > since]
            removed = [it for number, it in self._removals if number > since and it not in self._entries]
        return Changes(f"{self._id}.{self._number}", False, tasks, removed, self._left_out)

    def _number_of(self, version: str) -> int | None:
        """The number of the change, None if it is of another feed or too long ago."""
        feed, _, text = version.partition(".")
        if feed != self._id or not _NUMBER.fullmatch(text):
            return None
        number = int(text)
        return number if self._forgotten_until <= number <= self._number else None

    def _read(self) -> None:
        statuses = self._store.statuses(owner=self._owner, limit=MAX_TASKS)
        self._left_out = len(statuses) == MAX_TASKS
        known, in_turn = self._entries, self._next_in_turn()
        missing = [it for it in known if it not in statuses]
        changed = [it for it, status in statuses.items() if it not in known or known[it].status != status]
        at_work = [it for it, status in statuses.items() if status in (Status.PROCESSING, Status.UPLOADING)]
        # A position costs Redis some time. Those whose turn it is always get one, so that none comes and goes.
        oldest_new = islice(reversed(changed), _MAX_NEW_POSITIONS)
        with_position = {*in_turn, *oldest_new}
        wanted = list(dict.fromkeys([*missing, *changed, *at_work, *in_turn]))
        entries = dict(known)
        for start in range(0, len(wanted), _PAGE):
            page = wanted[start : start + _PAGE]
            found = self._store.get_many(page)
            waiting = [it for it, task in found.items() if task.status is Status.QUEUED and it in with_position]
            positions = dict(zip(waiting, self._store.positions(waiting), strict=True))
            for task_uuid in page:
                # One that is missing in the indexes may have been retried while they were read, and stays.
                is_gone = task_uuid not in found or (self._left_out and task_uuid not in statuses)
                if not is_gone:
                    self._put(entries, found[task_uuid], positions.get(task_uuid))
                elif entries.pop(task_uuid, None):
                    self._note_removal(task_uuid)
        self._entries = {it: entries[it] for it in (*missing, *statuses) if it in entries}

    def _next_in_turn(self) -> list[str]:
        if not self._in_turn:
            self._in_turn.extend(self._entries)
        return [self._in_turn.popleft() for _ in range(min(_READ_IN_TURN, len(self._in_turn)))]

    def _put(self, entries: dict[str, _Entry], task: Task, position: int | None) -> None:
        """Put the task into `entries`, with a new number if it has changed."""
        text = feed_task(task, position=position, eta_s=self._eta.remaining_s(task, position)).model_dump_json()
        old = entries.get(task.task_uuid)
        if old is None or old.text != text:
            self._number += 1
            entries[task.task_uuid] = _Entry(self._number, task.status, text)

    def _note_removal(self, task_uuid: str) -> None:
        if len(self._removals) == _MAX_REMOVALS:
            self._forgotten_until, _ = self._removals.popleft()
        self._number += 1
        self._removals.append((self._number, task_uuid))


class TaskFeeds:
    """The feeds of this process, by owner: those that are followed, and the latest ones for clients that come back."""

    def __init__(self, store: TaskStore, eta: EtaEstimator) -> None:
        self._store = store
        self._eta = eta
        self._lock = threading.Lock()
        self._followed: WeakValueDictionary[str, TaskFeed] = WeakValueDictionary()
        self._latest: OrderedDict[str, TaskFeed] = OrderedDict()
        self._pace = ReadingPace()

    def of(self, owner: str) -> TaskFeed:
        """The feed of the tasks of `owner`, "" for those of all users. It is the same one while it is referred to."""
        with self._lock:
            feed = self._followed.get(owner) or TaskFeed(self._store, self._eta, owner, pace=self._pace)
            self._followed[owner] = self._latest[owner] = feed
            self._latest.move_to_end(owner)
            if len(self._latest) > _MAX_UNUSED_FEEDS:
                self._latest.popitem(last=False)
            return feed
