"""A small ConvTDFNet whose kernels are checked when it is opened, and the record of that check."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench import standin
from uvr.models.store import parameters_of
from uvr.separation.mdx.backends import Network, open_network
from uvr.separation.native import bindings
from uvr.separation.native.self_check import Record

GEOMETRY = standin.Geometry(bins=640, frames=32, growth=4, levels=2, convolutions=1)


def opened(model: Path, **options: Any) -> Network:
    return open_network(model, parameters_of(model), threads=1, **options)


def record_of(model: Path) -> Record:
    return Record(model, model.read_bytes(), bindings.load())
