"""An MDX-Net network computed by ONNX Runtime."""

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
    """A loaded network on `device`. `threads` 0 means one per core that this process may use.

    `content` takes the place of that of the file. Raises `PermanentError` if the file is not a network, if the
    network's shape does not match `parameters`, or if the requested device does not work.
    """

    backend = "onnxruntime"

    def __init__(
        self,
        model_path: Path,
        parameters: MdxParameters,
        *,
        threads: int = 0,
        device: Device = "auto",
        content: bytes | None = None,
    ) -> None:
        threads = threads or usable_cores()
        self._session = _load(model_path, content, threads, device)
        self._shape = (1, 4, parameters.dim_f, parameters.dim_t)
        self._input = self._session.get_inputs()[0].name
        active = self._session.get_providers()[0]
        devices.check(device, active)
        self.provider = devices.short_name(active)
        shape = self._session.get_inputs()[0].shape
        # Dimensions with a name, like the batch, can have any size.
        matches = [not isinstance(size, int) or size == own for size, own in zip(shape, self._shape, strict=False)]
        if len(shape) != len(self._shape) or not all(matches):
            raise PermanentError(
                f"The model file {model_path.name} does not match its parameters: its input shape is {shape}."
            )
        log.info("network.loaded", device=device, provider=self.provider, backend=self.backend, threads=threads)

    def run(self, spectrum: Spectrum) -> Spectrum:
        """Estimate the spectrum of the primary stem from that of the mixture; both have shape (4, dim_f, dim_t)."""
        (estimate,) = self._session.run(None, {self._input: spectrum[None]})
        return np.asarray(estimate[0], np.float32)

    def warm_up(self) -> None:
        """Run once on silence on a graphics card, where the first run chooses kernels; do nothing on processor cores.

        With HQ_4's architecture on two cores the first run takes only 0.3 s of processor time more than the 7.0 s of
        later ones; a warm-up would add the whole run to every start.
        """
        if self.provider != "cpu":
            self.run(np.zeros(self._shape[1:], np.float32))


def _load(model_path: Path, content: bytes | None, threads: int, device: Device) -> onnxruntime.InferenceSession:
    providers = devices.providers(device, onnxruntime.get_available_providers())
    if any(name == "CUDAExecutionProvider" for name, _ in providers):
        # Loads CUDA and cuDNN from Python packages, if installed. Prints what is missing, which must not go to stdout.
        with redirect_stdout(sys.stderr):
            onnxruntime.preload_dlls()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # With the memory pattern of the first run a second copy of all its memory is kept: HQ_4's architecture takes 2.1 GB
    # instead of 1.2 GB, and is not faster.
    options.enable_mem_pattern = False
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(content or model_path, options, providers=providers)
    except Exception as error:  # the only common base class of ONNX Runtime's exceptions
        message = f"The model file {model_path.name} cannot be loaded; delete it and download the model again."
        raise PermanentError(message, onnxruntime=str(error)) from error
