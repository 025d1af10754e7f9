"""Compares the kernels with ONNX Runtime on a fixed spectrum, once for each model, library and processor.

The spectrum is that of synthetic music (`native.synthetic_music`). Every network is judged by it, also one that answers
with silence.

For a network of HQ_4's size ONNX Runtime takes 1.3 GB, for some seconds, in a process that ends afterwards. Where the
machine or the container has less left, or if a check has died before, a quarter of the spectrum is compared instead: a
ConvTDFNet computes any number of frames, and a quarter takes no more memory than the network itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import onnx

from uvr.models.catalogue import MdxParameters
from uvr.separation.mdx.stft import Spectrum, Stft
from uvr.separation.memory import available_memory_bytes
from uvr.separation.native import graph_matcher
from uvr.separation.native.architecture import Architecture, Down, Pointwise
from uvr.separation.native.network import NativeNetwork
from uvr.separation.native.self_check import snr_db
from uvr.separation.native.synthetic_music import music

_RUNTIME_BYTES = 250 * 2**20
_IMAGES = 8.5
"""The memory of ONNX Runtime: itself and the weights, and so many images of the first level."""


@dataclass(frozen=True)
class OnnxRuntimeComparison:
    """A comparison for `native.check_process`; it is made in a process that does not import ONNX Runtime."""

    model: Path
    parameters: MdxParameters
    threads: int
    is_short: bool

    def __call__(self) -> float:
        """The signal-to-noise ratio of the kernels against ONNX Runtime in dB."""
        architecture = graph_matcher.recognise(self.model.read_bytes())
        frames = frames_to_check(architecture, is_short=self.is_short)
        spectrum = fixed_spectrum(replace(self.parameters, dim_t=frames))
        estimate = NativeNetwork(replace(architecture, frames=frames), threads=self.threads).run(spectrum)
        del architecture  # frees the weights for ONNX Runtime
        return snr_db(spectrum, self._reference(spectrum), estimate)

    def _reference(self, spectrum: Spectrum) -> Spectrum:
        from uvr.separation.mdx.onnxruntime_network import OnnxRuntimeNetwork  # not in the caller

        parameters = replace(self.parameters, dim_t=spectrum.shape[2])
        is_whole = parameters == self.parameters
        network = OnnxRuntimeNetwork(
            self.model,
            parameters,
            threads=self.threads,
            device="cpu",
            content=None if is_whole else cut(self.model.read_bytes(), parameters.dim_t),
        )
        return network.run(spectrum)


def frames_to_check(architecture: Architecture, *, is_short: bool) -> int:
    """How many frames are compared: as many as the network takes if there is memory for them, or else a quarter."""
    first = architecture.layers[0]
    assert isinstance(first, Pointwise)
    image_bytes = 4 * len(first.weight) * architecture.bins * architecture.frames
    if not is_short and available_memory_bytes() > _RUNTIME_BYTES + _IMAGES * image_bytes:
        return architecture.frames
    smallest = 1 << sum(isinstance(layer, Down) for layer in architecture.layers)
    return max(smallest, architecture.frames // 4 // smallest * smallest)


def cut(data: bytes, frames: int) -> bytes:
    """The ConvTDFNet in the ONNX file `data`, for so many frames."""
    model = onnx.load_from_string(data)
    for entry in (*model.graph.input, *model.graph.output):
        if len(entry.type.tensor_type.shape.dim) == 4:
            entry.type.tensor_type.shape.dim[3].dim_value = frames
    del model.graph.value_info[:]  # the shapes between the layers
    content: bytes = model.SerializeToString()
    return content


def fixed_spectrum(parameters: MdxParameters) -> Spectrum:
    """The spectrum of the music, of shape (4, dim_f, dim_t), at the level that the engine gives to every song."""
    hop_length, frames = parameters.hop_length, parameters.dim_t
    stft = Stft(n_fft=parameters.n_fft, hop_length=hop_length, dim_f=parameters.dim_f, frames=frames)
    return stft.forward(music(hop_length * (frames - 1)))
