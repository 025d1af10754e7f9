"""Where the time of a chunk of a RoFormer goes: the calls of the kernels, the transforms, and Python between them.

Multiply-adds are those of linear layers and attention, as in `macs_of_chunk`. What is left of the chunk after all
classes is copying and adding in numpy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from bench.roformer_geometries import macs_of_chunk
from uvr.separation.native.roformer import RoformerKernels, TransformerLayer
from uvr.separation.native.stft import NativeStft
from uvr.separation.roformer.configuration import NetworkShape

SPLIT, ALONG_FRAMES, ALONG_BANDS, MASKS = "band split", "layers along frames", "layers along bands", "masks"
FORWARD, INVERSE, REST = "STFT", "inverse STFT", "copies between them"


def classes_of(shape: NetworkShape, frames: int) -> dict[str, int]:
    """The multiply-adds of each class of a chunk. Layers of linear attention, which are numpy's, are in `REST`."""
    depths = ("time_transformer_depth", "freq_transformer_depth", "linear_transformer_depth")

    def macs(**changes: int) -> int:
        return macs_of_chunk(shape.model_copy(update=dict.fromkeys(depths, 0) | changes), frames)

    ends, split = macs(), macs(num_stems=0)
    layers = [macs(**{depth: getattr(shape, depth)}) - ends for depth in depths]
    return dict(zip((ALONG_FRAMES, ALONG_BANDS, REST), layers, strict=True)) | {
        SPLIT: split,
        MASKS: ends - split,
        FORWARD: 0,
        INVERSE: 0,
    }


@contextmanager
def timed_classes() -> Iterator[dict[str, float]]:
    """Adds up the seconds of each class while the block runs, in this process."""
    seconds = dict.fromkeys((SPLIT, ALONG_FRAMES, ALONG_BANDS, MASKS, FORWARD, INVERSE), 0.0)

    def layer(_kernels: object, layer: TransformerLayer, *_: object) -> str:
        return ALONG_BANDS if layer.along_bands else ALONG_FRAMES

    calls: list[tuple[type, str, Callable[..., str]]] = [
        (RoformerKernels, "split", lambda *_: SPLIT),
        (RoformerKernels, "transform", layer),
        (RoformerKernels, "masks", lambda *_: MASKS),
        (NativeStft, "forward", lambda *_: FORWARD),
        (NativeStft, "inverse", lambda *_: INVERSE),
    ]
    originals = [(owner, name, getattr(owner, name)) for owner, name, _ in calls]
    for owner, name, class_of in calls:
        setattr(owner, name, _timed(getattr(owner, name), class_of, seconds))
    try:
        yield seconds
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


def _timed(call: Callable[..., Any], class_of: Callable[..., str], seconds: dict[str, float]) -> Callable[..., Any]:
    def timed(*arguments: Any, **options: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            seconds[class_of(*arguments)] += time.perf_counter() - started

    return timed


def table(macs: Mapping[str, int], seconds: Mapping[str, float], chunk_s: float, peak_macs_per_s: float) -> list[str]:
    """The rows of a table by class, the rest, and the whole chunk."""
    rest = {REST: max(0.0, chunk_s - sum(seconds.values()))}
    rows = ["| class | ms | of the chunk | GMAC | GMAC/s | of the peak |", "|---" * 6 + "|"]
    for name, class_s in [*(seconds | rest).items(), ("chunk", chunk_s)]:
        done = sum(macs.values()) if name == "chunk" else macs[name]
        cells = [name, f"{1e3 * class_s:.1f}", f"{class_s / chunk_s:.1%}"]
        rate = done / class_s if class_s else 0.0
        cells += [f"{done / 1e9:.1f}", f"{rate / 1e9:.1f}", f"{rate / peak_macs_per_s:.0%}"] if done else [""] * 3
        rows.append(f"| {' | '.join(cells)} |")
    return rows
