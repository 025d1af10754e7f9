"""Which code computes an MDX-Net network: our own kernels, or ONNX Runtime (NETWORK_BACKEND).

    native         the kernels of `uvr.separation.native`: on processor cores, for networks they know in full
    onnxruntime    every network, and every graphics card
    auto           the kernels wherever they can be used and agree with ONNX Runtime, which does the rest

Nothing heavy is imported here: ONNX Runtime and the kernels are loaded when a network needs them.
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
"""Of an MDX-Net network's input and output: left and right, real and imaginary."""


class Network(Protocol):
    """A loaded network, whatever computes it."""

    @property
    def provider(self) -> str:
        """What it runs on: "cpu", "cuda"."""

    @property
    def backend(self) -> str:
        """What computes it: "native", "onnxruntime"."""

    def run(self, spectrum: Spectrum) -> Spectrum:
        """The spectrum of the primary stem in that of the mixture, both of shape (4, dim_f, dim_t)."""

    def warm_up(self) -> None:
        """Set up what would otherwise be set up while the first song waits."""


@dataclass(frozen=True)
class Decision:
    """How a model is to be run on processor cores."""

    way: Literal["native", "onnxruntime", "unchecked"]
    """`unchecked` is ONNX Runtime until the self-check has spoken, and then what it says."""
    reason: str
    """A sentence's end, for logs and operators."""
    architecture: Architecture | None = None
    record: Record | None = None
    """What is known about how the kernels do; it and the `architecture` are None where they cannot be used."""


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
    """The network in `model_path`, loaded; `threads` 0 means one for every core that this process may use.

    Raises `PermanentError` when the file is no network, or none of the shape that `parameters` tell, or when the device
    or the backend that was asked for cannot be used.
    """
    ways = _Ways(model_path, parameters, threads, device)
    if backend == "auto" and device == "auto" and devices.may_have_cuda():
        network = ways.onnxruntime()
        if network.provider != "cpu":
            return network
        del network  # what is opened below needs its memory
    try:
        decision = decide(model_path, parameters, device=device, backend=backend)
        return ways.taken(decision)
    except KernelsUnavailableError as error:
        if backend == "native":
            raise PermanentError(f"NETWORK_BACKEND=native, but {error}; mend it, or set it to auto.") from error
        log.warning("network.kernels_fail", reason=str(error))
        return ways.onnxruntime()


def decide(model_path: Path, parameters: MdxParameters, *, device: Device, backend: Backend) -> Decision:
    """How to run a model without a graphics card. Raises `KernelsUnavailableError` where `native` is impossible."""
    if backend == "onnxruntime":
        return Decision("onnxruntime", "NETWORK_BACKEND=onnxruntime")
    try:
        architecture, record = _known(model_path, parameters, device)
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
    return Decision("onnxruntime" if verdict.is_final else "unchecked", verdict.sentence, architecture, record)


def _known(model_path: Path, parameters: MdxParameters, device: Device) -> tuple[Architecture, Record]:
    """What the kernels know about a model; raises `KernelsUnavailableError` when they cannot run it."""
    from uvr.separation.native import bindings, graph_matcher
    from uvr.separation.native.onnx_reader import UnknownGraphError
    from uvr.separation.native.self_check import Record

    if device not in ("auto", "cpu"):
        raise KernelsUnavailableError(f"the kernels compute on processor cores, and DEVICE={device}")
    try:
        loaded = bindings.load()
        data = model_path.read_bytes()
        architecture = graph_matcher.recognise(data)
    except bindings.LibraryError as error:
        raise KernelsUnavailableError(str(error)) from error
    except OSError as error:
        raise KernelsUnavailableError(f"{model_path.name} cannot be read: {error.strerror}") from error
    except UnknownGraphError as error:
        raise KernelsUnavailableError(f"the kernels do not know {model_path.name}: {error}") from error
    shape = (architecture.channels, architecture.bins, architecture.frames, architecture.outputs)
    if shape != (NETWORK_CHANNELS, parameters.dim_f, parameters.dim_t, NETWORK_CHANNELS):
        raise KernelsUnavailableError(f"{model_path.name} is not of the shape that its parameters tell: {shape}")
    return architecture, Record(model_path, data, loaded)


@dataclass(frozen=True)
class _Ways:
    """The ways to run one model."""

    model_path: Path
    parameters: MdxParameters
    threads: int
    device: Device

    def taken(self, decision: Decision) -> Network:
        is_refused = decision.way == "onnxruntime" and decision.record  # the kernels know it, and do it wrong
        (log.warning if is_refused else log.info)("network.decided", way=decision.way, reason=decision.reason)
        if decision.way == "native":
            assert decision.architecture is not None
            return self.native(decision.architecture)
        if decision.way == "unchecked":
            assert decision.record is not None
            return _UncheckedNetwork(self, decision.record)
        return self.onnxruntime()

    def onnxruntime(self) -> Network:
        from uvr.separation.mdx.onnxruntime_network import (
            OnnxRuntimeNetwork,  # only where it is needed: it takes time and memory
        )

        return OnnxRuntimeNetwork(self.model_path, self.parameters, threads=self.threads, device=self.device)

    def native(self, architecture: Architecture | None = None) -> Network:
        """The network on the kernels; raises `KernelsUnavailableError`."""
        from uvr.separation.native.bindings import KernelError
        from uvr.separation.native.network import NativeNetwork

        if architecture is None:
            architecture, _ = _known(self.model_path, self.parameters, self.device)
        try:
            network = NativeNetwork(architecture, threads=self.threads)
        except KernelError as error:
            raise KernelsUnavailableError(f"the kernels cannot run {self.model_path.name}: {error}") from error
        facts = {"instruction_set": network.instruction_set.name, "threads": network.threads, "bytes": network.bytes}
        log.info("network.loaded", device=self.device, provider="cpu", backend="native", **facts)
        return network


class _UncheckedNetwork:
    """A network on ONNX Runtime until a segment has told whether the kernels agree, and then on what it told."""

    provider = "cpu"

    def __init__(self, ways: _Ways, record: Record) -> None:
        self._ways = ways
        self._record = record
        self._network: Network | None = ways.onnxruntime()
        """None while the kernels are tried, and after they have failed until the next run: then ONNX Runtime again."""
        self._is_checked = False

    @property
    def backend(self) -> str:
        return self._network.backend if self._network else "onnxruntime"

    def warm_up(self) -> None:
        """Nothing: ONNX Runtime needs none on processor cores."""

    def run(self, spectrum: Spectrum) -> Spectrum:
        from uvr.separation.native.self_check import tells

        self._network = self._network or self._ways.onnxruntime()
        if self._is_checked:
            return self._network.run(spectrum)
        # A copy, because ONNX Runtime keeps all its memory as long as anything lies in it.
        estimate = self._network.run(spectrum).copy()
        return self._checked(spectrum, estimate) if tells(spectrum, estimate) else estimate

    def _checked(self, spectrum: Spectrum, reference: Spectrum) -> Spectrum:
        """The kernels' estimate if they agree with ONNX Runtime's, which is `reference` and is given if not."""
        from uvr.separation.native.bindings import KernelError

        self._is_checked = True
        self._network = None  # its memory is the kernels' now
        try:
            with self._record.held():
                self._network, estimate = self._confirmed(spectrum, reference)
        except (KernelsUnavailableError, KernelError) as error:
            log.warning("network.kernels_refused", reason=str(error), snr_db=self._record.read().snr_db)
            return reference
        return estimate

    def _confirmed(self, spectrum: Spectrum, reference: Spectrum) -> tuple[Network, Spectrum]:
        """The kernels and their estimate. Raises `KernelsUnavailableError` or `KernelError` if not."""
        from uvr.separation.native.self_check import snr_db

        verdict = self._record.read()  # another process may have found it meanwhile
        if not verdict.is_final:
            self._record.begin()
        elif not verdict.agrees:
            raise KernelsUnavailableError(verdict.sentence)
        network = self._ways.native()
        estimate = network.run(spectrum)
        if not verdict.is_final:
            verdict = self._record.conclude(snr_db(spectrum, reference, estimate))
        if not verdict.agrees:
            raise KernelsUnavailableError(verdict.sentence)
        log.info("network.checked", snr_db=verdict.snr_db)
        return network, estimate
