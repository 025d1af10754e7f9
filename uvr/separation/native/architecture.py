"""The layers of a ConvTDFNet in order, each with its weights. Batch norms are folded into the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Weights: TypeAlias = NDArray[np.float32]
"""In C order."""


@dataclass(frozen=True)
class Pointwise:
    """A 1x1 convolution: `weight` (outputs, inputs), `bias` (outputs,)."""

    weight: Weights
    bias: Weights
    relu: bool


@dataclass(frozen=True)
class Convolution:
    """A 3x3 convolution with zero padding, then a ReLU: `weight` (outputs, inputs, frames, bins), `bias` (outputs,)."""

    weight: Weights
    bias: Weights


@dataclass(frozen=True)
class Linear:
    """A fully connected layer over the bins with its batch norm and ReLU: relu(scale · (x weight + bias) + shift)."""

    weight: Weights
    """(inputs, outputs)."""
    bias: Weights | None
    """(outputs,)."""
    scale: Weights
    """(channels,), as `shift`."""
    shift: Weights


@dataclass(frozen=True)
class Tdf:
    """A bottleneck of two fully connected layers over the bins, added to its input."""

    narrow: Linear
    wide: Linear


@dataclass(frozen=True)
class Down:
    """A 2x2 convolution with stride 2, then a ReLU: `weight` (outputs, inputs, 2, 2). Its input is the next skip."""

    weight: Weights
    bias: Weights


@dataclass(frozen=True)
class Up:
    """A 2x2 transposed convolution with stride 2, a ReLU, times the latest skip: `weight` (inputs, outputs, 2, 2)."""

    weight: Weights
    bias: Weights


Layer: TypeAlias = Pointwise | Convolution | Tdf | Down | Up


@dataclass(frozen=True)
class Architecture:
    """A network with input of shape (channels, bins, frames) and output of shape (outputs, bins, frames)."""

    channels: int
    bins: int
    frames: int
    layers: tuple[Layer, ...]

    @property
    def outputs(self) -> int:
        """The number of output channels of the last layer."""
        last = self.layers[-1]
        assert isinstance(last, Pointwise)
        return len(last.weight)
