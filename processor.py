"""Entry point 2: claims tasks, fetches their songs, separates them, and stages the stems for the uploader.

`python processor.py` runs one processor in the foreground until SIGTERM. It works on several tasks at once:
DOWNLOAD_THREADS songs may be downloaded while one is in the network (`uvr.processor.scheduler`). Decoders and network
run in warm child processes. If a song crashes one of them, this counts as one crash of its task (MAX_CRASHES) and
affects no other task. This process itself stays small.
"""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # explains the set-up when a package is missing

import sys
from functools import partial

import structlog

from config import EVERY_MODEL, Settings
from uvr.disk import DiskCheck
from uvr.errors import UvrError
from uvr.liveness.disks import disks_fact
from uvr.liveness.process import WorkerProcess
from uvr.liveness.workers import UploaderWatch
from uvr.models.announcements import ModelAnnouncements
from uvr.models.catalogue import catalogue_name
from uvr.models.packed_files import PackedFilesPolicy
from uvr.periodic import repeating
from uvr.processor.handler import SeparationHandler
from uvr.processor.model_announcer import ModelAnnouncer
from uvr.processor.scheduler import InferenceScheduler, thread_count
from uvr.separation.engine_factory import ModelEngineFactory
from uvr.separation.memory import usable_memory_bytes
from uvr.separation.model_library import ModelLibrary
from uvr.separation.separator import Separator
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, record
from uvr.worker.pool import run_until_stopped
from uvr.worker.retry_policy import RetryPolicy
from uvr.worker.worker import Worker

log = structlog.get_logger()

_CLEAN_UP_EVERY_S = 10.0
_NEGLIGIBLE_S = 1.0
"""Loading a network that takes no longer is no reason to change the order of tasks."""


def main() -> int:
    """Run one processor until it is stopped; returns 1 when the network cannot be loaded or a worker died."""
    process = WorkerProcess("processor")
    settings, broker = process.settings, process.broker
    library = model_library(settings)
    try:
        default = library.default_engine(settings.model_name)
        separator = start_separator(settings, library, default)
    except UvrError as error:
        log.error("processor.not_started", error=error.message)
        return 1
    facts = {"model": settings.shown_model_name, "provider": separator.provider, "node": settings.node_id}
    log.info("processor.ready", **facts)

    disk = DiskCheck({"TEMP_DIR": settings.temp_dir, "OUTPUT_DIR": settings.output_dir}, settings.min_free_bytes)
    uploaders = UploaderWatch(broker.client, broker.root, settings.node_id)

    def why_paused() -> str:
        return process.node.why_paused() or disk.shortage() or uploaders.why_paused()

    def why_idle() -> str:
        return scheduler.why_idle()

    def loaded() -> str:
        return ", ".join(sorted(separator.loaded_models))

    def disks() -> str:
        return disks_fact(settings, "TEMP_DIR", "OUTPUT_DIR", "MODEL_FILE_DIR")

    presence = process.presence(facts, paused=why_paused, idle=why_idle, loaded=loaded, disks=disks)
    scheduler = InferenceScheduler(
        broker.tasks, presence.name, why_paused, settings.download_threads, loaded=lambda: record_texts(separator)
    )
    workers = build_workers(settings, broker, SeparationHandler(settings, broker, separator, scheduler), scheduler)
    announcements = ModelAnnouncements(broker.client, broker.root)
    announcer = ModelAnnouncer(announcements, presence.name, library, separator, default.files[0])
    clean_up = partial(library.clean_up, default.files[0].parent)
    with (
        process.announced(presence),
        announcer.announcing(),
        repeating(clean_up, _CLEAN_UP_EVERY_S, name="model-cleaner", at_once=True),
    ):
        healthy = run_until_stopped(workers, settings.shutdown_grace_seconds)
    separator.close()
    process.clients.close()
    return 0 if healthy else 1


def model_library(settings: Settings) -> ModelLibrary:
    """The models that this processor can run."""
    return ModelLibrary(
        settings.model_file_dir,
        downloadable=tuple(name for name in settings.models_offered if name != EVERY_MODEL),
        engine=settings.separation_engine,
        sources=settings.sources_of_models,
        threads=settings.inference_threads,
        device=settings.device,
        backend=settings.network_backend,
        instruction_set=settings.network_isa,
        packed_files=PackedFilesPolicy.of(settings),
        precision=settings.inference_precision,
    )


def start_separator(settings: Settings, library: ModelLibrary, default: ModelEngineFactory) -> Separator:
    """Start the child processes and load the `default` network; raises `UvrError` when that fails."""
    separator = Separator(
        default,
        name=catalogue_name(default.files[0].name),
        library=library,
        max_model_bytes=settings.max_model_memory_bytes or usable_memory_bytes() // 2,
        log_level=settings.log_level,
        log_format=settings.log_format,
    )
    separator.start()
    return separator


def record_texts(separator: Separator) -> list[str]:
    """The texts of the record's field `models` for which a network is loaded; "" stands for a missing field.

    Empty if all networks fit into the memory, or if they load within a second: then the order need not change.
    """
    if separator.switching_costs_s <= _NEGLIGIBLE_S:
        return []
    named = [str(record(models=[name])["models"]) for name in separator.loaded_models]
    return ["", *named] if separator.name in separator.loaded_models else named


def build_workers(
    settings: Settings, broker: Broker, handler: SeparationHandler, scheduler: InferenceScheduler
) -> list[Worker]:
    """The workers that separate tasks; `scheduler` decides when each of them may claim one."""
    retry_policy = RetryPolicy(
        max_failures=settings.max_attempts,
        max_crashes=settings.max_crashes,
        retry_base_s=settings.retry_base_seconds,
        retry_max_s=settings.retry_max_seconds,
    )
    return [
        Worker(
            f"processor-{number}",
            broker.tasks,
            handler,
            retry_policy=retry_policy,
            heartbeat_s=settings.heartbeat_seconds,
            waiting_record=record(status=Status.QUEUED, progress=0.0),
            admission=scheduler,
        )
        for number in range(thread_count(settings.download_threads))
    ]


if __name__ == "__main__":
    sys.exit(main())
