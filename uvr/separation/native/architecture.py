"""What a ConvTDFNet consists of: its layers in order, each with the weights it computes with, batch norms folded in."""

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
    """A 3x3 convolution with zeros around, then a ReLU: `weight` (outputs, inputs, frames, bins), `bias` (outputs,)."""

    weight: Weights
    bias: Weights


@dataclass(frozen=True)
class Linear:
    """One fully connected layer over the bins, its batch norm and ReLU: relu(scale · (x weight + bias) + shift)."""

    weight: Weights
    """(inputs, outputs)."""
    bias: Weights | None
    """(outputs,)."""
    scale: Weights
    """(channels,), as `shift`."""
    shift: Weights


@dataclass(frozen=True)
class Tdf:
    """Two fully connected layers, narrow and wide again, added to what goes in."""

    narrow: Linear
    wide: Linear


@dataclass(frozen=True)
class Down:
    """A 2x2 convolution with stride 2, then a ReLU: `weight` (outputs, inputs, 2, 2). Its input is kept as a skip."""

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
    """A network from (channels, bins, frames) to as many bins and frames, layer by layer."""

    channels: int
    bins: int
    frames: int
    layers: tuple[Layer, ...]

    @property
    def outputs(self) -> int:
        """How many channels the last layer gives."""
        last = self.layers[-1]
        assert isinstance(last, Pointwise)
        return len(last.weight)
