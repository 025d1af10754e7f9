"""The inside of the separation child: loads an engine, then serves one job after another until the pipe closes.

Messages to the parent: the provider's name (`str`) once the network is warm, then for each job the share done (`float`)
any number of times and at last the `Separation`; or a `UvrError` in place of the first or the last.
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
from uvr.output_format import OutputFormat
from uvr.separation.engine import Engine, Separation

log = structlog.get_logger()

EngineFactory = Callable[[], Engine]

_PROCESS_NAME = "separation"

T = TypeVar("T")


@dataclass(frozen=True)
class ChildLogs:
    """The arguments of `uvr.logs.configure` for the child."""

    level: str
    form: str


@dataclass(frozen=True)
class Job:
    """One song to separate; `log_context` is bound to every log line about it."""

    source: Path
    output_dir: Path
    max_seconds: float
    output_format: OutputFormat
    log_context: dict[str, Any]


def serve(connection: Connection, build: EngineFactory, child_logs: ChildLogs) -> None:
    """The child's whole life."""
    _end_with_the_parent()
    _be_the_first_to_go_when_memory_is_short()
    logs.configure(child_logs.level, child_logs.form, process=_PROCESS_NAME)
    engine = _outcome(partial(_loaded, build), "The network could not be loaded.")
    if isinstance(engine, UvrError):
        connection.send(engine)
        return
    connection.send(engine.provider)
    for job in _jobs(connection):
        with structlog.contextvars.bound_contextvars(**{**job.log_context, "process": _PROCESS_NAME}):
            connection.send(_outcome(partial(_run, engine, job, connection), "The separation failed."))


def _loaded(build: EngineFactory) -> Engine:
    engine = build()
    engine.warm_up()
    return engine


def _jobs(connection: Connection) -> Iterator[Job]:
    while True:
        try:
            job = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        yield job


def _run(engine: Engine, job: Job, connection: Connection) -> Separation:
    return engine.separate(
        job.source,
        job.output_dir,
        max_seconds=job.max_seconds,
        output_format=job.output_format,
        on_progress=lambda share: connection.send(float(share)),
        cancelled=lambda: False,  # the parent does not ask, it kills
    )


def _outcome(work: Callable[[], T], failure: str) -> T | UvrError:
    """What `work` gives, or the error to report in its place: this is the edge beyond which no exception passes."""
    try:
        return work()
    except UvrError as error:
        return error
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
