"""The models that a processor can run: those whose files are here, and those that it may download.

A processor downloads a model only if the operator names it: as MODEL_NAME, or in MODELS_OFFERED. So no client can fill
the disk with models, and no file comes here that the operator does not know about.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog

from uvr.errors import PermanentError, TransientError
from uvr.models.catalogue import ModelUnavailableError, catalogue_name, known_model, without_suffix
from uvr.models.files import DownloadProgress
from uvr.models.packed_files import BESIDE_MODELS, PackedFilesPolicy
from uvr.models.required_files import is_present
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources
from uvr.separation.devices import Device
from uvr.separation.engine import Engine
from uvr.separation.engine_factory import (
    EngineChoice,
    EngineName,
    ModelEngineFactory,
    choose_engine,
    engine_of,
    model_file,
    usable_engine_of,
)
from uvr.separation.instruction_sets import InstructionSetChoice
from uvr.separation.mdx.backends import Backend
from uvr.separation.precision import PrecisionChoice
from uvr.separation.progress import SeparationObserver

log = structlog.get_logger()

_RETRY_AFTER_S = 60.0
"""When a task whose model could not be downloaded is tried again."""


@dataclass(frozen=True)
class ModelLibrary:
    """The models in `folder`, and how to run them; see `choose_engine`."""

    folder: Path
    downloadable: tuple[str, ...] = ()
    """The names of the models that may be downloaded, in any spelling."""
    engine: EngineChoice = "auto"
    sources: ModelSources = PUBLIC_SOURCES
    threads: int = 0
    device: Device = "auto"
    backend: Backend = "auto"
    instruction_set: InstructionSetChoice = "auto"
    packed_files: PackedFilesPolicy = BESIDE_MODELS
    precision: PrecisionChoice = "auto"

    def default_engine(self, name: str) -> ModelEngineFactory:
        """The factory of the engine for the model `name`, whose file is downloaded if it is missing.

        `name` may be a path. Raises the errors of `choose_engine`.
        """
        return self._engine(name)

    def engine_factory(self, name: str) -> ModelEngineFactory:
        """The factory of the engine for the model `name`, whose files are in the folder. Downloads nothing.

        Raises `PermanentError` if they are not, or if the model cannot be run here.
        """
        self._require_plain(name)
        if not self.has(name):
            raise self._missing(name)
        return self._engine(name)

    def _engine(self, name: str) -> ModelEngineFactory:
        return choose_engine(
            name,
            self.folder,
            engine=self.engine,
            sources=self.sources,
            threads=self.threads,
            device=self.device,
            backend=self.backend,
            instruction_set=self.instruction_set,
            packed_files=self.packed_files,
            precision=self.precision,
        )

    def download_of(self, name: str) -> DownloadModel | None:
        """The job that downloads the model `name`; None if it is here.

        Raises `PermanentError` if it may not be downloaded, or if it could not be run here.
        """
        self._require_plain(name)
        if self.has(name):
            return None
        if not self.may_download(name):
            raise self._missing(name)
        self.usable_engine_of(name, self.folder)
        return DownloadModel(name, self.folder, self.sources)

    def engine_of(self, name: str, folder: Path) -> EngineName:
        """The engine that runs the model `name` in `folder`. Raises `PermanentError` if the settings allow none."""
        return engine_of(name, folder, self.engine, self.device)

    def usable_engine_of(self, name: str, folder: Path) -> EngineName:
        """The same, if that engine is installed; otherwise `PermanentError` says what to do."""
        return usable_engine_of(name, folder, self.engine, self.device)

    def has(self, name: str) -> bool:
        """Whether all files of the model `name` are in the folder."""
        return is_present(name, self.folder)

    def may_download(self, name: str) -> bool:
        """Whether the operator has named this model."""
        return catalogue_name(name) in map(catalogue_name, self.downloadable)

    def clean_up(self, *further_folders: Path) -> None:
        """Remove the packed files of models that are gone or were replaced, here and in `further_folders`.

        Never fails: what cannot be removed stays until the next time.
        """
        for folder in {self.folder, *further_folders}:
            try:
                self.packed_files.remove_unowned(folder)
            except OSError as error:
                log.warning("model.packed_files_not_removed", error=str(error))

    def _require_plain(self, name: str) -> None:
        """Names come from clients: none may lead out of the folder."""
        if os.sep in name or name.startswith("."):
            raise PermanentError("The name of a model is that of a file in MODEL_FILE_DIR, without a folder.")

    def _missing(self, name: str) -> PermanentError:
        download = ", or name it in MODELS_OFFERED, so that it is downloaded" if known_model(name) else ""
        return PermanentError(
            f"The model {without_suffix(name, '.onnx')} is not on this processor: its operator can put its files into "
            f"MODEL_FILE_DIR{download}."
        )


@dataclass(frozen=True)
class DownloadModel:
    """A job that downloads the files of the model `name` into `folder`, as far as they are missing. Returns `name`."""

    name: str
    folder: Path
    sources: ModelSources

    def __call__(self, _engine: Engine | None, observer: SeparationObserver, /) -> str:
        """Report the share of the current file.

        Raises `TransientError` if the files cannot be downloaded: the source may be there again in a minute.
        """

        def on_progress(progress: DownloadProgress) -> None:
            if progress.total_bytes:
                observer.report(progress.done_bytes / progress.total_bytes)

        try:
            model_file(self.name, self.folder, self.sources, on_progress)
        except ModelUnavailableError as error:
            raise TransientError(error.message, retry_after_s=_RETRY_AFTER_S) from error
        return self.name


def load_downloader() -> None:
    """A child that only downloads loads nothing in advance."""


ModelProgress = Callable[[str, float], None]
"""Called with the name of a model and the share of it that is downloaded."""
