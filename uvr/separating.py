"""What a processor does with a task: its audio fetched, separated, and handed over to the uploader.

It never holds audio itself, and what a task takes of TEMP_DIR is deleted with its attempt. A task that the process has
not begun to separate is handed back at once when the process is told to stop.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from config import Settings
from redis_queue import Lease
from uvr.endings import failed
from uvr.errors import UvrError
from uvr.fetch import download
from uvr.handover import Handover
from uvr.queues import Queues
from uvr.separation.engine import Separation
from uvr.separation.separator import Separator
from uvr.tasks import Status, Task, now_ms, record
from uvr.turns import Turns
from uvr.url_guard import UrlGuard
from uvr.worker import Done, Pulse

log = structlog.get_logger()

_PROGRESS_EVERY_S = 0.5


class SeparationHandler:
    """One claimed task: URL in, a published handover folder out. Used by several threads."""

    def __init__(self, settings: Settings, queues: Queues, separator: Separator, turns: Turns) -> None:
        self._settings = settings
        self._queues = queues
        self._separator = separator
        self._turns = turns
        self._guard = UrlGuard(settings.allowed_private_networks)

    def handle(self, lease: Lease, pulse: Pulse) -> Done:
        """Fetch, separate and publish; safe to repeat, because each attempt has folders of its own."""
        task = self._queues.store.get(lease.id)
        if task is None:
            return Done()  # deleted while it waited
        pulse.beat(record(status=Status.PROCESSING, attempt=lease.attempt, started_ms=now_ms(), progress=0.0))
        self._settings.temp_dir.mkdir(parents=True, exist_ok=True)
        handover = Handover(self._settings.output_dir, task.task_uuid, lease.fence)
        with (
            tempfile.TemporaryDirectory(prefix=f"{handover.name}.", dir=self._settings.temp_dir) as work_dir,
            handover.filling() as stem_dir,
        ):
            facts = self._make_stems(task, lease, Path(work_dir), stem_dir, pulse)
            handover.publish()
        place = {"handover": handover.name, "node": self._settings.node_id}
        made = record(status=Status.UPLOADING, progress=1.0, facts=facts, **place)
        return Done(made, next_queue=self._queues.results)

    def give_up(self, error: UvrError) -> Done:
        """The task has failed; its client hears why."""
        return failed(self._queues, error)

    def _make_stems(self, task: Task, lease: Lease, work_dir: Path, stem_dir: Path, pulse: Pulse) -> dict[str, object]:
        started = time.monotonic()
        source = work_dir / "source"
        self._fetch(task, source, pulse)
        fetched = time.monotonic()
        turn = self._turns.turn(lease, pulse)
        separation = self._separator.separate(
            source,
            work_dir,
            stem_dir,
            max_seconds=self._settings.max_audio_seconds,
            timeout_s=self._settings.task_timeout_seconds,
            output_format=task.output_format,
            on_progress=_throttled(lambda share: pulse.beat(record(progress=round(share, 3)))),
            cancelled=pulse.cancelled,
            turn=turn,
        )
        separation_s = time.monotonic() - fetched - turn.waited_s
        facts = _facts(self._settings.model_name, separation, fetched - started, separation_s)
        log.info("task.separated", waited_s=round(turn.waited_s, 3), **facts)
        return facts

    def _fetch(self, task: Task, source: Path, pulse: Pulse) -> None:
        fetched = download(
            task.audio,
            source,
            guard=self._guard,
            max_bytes=self._settings.max_audio_bytes,
            timeout_s=self._settings.fetch_timeout_seconds,
            total_s=self._settings.fetch_total_seconds,
            cancelled=pulse.stopping,
        )
        log.info("task.fetched", bytes=fetched.bytes, content_type=fetched.content_type)


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
