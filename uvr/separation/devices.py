"""What DEVICE means to ONNX Runtime, and what to do when a device that was asked for does not work.

ONNX Runtime goes on without a word on the processor's cores when a graphics card cannot be used. That is right for
`auto`; somebody who has asked for a device wants to hear of it at the start and not from a song that takes an hour.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal, TypeAlias

from uvr.errors import PermanentError

Device: TypeAlias = Literal["auto", "cpu", "cuda", "coreml"]

Provider: TypeAlias = tuple[str, dict[str, Any]]
"""ONNX Runtime's name of what computes, and its options."""

_CPU: Provider = ("CPUExecutionProvider", {})
# Convolutions in TF32 keep 10 bits of each number; the stems would no longer be those of the other devices.
_CUDA: Provider = ("CUDAExecutionProvider", {"use_tf32": "0"})
_COREML: Provider = ("CoreMLExecutionProvider", {})
_PROVIDERS: dict[Device, list[Provider]] = {
    # CoreML only on demand: it may compute in half precision.
    "auto": [_CUDA, _CPU],
    "cpu": [_CPU],
    "cuda": [_CUDA, _CPU],
    "coreml": [_COREML, _CPU],
}

_WITHOUT_SUPPORT = {
    "cuda": "ONNX Runtime is installed without CUDA. Install onnxruntime-gpu[cuda,cudnn] in place of onnxruntime",
    "coreml": "ONNX Runtime is installed without CoreML, which there is on macOS only. Run the processor on a Mac",
}
_NOT_WORKING = {
    "cuda": "CUDA cannot be used. Install NVIDIA's driver, CUDA and cuDNN, and give this process the card",
    "coreml": "CoreML cannot be used for this model. Take a newer macOS",
}


def providers(device: Device, available: Collection[str]) -> list[Provider]:
    """What ONNX Runtime shall try for `device`, in this order, of the providers that this build of it has.

    Raises `PermanentError` when the device needs another build.
    """
    wanted = _PROVIDERS[device]
    if device != "auto" and wanted[0][0] not in available:
        raise _refusal(device, _WITHOUT_SUPPORT)
    return [provider for provider in wanted if provider[0] in available]


def may_have_cuda() -> bool:
    """Whether ONNX Runtime is installed with CUDA; told by its files, because loading it takes time."""
    found = importlib.util.find_spec("onnxruntime")
    folders = found.submodule_search_locations if found else None
    return any(any(Path(folder, "capi").glob("*onnxruntime_providers_cuda*")) for folder in folders or ())


def check(device: Device, active: str) -> None:
    """Raise `PermanentError` unless `active`, the provider of a loaded network, is what `device` asks for."""
    if device != "auto" and active != _PROVIDERS[device][0][0]:
        raise _refusal(device, _NOT_WORKING)


def short_name(provider: str) -> str:
    """How the service calls a provider: "CUDAExecutionProvider" -> "cuda"."""
    return provider.removesuffix("ExecutionProvider").lower()


def _refusal(device: Device, reasons: dict[str, str]) -> PermanentError:
    return PermanentError(f"DEVICE={device}, but {reasons[device]} (docs/devices.md), or set DEVICE=auto.")
