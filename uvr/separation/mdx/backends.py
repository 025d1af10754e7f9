"""Chooses what computes an MDX-Net network: the native kernels or ONNX Runtime (NETWORK_BACKEND).

    native         the kernels of `uvr.separation.native`: on processor cores, for networks that they fully support
    onnxruntime    ONNX Runtime: for every network, and on graphics cards
    auto           the kernels wherever they can be used and agree with ONNX Runtime, else ONNX Runtime

Whether they agree is found out when a model is loaded for the first time (`self_check`). Nothing heavy is imported
here: ONNX Runtime and the kernels are loaded when a network needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

import structlog

from uvr.errors import PermanentError
from uvr.models.catalogue import MdxParameters
from uvr.separation import devices
from uvr.separation.devices import Device

if TYPE_CHECKING:
    from uvr.separation.mdx.stft import Spectrum
    from uvr.separation.native.architecture import Architecture
    from uvr.separation.native.self_check import Record

log = structlog.get_logger()

Backend: TypeAlias = Literal["auto", "native", "onnxruntime"]

NETWORK_CHANNELS = 4
"""Channels of an MDX-Net network's input and output: real and imaginary part of left and right."""


class Network(Protocol):
    """A loaded network on any backend."""

    @property
    def provider(self) -> str:
        """What it runs on: "cpu", "cuda"."""

    @property
    def backend(self) -> str:
        """What computes it: "native", "onnxruntime"."""

    def run(self, spectrum: Spectrum) -> Spectrum:
        """Estimate the spectrum of the primary stem from that of the mixture; both have shape (4, dim_f, dim_t)."""

    def warm_up(self) -> None:
        """Prepare everything that would otherwise delay the first song."""


@dataclass(frozen=True)
class Decision:
    """How to run a model on processor cores."""

    way: Literal["native", "onnxruntime", "unchecked"]
    """`unchecked` means what the self-check allows, which is made when the network is loaded."""
    reason: str
    """The end of a sentence for logs and operators."""
    architecture: Architecture | None = None
    """Of a network that the kernels run. None while it is unchecked: the check needs the memory of the weights."""
    record: Record | None = None
    """The record of the kernels' self-check; None if the kernels cannot be used."""


class KernelsUnavailableError(Exception):
    """The kernels cannot be used; the message says why."""


def open_network(
    model_path: Path,
    parameters: MdxParameters,
    *,
    threads: int = 0,
    device: Device = "auto",
    backend: Backend = "auto",
) -> Network:
    """Load the network in `model_path`. `threads` 0 means one per core that this process may use.

    Raises `PermanentError` if the file is not a network, if the network's shape does not match `parameters`, or if the
    requested device or backend cannot be used.
    """
    loader = _Loader(model_path, parameters, threads, device)
    if backend == "auto" and device == "auto" and devices.may_have_cuda():
        network = loader.onnxruntime()
        if network.provider != "cpu":
            return network
        del network  # frees its memory before the next network is loaded
    try:
        return loader.load(decide(model_path, parameters, device=device, backend=backend))
    except KernelsUnavailableError as error:
        if backend == "native":
            raise PermanentError(f"NETWORK_BACKEND=native, but {error}; fix this, or set it to auto.") from error
        log.warning("network.kernels_fail", reason=str(error))
        return loader.onnxruntime()


def decide(model_path: Path, parameters: MdxParameters, *, device: Device, backend: Backend) -> Decision:
    """How to run a model if no graphics card does.

    Raises `KernelsUnavailableError` if `backend` is `native` and the kernels cannot be used.
    """
    if backend == "onnxruntime":
        return Decision("onnxruntime", "NETWORK_BACKEND=onnxruntime")
    try:
        architecture, record = _examine(model_path, parameters, device)
    except KernelsUnavailableError as error:
        if backend == "native":
            raise
        return Decision("onnxruntime", str(error))
    verdict = record.read()
    if verdict.agrees:
        return Decision("native", verdict.sentence, architecture, record)
    if backend == "native" and verdict.snr_db is None:
        return Decision("native", "NETWORK_BACKEND=native", architecture, record)
    if backend == "native":
        raise KernelsUnavailableError(verdict.sentence)
    return Decision("onnxruntime" if verdict.is_final else "unchecked", verdict.sentence, record=record)


def _examine(model_path: Path, parameters: MdxParameters, device: Device) -> tuple[Architecture, Record]:
    """The model's architecture and self-check record. Raises `KernelsUnavailableError` if the kernels cannot run it."""
    from uvr.separation.native import bindings, graph_matcher
    from uvr.separation.native.onnx_reader import UnknownGraphError
    from uvr.separation.native.self_check import Record

    if device not in ("auto", "cpu"):
        raise KernelsUnavailableError(f"the kernels run on processor cores only, and DEVICE={device}")
    try:
        library = bindings.load()
        data = model_path.read_bytes()
        architecture = graph_matcher.recognise(data)
    except bindings.LibraryError as error:
        raise KernelsUnavailableError(str(error)) from error
    except OSError as error:
        raise KernelsUnavailableError(f"{model_path.name} cannot be read: {error.strerror}") from error
    except UnknownGraphError as error:
        raise KernelsUnavailableError(f"the kernels do not support {model_path.name}: {error}") from error
    shape = (architecture.channels, architecture.bins, architecture.frames, architecture.outputs)
    if shape != (NETWORK_CHANNELS, parameters.dim_f, parameters.dim_t, NETWORK_CHANNELS):
        raise KernelsUnavailableError(f"the shape of {model_path.name} does not match its parameters: {shape}")
    return architecture, Record(model_path, data, library)


@dataclass(frozen=True)
class _Loader:
    """Loads one model on either backend."""

    model_path: Path
    parameters: MdxParameters
    threads: int
    device: Device

    def load(self, decision: Decision) -> Network:
        if decision.way == "unchecked":
            decision = self._checked(decision)
        failed_check = decision.way == "onnxruntime" and decision.record
        (log.warning if failed_check else log.info)("network.decided", way=decision.way, reason=decision.reason)
        return self.native(decision.architecture) if decision.way == "native" else self.onnxruntime()

    def _checked(self, decision: Decision) -> Decision:
        """The decision after the self-check."""
        from uvr.separation.mdx.self_check import OnnxRuntimeComparison
        from uvr.separation.native.self_check import checked

        assert decision.record is not None

        def comparison_of(tries: int) -> OnnxRuntimeComparison:
            return OnnxRuntimeComparison(self.model_path, self.parameters, self.threads, is_short=tries > 0)

        verdict = checked(decision.record, comparison_of)
        return Decision("native" if verdict.agrees else "onnxruntime", verdict.sentence, record=decision.record)

    def onnxruntime(self) -> Network:
        from uvr.separation.mdx.onnxruntime_network import OnnxRuntimeNetwork  # slow to import, and needs memory

        return OnnxRuntimeNetwork(self.model_path, self.parameters, threads=self.threads, device=self.device)

    def native(self, architecture: Architecture | None = None) -> Network:
        """The network on the kernels. Raises `KernelsUnavailableError`."""
        from uvr.separation.native.bindings import KernelError
        from uvr.separation.native.network import NativeNetwork

        if architecture is None:
            architecture, _ = _examine(self.model_path, self.parameters, self.device)
        try:
            network = NativeNetwork(architecture, threads=self.threads)
        except KernelError as error:
            raise KernelsUnavailableError(f"the kernels cannot run {self.model_path.name}: {error}") from error
        log.info(
            "network.loaded",
            device=self.device,
            provider="cpu",
            backend="native",
            instruction_set=network.instruction_set.name,
            precision="float32",
            terms=network.terms,
            threads=network.threads,
            bytes=network.bytes,
        )
        return network
