"""The geometries of two well-known RoFormers, checkpoints of these with random weights, and what a chunk costs.

The weights say nothing about the quality of the stems; the speed does not depend on them.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from tests.support import roformers
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.configuration import NetworkShape

FRAMES = 801
HOP = 441
RATE_HZ = 44_100
CHUNK_SAMPLES = HOP * (FRAMES - 1)

_COMMON: dict[str, Any] = {
    "stereo": True,
    "num_stems": 1,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "linear_transformer_depth": 0,
    "dim_head": 64,
    "heads": 8,
    "attn_dropout": 0,
    "ff_dropout": 0,
    "flash_attn": True,
    "dim_freqs_in": 1025,
    "stft_n_fft": 2048,
    "stft_hop_length": HOP,
    "stft_win_length": 2048,
    "stft_normalized": False,
    "mask_estimator_depth": 2,
}
GEOMETRIES: dict[str, dict[str, Any]] = {
    "kim": {
        **{key: value for key, value in _COMMON.items() if key != "linear_transformer_depth"},
        "dim": 384,
        "depth": 6,
        "num_bands": 60,
        "sample_rate": RATE_HZ,
    },
    "ep_317": {
        **_COMMON,
        "dim": 512,
        "depth": 12,
        "freqs_per_bands": (2,) * 24 + (4,) * 12 + (12,) * 8 + (24,) * 8 + (48,) * 8 + (128, 129),
    },
}
"""`model:` of Kim's Mel-Band RoFormer for vocals, and of viperx' BS-RoFormer ep_317."""
OVERLAPS = {"kim": 2, "ep_317": 4}
"""How many chunks cover each sample, `num_overlap`."""


def write_model(folder: Path, geometry: str) -> Path:
    """A checkpoint in torch's zip format with random weights, and its YAML file; both engines read these two."""
    path = folder / f"bench_roformer_{geometry}.ckpt"
    model = GEOMETRIES[geometry]
    _, _, _, tensors = roformers.random_network(model)
    roformers.write_zip(path, tensors)
    description = roformers.description(model, ["vocals", "other"], "vocals")
    description["audio"] |= {"chunk_size": CHUNK_SAMPLES, "hop_length": HOP, "n_fft": 2048, "dim_t": FRAMES}
    description["inference"] = {"batch_size": 1, "dim_t": FRAMES, "num_overlap": OVERLAPS[geometry]}
    path.with_suffix(".yaml").write_text(yaml.dump(description), encoding="utf-8")
    return path


def macs_of_chunk(shape: NetworkShape, frames: int) -> int:
    """The multiply-adds of one chunk in linear layers and attention; norms, GELU and the transforms are left out."""
    widths = Bands(shape).widths
    count, inner = len(widths), shape.heads * shape.dim_head
    tokens, layers = frames * count, 0
    for depth, positions in ((shape.time_transformer_depth, frames), (shape.freq_transformer_depth, count)):
        attention = 2 * tokens * positions * inner
        layers += depth * (tokens * (_macs_of_token(shape) + shape.dim * shape.heads) + attention)
    layers += shape.linear_transformer_depth * tokens * (_macs_of_token(shape) + 2 * inner * shape.dim_head)
    hidden, deep = shape.dim * shape.mlp_expansion_factor, shape.mask_layers
    masks = sum(_macs_of_mask(shape.dim, hidden, 2 * width, deep) for width in widths)
    return frames * shape.dim * sum(widths) + shape.depth * layers + shape.num_stems * frames * masks


def _macs_of_token(shape: NetworkShape) -> int:
    """In the linear layers of one layer of a transformer but its gates: queries, keys, values, output, feed-forward."""
    inner = shape.heads * shape.dim_head
    return shape.dim * (3 * inner + inner + 8 * shape.dim)


def _macs_of_mask(dim: int, hidden: int, outputs: int, layers: int) -> int:
    sizes = [dim, *[hidden] * (layers - 1), outputs]
    return sum(inputs * following for inputs, following in pairwise(sizes))


def chunks_of(seconds: float, overlap: int) -> int:
    """How many chunks a song of this length has that is longer than one (see `uvr.separation.roformer.chunks`)."""
    last = max(round(seconds * RATE_HZ) - CHUNK_SAMPLES, 0)
    return len(range(0, last, CHUNK_SAMPLES // overlap)) + 1
