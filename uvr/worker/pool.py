"""Runs the workers of a process in threads until SIGTERM or SIGINT, and stops them in two stages.

After the signal they claim nothing more and have SHUTDOWN_GRACE_SECONDS to finish. Then unfinished items are
released, which does not count as a failure, if necessary while their handler is still running. A second signal ends the
grace period at once.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from uvr.worker.shutdown import Shutdown, collected_signals
from uvr.worker.worker import Worker

log = structlog.get_logger()

_LAST_STEPS_S = 5.0
"""How long handlers have after the grace period to notice its end, and their workers to release what they hold."""


def run_until_stopped(workers: Sequence[Worker], grace_s: float) -> bool:
    """Run `workers` until SIGTERM or SIGINT, then let them finish; must be called in the main thread.

    Returns False when a worker ended by itself, which only a bug causes. The others are then stopped as well, so that
    the supervisor restarts the whole process. Does not return when a handler hangs: its item is released, and the
    process exits with status 1.
    """
    shutdown, healthy = Shutdown(), True
    threads = [
        threading.Thread(target=worker.run, name=worker.name, args=(shutdown,), daemon=True) for worker in workers
    ]
    with collected_signals() as received:
        for thread in threads:
            thread.start()
        while healthy and not received:
            time.sleep(0.2)
            if dead := [thread.name for thread in threads if not thread.is_alive()]:
                log.critical("worker.died", workers=dead)
                healthy = False
        log.info("process.stopping", grace_s=grace_s)
        shutdown.requested.set()
        if not _have_ended(threads, grace_s, cut_short=lambda: len(received) > 1):
            shutdown.abandoned.set()
            if not _have_ended(threads, _LAST_STEPS_S):
                for worker in workers:
                    worker.release_held_item()
                # An ordinary exit would wait for threads that a hanging library has started.
                os._exit(1)
    return healthy


def _have_ended(
    threads: Sequence[threading.Thread], within_s: float, cut_short: Callable[[], bool] = lambda: False
) -> bool:
    """Wait for all `threads`; False when one is alive after `within_s`, or once `cut_short()` is true."""
    deadline = time.monotonic() + within_s
    while any(thread.is_alive() for thread in threads):
        if cut_short() or time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
