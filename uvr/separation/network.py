"""An MDX-Net network on ONNX Runtime: loaded once, run segment by segment."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnxruntime

from uvr.errors import PermanentError
from uvr.separation.models import MdxParameters
from uvr.separation.stft import Spectrum

# Tried in this order; ONNX Runtime passes over what the machine cannot run.
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


class Network:
    """A loaded network; `threads` 0 means one for every core that this process may use.

    Raises `PermanentError` when the file is no network, or none of the shape that `parameters` tell.
    """

    def __init__(self, model_path: Path, parameters: MdxParameters, *, threads: int = 0) -> None:
        self._session = _load(model_path, threads or _allowed_cores())
        self._shape = (1, 4, parameters.dim_f, parameters.dim_t)
        self._input = self._session.get_inputs()[0].name
        self.provider: str = self._session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        _check_shape(self._session.get_inputs()[0].shape, self._shape, model_path.name)

    def run(self, spectrum: Spectrum) -> Spectrum:
        """The spectrum of the primary stem in that of the mixture, both of shape (4, dim_f, dim_t)."""
        (estimate,) = self._session.run(None, {self._input: spectrum[None]})
        return np.asarray(estimate[0], np.float32)

    def warm_up(self) -> None:
        """One run on silence: memory is reserved and kernels are chosen at the first run."""
        self.run(np.zeros(self._shape[1:], np.float32))


def _load(model_path: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    providers = [name for name in _PROVIDERS if name in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(model_path, options, providers=providers)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        message = f"The model file {model_path.name} cannot be loaded; delete it and download the model again."
        raise PermanentError(message, onnxruntime=str(error)) from error


def _check_shape(actual: list[int | str | None], expected: tuple[int, ...], file: str) -> None:
    """Named dimensions, like the batch, fit anything."""
    fits = [not isinstance(size, int) or size == wanted for size, wanted in zip(actual, expected, strict=False)]
    if len(actual) != len(expected) or not all(fits):
        raise PermanentError(f"The model file {file} is not the MDX-Net network its parameters tell: {actual}.")


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
