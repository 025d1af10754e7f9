"""What a processor does with a task: fetches its song, separates it, and stages the stems for the uploader.

Audio is never in this process, only on disk and in child processes. What a task stores in TEMP_DIR is deleted when its
attempt ends. When the process is stopping, a task that has not entered the network yet is released at once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from config import VERSION, Settings
from redis_queue import NOW, Lease
from uvr.errors import UvrError, full_disk_explained
from uvr.metrics.definitions import AUDIO_SECONDS, FETCH_SECONDS, REAL_TIME_FACTOR, SEPARATION_SECONDS
from uvr.net.url_guard import UrlGuard
from uvr.processor.download_shares import DownloadPlace, DownloadShares
from uvr.processor.fetch import MinRate, download
from uvr.processor.room import SongRoom
from uvr.processor.scheduler import InferenceScheduler, InferenceSlot
from uvr.separation.separator import Separator
from uvr.storage.staging import StagingFolder
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.canonical_log import bind_request_id
from uvr.tasks.model import Status, Task, record
from uvr.tasks.outcomes import failed
from uvr.webhooks import progress_events
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later

log = structlog.get_logger()

_PROGRESS_EVERY_S = 0.5


class SeparationHandler:
    """Handles one claimed task: a song in, a published staging folder out. Used by several threads."""

    def __init__(self, settings: Settings, broker: Broker, separator: Separator, scheduler: InferenceScheduler) -> None:
        self._settings = settings
        self._broker = broker
        self._separator = separator
        self._scheduler = scheduler
        self._guard = UrlGuard(
            settings.allowed_private_networks,
            denied=settings.denied_hosts,
            allowed_ports=settings.allowed_ports,
            proxy=settings.fetch_proxy.get_secret_value(),
        )
        self._uploads = Uploads(settings, broker.uploads)
        folders = {"TEMP_DIR": settings.temp_dir, "OUTPUT_DIR": settings.output_dir}
        self._room = SongRoom(folders, is_only_disk=not settings.node_id)
        self._shares = DownloadShares(settings.download_threads, has_users=settings.has_users)
        self._min_rate = MinRate(settings.fetch_min_bytes_per_second, settings.fetch_min_rate_seconds)

    def handle(self, lease: Lease, heartbeat: Heartbeat) -> Done | Later:
        """Fetch, separate and stage the stems; safe to repeat, because each attempt has folders of its own.

        A disk that becomes full on the way raises `DiskFullError`, wherever it is noticed.
        """
        task = self._broker.store.get(lease.id)
        if task is None:
            return Done()  # deleted while it waited
        bind_request_id(task)
        self._room.require(task)
        with self._shares.take(task) as place, full_disk_explained():
            if place.pause_s:
                self._scheduler.turn_away()
                return Later(place.pause_s)
            self._scheduler.begin(lease)
            return self._made(task, lease, heartbeat, place)

    def give_up(self, error: UvrError) -> Done:
        """End the task as failed, with a message for its client."""
        return failed(self._broker, error)

    def _made(self, task: Task, lease: Lease, heartbeat: Heartbeat, download_place: DownloadPlace) -> Done:
        """The outcome of one attempt: stems in a staging folder, or those of an earlier task to be copied."""
        begun = {"attempt": lease.attempt, "started_ms": NOW, "progress": 0.0, "facts": {}}
        heartbeat.beat(record(status=Status.PROCESSING, **begun))
        progress_events.send(self._broker, task, progress_events.STARTED)
        self._settings.temp_dir.mkdir(parents=True, exist_ok=True)
        staging = StagingFolder(self._settings.output_dir, task.task_uuid, lease.fence)
        with (
            tempfile.TemporaryDirectory(prefix=f"{staging.name}.", dir=self._settings.temp_dir) as work_dir,
            staging.filling() as stem_dir,
            self._room.learned({"TEMP_DIR": Path(work_dir), "OUTPUT_DIR": stem_dir}, heartbeat),
        ):
            song = Path(work_dir) / "source"
            fetch_s = self._fetch(task, song, heartbeat)
            download_place.leave()
            model = self._separator.fingerprint
            fingerprint = self._broker.result_cache.fingerprint(song, VERSION, model, task.output_format)
            if copied := self._copied(fingerprint, fetch_s):
                return copied
            facts = {"fetch_s": round(fetch_s, 3)} | self._separate(task, lease, song, stem_dir, heartbeat)
            staging.publish()
        if self._separator.fingerprint != model:
            fingerprint = ""  # the network was loaded again from another file, and may have made these stems
        place = {"handover": staging.name, "node": self._settings.node_id, "copy_of": ""}
        separated = record(status=Status.UPLOADING, progress=1.0, facts=facts, fingerprint=fingerprint, **place)
        return Done(separated, next_queue=self._broker.results)

    def _fetch(self, task: Task, song: Path, heartbeat: Heartbeat) -> float:
        """Write the task's song to the file `song`; returns how long that took, in seconds."""
        started = time.monotonic()
        if task.upload:
            self._uploads.fetch(task.upload, song)
            log.info("task.fetched", bytes=song.stat().st_size)
        else:
            fetched = download(
                task.audio,
                song,
                guard=self._guard,
                max_bytes=self._settings.max_audio_bytes,
                timeout_s=self._settings.fetch_timeout_seconds,
                total_s=self._settings.fetch_total_seconds,
                min_rate=self._min_rate,
                user_agent=self._settings.fetch_user_agent,
                cancelled=heartbeat.stopping,
            )
            log.info("task.fetched", bytes=fetched.bytes, content_type=fetched.content_type)
        fetch_s = time.monotonic() - started
        FETCH_SECONDS.observe(fetch_s)
        return fetch_s

    def _copied(self, fingerprint: str, fetch_s: float) -> Done | None:
        """The result of an earlier task with the same song, for the uploader to copy; None if it must be separated."""
        task_uuid = self._broker.result_cache.find(fingerprint)
        earlier = self._broker.store.get(task_uuid) if task_uuid else None
        if earlier is None or earlier.status is not Status.SUCCESS or not earlier.stems or earlier.stems_deleted_ms:
            return None
        log.info("task.repeated")
        facts = {**earlier.facts, "fetch_s": round(fetch_s, 3), "waited_s": 0.0, "separation_s": 0.0, "repeated": True}
        place = {"handover": "", "node": "", "copy_of": earlier.task_uuid}
        copied = record(status=Status.UPLOADING, progress=1.0, facts=facts, fingerprint=fingerprint, **place)
        return Done(copied, next_queue=self._broker.results)

    def _separate(
        self, task: Task, lease: Lease, song: Path, stem_dir: Path, heartbeat: Heartbeat
    ) -> dict[str, object]:
        """Split `song` into stems in `stem_dir`; returns the facts about it for the task's record."""
        started, model = time.monotonic(), self._settings.shown_model_name
        slot = InferenceSlot(self._scheduler, lease, heartbeat)
        slot.prepare()
        separation = self._separator.separate(
            song,
            song.parent,
            stem_dir,
            max_seconds=self._settings.max_audio_seconds,
            timeout_s=self._settings.task_timeout_seconds,
            output_format=task.output_format,
            on_progress=self._progress_recorder(task, heartbeat),
            cancelled=heartbeat.cancelled,
            inference_slot=slot,
        )
        separation_s = time.monotonic() - started - slot.waited_s
        durations = {"waited_s": round(slot.waited_s, 3), "separation_s": round(separation_s, 3)}
        facts: dict[str, object] = {"model": model, **separation.facts(), **durations}
        log.info("task.separated", **facts)
        labels = {"model": model, "provider": separation.provider}
        AUDIO_SECONDS.observe(separation.audio_s, **labels)
        SEPARATION_SECONDS.observe(separation_s, **labels)
        if separation.audio_s:
            REAL_TIME_FACTOR.observe(separation_s / separation.audio_s, **labels)
        self._broker.durations.add(separation_s)
        return facts

    def _progress_recorder(self, task: Task, heartbeat: Heartbeat) -> Callable[[float], None]:
        """A callback that records progress (0 to 1), at most every half second: each call is a write to Redis."""
        send_event = progress_events.progress_reporter(self._broker, task)
        recorded_at = 0.0

        def record_progress(share: float) -> None:
            nonlocal recorded_at
            if time.monotonic() - recorded_at >= _PROGRESS_EVERY_S:
                recorded_at = time.monotonic()
                heartbeat.beat(record(progress=round(share, 3)))
                send_event()

        return record_progress
