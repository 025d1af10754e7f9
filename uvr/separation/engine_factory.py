"""Which engine runs a model: SEPARATION_ENGINE and the model's name in, a recipe for the engine out.

The recipe is pickled and carried out in the separation child. Here the model's file is found, fetched and checked; no
network runtime is imported, and audio-separator, which not every installation has, is only asked for, not loaded.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import ensure_vr_model_file, find_vr_model, multi_file_model_name, vr_parameters_of
from uvr.models.catalogue import MdxParameters
from uvr.models.files import ProgressCallback
from uvr.separation.child_main import EngineFactory
from uvr.separation.devices import Device
from uvr.separation.engine import Engine
from uvr.separation.mdx.backends import Backend

EngineChoice: TypeAlias = Literal["auto", "mdx", "audio-separator"]
"""`auto` takes the service's own engine for MDX-Net models and audio-separator for all others."""


@dataclass(frozen=True)
class MdxEngineFactory:
    """How to build an `MdxEngine`, which is imported only where it is built: in the child."""

    model_path: Path
    parameters: MdxParameters
    threads: int = 0
    """How many threads the network runs on; 0 means one for every core that the child may use."""
    device: Device = "auto"
    """What it has to run on; "auto" takes the best that works."""
    backend: Backend = "auto"
    """What has to compute it (see `backends`)."""

    def __call__(self) -> Engine:
        """Load the network."""
        from uvr.separation.mdx.engine import MdxEngine  # the parent must not load numpy and onnxruntime

        return MdxEngine(
            self.model_path, self.parameters, threads=self.threads, device=self.device, backend=self.backend
        )


@dataclass(frozen=True)
class AudioSeparatorEngineFactory:
    """How to build a `AudioSeparatorEngine`; audio-separator is imported only where it is built: in the child."""

    name: str
    folder: Path
    file: Path | None = None
    """The model's file; None for a model of several files, which audio-separator finds by its name."""
    base_url: str = ""
    threads: int = 0
    device: Device = "auto"

    def __call__(self) -> Engine:
        """Load the network."""
        from uvr.separation.audio_separator.engine import AudioSeparatorEngine  # the parent must not load torch
        from uvr.separation.audio_separator.model import OneFile, SeveralFiles

        if self.file is None:
            model: OneFile | SeveralFiles = SeveralFiles(self.name, self.folder, self.base_url)
        else:
            model = OneFile(self.file, _parameters_of(self.file))
        return AudioSeparatorEngine(model, threads=self.threads, device=self.device)


def choose_engine(
    name: str,
    folder: Path,
    *,
    engine: EngineChoice = "auto",
    base_url: str = "",
    threads: int = 0,
    device: Device = "auto",
    backend: Backend = "auto",
    on_progress: ProgressCallback | None = None,
) -> EngineFactory:
    """The recipe for the engine that runs the model `name`, its file in `folder`, fetched there if it is missing.

    Raises `ModelUnavailableError` when the model cannot be had, and `PermanentError` when there is no such model, when
    `engine` cannot run it, or when audio-separator is needed and not installed.
    """
    if not needs_audio_separator(name, engine):
        path = store.ensure_model_file(name, folder, base_url=base_url, on_progress=on_progress)
        return MdxEngineFactory(path, store.parameters_of(path), threads=threads, device=device, backend=backend)
    require_audio_separator(name)
    file = model_file(name, folder, base_url, on_progress)
    name, folder = store.split_model_path(name, folder)
    return AudioSeparatorEngineFactory(
        multi_file_model_name(name) or name, folder, file, base_url, threads=threads, device=device
    )


def needs_audio_separator(name: str, engine: EngineChoice) -> bool:
    """Whether audio-separator runs the model `name`; raises `PermanentError` when `engine` does not allow it."""
    file = Path(name).name
    is_for_library = bool(multi_file_model_name(file) or file.lower().endswith(".pth") or find_vr_model(file))
    if engine == "mdx" and is_for_library:
        raise PermanentError(
            f"{name} is not an MDX-Net model, so only audio-separator runs it: "
            "set SEPARATION_ENGINE=auto after `make setup-library` (docs/models.md)."
        )
    return is_for_library or engine == "audio-separator"


def require_audio_separator(name: str) -> None:
    """Raise `PermanentError`, with the model's `name`, where audio-separator is not installed."""
    if importlib.util.find_spec("audio_separator") is None:
        raise PermanentError(
            f"{name} needs audio-separator, which is not installed here: run `make setup-library` and start the "
            "processor from .venv-library (docs/models.md), or choose an MDX-Net model."
        )


def model_file(
    name: str, folder: Path, base_url: str = "", on_progress: ProgressCallback | None = None, *, force: bool = False
) -> Path | None:
    """The checked file of the model `name`, fetched if missing, or with `force`; None for one of several files.

    Those are audio-separator's to fetch, when it loads the model. Raises what `choose_engine` raises.
    """
    name, folder = store.split_model_path(name, folder)
    if multi_file_model_name(name):
        return None
    path = folder / name
    if path.suffix.lower() == ".pth" and path.is_file():
        vr_parameters_of(path)
        return path
    if model := find_vr_model(name):
        return ensure_vr_model_file(model, folder, base_url=base_url, force=force, on_progress=on_progress)
    return store.ensure_model_file(name, folder, base_url=base_url, force=force, on_progress=on_progress)


def _parameters_of(file: Path) -> MdxParameters | dict[str, object]:
    return dict(vr_parameters_of(file)) if file.suffix.lower() == ".pth" else store.parameters_of(file)
