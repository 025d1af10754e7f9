"""The inside of a child process: loads an engine if it is to have one, then does job after job until the pipe closes.

Messages to the parent: the provider's name (`str`, "" without an engine) once the child is ready, then for each job the
share done (`float`) any number of times and at last what the job gives; or a `UvrError` in place of the first or last.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

import structlog

from uvr import logs
from uvr.errors import TransientError, UvrError
from uvr.separation.engine import Engine
from uvr.separation.full_disk import full_disk_as_transient
from uvr.separation.jobs import Job
from uvr.separation.progress import SeparationObserver

log = structlog.get_logger()

EngineFactory = Callable[[], Engine | None]
"""Run in the child; a child without a network of its own loads what else it needs, and gives None."""

T = TypeVar("T")


@dataclass(frozen=True)
class ChildLogs:
    """The arguments of `uvr.logs.configure` for the child."""

    level: str
    form: str


@dataclass(frozen=True)
class Order:
    """One job; `log_context` is bound to every log line about it."""

    job: Job
    log_context: dict[str, Any]


def serve(connection: Connection, build: EngineFactory, child_logs: ChildLogs, name: str) -> None:
    """The child's whole life."""
    _end_with_the_parent()
    _be_the_first_to_go_when_memory_is_short()
    logs.configure(child_logs.level, child_logs.form, process=name)
    engine = _outcome(partial(_loaded, build), "The network could not be loaded.")
    if isinstance(engine, UvrError):
        connection.send(engine)
        return
    connection.send(engine.provider if engine else "")
    observer = SeparationObserver(
        lambda share: connection.send(float(share))
    )  # the parent is not asked whether to go on, it kills
    for order in _orders(connection):
        with structlog.contextvars.bound_contextvars(**{**order.log_context, "process": name}):
            connection.send(_outcome(partial(order.job, engine, observer), "The separation failed."))


def _loaded(build: EngineFactory) -> Engine | None:
    engine = build()
    if engine:
        engine.warm_up()
    return engine


def _orders(connection: Connection) -> Iterator[Order]:
    while True:
        try:
            order = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        yield order


def _outcome(work: Callable[[], T], failure: str) -> T | UvrError:
    """What `work` gives, or the error to report in its place: this is the edge beyond which no exception passes."""
    try:
        with full_disk_as_transient():
            return work()
    except UvrError as error:
        return error
    except FileNotFoundError as error:
        # A worker that was silent for too long has lost its song to another one, and its files to the janitor.
        log.warning("separation.files_gone", error=str(error))
        return TransientError(f"{failure} Its files are no longer there.")
    except Exception:
        log.exception("separation.broke")
        return TransientError(f"{failure} The reason was not foreseen; the log has the details.")


def _end_with_the_parent() -> None:
    threading.Thread(target=_exit_after_the_parent, name="parent-watch", daemon=True).start()


def _exit_after_the_parent() -> None:
    # Linux could send a signal instead (PR_SET_PDEATHSIG), but at the end of the thread that spawned the child.
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _be_the_first_to_go_when_memory_is_short() -> None:
    # Linux then spares the parent and the Redis server beside it; where there is no such file, nothing is lost.
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
