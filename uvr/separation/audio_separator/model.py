"""One model loaded by audio-separator: it takes one mixture after another and gives its stems as float WAV files.

audio-separator (0.47.1) is written for interactive use. What a service needs differently is changed on the loaded
object, because there are no settings for it:

- *level*: for MDX-Net it multiplies the primary stem by the mixture's peak, and then subtracts it from a mixture that
  was not scaled (`_undo_peak`); for all architectures it scales down each loud stem separately;
- *samples*: VR stems are written as integers, and only whole frames of them (`_PADDING_SAMPLES`);
- *files*: it remembers the folder of its first song, and names stems after the song and the model;
- *downloads*: it downloads lists from GitHub even if the model is there;
- *requirements*: it does not start without ffmpeg, which WAV files do not need, nor without torchvision, which is only
  needed to convert MDX-Net files to torch;
- *progress*: it draws progress bars on stderr and reports progress in no other way.
"""

from __future__ import annotations

import json
import logging
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from uvr.errors import OutOfMemoryError, PermanentError, TransientError, UvrError
from uvr.models.audio_separator import DOWNLOAD_CHECKS, VrParameters, download_model_file
from uvr.models.catalogue import MdxParameters, Model
from uvr.models.files import fingerprint
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.devices import Device

# ONNX Runtime runs MDX-Net files. The package that would convert them to torch depends on torchvision.
sys.modules.setdefault("onnx2torch", ModuleType("onnx2torch"))

from audio_separator.separator import AudioExportError, InvalidAudioDataError, Separator  # noqa: E402

_PADDING_SAMPLES = {"VR": 44_100}
"""Silence after the mixture, by architecture: VR drops the last frame if it is incomplete."""
_DEVICES = {"mps": "coreml"}
"""torch's name for Apple's graphics processors -> the value of DEVICE."""
_OUT_OF_MEMORY = ("out of memory", "outofmemory", "not enough memory", "bad_alloc", "failed to allocate")
"""What the errors of torch and ONNX Runtime say, in lower case, if memory is missing."""
_LOOPS = {"VR": 3, "MDX": 1, "MDXC": 1, "Demucs": 2}
"""How many loops over the song an architecture runs; Demucs runs two for each network of its bag."""


@dataclass(frozen=True)
class OneFile:
    """A model of one file, and the parameters that the file does not contain."""

    path: Path
    parameters: MdxParameters | VrParameters


@dataclass(frozen=True)
class SeveralFiles:
    """A model that audio-separator knows by name. Its files are in `folder`, or downloaded to it at the first start."""

    name: str
    folder: Path
    sources: ModelSources = PUBLIC_SOURCES
    """Where the files may be downloaded; public places have them where audio-separator says."""


class AudioSeparatorModel:
    """A loaded model. Raises `PermanentError` with the reason if it cannot be loaded."""

    def __init__(self, model: OneFile | SeveralFiles, *, threads: int = 0, device: Device = "auto") -> None:
        torch.set_num_threads(threads or usable_cores())
        files: list[Path] = [model.path] if isinstance(model, OneFile) else []
        self._separator = _separator(model, device, files)
        name = self.name = model.name if isinstance(model, SeveralFiles) else model.path.name
        try:
            self._separator.load_model(name)
        except UvrError:
            raise
        except Exception as error:  # torch, yaml, onnxruntime and audio-separator raise exceptions of many types
            if isinstance(error.__cause__, UvrError):
                raise error.__cause__ from None
            if is_out_of_memory(error):
                raise OutOfMemoryError(f"There is not enough memory to load {self.name}.", reason=str(error)) from error
            raise PermanentError(
                f"audio-separator cannot load {name}: check its name, and delete the file if it is damaged.",
                reason=str(error),
            ) from error
        parameters = model.parameters if isinstance(model, OneFile) else ""
        self.fingerprint = fingerprint(sorted(files), f"audio-separator {version('audio-separator')}", repr(parameters))
        """See `engine.Engine`."""
        self._loaded = self._separator.model_instance
        self.architecture = type(self._loaded).__name__.removesuffix("Separator")
        # Keep stems at their level and in float. Their files have numbers, because no stem's name is safe in a path.
        self._loaded.normalization_threshold = math.inf
        self._loaded.input_subtype = "FLOAT"
        self._files: dict[str, str] = {}
        self._loaded.get_stem_output_path = lambda stem, _names: self._files.setdefault(
            stem, f"stem-{len(self._files)}.wav"
        )
        if self.architecture == "MDX":
            _undo_peak(self._loaded)
        if device not in {"auto", _DEVICES.get(self.provider, self.provider)}:
            raise PermanentError(
                f"DEVICE={device}, but audio-separator cannot use it. Install torch and onnxruntime-gpu for this "
                "device (docs/models.md), or set DEVICE=auto."
            )

    @property
    def provider(self) -> str:
        """What the network runs on: "cpu", "cuda", "mps"."""
        device: str = self._loaded.torch_device.type
        providers = self._loaded.onnx_execution_provider or ["CPUExecutionProvider"]
        on_card = self.architecture != "MDX" or not providers[0].startswith("CPU")
        return device if on_card else "cpu"

    @property
    def target_stem(self) -> str:
        """The only stem that the network estimates; the other one is the mixture minus this. "" if there are more."""
        is_only = getattr(self._loaded, "is_primary_stem_main_target", False)
        return str(self._loaded.primary_stem_name) if is_only else ""

    @property
    def padding_samples(self) -> int:
        """How many samples of silence the mixture needs after its end."""
        return _PADDING_SAMPLES.get(self.architecture, 0)

    def separate(self, mixture: Path, folder: Path, on_share: Callable[[float], None]) -> dict[str, Path]:
        """The model's name of each stem -> float WAV file in `folder`.

        These and the WAV file `mixture` are stereo at 44.1 kHz. Calls `on_share` with the share of the song that is
        done, 0.0 to 1.0; an exception from it stops the separation. Stems have the level of the mixture; their length
        may differ by some samples. Raises `TransientError` and `PermanentError`.
        """
        self._loaded.output_dir = str(folder)
        # Demucs shifts the song by random amounts; a song that comes again must give the same stems.
        random.seed(0)
        # The architecture's loops call tqdm to draw progress bars.
        progress = _Progress(on_share, _LOOPS.get(self.architecture, 1))
        module: Any = sys.modules[type(self._loaded).__module__]
        if self.architecture == "Demucs":
            apply_module: Any = sys.modules[module.apply_model.__module__]
            apply_module.tqdm = SimpleNamespace(tqdm=progress.iterate)
        else:
            module.tqdm = progress.iterate
        try:
            files = self._separator.separate(str(mixture))
        except InvalidAudioDataError as error:
            raise PermanentError(
                "audio-separator cannot separate this song with this model.", reason=str(error)
            ) from error
        except AudioExportError as error:
            raise TransientError("The stems could not be written. The disk may be full.", reason=str(error)) from error
        if not files:
            raise TransientError("audio-separator wrote no stems and gave no reason; see the log.")
        names = {file: name for name, file in self._files.items()}
        return {names[Path(file).name]: folder / file for file in files}


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory was missing, of the machine or of a graphics card; torch reports it in several ways."""
    told = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or any(words in told for words in _OUT_OF_MEMORY)


class _Progress:
    """Computes the share of the work that is done from the loops over one song."""

    def __init__(self, on_share: Callable[[float], None], loops: int) -> None:
        self._on_share = on_share
        self._loops = loops
        self._finished = 0

    def iterate(self, steps: Any, **_tqdm_options: Any) -> Iterator[Any]:
        """Yield `steps`, and report each one when it is done."""
        total = len(steps) if isinstance(steps, Sized) else 0
        for number, step in enumerate(steps, start=1):
            yield step
            self._on_share(min(1.0, (self._finished + number / max(total, number)) / self._loops))
        self._finished = min(self._finished + 1, self._loops)


def _separator(model: OneFile | SeveralFiles, device: Device, files: list[Path]) -> Any:
    """audio-separator's object for `model`, set up but without the model loaded.

    While it loads a model of several files, it adds them to `files`.
    """
    folder = model.folder if isinstance(model, SeveralFiles) else model.path.parent
    mdx_settings = {"hop_length": 1024, "segment_size": 256, "overlap": 0.25, "batch_size": 1, "enable_denoise": False}
    if isinstance(model, OneFile) and isinstance(model.parameters, MdxParameters):
        # With any other segment size audio-separator converts the network to torch.
        mdx_settings |= {"hop_length": model.parameters.hop_length, "segment_size": model.parameters.dim_t}
    separator = Separator(
        # The only way to skip the check for ffmpeg. It also skips the set-up of the device, which follows below.
        info_only=True,
        log_level=logging.ERROR,
        model_file_dir=str(folder),
        output_dir=str(folder),
        use_soundfile=True,
        mdx_params=mdx_settings,
    )
    if device == "cpu":
        separator.torch_device = separator.torch_device_cpu = torch.device("cpu")
        separator.onnx_execution_provider = ["CPUExecutionProvider"]
    else:
        separator.preload_onnxruntime_dependencies()
        separator.setup_torch_device(separator.get_system_info())
    # An environment variable of audio-separator may have set another folder.
    separator.model_file_dir = str(folder)
    if isinstance(model, OneFile):
        architecture = "MDX" if isinstance(model.parameters, MdxParameters) else "VR"
        separator.download_model_files = lambda name: (name, architecture, name, str(model.path), None)
        separator.load_model_data_using_hash = lambda _path: _uvr_parameters(model.parameters)
    else:
        separator.download_file_if_not_exists = partial(_download, model, files)
        if found := _unknown_model(model, separator, files):
            separator.download_model_files = lambda _name: found
    return separator


def _unknown_model(
    model: SeveralFiles, separator: Any, files: list[Path]
) -> tuple[str, str, str, str, str | None] | None:
    """A model that audio-separator does not know, in the form of its `download_model_files`. Adds its files to `files`.

    None if audio-separator knows it, or if there is no such file: then audio-separator says so. Raises `PermanentError`
    if the file that describes the network is missing.
    """
    path = model.folder / model.name
    known = separator.list_supported_model_files().values()
    if not path.is_file() or any(model.name in info["download_files"] for group in known for info in group.values()):
        return None
    files.append(path)
    if path.suffix.lower() == ".yaml":
        files.extend(model.folder.glob("*.th"))
        return model.name, "Demucs", model.name, str(path), None
    description = path.with_suffix(".yaml")
    if not description.is_file():
        raise PermanentError(
            f"{model.name} needs a description of its network: put the YAML file that came with it into the same "
            f"folder, as {description.name} (docs/models.md)."
        )
    files.append(description)
    return model.name, "MDXC", model.name, str(path), str(description)


def _uvr_parameters(parameters: MdxParameters | VrParameters) -> Mapping[str, Any]:
    """The parameters under the names that UVR uses for them."""
    if not isinstance(parameters, MdxParameters):
        return parameters
    return {
        "compensate": parameters.compensate,
        "mdx_dim_f_set": parameters.dim_f,
        "mdx_dim_t_set": round(math.log2(parameters.dim_t)),
        "mdx_n_fft_scale_set": parameters.n_fft,
        "primary_stem": parameters.primary_stem,
    }


def _download(model: SeveralFiles, files: list[Path], url: str, path: str) -> None:
    """Replaces audio-separator's download, which leaves an incomplete file behind when it fails."""
    target = Path(path)
    if target.name == "download_checks.json":
        if not target.is_file():
            target.write_text(json.dumps(DOWNLOAD_CHECKS), encoding="utf-8")
        return
    if target.is_file():
        files.append(target)
        return
    named = Model(model.name, target.name, model.name, "", "")
    try:
        download_model_file(named, model.sources.urls(target.name, {"github": url}), target)
    except PermanentError as error:
        # On this error audio-separator tries its second source.
        raise RuntimeError(error.message) from error
    files.append(target)


def _undo_peak(loaded: Any) -> None:
    """Divide the network's output by the mixture's peak, because audio-separator multiplies it by that peak later."""
    demix = loaded.demix

    def levelled(mixture: Any, is_match_mix: bool = False) -> Any:
        # The second pass runs no network. Its result is only used to invert the spectrum, which is not done here.
        return mixture if is_match_mix else demix(mixture) / np.abs(mixture).max()

    loaded.demix = levelled
