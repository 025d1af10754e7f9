"""Front door 2: claims tasks, fetches their audio, separates it, and hands the stems over to the uploader.

`python processor.py` runs one processor in the foreground until SIGTERM. The network lives in a warm child process, so
that a song which crashes it costs one attempt of one task. Memory and disk use of this process stay small: it never
holds audio, and a task's downloads are deleted with its attempt.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from config import Settings, SettingsError, load_settings, refuse_to_start
from redis_queue import Lease
from uvr import logs
from uvr.endings import failed
from uvr.errors import UvrError
from uvr.fetch import download
from uvr.handover import Handover
from uvr.output_format import OutputFormat
from uvr.presence import Presence
from uvr.queues import Queues, open_queues
from uvr.redis_clients import connect
from uvr.separation.child import SeparationChild
from uvr.separation.engine import Separation
from uvr.separation.engines import engine_factory
from uvr.tasks import Status, Task, now_ms, record
from uvr.url_guard import UrlGuard
from uvr.worker import Done, Limits, Pulse, Worker, run_until_stopped

log = structlog.get_logger()

_PROGRESS_EVERY_S = 0.5


class SeparationHandler:
    """One claimed task: URL in, a published handover folder out."""

    def __init__(self, settings: Settings, queues: Queues, child: SeparationChild) -> None:
        self._settings = settings
        self._queues = queues
        self._child = child
        self._guard = UrlGuard(settings.allowed_private_networks)

    def handle(self, lease: Lease, pulse: Pulse) -> Done:
        """Fetch, separate and publish; safe to repeat, because each attempt has folders of its own."""
        task = self._queues.store.get(lease.id)
        if task is None:
            return Done()  # deleted while it waited
        pulse.beat(record(status=Status.PROCESSING, attempt=lease.attempt, started_ms=now_ms(), progress=0.0))
        self._settings.temp_dir.mkdir(parents=True, exist_ok=True)
        handover = Handover(self._settings.output_dir, task.task_uuid, lease.attempt)
        with (
            tempfile.TemporaryDirectory(prefix=f"{handover.name}.", dir=self._settings.temp_dir) as work_dir,
            handover.filling() as stem_dir,
        ):
            facts = self._make_stems(task, Path(work_dir) / "source", stem_dir, pulse)
            handover.publish()
        made = record(status=Status.UPLOADING, progress=1.0, handover=handover.name, facts=facts)
        return Done(made, next_queue=self._queues.results)

    def give_up(self, error: UvrError) -> Done:
        """The task has failed; its client hears why."""
        return failed(self._queues, error)

    def _make_stems(self, task: Task, source: Path, stem_dir: Path, pulse: Pulse) -> dict[str, object]:
        started = time.monotonic()
        self._fetch(task, source, pulse)
        fetched = time.monotonic()
        separation = self._separate(source, stem_dir, task.output_format, pulse)
        facts = _facts(self._settings.model_name, separation, fetched - started, time.monotonic() - fetched)
        log.info("task.separated", **facts)
        return facts

    def _fetch(self, task: Task, source: Path, pulse: Pulse) -> None:
        fetched = download(
            task.audio,
            source,
            guard=self._guard,
            max_bytes=self._settings.max_audio_bytes,
            timeout_s=self._settings.fetch_timeout_seconds,
            total_s=self._settings.fetch_total_seconds,
            cancelled=pulse.cancelled,
        )
        log.info("task.fetched", bytes=fetched.bytes, content_type=fetched.content_type)

    def _separate(self, source: Path, stem_dir: Path, output_format: OutputFormat, pulse: Pulse) -> Separation:
        return self._child.separate(
            source,
            stem_dir,
            max_seconds=self._settings.max_audio_seconds,
            timeout_s=self._settings.task_timeout_seconds,
            output_format=output_format,
            on_progress=_throttled(lambda share: pulse.beat(record(progress=round(share, 3)))),
            cancelled=pulse.cancelled,
        )


def _facts(model: str, separation: Separation, fetch_s: float, separation_s: float) -> dict[str, object]:
    return {
        "model": model,
        **separation.facts(),
        "fetch_s": round(fetch_s, 3),
        "separation_s": round(separation_s, 3),
    }


def _throttled(report: Callable[[float], None]) -> Callable[[float], None]:
    """Pass a report on at most every half second: each one is a write to Redis."""
    reported_at = 0.0

    def throttled(share: float) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at >= _PROGRESS_EVERY_S:
            reported_at = time.monotonic()
            report(share)

    return throttled


def main() -> int:
    """Run one processor until it is told to stop; 1 when the network cannot be loaded or a worker died."""
    settings = load_settings()
    logs.configure(settings.log_level, settings.log_format, process="processor")
    try:
        clients = connect(settings)
    except SettingsError as error:
        refuse_to_start(error.faults)
    queues = open_queues(settings, clients)
    try:
        child = _started_child(settings)
    except UvrError as error:
        log.error("processor.not_started", error=error.message)
        return 1
    facts = {"model": settings.model_name, "provider": child.provider}
    log.info("processor.ready", **facts)
    worker = Worker(
        "processor",
        queues.tasks,
        SeparationHandler(settings, queues, child),
        limits=_limits(settings),
        heartbeat_s=settings.heartbeat_seconds,
        waiting_record=record(status=Status.QUEUED, progress=0.0),
    )
    with Presence(clients.commands, settings.redis_task_queue, "processor", facts).announced():
        healthy = run_until_stopped([worker], settings.shutdown_grace_seconds)
    child.close()
    clients.close()
    return 0 if healthy else 1


def _started_child(settings: Settings) -> SeparationChild:
    build = engine_factory(
        settings.model_name,
        settings.model_file_dir,
        engine=settings.separation_engine,
        base_url=settings.model_base_url,
        threads=settings.inference_threads,
        device=settings.device,
    )
    child = SeparationChild(build, log_level=settings.log_level, log_format=settings.log_format)
    child.start()
    return child


def _limits(settings: Settings) -> Limits:
    return Limits(
        max_failures=settings.max_attempts,
        max_crashes=settings.max_crashes,
        retry_base_s=settings.retry_base_seconds,
        retry_max_s=settings.retry_max_seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
