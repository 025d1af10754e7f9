"""What a processor does with a task: fetches its song, separates it, and stages the stems for the uploader.

Audio is never in this process, only on disk and in child processes. What a task stores in TEMP_DIR is deleted when its
attempt ends. When the process is stopping, a task that has not entered the network yet is released at once.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import structlog

from config import VERSION, Settings
from redis_queue import NOW, Lease
from uvr.errors import UvrError, full_disk_explained
from uvr.metrics.definitions import AUDIO_SECONDS, FETCH_SECONDS, REAL_TIME_FACTOR, SEPARATION_SECONDS
from uvr.net.url_guard import UrlGuard
from uvr.processor.download_shares import DownloadPlace, DownloadShares
from uvr.processor.fetch import MinRate, download
from uvr.processor.model_downloads import PAUSE_S, ModelDownloads
from uvr.processor.room import SongRoom
from uvr.processor.scheduler import InferenceScheduler, InferenceSlot
from uvr.separation.engine import Separation
from uvr.separation.separator import Separator
from uvr.storage.staging import StagingFolder
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.canonical_log import bind_request_id
from uvr.tasks.durations import DEFAULT_MODEL
from uvr.tasks.model import Status, Task, record
from uvr.tasks.outcomes import failed
from uvr.webhooks import progress_events
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.outcome import Done, Later

log = structlog.get_logger()

_PROGRESS_EVERY_S = 0.5
_TELL_DOWNLOAD_EVERY_S = 5.0
_ENSEMBLE = "ensemble"
"""The label of tasks with several models in metrics."""


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
        self._downloads = ModelDownloads()
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
        if self._downloads.include(task.models):
            self._scheduler.turn_away()
            return Later(PAUSE_S)
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
            self._download_models(task, heartbeat)
            fingerprint = self._fingerprint(task, song, self._separator.fingerprint(task.models))
            if copied := self._copied(task, fingerprint, fetch_s):
                return copied
            separation, facts = self._separate(task, lease, song, staging, heartbeat, fetch_s)
            # A network may have been loaded only now, or again from another file.
            fingerprint = self._fingerprint(task, song, separation.fingerprint)
            staging.publish()
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

    def _copied(self, task: Task, fingerprint: str, fetch_s: float) -> Done | None:
        """The result of an earlier task with the same song, for the uploader to copy; None if it must be separated."""
        task_uuid = self._broker.result_cache.find(fingerprint)
        earlier = self._broker.store.get(task_uuid) if task_uuid else None
        if earlier is None or earlier.status is not Status.SUCCESS or not earlier.stems or earlier.stems_deleted_ms:
            return None
        log.info("task.repeated")
        made = {name: fact for name, fact in earlier.facts.items() if name != "load_s"}
        now = {"fetch_s": round(fetch_s, 3), "waited_s": 0.0, "separation_s": 0.0, "repeated": True}
        facts = {**made, "model": self._model_fact(task), **now}
        place = {"handover": "", "node": "", "copy_of": earlier.task_uuid}
        copied = record(status=Status.UPLOADING, progress=1.0, facts=facts, fingerprint=fingerprint, **place)
        return Done(copied, next_queue=self._broker.results)

    def _download_models(self, task: Task, heartbeat: Heartbeat) -> None:
        """Download the models of `task` that the operator offers and that are not here yet; other songs go on."""
        told_at = -_TELL_DOWNLOAD_EVERY_S

        def tell(model: str, share: float) -> None:
            nonlocal told_at
            if time.monotonic() - told_at >= _TELL_DOWNLOAD_EVERY_S:
                told_at = time.monotonic()
                waits_for = f"The model {model} is being downloaded, {share:.0%} so far."
                heartbeat.beat(record(facts={"waits_for": waits_for}))

        missing = self._separator.missing(task.models)
        limit_s = self._settings.task_timeout_seconds
        try:
            with self._downloads.of(missing):
                self._separator.download(missing, timeout_s=limit_s, on_progress=tell, cancelled=heartbeat.stopping)
        finally:
            if told_at > 0:
                heartbeat.beat(record(facts={}))

    def _fingerprint(self, task: Task, song: Path, networks: str) -> str:
        """What the stems of `task` are made from; "" if nothing is reused, or if the networks are not known yet."""
        options = [VERSION, networks, task.output_format]
        if task.wanted_stems:
            options += ["stems", *sorted(task.wanted_stems)]
        return self._broker.result_cache.fingerprint(song, *options) if networks else ""

    def _separate(
        self, task: Task, lease: Lease, song: Path, staging: StagingFolder, heartbeat: Heartbeat, fetch_s: float
    ) -> tuple[Separation, dict[str, object]]:
        """Split `song` into stems in the folder `staging`; returns also the facts about it for the task's record."""
        fetched: dict[str, object] = {"fetch_s": round(fetch_s, 3)}
        slot = InferenceSlot(self._scheduler, lease, heartbeat)
        started = time.monotonic()
        slot.prepare()
        separation = self._separator.separate(
            song,
            song.parent,
            staging.path,
            max_seconds=self._settings.max_audio_seconds,
            timeout_s=self._settings.task_timeout_seconds,
            timeout_per_audio_s=self._settings.task_timeout_per_audio_second,
            output_format=task.output_format,
            models=task.models,
            wanted_stems=task.wanted_stems,
            peaks_dir=staging.peaks_path,
            on_progress=self._progress_recorder(task, heartbeat),
            on_decoded=lambda audio_s: self._record_length(heartbeat, fetched, audio_s),
            cancelled=heartbeat.cancelled,
            inference_slot=slot,
        )
        separation_s = time.monotonic() - started - slot.waited_s
        durations = {"waited_s": round(slot.waited_s, 3), "separation_s": round(separation_s, 3)}
        if separation.load_s:
            durations["load_s"] = separation.load_s
        facts: dict[str, object] = {"model": self._model_fact(task), **separation.facts(), **durations}
        if not task.has_choices and separation.differs_by_compensate:
            # Every song of such a model has this fact, so it is no news to clients that chose nothing.
            facts.pop("sum_error_db", None)
        log.info("task.separated", **facts)
        self._measure(task, separation, separation_s)
        return separation, fetched | facts

    def _model_fact(self, task: Task) -> str:
        return ", ".join(task.models) or self._settings.shown_model_name

    def _record_length(self, heartbeat: Heartbeat, fetched: Mapping[str, object], audio_s: float) -> None:
        """Record the song's length as soon as it is known: estimates of when the task will be done go by it."""
        heartbeat.beat(record(facts={**fetched, "audio_s": round(audio_s, 3)}))

    def _measure(self, task: Task, separation: Separation, separation_s: float) -> None:
        """Count the separation in the metrics and in the durations that estimates go by."""
        names = task.models or [self._settings.shown_model_name]
        # Models in metrics are those that have run here; their combinations would be too many.
        labels = {"model": names[0] if len(names) == 1 else _ENSEMBLE, "provider": separation.provider}
        AUDIO_SECONDS.observe(separation.audio_s, **labels)
        SEPARATION_SECONDS.observe(separation_s, **labels)
        if separation.audio_s:
            REAL_TIME_FACTOR.observe(separation_s / separation.audio_s, **labels)
        work_s = max(0.0, separation_s - separation.load_s)
        self._broker.durations.add(separation_s)
        if separation.audio_s and len(task.models) <= 1:
            self._broker.durations.add_speed(self._speed_names(task), work_s / separation.audio_s)

    def _speed_names(self, task: Task) -> list[str]:
        """The names under which the speed of the task's model is kept: also as the default one, if it is that."""
        default = self._separator.name
        name = task.models[0] if task.models else default
        return list(dict.fromkeys([name, DEFAULT_MODEL])) if name == default else [name]

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
