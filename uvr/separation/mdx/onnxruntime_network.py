"""An MDX-Net network on ONNX Runtime: loaded once, run segment by segment."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import onnxruntime
import structlog

from uvr.errors import PermanentError
from uvr.models.catalogue import MdxParameters
from uvr.separation import devices
from uvr.separation.cpu_limits import usable_cores
from uvr.separation.devices import Device
from uvr.separation.mdx.stft import Spectrum

log = structlog.get_logger()


class OnnxRuntimeNetwork:
    """A loaded network on `device`; `threads` 0 means one for every core that this process may use.

    Raises `PermanentError` when the file is no network, or none of the shape that `parameters` tell, or when the device
    that was asked for does not work.
    """

    backend = "onnxruntime"

    def __init__(
        self, model_path: Path, parameters: MdxParameters, *, threads: int = 0, device: Device = "auto"
    ) -> None:
        threads = threads or usable_cores()
        self._session = _load(model_path, threads, device)
        self._shape = (1, 4, parameters.dim_f, parameters.dim_t)
        self._input = self._session.get_inputs()[0].name
        active = self._session.get_providers()[0]
        devices.check(device, active)
        self.provider = devices.short_name(active)
        _check_shape(self._session.get_inputs()[0].shape, self._shape, model_path.name)
        log.info("network.loaded", device=device, provider=self.provider, backend=self.backend, threads=threads)

    def run(self, spectrum: Spectrum) -> Spectrum:
        """The spectrum of the primary stem in that of the mixture, both of shape (4, dim_f, dim_t)."""
        (estimate,) = self._session.run(None, {self._input: spectrum[None]})
        return np.asarray(estimate[0], np.float32)

    def warm_up(self) -> None:
        """One run on silence where the first run chooses kernels, on a graphics card. Processor cores need none.

        With HQ_4's architecture on two cores the first run takes 0.3 s of processor time more than the 7.0 s of later
        ones; a warm-up would cost every start all of it.
        """
        if self.provider != "cpu":
            self.run(np.zeros(self._shape[1:], np.float32))


def _load(model_path: Path, threads: int, device: Device) -> onnxruntime.InferenceSession:
    available = onnxruntime.get_available_providers()
    wanted = devices.providers(device, available)
    if any(name == "CUDAExecutionProvider" for name, _ in wanted):
        _load_cuda()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # The pattern of the first run is kept as a second copy of all its memory: HQ_4's architecture takes 2.1 GB with it,
    # 1.2 GB without, and no less time.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model_path, options, providers=wanted)
    except Exception as error:  # ONNX Runtime's exceptions share no base class but this one
        message = f"The model file {model_path.name} cannot be loaded; delete it and download the model again."
        raise PermanentError(message, onnxruntime=str(error)) from error


def _load_cuda() -> None:
    """CUDA and cuDNN from Python packages where there are such; what is missing is printed, and not into results."""
    with redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()


def _check_shape(actual: list[int | str | None], expected: tuple[int, ...], file: str) -> None:
    """Named dimensions, like the batch, fit anything."""
    fits = [not isinstance(size, int) or size == wanted for size, wanted in zip(actual, expected, strict=False)]
    if len(actual) != len(expected) or not all(fits):
        raise PermanentError(f"The model file {file} is not the MDX-Net network its parameters tell: {actual}.")
