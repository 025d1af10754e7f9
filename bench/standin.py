"""A network of UVR-MDX-NET-Inst_HQ_4's size and shape for the benches: `python -m bench.standin`.

Speed and memory depend on a network's layers and not on its weights, and HQ_4's own file may not be at hand (its hosts
are blocked in many places) and is nobody's to pass on. So this writes the same architecture, ConvTDFNet (Kim et al.,
"KUIELab-MDX-Net", 2021; TFC-TDF blocks after Choi et al., 2020), with random weights: 59 MB, 305.7 GMAC per segment.

What it gives is noise, but noise of the input's level: each batch norm is calibrated on a spectrum of made music, so
that no activation vanishes, explodes or becomes a denormal, which would take a processor longer. Batch norms behind
convolutions are folded into them, as torch's ONNX export does and as UVR's files have it. Needs numpy and onnx alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from bench.songs import RATE_HZ, made_music
from uvr.models.files import publish
from uvr.separation.mdx.stft import Stft

ROOT = Path(__file__).resolve().parent.parent
PATH = ROOT / "models" / "bench-standin-hq4.onnx"
N_FFT, HOP = 5120, 1024
RUMBLE_BINS = 3
ENTRY = {
    "compensate": 1.019,
    "mdx_dim_f_set": 2560,
    "mdx_dim_t_set": 8,
    "mdx_n_fft_scale_set": N_FFT,
    "primary_stem": "Instrumental",
}
"""HQ_4's parameters in UVR's format."""

CALIBRATION_FRAMES = 32
"""Enough for the statistics of a batch norm, and the fewest that five halvings leave one of."""
EPSILON = 1e-5
OPSET, IR_VERSION = 13, 8

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Geometry:
    """The sizes that make one ConvTDFNet differ from another; the defaults are HQ_4's."""

    bins: int = 2560
    frames: int = 256
    growth: int = 48
    levels: int = 5
    convolutions: int = 3
    bottleneck: int = 8

    def blocks(self) -> Iterator[tuple[int, int, int]]:
        """Channels, bins and frames of each block: down, middle, up."""
        for level in [*range(self.levels + 1), *reversed(range(self.levels))]:
            yield self.growth * (level + 1), self.bins >> level, self.frames >> level

    def macs(self) -> int:
        """Multiplications with addition that one segment takes; batch norms and the like are not counted."""
        ends = 2 * 4 * self.growth * self.bins * self.frames
        inside = sum(
            bins * frames * (self.convolutions * 9 * channels**2 + 2 * channels * bins // self.bottleneck)
            for channels, bins, frames in self.blocks()
        )
        # Each halving or doubling has four taps between a level and the next, at the lower one's resolution.
        between = 2 * sum(
            4 * self.growth**2 * level * (level + 1) * (self.bins >> level) * (self.frames >> level)
            for level in range(1, self.levels + 1)
        )
        return ends + inside + between


HQ_4 = Geometry()


def ensure(path: Path = PATH, geometry: Geometry = HQ_4) -> Path:
    """The stand-in's file, made in about ten seconds where it is missing, with its parameters in `<file>.json`."""
    description = path.with_name(f"{path.name}.json")
    if not path.is_file() or not description.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_name(f"{path.name}.part")
        onnx.save(network(geometry), made)
        description.write_text(json.dumps(entry(geometry), indent=2) + "\n", encoding="utf-8")
        publish(made, path)
    return path


def entry(geometry: Geometry) -> dict[str, Any]:
    """The parameters of a stand-in in UVR's format."""
    sizes = {"mdx_dim_f_set": geometry.bins, "mdx_dim_t_set": geometry.frames.bit_length() - 1}
    return ENTRY | sizes | {"mdx_n_fft_scale_set": N_FFT * geometry.bins // HQ_4.bins}


def network(geometry: Geometry = HQ_4, seed: int = 0) -> onnx.ModelProto:
    """The stand-in as an ONNX model; `input` and `output` are float32 (batch, 4, bins, frames)."""
    graph = _Graph(np.random.default_rng(seed))
    mixture = spectrum(geometry=geometry, frames=max(CALIBRATION_FRAMES, 1 << geometry.levels))
    x = graph.turned(graph.convolved(_Tensor("input", mixture), geometry.growth, size=1))
    skips = []
    for level in range(1, geometry.levels + 1):
        x = _block(graph, x, geometry)
        skips.append(x)
        x = graph.convolved(x, geometry.growth * (level + 1), size=2, stride=2)
    x = _block(graph, x, geometry)
    for level in range(geometry.levels, 0, -1):
        x = graph.multiplied(graph.doubled(x, geometry.growth * level), skips.pop())
        x = _block(graph, x, geometry)
    graph.last(graph.turned(x), level=float(mixture.std()))
    return graph.model(geometry)


def spectrum(start_s: float = 0, geometry: Geometry = HQ_4, *, frames: int = 0) -> Array:
    """What the engine would feed such a network: a spectrum of made music, (4, bins, frames)."""
    frames = frames or geometry.frames
    stft = Stft(n_fft=entry(geometry)["mdx_n_fft_scale_set"], hop_length=HOP, dim_f=geometry.bins, frames=frames)
    start, samples = round(start_s * RATE_HZ), HOP * (frames - 1)
    music = np.concatenate(list(made_music((start + samples) / RATE_HZ)))[start:].T
    found = stft.forward(music.astype(np.float32) / 32768)
    found[:, :RUMBLE_BINS] = 0
    return found


def _block(graph: _Graph, x: _Tensor, geometry: Geometry) -> _Tensor:
    """Time-frequency convolutions, then two fully connected layers over the bins, added (a TFC-TDF block)."""
    channels, _, bins = x.value.shape
    for _ in range(geometry.convolutions):
        x = graph.convolved(x, channels, size=3)
    narrow = graph.connected(x, bins // geometry.bottleneck)
    return graph.added(x, graph.connected(narrow, bins))


@dataclass(frozen=True)
class _Tensor:
    """A tensor of the graph by name, and its value for the calibration spectrum: (channels, frames, bins)."""

    name: str
    value: Array


class _Graph:
    """An ONNX graph under construction, computed on the way so that each batch norm knows what comes."""

    def __init__(self, generator: np.random.Generator) -> None:
        self._generator = generator
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def convolved(self, x: _Tensor, channels: int, *, size: int, stride: int = 1) -> _Tensor:
        """Convolution, folded batch norm, ReLU."""
        kernel = self._weights(channels, len(x.value), size, size, inputs=len(x.value) * size**2)
        y = _halved(x.value, kernel) if stride == 2 else _convolved(x.value, kernel)
        scale, shift = _norm(y)
        folded = (kernel * scale[:, None, None, None], shift)
        name = self._conv("Conv", x, folded, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[(size - 1) // 2] * 4)
        return self._rectified(name, _scaled(y, scale, shift))

    def doubled(self, x: _Tensor, channels: int) -> _Tensor:
        """Transposed convolution to twice the frames and bins, folded batch norm, ReLU."""
        kernel = self._weights(len(x.value), channels, 2, 2, inputs=len(x.value))
        y = _doubled(x.value, kernel)
        scale, shift = _gate_norm(y)
        folded = (kernel * scale[None, :, None, None], shift)
        name = self._conv("ConvTranspose", x, folded, kernel_shape=[2, 2], strides=[2, 2], pads=[0] * 4)
        return self._rectified(name, _scaled(y, scale, shift))

    def connected(self, x: _Tensor, outputs: int) -> _Tensor:
        """A layer without bias over the last axis, batch norm, ReLU; this batch norm folds into nothing."""
        bins = x.value.shape[2]
        weights = self._weights(bins, outputs, inputs=bins)
        y = x.value @ weights
        scale, shift = _norm(y)
        name = self._add("MatMul", x.name, self._constant(weights))
        # Mean 0 and variance 1 - epsilon leave exactly scale and shift.
        statistics = [scale, shift, np.zeros_like(scale), np.full_like(scale, 1 - EPSILON)]
        name = self._add("BatchNormalization", name, *map(self._constant, statistics), epsilon=EPSILON)
        return self._rectified(name, _scaled(y, scale, shift))

    def last(self, x: _Tensor, *, level: float) -> None:
        """The convolution to four channels that makes `output`, with a standard deviation of `level`."""
        kernel = self._weights(4, len(x.value), 1, 1, inputs=len(x.value))
        kernel *= level / _convolved(x.value, kernel).std()
        names = [self._constant(kernel), self._constant(np.zeros(4, np.float32))]
        self._add("Conv", x.name, *names, output="output", kernel_shape=[1, 1])

    def turned(self, x: _Tensor) -> _Tensor:
        """Bins and frames change places."""
        return _Tensor(self._add("Transpose", x.name, perm=[0, 1, 3, 2]), x.value.swapaxes(1, 2))

    def multiplied(self, x: _Tensor, y: _Tensor) -> _Tensor:
        return _Tensor(self._add("Mul", x.name, y.name), x.value * y.value)

    def added(self, x: _Tensor, y: _Tensor) -> _Tensor:
        return _Tensor(self._add("Add", x.name, y.name), x.value + y.value)

    def model(self, geometry: Geometry) -> onnx.ModelProto:
        shape = ["batch_size", 4, geometry.bins, geometry.frames]
        ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
        graph = helper.make_graph(self._nodes, "ConvTDFNet", ends[:1], ends[1:], initializer=self._constants)
        opset = helper.make_opsetid("", OPSET)
        return helper.make_model(graph, producer_name="uvr-api", ir_version=IR_VERSION, opset_imports=[opset])

    def _weights(self, *shape: int, inputs: int) -> Array:
        """Random weights that keep the level of what a ReLU has passed (He et al., 2015)."""
        return self._generator.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / inputs))

    def _conv(self, operator: str, x: _Tensor, folded: tuple[Array, Array], **attributes: Any) -> str:
        return self._add(operator, x.name, *map(self._constant, folded), **attributes)

    def _rectified(self, name: str, value: Array) -> _Tensor:
        return _Tensor(self._add("Relu", name), np.maximum(value, 0))

    def _constant(self, value: Array) -> str:
        name = f"weights_{len(self._constants)}"
        raw = np.ascontiguousarray(value, np.float32).tobytes()
        self._constants.append(helper.make_tensor(name, TensorProto.FLOAT, value.shape, raw, raw=True))
        return name

    def _add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output


def _norm(y: Array) -> tuple[Array, Array]:
    """Scale and shift by which a batch norm brings each channel of `y` to mean 0 and variance 1."""
    scale = 1 / np.sqrt(y.var(axis=(1, 2)) + EPSILON)
    return scale, -y.mean(axis=(1, 2)) * scale


def _gate_norm(y: Array) -> tuple[Array, Array]:
    """Scale and shift that keep each channel of `y` between 0.9 and 1.1, its mean at 1: a factor for a skip.

    With variance 1, what is multiplied level by level would grow with the sixth power of a spectrum's peaks, which
    are a hundred times its deviation.
    """
    mean = y.mean(axis=(1, 2))
    scale = 0.1 / (np.abs(y - mean[:, None, None]).max(axis=(1, 2)) + EPSILON)
    return scale, 1 - mean * scale


def _scaled(y: Array, scale: Array, shift: Array) -> Array:
    return y * scale[:, None, None] + shift[:, None, None]


def _mixed(kernel: Array, x: Array) -> Array:
    """One tap: every output channel from every input channel of the same place."""
    return (kernel @ x.reshape(len(x), -1)).reshape(-1, *x.shape[1:])


def _convolved(x: Array, kernel: Array) -> Array:
    """`x` with a square kernel of odd size and zeros around."""
    size = kernel.shape[2]
    _, rows, columns = x.shape
    padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
    taps = [(i, j) for i in range(size) for j in range(size)]
    return sum(_mixed(kernel[:, :, i, j], padded[:, i : i + rows, j : j + columns]) for i, j in taps)


def _halved(x: Array, kernel: Array) -> Array:
    return sum(_mixed(kernel[:, :, i, j], x[:, i::2, j::2]) for i in range(2) for j in range(2))


def _doubled(x: Array, kernel: Array) -> Array:
    _, rows, columns = x.shape
    y = np.empty((kernel.shape[1], 2 * rows, 2 * columns), np.float32)
    for i in range(2):
        for j in range(2):
            y[:, i::2, j::2] = _mixed(kernel[:, :, i, j].T, x)
    return y


def main() -> None:
    """Make the file and say where it is."""
    parser = argparse.ArgumentParser(description="Make the stand-in of UVR-MDX-NET-Inst_HQ_4.")
    parser.add_argument("--path", type=Path, default=PATH, help=f"the file to make ({PATH.relative_to(ROOT)})")
    path = ensure(parser.parse_args().path)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {HQ_4.macs() / 1e9:.1f} GMAC per segment")


if __name__ == "__main__":
    main()
