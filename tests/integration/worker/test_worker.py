"""What a worker promises about its handler and its items, on a real queue."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from structlog.testing import capture_logs

from redis_queue import Lease, RedisQueue
from tests.support.leases import begin, claim, dead_ids, expire, waiting_ids
from tests.support.waiting import PATIENCE_S, eventually
from tests.support.workers import ScriptedHandler, raising, status_of, submit, worker_for
from uvr.errors import CancelledError, CrashError, DiskFullError, PermanentError, TransientError
from uvr.metrics.definitions import LEASES_EXPIRED, UNSENT
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown
from uvr.worker.worker import Worker


def work_once(queue: RedisQueue, worker: Worker, shutdown: Shutdown) -> None:
    lease = eventually(queue.claim, "something to claim")
    assert lease
    worker.work_on(lease, shutdown)


def test_a_finished_item_moves_to_the_next_queue(queue: RedisQueue, redis_client: Redis, shutdown: Shutdown) -> None:
    results = RedisQueue(redis_client, "results", root="tasks")
    submit(queue)
    done = Done({"status": "uploading"}, next_queue=results)
    work_once(queue, worker_for(queue, ScriptedHandler(lambda _lease, _heartbeat: done)), shutdown)
    assert waiting_ids(results) == ["a"]
    assert status_of(redis_client) == "uploading"


def test_afterwards_runs_once_the_queue_has_acknowledged_the_item(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    seen: list[str | None] = []
    done = Done({"status": "success"}, afterwards=lambda: seen.append(status_of(redis_client)))
    submit(queue)
    work_once(queue, worker_for(queue, ScriptedHandler(lambda _lease, _heartbeat: done)), shutdown)
    assert seen == ["success"]


def test_afterwards_does_not_run_when_the_lease_was_lost(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    seen: list[str] = []

    def lose_the_lease(lease: Lease, _heartbeat: Heartbeat) -> Done:
        redis_client.zadd("tasks:lease", {lease.id: 0})
        queue.reap()
        queue.claim()
        return Done({"status": "success"}, afterwards=lambda: seen.append("deleted"))

    submit(queue)
    work_once(queue, worker_for(queue, ScriptedHandler(lose_the_lease)), shutdown)
    assert seen == []
    assert status_of(redis_client) == "queued"


def test_an_error_in_afterwards_affects_neither_the_item_nor_the_worker(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    def fail() -> None:
        raise OSError("The disk is gone.")

    submit(queue)
    done = Done({"status": "success"}, afterwards=fail)
    work_once(queue, worker_for(queue, ScriptedHandler(lambda _lease, _heartbeat: done)), shutdown)
    assert status_of(redis_client) == "success"


def test_a_long_computation_keeps_its_lease(queue: RedisQueue, redis_client: Redis, shutdown: Shutdown) -> None:
    def compute(lease: Lease, _heartbeat: Heartbeat) -> Done:
        for _ in range(3):
            expire(queue, redis_client, lease)
            eventually(lambda: redis_client.zscore("tasks:lease", lease.id), "the next beat")
            assert queue.reap() == []
        return Done()

    submit(queue)
    work_once(queue, worker_for(queue, ScriptedHandler(compute)), shutdown)
    assert queue.sizes().leased == 0


def test_transient_failures_are_retried_and_then_given_up(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    handler = ScriptedHandler(raising(TransientError("The storage is down.")))
    submit(queue)
    worker = worker_for(queue, handler, max_failures=3)
    for _ in range(3):
        assert handler.given_up == []
        work_once(queue, worker, shutdown)
    assert handler.given_up == ["The storage is down."]
    assert dead_ids(queue) == ["a"]
    assert status_of(redis_client) == "failed"


def test_a_full_disk_is_waited_for_and_never_counts(queue: RedisQueue, redis_client: Redis, shutdown: Shutdown) -> None:
    handler = ScriptedHandler(raising(DiskFullError("The disk is full.")))
    submit(queue)
    worker = worker_for(queue, handler, max_failures=1)
    with capture_logs() as lines:
        for _ in range(5):
            work_once(queue, worker, shutdown)
    assert (handler.given_up, dead_ids(queue), status_of(redis_client)) == ([], [], "queued")
    assert redis_client.hmget("tasks:item:a", "failures", "crashes") == ["0", "0"]
    assert [line["step"] for line in lines if line["event"] == "claim.settled"] == ["later"] * 5
    assert {line["error"] for line in lines if line["event"] == "claim.waits_for_room"} == {"The disk is full."}


def test_a_permanent_failure_is_given_up_at_once(queue: RedisQueue, shutdown: Shutdown) -> None:
    handler = ScriptedHandler(raising(PermanentError("Not audio.")))
    submit(queue)
    work_once(queue, worker_for(queue, handler), shutdown)
    assert handler.given_up == ["Not audio."]
    assert dead_ids(queue) == ["a"]


def test_the_third_crash_is_the_last(queue: RedisQueue, shutdown: Shutdown) -> None:
    handler = ScriptedHandler(raising(CrashError("The network died.")))
    submit(queue)
    worker = worker_for(queue, handler, max_failures=1, max_crashes=3)
    for _ in range(3):
        assert handler.given_up == []
        work_once(queue, worker, shutdown)
    assert handler.given_up == ["The network died."]


def test_an_item_whose_workers_crashed_too_often_is_given_up_without_another_attempt(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    handled: list[str] = []

    def work(lease: Lease, _heartbeat: Heartbeat) -> Done:
        handled.append(lease.id)
        return Done()

    handler = ScriptedHandler(work)
    submit(queue)
    for _ in range(3):
        expire(queue, redis_client, begin(queue))
        queue.reap()
    work_once(queue, worker_for(queue, handler, max_crashes=3), shutdown)
    assert handled == []
    assert "crashed 3 times" in handler.given_up[0]


def test_a_bug_in_the_handler_costs_an_attempt_and_reveals_no_details(queue: RedisQueue, shutdown: Shutdown) -> None:
    handler = ScriptedHandler(raising(ZeroDivisionError("secret detail")))
    submit(queue)
    work_once(queue, worker_for(queue, handler, max_failures=1), shutdown)
    assert len(handler.given_up) == 1
    assert "secret" not in handler.given_up[0]


def test_an_error_after_another_worker_claimed_the_item_does_not_count(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    def find_the_files_gone(lease: Lease, _heartbeat: Heartbeat) -> Done:
        expire(queue, redis_client, lease)
        queue.reap()
        claim(queue)
        raise FileNotFoundError("vocals.wav")

    handler = ScriptedHandler(find_the_files_gone)
    submit(queue)
    with capture_logs() as logs:
        work_once(queue, worker_for(queue, handler, max_failures=1), shutdown)
    assert handler.given_up == []
    assert [entry["event"] for entry in logs] == ["claim.handed_back", "claim.settled"]


def test_later_counts_no_failure(queue: RedisQueue, redis_client: Redis, shutdown: Shutdown) -> None:
    submit(queue)
    later = Later(0.01, {"progress": 0.5})
    work_once(queue, worker_for(queue, ScriptedHandler(lambda _lease, _heartbeat: later)), shutdown)
    assert redis_client.hget("tasks:task:a", "progress") == "0.5"
    time.sleep(0.02)
    lease = queue.claim()
    assert lease is not None
    assert (lease.attempt, lease.failures) == (2, 0)


@pytest.mark.parametrize("error", [CancelledError("stop"), RedisError("away")])
def test_an_error_that_is_not_the_items_fault_releases_it_uncounted(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown, error: Exception
) -> None:
    submit(queue)
    work_once(queue, worker_for(queue, ScriptedHandler(raising(error))), shutdown)
    lease = queue.claim()
    assert lease is not None
    assert (lease.failures, lease.crashes) == (0, 0)
    assert status_of(redis_client) == "queued"


def test_a_lost_lease_stops_the_handler(queue: RedisQueue, redis_client: Redis, shutdown: Shutdown) -> None:
    cancelled: list[bool] = []

    def compute(lease: Lease, heartbeat: Heartbeat) -> Done:
        redis_client.zadd("tasks:lease", {lease.id: 0})
        queue.reap()
        queue.claim()
        eventually(heartbeat.cancelled)
        cancelled.append(heartbeat.cancelled())
        raise CancelledError("the result is of no use")

    submit(queue)
    work_once(queue, worker_for(queue, ScriptedHandler(compute)), shutdown)
    assert cancelled == [True]


def test_a_handler_learns_of_a_cancelled_item_long_before_the_next_beat(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    learned: list[bool] = []

    def compute(lease: Lease, heartbeat: Heartbeat) -> Done:
        assert queue.cancel(lease.id, [], ["queued"], {"status": "cancelled"})
        eventually(heartbeat.cancelled)
        learned.append(True)
        return Done({"status": "success"})

    submit(queue)
    worker = Worker("test", queue, ScriptedHandler(compute), retry_policy=RetryPolicy(), heartbeat_s=100 * PATIENCE_S)
    work_once(queue, worker, shutdown)
    assert learned
    assert status_of(redis_client) == "cancelled"


def test_a_worker_that_dies_while_handling_an_item_counts_as_a_crash(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    crashes: list[int] = []

    def die(lease: Lease, _heartbeat: Heartbeat) -> Done:
        expire(queue, redis_client, lease)
        queue.reap()
        crashes.append(claim(queue).crashes)
        raise CancelledError("dead already")

    submit(queue)
    work_once(queue, worker_for(queue, ScriptedHandler(die)), shutdown)
    assert crashes == [1]


def test_work_does_not_begin_when_the_lease_is_already_lost(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    submit(queue)
    late = claim(queue)
    expire(queue, redis_client, late)
    queue.reap()
    current = claim(queue)
    worker_for(queue, ScriptedHandler(raising(AssertionError("begun")))).work_on(late, shutdown)
    assert queue.holder("a") == current.fence


def test_a_handler_learns_first_that_the_process_stops_and_then_that_the_grace_period_is_over(
    queue: RedisQueue, shutdown: Shutdown
) -> None:
    stages: list[tuple[bool, bool]] = []

    def work(_lease: Lease, heartbeat: Heartbeat) -> Done:
        for stage in (threading.Event(), shutdown.requested, shutdown.abandoned):
            stage.set()
            stages.append((heartbeat.stopping(), heartbeat.cancelled()))
        return Done()

    submit(queue)
    work_once(queue, worker_for(queue, ScriptedHandler(work)), shutdown)
    assert stages == [(False, False), (True, False), (True, True)]


def test_a_stopping_worker_claims_no_further_item(queue: RedisQueue, shutdown: Shutdown) -> None:
    handled: list[str] = []

    def work(lease: Lease, _heartbeat: Heartbeat) -> Done:
        handled.append(lease.id)
        shutdown.requested.set()
        return Done()

    submit(queue, "a")
    submit(queue, "b")
    worker_for(queue, ScriptedHandler(work)).run(shutdown)
    assert handled == ["a"]
    assert waiting_ids(queue) == ["b"]


@pytest.mark.usefixtures("nothing_counted")
def test_a_worker_reaps_and_counts_the_leases_of_dead_workers(
    queue: RedisQueue, redis_client: Redis, shutdown: Shutdown
) -> None:
    submit(queue)
    queue.claim()
    redis_client.zadd("tasks:lease", {"a": 0})

    def work(_lease: Lease, _heartbeat: Heartbeat) -> Done:
        shutdown.requested.set()
        return Done({"status": "success"})

    thread = threading.Thread(target=worker_for(queue, ScriptedHandler(work)).run, args=(shutdown,))
    thread.start()
    thread.join(PATIENCE_S)
    assert status_of(redis_client) == "success"
    assert UNSENT.take()[(LEASES_EXPIRED.name, "", "test")] == 1


def test_a_worker_survives_any_outage(tmp_path: Path) -> None:
    class Impatience(threading.Event):
        """Skips every wait, and stops the worker after as many of them as there are in a night."""

        pauses = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.pauses += 1
            if self.pauses > 1100:
                self.set()
            return self.is_set()

    nobody = Redis(unix_socket_path=str(tmp_path / "nobody"), retry=Retry(NoBackoff(), 0))
    queue = RedisQueue(nobody, "tasks")
    worker_for(queue, ScriptedHandler(raising(AssertionError()))).run(Shutdown(requested=Impatience()))
