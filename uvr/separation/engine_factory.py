"""Chooses the engine for a model, from SEPARATION_ENGINE and the model's name.

The result is a factory: it is pickled, and called in the child process. This module finds, downloads and checks the
model's file. It imports no network runtime, and it only checks whether audio-separator is installed.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import ensure_model_files, multi_file_model_name, vr_parameters_of
from uvr.models.catalogue import MdxParameters, known_model
from uvr.models.files import ProgressCallback
from uvr.models.required_files import model_files
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources
from uvr.separation.devices import Device
from uvr.separation.engine import Engine
from uvr.separation.mdx.backends import Backend

EngineChoice: TypeAlias = Literal["auto", "mdx", "audio-separator"]
"""`auto` means the service's own engine for MDX-Net models, and audio-separator for all others."""


@dataclass(frozen=True)
class MdxEngineFactory:
    """Makes an `MdxEngine`. Imports it only when called, in the child process."""

    model_path: Path
    parameters: MdxParameters
    threads: int = 0
    """Number of threads for the network; 0 means one per core that the child may use."""
    device: Device = "auto"
    """The device to run on; "auto" means the best one that works."""
    backend: Backend = "auto"
    """The code that computes the network (see `backends`)."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the engine is made from."""
        return (self.model_path,)

    def __call__(self) -> Engine:
        """Load the network."""
        from uvr.separation.mdx.engine import MdxEngine  # not in the parent: loads numpy

        return MdxEngine(
            self.model_path, self.parameters, threads=self.threads, device=self.device, backend=self.backend
        )


@dataclass(frozen=True)
class AudioSeparatorEngineFactory:
    """Makes an `AudioSeparatorEngine`. Imports audio-separator only when called, in the child process."""

    name: str
    folder: Path
    file: Path | None = None
    """The model's file; None for a model of several files, which audio-separator finds by name."""
    sources: ModelSources = PUBLIC_SOURCES
    threads: int = 0
    device: Device = "auto"

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the engine is made from; of a model of several files, those that are expected."""
        return (self.file,) if self.file else model_files(self.name, self.folder)

    def __call__(self) -> Engine:
        """Load the network."""
        from uvr.separation.audio_separator.engine import AudioSeparatorEngine  # not in the parent: loads torch
        from uvr.separation.audio_separator.model import OneFile, SeveralFiles

        if self.file is None:
            model: OneFile | SeveralFiles = SeveralFiles(self.name, self.folder, self.sources)
        elif self.file.suffix.lower() == ".pth":
            model = OneFile(self.file, dict(vr_parameters_of(self.file)))
        else:
            model = OneFile(self.file, store.parameters_of(self.file))
        return AudioSeparatorEngine(model, threads=self.threads, device=self.device)


ModelEngineFactory: TypeAlias = MdxEngineFactory | AudioSeparatorEngineFactory


def choose_engine(
    name: str,
    folder: Path,
    *,
    engine: EngineChoice = "auto",
    sources: ModelSources = PUBLIC_SOURCES,
    threads: int = 0,
    device: Device = "auto",
    backend: Backend = "auto",
    on_progress: ProgressCallback | None = None,
) -> ModelEngineFactory:
    """The factory of the engine for the model `name`. Downloads the model's file to `folder` if it is missing.

    Raises `ModelUnavailableError` if the model cannot be downloaded, and `PermanentError` if there is no such model, if
    `engine` cannot run it, or if it needs audio-separator and that is not installed.
    """
    if not needs_audio_separator(name, engine):
        path = store.ensure_model_file(name, folder, sources=sources, on_progress=on_progress)
        return MdxEngineFactory(path, store.parameters_of(path), threads=threads, device=device, backend=backend)
    require_audio_separator(name)
    file = model_file(name, folder, sources, on_progress)
    name, folder = store.split_model_path(name, folder)
    several = multi_file_model_name(name)
    only = None if several else file
    return AudioSeparatorEngineFactory(several or name, folder, only, sources, threads=threads, device=device)


def needs_audio_separator(name: str, engine: EngineChoice) -> bool:
    """Whether audio-separator runs the model `name`. Raises `PermanentError` if `engine` does not allow that."""
    file = Path(name).name
    model = known_model(file)
    is_not_mdx = model.engine != "mdx" if model else file.lower().endswith((".pth", ".ckpt", ".yaml"))
    if engine == "mdx" and is_not_mdx:
        raise PermanentError(
            f"{name} is not an MDX-Net model, so only audio-separator can run it: "
            "run `make setup-library`, and set SEPARATION_ENGINE=auto (docs/models.md)."
        )
    return is_not_mdx or engine == "audio-separator"


def require_audio_separator(name: str) -> None:
    """Raise `PermanentError`, which names the model, if audio-separator is not installed."""
    if importlib.util.find_spec("audio_separator") is None:
        raise PermanentError(
            f"{name} needs audio-separator, which is not installed: run `make setup-library` and start the processor "
            "from .venv-library (docs/models.md), or choose an MDX-Net model."
        )


def model_file(
    name: str,
    folder: Path,
    sources: ModelSources = PUBLIC_SOURCES,
    on_progress: ProgressCallback | None = None,
    *,
    force: bool = False,
) -> Path:
    """The checked file of the model `name`, or the file by which a model of several files is loaded.

    What is missing is downloaded, everything if `force` is set. Raises the errors of `choose_engine`.
    """
    name, folder = store.split_model_path(name, folder)
    path = folder / name
    if path.suffix.lower() == ".pth" and path.is_file():
        vr_parameters_of(path)
        return path
    model = known_model(name)
    if model and model.engine != "mdx":
        return ensure_model_files(model, folder, sources=sources, force=force, on_progress=on_progress)
    if multi_file_model_name(name):
        return path
    return store.ensure_model_file(name, folder, sources=sources, force=force, on_progress=on_progress)
