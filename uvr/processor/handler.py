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
from uvr.errors import UvrError
from uvr.metrics.definitions import AUDIO_SECONDS, FETCH_SECONDS, REAL_TIME_FACTOR, SEPARATION_SECONDS
from uvr.net.url_guard import UrlGuard
from uvr.processor.fetch import download
from uvr.processor.scheduler import InferenceScheduler
from uvr.separation.engine import Separation
from uvr.separation.separator import Separator
from uvr.storage.staging import StagingFolder
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.canonical_log import bind_request_id
from uvr.tasks.model import Status, Task, record
from uvr.tasks.outcomes import failed
from uvr.timestamps import now_ms
from uvr.webhooks.progress_events import STARTED, progress_reporter, tell
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done

log = structlog.get_logger()

_PROGRESS_EVERY_S = 0.5


class SeparationHandler:
    """One claimed task: a song in, a published handover folder out. Used by several threads."""

    def __init__(self, settings: Settings, broker: Broker, separator: Separator, turns: InferenceScheduler) -> None:
        self._settings = settings
        self._broker = broker
        self._separator = separator
        self._turns = turns
        self._guard = UrlGuard(settings.allowed_private_networks, proxy=settings.fetch_proxy.get_secret_value())
        self._uploads = Uploads(settings, broker.uploads)

    def handle(self, lease: Lease, pulse: Heartbeat) -> Done:
        """Fetch, separate and publish; safe to repeat, because each attempt has folders of its own."""
        task = self._broker.store.get(lease.id)
        if task is None:
            return Done()  # deleted while it waited
        bind_request_id(task)
        pulse.beat(record(status=Status.PROCESSING, attempt=lease.attempt, started_ms=now_ms(), progress=0.0))
        tell(self._broker, task, STARTED)
        self._settings.temp_dir.mkdir(parents=True, exist_ok=True)
        handover = StagingFolder(self._settings.output_dir, task.task_uuid, lease.fence)
        with tempfile.TemporaryDirectory(prefix=f"{handover.name}.", dir=self._settings.temp_dir) as work_dir:
            source = Path(work_dir) / "source"
            fetch_s = self._fetch(task, source, pulse)
            fingerprint = self._fingerprint(task, source)
            if earlier := self._earlier(fingerprint):
                return self._repeated(earlier, fingerprint, fetch_s)
            with handover.filling() as stem_dir:
                facts = {"fetch_s": round(fetch_s, 3)} | self._make_stems(task, lease, source, stem_dir, pulse)
                handover.publish()
        place = {"handover": handover.name, "node": self._settings.node_id, "copy_of": ""}
        made = record(status=Status.UPLOADING, progress=1.0, facts=facts, fingerprint=fingerprint, **place)
        return Done(made, next_queue=self._broker.results)

    def give_up(self, error: UvrError) -> Done:
        """The task has failed; its client hears why."""
        return failed(self._broker, error)

    def _fingerprint(self, task: Task, source: Path) -> str:
        engine, model = self._settings.separation_engine, self._settings.model_name
        return self._broker.result_cache.fingerprint(source, engine, model, task.output_format)

    def _earlier(self, fingerprint: str) -> Task | None:
        """The task whose stems the same song may have."""
        task_uuid = self._broker.result_cache.find(fingerprint)
        earlier = self._broker.store.get(task_uuid) if task_uuid else None
        has_stems = earlier and earlier.status is Status.SUCCESS and earlier.stems and not earlier.stems_deleted_ms
        return earlier if has_stems else None

    def _repeated(self, earlier: Task, fingerprint: str, fetch_s: float) -> Done:
        """The uploader copies the stems, for which nothing has to be handed over."""
        log.info("task.repeated")
        facts = {**earlier.facts, "fetch_s": round(fetch_s, 3), "waited_s": 0.0, "separation_s": 0.0, "repeated": True}
        place = {"handover": "", "node": "", "copy_of": earlier.task_uuid}
        same = record(status=Status.UPLOADING, progress=1.0, facts=facts, fingerprint=fingerprint, **place)
        return Done(same, next_queue=self._broker.results)

    def _make_stems(
        self, task: Task, lease: Lease, source: Path, stem_dir: Path, pulse: Heartbeat
    ) -> dict[str, object]:
        started = time.monotonic()
        turn = self._turns.turn(lease, pulse)
        separation = self._separator.separate(
            source,
            source.parent,
            stem_dir,
            max_seconds=self._settings.max_audio_seconds,
            timeout_s=self._settings.task_timeout_seconds,
            output_format=task.output_format,
            on_progress=_throttled(self._told(task, pulse)),
            cancelled=pulse.cancelled,
            inference_slot=turn,
        )
        separation_s = time.monotonic() - started - turn.waited_s
        facts = _facts(self._settings.shown_model_name, separation, turn.waited_s, separation_s)
        log.info("task.separated", **facts)
        _measure(self._settings.shown_model_name, separation, separation_s)
        self._broker.durations.add(separation_s)
        return facts

    def _told(self, task: Task, pulse: Heartbeat) -> Callable[[float], None]:
        tell_progress = progress_reporter(self._broker, task)

        def told(share: float) -> None:
            pulse.beat(record(progress=round(share, 3)))
            tell_progress()

        return told

    def _fetch(self, task: Task, source: Path, pulse: Heartbeat) -> float:
        """Write the song to `source`; gives the seconds that took."""
        started = time.monotonic()
        if task.upload:
            self._uploads.fetch(task.upload, source)
            log.info("task.fetched", bytes=source.stat().st_size)
        else:
            self._download(task, source, pulse)
        fetch_s = time.monotonic() - started
        FETCH_SECONDS.observe(fetch_s)
        return fetch_s

    def _download(self, task: Task, source: Path, pulse: Heartbeat) -> None:
        fetched = download(
            task.audio,
            source,
            guard=self._guard,
            max_bytes=self._settings.max_audio_bytes,
            timeout_s=self._settings.fetch_timeout_seconds,
            total_s=self._settings.fetch_total_seconds,
            user_agent=self._settings.fetch_user_agent,
            cancelled=pulse.stopping,
        )
        log.info("task.fetched", bytes=fetched.bytes, content_type=fetched.content_type)


def _facts(model: str, separation: Separation, waited_s: float, separation_s: float) -> dict[str, object]:
    times = {"waited_s": round(waited_s, 3), "separation_s": round(separation_s, 3)}
    return {"model": model, **separation.facts(), **times}


def _measure(model: str, separation: Separation, separation_s: float) -> None:
    network = {"model": model, "provider": separation.provider}
    AUDIO_SECONDS.observe(separation.audio_s, **network)
    SEPARATION_SECONDS.observe(separation_s, **network)
    if separation.audio_s:
        REAL_TIME_FACTOR.observe(separation_s / separation.audio_s, **network)


def _throttled(report: Callable[[float], None]) -> Callable[[float], None]:
    """Pass a report on at most every half second: each one is a write to Redis."""
    reported_at = 0.0

    def throttled(share: float) -> None:
        nonlocal reported_at
        if time.monotonic() - reported_at >= _PROGRESS_EVERY_S:
            reported_at = time.monotonic()
            report(share)

    return throttled
