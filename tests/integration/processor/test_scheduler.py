"""Which task a processor separates next, on a real queue, with networks that take as long as the test wants."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator

import pytest
from redis import Redis

from redis_queue import Lease, RedisQueue
from tests.support.leases import claim, waiting_ids
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually
from tests.support.workers import WAITING, ScriptedHandler, wake_workers
from uvr.errors import CancelledError
from uvr.metrics.definitions import UNSENT
from uvr.processor import scheduler, stages
from uvr.processor.scheduler import InferenceScheduler, InferenceSlot, thread_count
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown
from uvr.worker.worker import Worker

DOWNLOADS = 4
THREADS = thread_count(DOWNLOADS)


class Processor:
    """The threads of a processor; a task stays in the network until `leaves` is called with its id."""

    def __init__(self, queue: RedisQueue, name: str) -> None:
        self.entered: list[str] = []
        self.closed = ""
        self._fetched: dict[str, threading.Event] = defaultdict(threading.Event)
        self._left: dict[str, threading.Event] = defaultdict(threading.Event)
        self._encoded = threading.Event()
        self._encoded.set()
        self._slow: set[str] = set()
        self._excess: dict[str, float] = {}
        self.loaded: list[str] = []
        self.claims: Counter[str] = Counter()
        self._scheduler = InferenceScheduler(queue, name, lambda: self.closed, DOWNLOADS, lambda: self.loaded)
        self._shutdown = Shutdown()
        handler = ScriptedHandler(self._handle)
        self._threads = [
            threading.Thread(target=self._worker(queue, handler).run, args=(self._shutdown,)) for _ in range(THREADS)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._shutdown.requested.set()
        for thread in self._threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()

    def fetches_slowly(self, item_id: str) -> None:
        self._slow.add(item_id)

    def arrives(self, item_id: str) -> None:
        self._fetched[item_id].set()

    def turns_away(self, item_id: str, for_s: float = 3600) -> None:
        self._excess[item_id] = for_s

    def why_idle(self) -> str:
        return self._scheduler.why_idle()

    def encodes_slowly(self) -> None:
        self._encoded.clear()

    def leaves(self, item_id: str) -> None:
        self._left[item_id].set()

    def end_all(self) -> None:
        self._encoded.set()
        self._shutdown.requested.set()
        self._shutdown.abandoned.set()

    def _worker(self, queue: RedisQueue, handler: ScriptedHandler) -> Worker:
        return Worker(
            "test",
            queue,
            handler,
            retry_policy=RetryPolicy(),
            heartbeat_s=0.1,
            waiting_record=WAITING,
            admission=self._scheduler,
        )

    def _handle(self, lease: Lease, heartbeat: Heartbeat) -> Done | Later:
        self.claims[lease.id] += 1
        if lease.id in self._excess:
            self._scheduler.turn_away()
            return Later(self._excess[lease.id])
        self._scheduler.begin(lease)
        if lease.id in self._slow:
            self._until(self._fetched[lease.id], heartbeat)
        slot = InferenceSlot(self._scheduler, lease, heartbeat)
        slot.prepare()
        with slot:
            self.entered.append(lease.id)
            if self.loaded:
                self.loaded = [lease.models]
            self._until(self._left[lease.id], heartbeat)
        self._until(self._encoded, heartbeat)
        return Done()

    def _until(self, event: threading.Event, heartbeat: Heartbeat) -> None:
        while not event.wait(0.01) and not heartbeat.cancelled():
            pass


@pytest.fixture
def new_processor(queue: RedisQueue, redis_client: Redis) -> Iterator[Callable[..., Processor]]:
    processors: list[Processor] = []

    def new(name: str = "mine", queue: RedisQueue = queue) -> Processor:
        processors.append(Processor(queue, name))
        return processors[-1]

    yield new
    for processor in processors:
        processor.end_all()
    wake_workers(redis_client, queue, THREADS * len(processors))
    for processor in processors:
        processor.stop()


def submit(queue: RedisQueue, item_id: str, priority: int = 3) -> None:
    queue.enqueue(item_id, priority, {"status": "queued", "created_ms": 1})


def leased(queue: RedisQueue, *item_ids: str) -> bool:
    return eventually(lambda: all(queue.holder(item_id) for item_id in item_ids))


def test_only_one_task_is_claimed_ahead(queue: RedisQueue, new_processor: Callable[[], Processor]) -> None:
    for item_id in "abc":
        submit(queue, item_id)
    processor = new_processor()
    processor.start()
    assert leased(queue, "a", "b")
    time.sleep(0.5)
    assert waiting_ids(queue) == ["c"]
    processor.leaves("a")
    assert leased(queue, "c")
    eventually(lambda: processor.entered == ["a", "b"])


def test_the_next_task_enters_the_network_while_the_last_one_is_encoded(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    processor.encodes_slowly()
    for item_id in "ab":
        submit(queue, item_id)
    processor.start()
    processor.leaves("a")
    eventually(lambda: processor.entered == ["a", "b"])
    assert queue.holder("a")


def test_a_higher_priority_goes_before_a_task_that_was_claimed_ahead(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    submit(queue, "first")
    submit(queue, "low", 1)
    processor = new_processor()
    processor.start()
    assert leased(queue, "first", "low")
    submit(queue, "high", 5)
    assert leased(queue, "high"), "it is fetched while the first is still in the network"
    eventually(lambda: waiting_ids(queue) == ["low"])
    for item_id in ("first", "high", "low"):
        processor.leaves(item_id)
    eventually(lambda: processor.entered == ["first", "high", "low"])


def test_a_higher_priority_that_arrives_at_the_last_moment_goes_first(queue: RedisQueue) -> None:
    submit(queue, "low", 1)
    lease = claim(queue)
    turns = InferenceScheduler(queue, "mine", lambda: "", DOWNLOADS)
    submit(queue, "high", 5)
    heartbeat = Heartbeat(queue, lease, 15, Shutdown())
    with pytest.raises(CancelledError, match="goes before this one"):  # noqa: SIM117
        with InferenceSlot(turns, lease, heartbeat):
            raise AssertionError("it entered the network")
    queue.release(lease)
    high = claim(queue)
    with InferenceSlot(turns, high, heartbeat) as slot:
        assert high.id == "high"
    assert slot.waited_s < PROMPT_S


def test_of_two_waiting_tasks_the_first_in_line_enters_first_even_if_the_other_is_ready_earlier(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    submit(queue, "high", 5)
    submit(queue, "low", 1)
    processor = new_processor()
    processor.leaves("high")
    processor.leaves("low")
    processor.start()
    eventually(lambda: processor.entered == ["high", "low"])


def test_a_task_that_is_slow_to_arrive_does_not_delay_the_next_one(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    submit(queue, "slow", 5)
    submit(queue, "quick", 1)
    processor = new_processor()
    processor.fetches_slowly("slow")
    processor.start()
    eventually(lambda: processor.entered == ["quick"])


def test_slow_downloads_never_keep_a_song_that_arrives_from_the_network(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    for number in range(DOWNLOADS - 1):
        processor.fetches_slowly(f"slow-{number}")
        submit(queue, f"slow-{number}", 5)
    for item_id in "abc":
        submit(queue, item_id)
        processor.leaves(item_id)
    processor.start()
    eventually(lambda: processor.entered == ["a", "b", "c"])
    assert leased(queue, "slow-0", "slow-1", "slow-2")


def test_a_slow_song_enters_the_network_in_its_turn_once_it_has_arrived(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_SLOW_WHILE_BUSY_S", 0.5)
    processor = new_processor()
    processor.fetches_slowly("slow")
    for item_id in ("slow", "a", "b", "c"):
        submit(queue, item_id)
    processor.start()
    eventually(lambda: processor.entered == ["a"])
    assert leased(queue, "b")
    processor.arrives("slow")
    time.sleep(0.5)
    assert waiting_ids(queue) == ["c"]
    for item_id in ("a", "b", "slow", "c"):
        processor.leaves(item_id)
    eventually(lambda: len(processor.entered) == 4)
    assert (processor.entered[0], processor.entered[-1]) == ("a", "c")
    assert set(processor.claims.values()) == {1}


def test_a_slow_song_that_a_higher_priority_overtakes_keeps_what_it_has_downloaded(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_SLOW_WHILE_BUSY_S", 0.5)
    processor = new_processor()
    processor.fetches_slowly("slow")
    submit(queue, "slow", 1)
    processor.start()
    assert leased(queue, "slow")
    submit(queue, "a", 3)
    eventually(lambda: processor.entered == ["a"])
    submit(queue, "b", 3)
    assert leased(queue, "b")
    submit(queue, "high", 5)
    processor.arrives("slow")
    for item_id in ("a", "high", "b", "slow"):
        processor.leaves(item_id)
    eventually(lambda: processor.entered == ["a", "high", "b", "slow"])
    assert processor.claims == {"slow": 1, "a": 1, "b": 2, "high": 1}


def test_the_processor_says_when_the_network_waits_for_downloads_only(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_LONG_WAIT_S", 0.5)
    processor = new_processor()
    processor.leaves("quick")
    processor.fetches_slowly("slow")
    submit(queue, "slow")
    assert processor.why_idle() == ""
    processor.start()
    message = "The network has nothing to do: the only claimed song is still being downloaded."
    eventually(lambda: processor.why_idle() == message)
    UNSENT.take()
    assert processor.why_idle() == message
    assert UNSENT.take()["uvr_network_download_wait_seconds_total", ""] > 0
    processor.arrives("slow")
    eventually(lambda: processor.entered == ["slow"])
    assert processor.why_idle() == ""


def test_a_task_that_is_turned_away_pauses_the_claims_for_a_moment_only(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    for number in range(10):
        processor.turns_away(f"excess-{number}")
        submit(queue, f"excess-{number}")
    submit(queue, "welcome")
    processor.start()
    eventually(lambda: processor.entered == ["welcome"])
    assert redis_client.zcard("tasks:delayed") == 10
    assert redis_client.hget("tasks:item:excess-0", "failures") == "0"


def test_tasks_that_are_turned_away_again_and_again_take_nothing_from_those_behind_them(
    queue: RedisQueue, new_processor: Callable[[], Processor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "_SLOW_WHILE_BUSY_S", 0.5)
    processor = new_processor()
    for number in range(DOWNLOADS - 1):
        processor.turns_away(f"excess-{number}", for_s=1)
        submit(queue, f"excess-{number}", 5)
        processor.fetches_slowly(f"slow-{number}")
        submit(queue, f"slow-{number}", 5)
    for item_id in "abc":
        submit(queue, item_id)
    processor.start()
    eventually(lambda: processor.entered == ["a"])
    assert leased(queue, "b")
    claims = processor.claims["excess-0"]
    eventually(lambda: processor.claims["excess-0"] > claims)
    submit(queue, "high", 4)
    assert leased(queue, "high"), "it is found among them"
    eventually(lambda: queue.holder("b") is None)
    for item_id in ("a", "high", "b", "c"):
        processor.leaves(item_id)
    eventually(lambda: len(processor.entered) == 4)
    assert processor.entered == ["a", "high", "b", "c"]
    assert [processor.claims[item_id] for item_id in ("a", "b", "c")] == [1, 2, 1]


def test_a_task_claimed_ahead_goes_to_an_idle_processor(
    queue: RedisQueue, new_processor: Callable[[str], Processor]
) -> None:
    mine, other = new_processor("mine"), new_processor("other")
    submit(queue, "long")
    submit(queue, "next")
    mine.start()
    assert leased(queue, "long", "next")
    other.start()
    eventually(lambda: other.entered == ["next"])
    assert mine.entered == ["long"]


def test_a_busy_processor_leaves_a_task_to_an_idle_one_before_it_downloads_the_song(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[], Processor]
) -> None:
    mine = new_processor()
    mine.fetches_slowly("next")
    submit(queue, "long")
    mine.start()
    eventually(lambda: mine.entered == ["long"])
    redis_client.zadd("tasks:idle", {"other": (redis_client.time()[0] + 3600) * 1000})
    submit(queue, "next")
    eventually(lambda: mine.claims["next"] and queue.sizes().waiting == 1, "the task is back in the queue")
    assert redis_client.hget("tasks:item:next", "failures") == "0"


def test_a_single_task_stays_with_the_processor_that_claimed_it(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[str], Processor]
) -> None:
    mine, other = new_processor("mine"), new_processor("other")
    mine.start()
    other.start()
    time.sleep(0.3)
    submit(queue, "only")
    eventually(lambda: len(mine.entered + other.entered) == 1)
    assert redis_client.hget("tasks:item:only", "attempt") == "1"


def test_nothing_is_claimed_while_there_is_a_reason_against_it(
    queue: RedisQueue, new_processor: Callable[[], Processor]
) -> None:
    processor = new_processor()
    processor.closed = "The disk is full."
    processor.start()
    submit(queue, "a")
    time.sleep(0.5)
    assert processor.entered == []
    processor.closed = ""
    eventually(lambda: processor.entered == ["a"])


def test_a_stop_releases_the_task_ahead_and_finishes_the_one_in_the_network(
    queue: RedisQueue, redis_client: Redis, new_processor: Callable[[], Processor]
) -> None:
    for item_id in "ab":
        submit(queue, item_id)
    processor = new_processor()
    processor.start()
    assert leased(queue, "a", "b")
    threading.Timer(0.5, processor.leaves, ("a",)).start()
    processor.stop()
    assert processor.entered == ["a"]
    assert waiting_ids(queue) == ["b"]
    assert redis_client.hget("tasks:item:b", "failures") == "0"


def submit_models(queue: RedisQueue, *item_ids: str) -> None:
    """Add tasks whose model is the first letter of their id."""
    for item_id in item_ids:
        queue.enqueue(item_id, 3, {"status": "queued", "created_ms": 1, "models": f'["{item_id[0]}"]'})


def test_tasks_of_the_loaded_model_go_first_and_networks_change_seldom(
    redis_client: Redis, new_processor: Callable[..., Processor]
) -> None:
    queue = RedisQueue(redis_client, "tasks", max_overtakes=4)
    submit_models(queue, *(f"{model}{number}" for number in range(8) for model in "ab"))
    processor = new_processor(queue=queue)
    processor.loaded = ['["a"]']
    for item_id in waiting_ids(queue, 16):
        processor.leaves(item_id)
    processor.start()
    eventually(lambda: len(processor.entered) == 16)
    assert "".join(item_id[0] for item_id in processor.entered) == "aaaaabbbbbbbbaaa"
    assert set(processor.claims.values()) == {1}, "none was claimed and put back"


def test_a_task_claimed_ahead_decides_which_model_is_next(
    redis_client: Redis, new_processor: Callable[..., Processor]
) -> None:
    queue = RedisQueue(redis_client, "tasks", max_overtakes=1)
    submit_models(queue, "a1", "b1", "a2", "a3", "b2")
    processor = new_processor(queue=queue)
    processor.loaded = ['["a"]']
    processor.leaves("a1")
    processor.start()
    eventually(lambda: processor.entered == ["a1", "a2"])
    assert leased(queue, "b1")
    time.sleep(0.5)
    assert waiting_ids(queue) == ["a3", "b2"], "b1 keeps its lease while tasks of the loaded model wait"
    for item_id in ("a2", "b1", "b2", "a3"):
        processor.leaves(item_id)
    eventually(lambda: processor.entered == ["a1", "a2", "b1", "b2", "a3"])


def test_where_loading_takes_no_time_tasks_keep_their_order(
    redis_client: Redis, new_processor: Callable[..., Processor]
) -> None:
    queue = RedisQueue(redis_client, "tasks", max_overtakes=4)
    arrived = ["a1", "b1", "a2", "b2"]
    submit_models(queue, *arrived)
    processor = new_processor(queue=queue)
    for item_id in arrived:
        processor.leaves(item_id)
    processor.start()
    eventually(lambda: processor.entered == arrived)
