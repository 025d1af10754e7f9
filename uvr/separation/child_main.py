"""The main loop of a child process: loads an engine, if it has one, then runs jobs until the pipe closes.

Messages to the parent: first what is loaded (`Loaded`) when the child is ready. Then, for each job, any number of
progress shares (`float`), and the job's result. A `UvrError` takes the place of what is loaded or of a result.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import structlog

from uvr import logs
from uvr.errors import OutOfMemoryError, TransientError, UvrError, full_disk_explained
from uvr.separation.engine import Engine
from uvr.separation.jobs import Job
from uvr.separation.progress import SeparationObserver

log = structlog.get_logger()

EngineFactory = Callable[[], Engine | None]
"""Runs in the child. For a child without a network it imports what the jobs need, and returns None."""

T = TypeVar("T")


@dataclass(frozen=True)
class ChildLogs:
    """The arguments of `uvr.logs.configure` for the child."""

    level: str
    form: str


@dataclass(frozen=True)
class Loaded:
    """Facts about the child's engine (see `Engine`), "" without one."""

    provider: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class JobMessage:
    """One job; `log_context` is bound to every log line about it."""

    job: Job
    log_context: dict[str, Any]


def serve(connection: Connection, build: EngineFactory, child_logs: ChildLogs, name: str) -> None:
    """Run the child from its start to its end."""
    threading.Thread(target=_exit_with_parent, name="parent-watch", daemon=True).start()
    # If memory runs out, Linux then kills this process rather than the parent or Redis. Other systems lack the file.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    logs.configure(child_logs.level, child_logs.form, process=name)

    def load() -> Engine | None:
        engine = build()
        if engine:
            engine.warm_up()
        return engine

    engine = _result_or_error(load, "The network could not be loaded.")
    if isinstance(engine, UvrError):
        connection.send(engine)
        return
    connection.send(Loaded(engine.provider, engine.fingerprint) if engine else Loaded())
    # The observer never cancels: the parent kills the child instead.
    observer = SeparationObserver(lambda share: connection.send(float(share)))
    while True:
        try:
            message: JobMessage = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        with structlog.contextvars.bound_contextvars(**{**message.log_context, "process": name}):
            connection.send(_result_or_error(partial(message.job, engine, observer), "The separation failed."))


def _result_or_error(work: Callable[[], T], failure: str) -> T | UvrError:
    """The result of `work`, or the error to send instead. Lets no exception through."""
    try:
        with full_disk_explained():
            return work()
    except UvrError as error:
        return error
    except MemoryError:
        return OutOfMemoryError(f"{failure} There is not enough memory.")
    except FileNotFoundError as error:
        # If the worker's lease expired, another worker has the task, and housekeeping has deleted the files.
        log.warning("separation.files_gone", error=str(error))
        return TransientError(f"{failure} Its files no longer exist.")
    except Exception:
        log.exception("separation.broke")
        return TransientError(f"{failure} The cause is unexpected; see the log for details.")


def _exit_with_parent() -> None:
    """End this process when the parent has ended."""
    # Linux could send a signal (PR_SET_PDEATHSIG), but sends it when the thread that spawned the child ends.
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
