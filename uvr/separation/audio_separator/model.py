"""One model in audio-separator's hands: loaded once, then one mixture after another in and its stems out as float WAV.

audio-separator (0.47.1) is made for a person at a terminal; everything here that a service needs otherwise is set on
the loaded object, because it has no settings for it:

- *level*: for MDX-Net it multiplies the primary stem by the mixture's peak and then subtracts it from a mixture that
  was not (`_undo_peak`); for all architectures it scales down each stem that is loud, by itself;
- *samples*: VR stems are written as integers, and only whole frames of them (`_TAIL_SAMPLES`);
- *files*: it remembers the folder of its first song, and names stems after the song and the model;
- *network*: it asks GitHub for lists even when the model is there; the model's file and parameters are told instead;
- *programs*: it refuses to start without ffmpeg, which it would not use for WAV files, and without torchvision, which
  it needs to convert MDX-Net files to torch, and that is never done;
- *progress*: it draws bars on stderr, and does nothing for whoever waits elsewhere.
"""

from __future__ import annotations

import json
import logging
import math
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch

from uvr.errors import PermanentError, TransientError, UvrError
from uvr.models.audio_separator import DOWNLOAD_CHECKS, VrParameters, download_model_file
from uvr.models.catalogue import MdxParameters, Model, stem_pair
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.devices import Device

# MDX-Net files are run by ONNX Runtime; the package that could convert them would bring torchvision along.
sys.modules.setdefault("onnx2torch", ModuleType("onnx2torch"))

from audio_separator.separator import AudioExportError, InvalidAudioDataError, Separator  # noqa: E402

_TAIL_SAMPLES = {"VR": 44_100}
"""Silence behind the mixture, by architecture: VR drops the samples of the last frame that is not whole."""
_DEVICES = {"mps": "coreml"}
"""Apple's graphics, which torch calls otherwise than DEVICE does."""
_LOOPS = {"VR": 3, "MDX": 1, "MDXC": 1, "Demucs": 2}
"""How often a song is gone through, by architecture; Demucs does it twice for each network of its bag."""


@dataclass(frozen=True)
class OneFile:
    """A model that is one file, with what the file does not say about itself."""

    path: Path
    parameters: MdxParameters | VrParameters


@dataclass(frozen=True)
class SeveralFiles:
    """A model that audio-separator knows by name, its files in `folder` or fetched into it at the first start."""

    name: str
    folder: Path
    base_url: str = ""
    """A mirror that has all files in one folder; "" for the places that audio-separator knows."""


class AudioSeparatorModel:
    """A loaded model. Raises `PermanentError` when it cannot be loaded, with the reason."""

    def __init__(self, model: OneFile | SeveralFiles, *, threads: int = 0, device: Device = "auto") -> None:
        torch.set_num_threads(threads or usable_cores())
        self._separator = _separator(model, device)
        name = model.name if isinstance(model, SeveralFiles) else model.path.name
        try:
            self._separator.load_model(name)
        except UvrError:
            raise
        except Exception as error:  # it lets through whatever torch, yaml, onnxruntime and its own checks raise
            if isinstance(error.__cause__, UvrError):
                raise error.__cause__ from None
            raise PermanentError(
                f"audio-separator cannot load {name}: check its name, and if the file is damaged, delete it.",
                reason=str(error),
            ) from error
        self._loaded = self._separator.model_instance
        self.architecture = type(self._loaded).__name__.removesuffix("Separator")
        _lift_limits(self._loaded)
        if self.architecture == "MDX":
            _undo_peak(self._loaded)
        if device not in {"auto", _DEVICES.get(self.provider, self.provider)}:
            raise PermanentError(
                f"DEVICE={device}, but audio-separator cannot use it. Install torch and onnxruntime-gpu for it "
                "(docs/models.md), or set DEVICE=auto."
            )

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda", "mps"."""
        device: str = self._loaded.torch_device.type
        providers = self._loaded.onnx_execution_provider or ["CPUExecutionProvider"]
        on_card = self.architecture != "MDX" or not providers[0].startswith("CPU")
        return device if on_card else "cpu"

    @property
    def tail_samples(self) -> int:
        """How much silence the mixture needs behind its end."""
        return _TAIL_SAMPLES.get(self.architecture, 0)

    def separate(self, mixture: Path, folder: Path, on_share: Callable[[float], None]) -> dict[str, Path]:
        """Stem name -> float WAV file in `folder` at 44.1 kHz in stereo, from the WAV file `mixture` of that form.

        `on_share` hears the share of the song that is done, 0.0 to 1.0, and may raise to stop it. A stem is as loud as
        the mixture made it, its length may differ by some samples. Raises `TransientError` and `PermanentError`.
        """
        self._loaded.output_dir = str(folder)
        self._listen(_Progress(on_share, _LOOPS.get(self.architecture, 1)))
        try:
            files = self._separator.separate(str(mixture))
        except InvalidAudioDataError as error:
            raise PermanentError(
                "audio-separator cannot separate this song with this model.", reason=str(error)
            ) from error
        except AudioExportError as error:
            raise TransientError("The stems could not be written; the disk may be full.", reason=str(error)) from error
        if not files:
            raise TransientError("audio-separator gave no stems and no reason; its log may have one.")
        return {Path(file).stem: folder / file for file in files}

    def _listen(self, progress: _Progress) -> None:
        """Put `progress` in the place of the bars that the architecture's loops draw."""
        module = sys.modules[type(self._loaded).__module__]
        if self.architecture == "Demucs":
            sys.modules[module.apply_model.__module__].tqdm = SimpleNamespace(tqdm=progress.over)  # type: ignore[attr-defined]
        else:
            module.tqdm = progress.over  # type: ignore[attr-defined]


class _Progress:
    """One share of the work from the several loops of one song."""

    def __init__(self, on_share: Callable[[float], None], loops: int) -> None:
        self._on_share = on_share
        self._loops = loops
        self._finished = 0

    def over(self, steps: Any, **_bar: Any) -> Iterator[Any]:
        """`steps`, each of them reported when it is done."""
        total = len(steps) if isinstance(steps, Sized) else 0
        for number, step in enumerate(steps, start=1):
            yield step
            self._on_share(min(1.0, (self._finished + number / max(total, number)) / self._loops))
        self._finished = min(self._finished + 1, self._loops)


def _separator(model: OneFile | SeveralFiles, device: Device) -> Any:
    folder = model.folder if isinstance(model, SeveralFiles) else model.path.parent
    separator = Separator(
        # Only this leaves out the check for ffmpeg; the steps of it that matter come next.
        info_only=True,
        log_level=logging.ERROR,
        model_file_dir=str(folder),
        output_dir=str(folder),
        use_soundfile=True,
        mdx_params=_mdx_settings(model),
    )
    if device == "cpu":
        separator.torch_device = separator.torch_device_cpu = torch.device("cpu")
        separator.onnx_execution_provider = ["CPUExecutionProvider"]
    else:
        separator.preload_onnxruntime_dependencies()
        separator.setup_torch_device(separator.get_system_info())
    # The environment may have named another folder for audio-separator's command line.
    separator.model_file_dir = str(folder)
    if isinstance(model, OneFile):
        architecture = "MDX" if isinstance(model.parameters, MdxParameters) else "VR"
        separator.download_model_files = lambda name: (name, architecture, name, str(model.path), None)
        separator.load_model_data_using_hash = lambda _path: _in_uvrs_words(model.parameters)
    else:
        separator.download_file_if_not_exists = partial(_fetch, model)
    return separator


def _mdx_settings(model: OneFile | SeveralFiles) -> dict[str, Any]:
    settings = {"hop_length": 1024, "segment_size": 256, "overlap": 0.25, "batch_size": 1, "enable_denoise": False}
    if isinstance(model, OneFile) and isinstance(model.parameters, MdxParameters):
        # Any other segment would be run by torch, after a conversion.
        settings |= {"hop_length": model.parameters.hop_length, "segment_size": model.parameters.dim_t}
    return settings


def _in_uvrs_words(parameters: MdxParameters | VrParameters) -> Mapping[str, Any]:
    if not isinstance(parameters, MdxParameters):
        return parameters
    return {
        "compensate": parameters.compensate,
        "mdx_dim_f_set": parameters.dim_f,
        "mdx_dim_t_set": round(math.log2(parameters.dim_t)),
        "mdx_n_fft_scale_set": parameters.n_fft,
        "primary_stem": parameters.primary_stem,
    }


def _fetch(model: SeveralFiles, url: str, path: str) -> None:
    """Stands in for a download that leaves half a file behind when it breaks off."""
    target = Path(path)
    if target.is_file():
        return
    if target.name == "download_checks.json":
        target.write_text(json.dumps(DOWNLOAD_CHECKS), encoding="utf-8")
        return
    named = Model(model.name, target.name, model.name, "", url, "")
    try:
        download_model_file(named, f"{model.base_url.rstrip('/')}/{target.name}" if model.base_url else url, target)
    except PermanentError as error:
        # audio-separator tries its second source after this one.
        raise RuntimeError(error.message) from error


def _lift_limits(loaded: Any) -> None:
    loaded.normalization_threshold = math.inf
    loaded.input_subtype = "FLOAT"
    loaded.get_stem_output_path = lambda stem, _names: f"{_plain(stem)}.wav"


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", stem_pair(stem)[0])


def _undo_peak(loaded: Any) -> None:
    """Divide out the peak that the primary stem is about to be multiplied by."""
    demix = loaded.demix

    def levelled(mixture: Any, is_match_mix: bool = False) -> Any:
        # The second pass, which runs no network, makes something that is only used to invert in the spectrum.
        return mixture if is_match_mix else demix(mixture) / np.abs(mixture).max()

    loaded.demix = levelled
