"""The setting DEVICE in terms of ONNX Runtime, and the errors when the requested device does not work.

ONNX Runtime silently falls back to the processor if a graphics card cannot be used. That is right for `auto`. If a
device was requested, the start fails instead: otherwise the first sign would be a song that takes an hour.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, TypeAlias

from uvr.errors import PermanentError

Device: TypeAlias = Literal["auto", "cpu", "cuda", "coreml"]

Provider: TypeAlias = tuple[str, dict[str, Any]]
"""Name and options of an ONNX Runtime execution provider."""

_CPU: Provider = ("CPUExecutionProvider", {})
# TF32 convolutions keep only 10 bits of each number: the stems would differ from those of other devices.
_CUDA: Provider = ("CUDAExecutionProvider", {"use_tf32": "0"})
_COREML: Provider = ("CoreMLExecutionProvider", {})
_PROVIDERS: dict[Device, list[Provider]] = {
    # Without CoreML: it may compute in half precision, so it must be requested.
    "auto": [_CUDA, _CPU],
    "cpu": [_CPU],
    "cuda": [_CUDA, _CPU],
    "coreml": [_COREML, _CPU],
}

_NOT_INSTALLED = {
    "cuda": "ONNX Runtime is installed without CUDA. Replace onnxruntime with onnxruntime-gpu[cuda,cudnn]",
    "coreml": "ONNX Runtime is installed without CoreML, which is available on macOS only. Run the processor on a Mac",
}
_NOT_WORKING = {
    "cuda": "CUDA cannot be used. Install NVIDIA's driver, CUDA and cuDNN, and give this process access to the card",
    "coreml": "CoreML cannot be used for this model. Use a newer version of macOS",
}


def providers(device: Device, available: Collection[str]) -> list[Provider]:
    """The providers for `device` in order of preference, limited to those `available` in this ONNX Runtime.

    Raises `PermanentError` if the device needs another build of ONNX Runtime.
    """
    preferred = _PROVIDERS[device]
    if device != "auto" and preferred[0][0] not in available:
        raise _refusal(device, _NOT_INSTALLED)
    return [provider for provider in preferred if provider[0] in available]


def may_have_cuda() -> bool:
    """Whether ONNX Runtime is installed with CUDA. Checks its files only, because loading it takes time."""
    spec = importlib.util.find_spec("onnxruntime")
    folders = spec.submodule_search_locations if spec else None
    return any(any(Path(folder, "capi").glob("*onnxruntime_providers_cuda*")) for folder in folders or ())


def has_nvidia_card() -> bool:
    """Whether this process sees an NVIDIA card with its driver."""
    return Path("/dev/nvidiactl").exists()


def torch_may_have_card() -> bool:
    """Whether torch is installed for graphics cards. Checks its files only, because loading it takes time."""
    spec = importlib.util.find_spec("torch")
    folders = spec.submodule_search_locations if spec else None
    return any(any(Path(folder, "lib").glob("*torch_cuda*")) for folder in folders or ()) or (
        bool(spec) and sys.platform == "darwin"
    )


def check(device: Device, active: str) -> None:
    """Raise `PermanentError` unless `active`, the provider of a loaded network, is the one for `device`."""
    if device != "auto" and active != _PROVIDERS[device][0][0]:
        raise _refusal(device, _NOT_WORKING)


def short_name(provider: str) -> str:
    """The service's name for a provider: "CUDAExecutionProvider" -> "cuda"."""
    return provider.removesuffix("ExecutionProvider").lower()


def _refusal(device: Device, reasons: dict[str, str]) -> PermanentError:
    return PermanentError(f"DEVICE={device}, but {reasons[device]} (docs/devices.md), or set DEVICE=auto.")
