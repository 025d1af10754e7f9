"""Chooses the engine for a model, from SEPARATION_ENGINE and the model's name.

The result is a factory: it is pickled, and called in the child process. This module finds, downloads and checks the
model's file. It imports no network runtime, and it only checks whether audio-separator is installed.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import structlog

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import ensure_model_files, multi_file_model_name, vr_parameters_of
from uvr.models.catalogue import MdxParameters, known_model
from uvr.models.files import ProgressCallback
from uvr.models.packed_files import BESIDE_MODELS, PackedFilesPolicy
from uvr.models.required_files import model_files
from uvr.models.roformers import require_description, roformer_description, times_through_network
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources
from uvr.separation import devices
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.devices import Device
from uvr.separation.engine import Engine
from uvr.separation.instruction_sets import InstructionSetChoice, limit_to, require_supported
from uvr.separation.mdx.backends import Backend
from uvr.separation.precision import PrecisionChoice, require_precision

log = structlog.get_logger()

EngineChoice: TypeAlias = Literal["auto", "mdx", "audio-separator"]
"""`auto` means the service's own engines for MDX-Net models and, on CPUs, for RoFormers; else audio-separator."""
EngineName: TypeAlias = Literal["mdx", "roformer", "audio-separator"]


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
    instruction_set: InstructionSetChoice = "auto"
    """The widest instruction set that the kernels use."""

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the engine is made from."""
        return (self.model_path,)

    def __call__(self) -> Engine:
        """Load the network."""
        from uvr.separation.mdx.engine import MdxEngine  # not in the parent: loads numpy

        limit_to(self.instruction_set)
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

    @property
    def times_through_network(self) -> int:
        """How often each part of a song goes through the network, as far as that multiplies the time it may take."""
        description = roformer_description(self.name, self.folder)
        return times_through_network(description) if description else 1

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


@dataclass(frozen=True)
class RoformerEngineFactory:
    """Makes a `RoformerEngine`, or the engine of `fallback` if there is a card or if the kernels cannot be used."""

    model_path: Path
    description: Path
    threads: int = 0
    device: Device = "auto"
    fallback: AudioSeparatorEngineFactory | None = None
    """None where audio-separator is not installed, or cannot read such a file."""
    instruction_set: InstructionSetChoice = "auto"
    """The widest instruction set that the kernels use."""
    packed_files: PackedFilesPolicy = BESIDE_MODELS
    precision: PrecisionChoice = "auto"

    @property
    def name(self) -> str:
        """The file name of the checkpoint."""
        return self.model_path.name

    @property
    def folder(self) -> Path:
        """Where the model's files are."""
        return self.model_path.parent

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that the engine is made from."""
        return (self.model_path, self.description)

    @property
    def times_through_network(self) -> int:
        """How often each part of a song goes through the network."""
        return times_through_network(self.description)

    def __call__(self) -> Engine:
        """Load the network."""
        from uvr.separation.native.bindings import LibraryError  # not in the parent: loads numpy
        from uvr.separation.roformer.engine import RoformerEngine
        from uvr.separation.roformer.self_check import KernelsRefusedError

        if self.fallback and self.device == "auto" and devices.torch_may_have_card():
            engine = self.fallback()
            if engine.provider != "cpu":
                return engine
            del engine  # frees its memory before the next network is loaded
        if self.fallback is None and self.device == "auto" and devices.has_nvidia_card():
            reason = "RoFormers run on cards in audio-separator, which is not installed (docs/devices.md)"
            log.info("network.card_not_used", model=self.name, reason=reason)
        limit_to(self.instruction_set)
        try:
            roformer = RoformerEngine(
                self.model_path,
                self.description,
                threads=self.threads,
                packed_files=self.packed_files,
                precision=self.precision,
            )
        except (LibraryError, KernelsRefusedError) as error:
            if self.precision == "bfloat16":
                raise PermanentError(
                    f"INFERENCE_PRECISION=bfloat16, but the kernels cannot compute {self.name} in it: {error}. Set it "
                    "to auto or float32 (docs/devices.md)."
                ) from error
            if self.fallback is None:
                raise PermanentError(
                    f"{self.model_path.name} cannot be run: {error}. audio-separator can run it without the kernels: "
                    "run `make setup-library` and start the processor from .venv-library (docs/models.md)."
                ) from error
            log.warning("network.kernels_refused", reason=str(error))
            return self.fallback()
        log.info(
            "network.loaded",
            device=self.device,
            provider="cpu",
            backend="native",
            instruction_set=roformer.instruction_set,
            precision=roformer.precision,
            terms=roformer.terms,
            threads=self.threads or usable_cores(),
        )
        return roformer


ModelEngineFactory: TypeAlias = MdxEngineFactory | RoformerEngineFactory | AudioSeparatorEngineFactory


def choose_engine(
    name: str,
    folder: Path,
    *,
    engine: EngineChoice = "auto",
    sources: ModelSources = PUBLIC_SOURCES,
    threads: int = 0,
    device: Device = "auto",
    backend: Backend = "auto",
    instruction_set: InstructionSetChoice = "auto",
    packed_files: PackedFilesPolicy = BESIDE_MODELS,
    precision: PrecisionChoice = "auto",
    on_progress: ProgressCallback | None = None,
) -> ModelEngineFactory:
    """The factory of the engine for the model `name`. Downloads the model's file to `folder` if it is missing.

    Raises `ModelUnavailableError` if the model cannot be downloaded, and `PermanentError` if there is no such model, if
    `engine` cannot run it, if this processor lacks `instruction_set` or what `precision` demands, or if the model needs
    audio-separator and that is not installed.
    """
    require_supported(instruction_set)
    require_precision(precision, instruction_set)
    chosen = usable_engine_of(name, folder, engine, device)
    if chosen == "mdx":
        path = store.ensure_model_file(name, folder, sources=sources, on_progress=on_progress)
        return MdxEngineFactory(path, store.parameters_of(path), threads, device, backend, instruction_set)
    file = model_file(name, folder, sources, on_progress)
    name, folder = store.split_model_path(name, folder)
    several = multi_file_model_name(name)
    only = None if several else file
    library = AudioSeparatorEngineFactory(several or name, folder, only, sources, threads=threads, device=device)
    description = roformer_description(name, folder) if chosen == "roformer" else None
    if description is None:
        return library
    fallback = library if several and _has_audio_separator() else None
    return RoformerEngineFactory(file, description, threads, device, fallback, instruction_set, packed_files, precision)


def usable_engine_of(name: str, folder: Path, engine: EngineChoice, device: Device) -> EngineName:
    """The engine that runs the model `name` in `folder`. Raises `PermanentError` if it is not allowed or not installed.

    So does a checkpoint whose YAML file is missing or cannot be read.
    """
    chosen = engine_of(name, folder, engine, device)
    if chosen == "audio-separator":
        require_description(*store.split_model_path(name, folder))
        require_audio_separator(name)
    return chosen


def engine_of(name: str, folder: Path, engine: EngineChoice, device: Device) -> EngineName:
    """The engine that runs the model `name` in `folder`. Raises `PermanentError` if `engine` does not allow that."""
    file = Path(name).name
    model = known_model(file)
    suffixes = (".pth", ".ckpt", ".safetensors", ".yaml")
    is_not_mdx = model.engine != "mdx" if model else file.lower().endswith(suffixes)
    if engine == "mdx" and is_not_mdx:
        raise PermanentError(
            f"{name} is not an MDX-Net model, and SEPARATION_ENGINE=mdx runs no others: set SEPARATION_ENGINE=auto, "
            "and run `make setup-library` if the model is not a RoFormer (docs/models.md)."
        )
    if is_not_mdx and engine == "auto" and _runs_as_roformer(name, folder, device):
        return "roformer"
    return "audio-separator" if is_not_mdx or engine == "audio-separator" else "mdx"


def _runs_as_roformer(name: str, folder: Path, device: Device) -> bool:
    """Whether `name` is a RoFormer that our own kernels can run here."""
    if device not in ("auto", "cpu") or not kernels_are_built():
        return False
    folder = Path(name).parent if os.sep in name else folder
    return roformer_description(Path(name).name, folder) is not None


def kernels_are_built() -> bool:
    """Whether the kernels of these sources are built for this machine."""
    from uvr.separation.native.build import library_path  # only where a model may need it

    return library_path().is_file()


def _has_audio_separator() -> bool:
    return importlib.util.find_spec("audio_separator") is not None


def require_audio_separator(name: str) -> None:
    """Raise `PermanentError`, which names the model, if audio-separator is not installed."""
    if not _has_audio_separator():
        raise PermanentError(
            f"{name} needs audio-separator, which is not installed: run `make setup-library` and start the processor "
            "from .venv-library (docs/models.md), or choose an MDX-Net model, or on a CPU a RoFormer, for which "
            "`make setup` builds kernels if there is a C compiler."
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
    if path.suffix.lower() in (".pth", ".safetensors") and path.is_file() and roformer_description(name, folder):
        return path
    if path.suffix.lower() == ".pth" and path.is_file():
        vr_parameters_of(path)
        return path
    model = known_model(name)
    if model and model.engine != "mdx":
        return ensure_model_files(model, folder, sources=sources, force=force, on_progress=on_progress)
    if multi_file_model_name(name):
        return path
    return store.ensure_model_file(name, folder, sources=sources, force=force, on_progress=on_progress)
