"""The bench of RoFormers counts the work of a chunk as a straightforward program would, and computes what it says."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from bench.roformer import Contender, parallel_share, ratio_of, report, seconds_with
from bench.roformer_classes import ALONG_BANDS, ALONG_FRAMES, FORWARD, MASKS, REST, SPLIT, classes_of, table
from bench.roformer_geometries import (
    CHUNK_SAMPLES,
    FRAMES,
    GEOMETRIES,
    RATE_HZ,
    chunks_of,
    macs_of_chunk,
)
from bench.support import OURS, THEIRS
from tests.support import roformers
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.chunks import Chunks
from uvr.separation.roformer.configuration import NetworkShape


def products_of_attention(shape: NetworkShape, sequences: int, positions: int, layers: int) -> Iterator[object]:
    """One item for each product of queries with keys, and of weights with values."""
    per_head = product(range(positions), range(positions), range(shape.dim_head), ("score", "sum"))
    yield from product(range(layers), range(sequences), range(shape.heads), per_head)


def products_of_linear_attention(shape: NetworkShape, tokens: int, layers: int) -> Iterator[object]:
    per_head = product(range(shape.dim_head), range(shape.dim_head), range(tokens), ("score", "sum"))
    yield from product(range(layers), range(shape.heads), per_head)


@pytest.mark.parametrize("name", roformers.GEOMETRIES)
def test_multiply_adds_of_a_chunk_are_those_of_all_its_layers(name: str) -> None:
    """Each weight of a linear layer is used once for each token; attention is counted product by product."""
    frames, geometry = 3, roformers.GEOMETRIES[name]
    shape, bands, _, tensors = roformers.random_network(geometry)
    tokens = {"layers": frames * len(bands.widths), "band_split": frames, "mask_estimators": frames}
    linear = sum(tokens[key.partition(".")[0]] * tensor.size for key, tensor in tensors.items() if tensor.ndim == 2)
    count, depth = len(bands.widths), shape.depth
    attention = [
        products_of_attention(shape, count, frames, depth * shape.time_transformer_depth),
        products_of_attention(shape, frames, count, depth * shape.freq_transformer_depth),
        products_of_linear_attention(shape, frames * count, depth * shape.linear_transformer_depth),
    ]
    assert macs_of_chunk(shape, frames) == linear + sum(1 for products in attention for _ in products)


@pytest.mark.parametrize(("geometry", "gmac"), [("kim", 1553.5), ("ep_317", 4348.1)])
def test_the_geometries_are_those_of_the_published_models(geometry: str, gmac: float) -> None:
    shape = NetworkShape(**GEOMETRIES[geometry])
    assert shape.kind == ("mel_band_roformer" if geometry == "kim" else "bs_roformer")
    assert len(Bands(shape).widths) == (60 if geometry == "kim" else 62)
    assert macs_of_chunk(shape, FRAMES) / 1e9 == pytest.approx(gmac, abs=0.1)
    assert CHUNK_SAMPLES == 352_800


@pytest.mark.parametrize(("seconds", "overlap"), [(8, 2), (10, 2), (60, 2), (60, 4), (61.3, 8), (3, 4)])
def test_chunks_are_counted_as_the_engine_cuts_them(seconds: float, overlap: int) -> None:
    assert chunks_of(seconds, overlap) == len(Chunks(round(seconds * RATE_HZ), CHUNK_SAMPLES, overlap).starts)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.95, 1.0])
def test_amdahls_law_gives_back_what_was_measured(share: float) -> None:
    one_s = 16.0
    two_s = one_s * (1 - share) + one_s * share / 2
    assert parallel_share(one_s, two_s) == pytest.approx(share)
    assert seconds_with(1, one_s, share) == pytest.approx(one_s)
    assert seconds_with(2, one_s, parallel_share(one_s, two_s)) == pytest.approx(two_s)


def test_amdahls_law_for_four_and_eight_cores() -> None:
    assert seconds_with(4, 16.0, 0.9) == pytest.approx(1.6 + 3.6)
    assert seconds_with(8, 16.0, 0.9) == pytest.approx(1.6 + 1.8)


@pytest.mark.parametrize(("one_s", "two_s", "share"), [(16.0, 7.0, 1.0), (16.0, 17.0, 0.0)])
def test_what_no_processor_does_is_not_believed(one_s: float, two_s: float, share: float) -> None:
    """Two threads that are more than twice as fast, or slower, were disturbed."""
    assert parallel_share(one_s, two_s) == share


def contender(engine: str, *chunk_s: float, **facts: Any) -> Contender:
    return Contender(engine, "AVX2", chunk_s=list(chunk_s), **facts)


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    assert ratio_of(contender(OURS, 10.0, 20.0, 10.0), contender(THEIRS, 20.0, 60.0, 25.0)) == 2.5


def test_the_highest_memory_of_all_jobs_counts() -> None:
    one = contender(OURS)
    assert one.note({"wall_s": 2.0, "peak_mib": 900.0, "unmapped_mib": 300.0}) == 2.0
    one.note({"wall_s": 1.0, "peak_mib": 800.0, "unmapped_mib": 400.0})
    assert (one.peak_mib, one.unmapped_mib) == (900.0, 400.0)


def test_the_report_says_which_figures_are_computed(capsys: pytest.CaptureFixture[str]) -> None:
    ours = contender(OURS, 8.0, one_thread_s=16.0, song_wall_s=120.0, unmapped_mib=2000.0)
    theirs = contender(THEIRS, 28.0, song_wall_s=420.0)
    report({"kim": [ours, theirs]}, {"AVX2": 200e9}, {"AVX2": 20e9}, 60)
    printed = capsys.readouterr().out
    assert "computed by Amdahl's law" in printed
    assert "- kim, uvr-api, AVX2: 8.00 28.00 (3.50)" in printed
    assert "| kim | 60 s | 2 | 14 | uvr-api, AVX2 | 120.0 | 2.00 | 3.50 |" in printed
    assert "| kim | uvr-api, AVX2 | 16.00 | 8.00 | 100.0% | 2.00 | 1.00 | 0.50 |" in printed
    assert "| uvr-api, AVX2: times as fast as torch | at least 2 | 3.50 |" in printed
    assert "2000.00 (missed)" in printed


def test_with_terms_the_peak_is_that_of_tiles_divided_by_them(capsys: pytest.CaptureFixture[str]) -> None:
    macs = macs_of_chunk(NetworkShape(**GEOMETRIES["kim"]), FRAMES)
    ours = Contender(OURS, "AMX", "float32", terms=3, chunk_s=[2.0], class_s=[{MASKS: 0.5}])
    theirs = Contender(THEIRS, "AMX", chunk_s=[20.0])
    report({"kim": [ours, theirs]}, {"AMX": 160e9}, {"AMX": 3 * macs}, 0)
    printed = capsys.readouterr().out
    assert "| kim, 1554 GMAC | uvr-api, AMX, float32, 3 terms | 2.00 (2.00 to 2.00) | 776.8 | 50% |" in printed
    assert f"kim, uvr-api, AMX, float32, 3 terms: peak {macs / 1e9:.1f} GMAC/s" in printed
    assert f"| chunk | 2000.0 | 100.0% | {macs / 1e9:.1f} | {macs / 2e9:.1f} | 50% |" in printed


@pytest.mark.parametrize("geometry", [*GEOMETRIES, *roformers.GEOMETRIES])
def test_the_classes_of_a_chunk_add_up_to_all_of_its_work(geometry: str) -> None:
    shape = NetworkShape(**(GEOMETRIES | roformers.GEOMETRIES)[geometry])
    found = classes_of(shape, 12)
    assert sum(found.values()) == macs_of_chunk(shape, 12)
    assert min(found[name] for name in (SPLIT, ALONG_FRAMES, ALONG_BANDS, MASKS)) > 0
    assert bool(found[REST]) == bool(shape.linear_transformer_depth)


def test_what_no_class_took_is_the_rest() -> None:
    rows = table({SPLIT: 10**9, REST: 0, FORWARD: 0}, {SPLIT: 0.5, FORWARD: 0.25}, 1.0, 4e9)
    assert rows[2:] == [
        "| band split | 500.0 | 50.0% | 1.0 | 2.0 | 50% |",
        "| STFT | 250.0 | 25.0% |  |  |  |",
        "| copies between them | 250.0 | 25.0% |  |  |  |",
        "| chunk | 1000.0 | 100.0% | 1.0 | 1.0 | 25% |",
    ]
