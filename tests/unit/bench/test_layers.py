"""The bench counts for each layer what a straightforward program would count, and adds up by class and level."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest

from bench.layers import TRANSFER, Ceiling, Image, Measured, Work, by_class, line, measured, table, work_of, works
from bench.standin import HQ_4, Geometry
from uvr.separation.native.architecture import Architecture, Convolution, Down, Layer, Linear, Pointwise, Tdf, Up


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


def tdf(bins: int, hidden: int) -> Tdf:
    channel = zeros(1)
    return Tdf(Linear(zeros(bins, hidden), None, channel, channel), Linear(zeros(hidden, bins), None, channel, channel))


INSIDE = Image(3, 10, 6)
LAYERS: list[tuple[Layer, Image]] = [
    (Pointwise(zeros(5, 3), zeros(5), relu=True), Image(5, 10, 6)),
    (Convolution(zeros(5, 3, 3, 3), zeros(5)), Image(5, 10, 6)),
    (tdf(10, 4), INSIDE),
    (Down(zeros(5, 3, 2, 2), zeros(5)), Image(5, 5, 3)),
    (Up(zeros(3, 5, 2, 2), zeros(5)), Image(5, 20, 12)),
]


def multiplications(layer: Layer, inside: Image, outside: Image) -> Iterator[object]:
    """One item for each product of the definition; those with padding count."""
    positions = product(range(outside.bins), range(outside.frames))
    match layer:
        case Tdf(narrow, wide):
            for weight in (narrow.weight, wide.weight):
                yield from product(range(inside.channels), range(inside.frames), *map(range, weight.shape))
        case Up():  # each output has one tap for each input channel
            yield from product(positions, range(inside.channels), range(outside.channels))
        case _:
            taps = {Pointwise: 1, Convolution: 3, Down: 2}[type(layer)]
            yield from product(positions, range(taps), range(taps), range(inside.channels), range(outside.channels))


@pytest.mark.parametrize(("layer", "outside"), LAYERS, ids=lambda value: type(value).__name__)
def test_multiply_adds_are_those_of_the_definition(layer: Layer, outside: Image) -> None:
    assert work_of(layer, INSIDE, outside, 0).direct == sum(1 for _ in multiplications(layer, INSIDE, outside))


@pytest.mark.parametrize(("bins", "frames"), [(10, 6), (8, 8), (1, 5), (4, 3)])
def test_a_winograd_convolution_does_36_products_for_each_tile_and_pair_of_channels(bins: int, frames: int) -> None:
    layer, inside, outside = Convolution(zeros(5, 3, 3, 3), zeros(5)), Image(3, bins, frames), Image(5, bins, frames)
    tiles = sum(1 for _ in product(range(0, bins, 4), range(0, frames, 4)))
    assert work_of(layer, inside, outside, 0).done == tiles * 6 * 6 * 3 * 5


@pytest.mark.parametrize(
    ("bins", "frames", "hidden", "eighths"), [(512, 6, 64, 7), (512, 6, 62, 8), (511, 6, 64, 8), (512, 5, 64, 8)]
)
def test_a_large_tdf_with_even_sides_does_seven_products_instead_of_eight(
    bins: int, frames: int, hidden: int, eighths: int
) -> None:
    inside = Image(3, bins, frames)
    work = work_of(tdf(bins, hidden), inside, inside, 0)
    assert work.done * 8 == work.direct * eighths


def test_a_tdf_in_bfloat16_does_all_products() -> None:
    inside = Image(3, 512, 6)
    work = work_of(tdf(512, 64), inside, inside, 0, terms=3)
    assert work.done == work.direct


def test_other_layers_do_what_their_definition_says() -> None:
    for layer, outside in LAYERS:
        work = work_of(layer, INSIDE, outside, 0)
        assert (work.done == work.direct) != isinstance(layer, Convolution)


def test_bytes_are_those_of_inputs_outputs_and_weights() -> None:
    inside, weights = 3 * 10 * 6, {"pointwise": 15, "convolution": 36 * 15, "TDF": 80, "down": 60, "up": 60}
    for layer, outside in LAYERS:
        work = work_of(layer, INSIDE, outside, 0)
        skip = outside.values if isinstance(layer, Up) else 0
        assert work.moved_bytes == 4 * (inside + outside.values + skip + weights[work.kind])


def architecture(geometry: Geometry) -> Architecture:
    """The layers of the stand-in of `geometry`, without numbers in their weights."""

    def block(channels: int, bins: int) -> list[Layer]:
        shape = np.broadcast_to(np.float32(0), (channels, channels, 3, 3))
        hidden = bins // geometry.bottleneck
        narrow, wide = (np.broadcast_to(np.float32(0), size) for size in ((bins, hidden), (hidden, bins)))
        scale = zeros(channels)
        convolutions: list[Layer] = [Convolution(shape, scale)] * geometry.convolutions
        return [*convolutions, Tdf(Linear(narrow, None, scale, scale), Linear(wide, None, scale, scale))]

    def channels(level: int) -> int:
        return geometry.growth * (level + 1)

    layers: list[Layer] = [Pointwise(zeros(channels(0), 4), zeros(channels(0)), relu=True)]
    for level in range(geometry.levels):
        layers += block(channels(level), geometry.bins >> level)
        layers.append(Down(zeros(channels(level + 1), channels(level), 2, 2), zeros(1)))
    layers += block(channels(geometry.levels), geometry.bins >> geometry.levels)
    for level in reversed(range(geometry.levels)):
        layers.append(Up(zeros(channels(level + 1), channels(level), 2, 2), zeros(1)))
        layers += block(channels(level), geometry.bins >> level)
    layers.append(Pointwise(zeros(4, channels(0)), zeros(4), relu=False))
    return Architecture(4, geometry.bins, geometry.frames, tuple(layers))


def test_the_layers_of_hq_4_add_up_to_the_whole_network() -> None:
    found = list(works(architecture(HQ_4)))
    assert sum(work.direct for work in found) == HQ_4.macs()
    assert found[0].kind == found[-1].kind == TRANSFER
    assert max(work.level for work in found) == HQ_4.levels
    assert [work.level for work in found if work.kind in ("down", "up")] == [0, 1, 2, 3, 4, 4, 3, 2, 1, 0]


WORKS = [
    Work("pointwise", 0, 10, 10, 100),
    Work("convolution", 0, 90, 40, 200),
    Work("convolution", 1, 45, 20, 100),
    Work("pointwise", 0, 10, 10, 100),
]


PARTS = measured(WORKS, [(2.0, 0, 0, 0), (8.0, 2.0, 5.0, 1.0), (4.0, 1.0, 2.0, 1.0), (2.0, 0, 0, 0)], threads=2)


def test_the_time_of_a_part_is_that_of_all_threads_divided_by_their_number() -> None:
    assert PARTS[1] == Measured(WORKS[1], 4.0, (1.0, 2.5, 0.5))


def test_parts_are_added_up_by_class_and_level() -> None:
    pointwise = Measured(Work("pointwise", 0, 20, 20, 200), 2.0)
    assert by_class(PARTS, levels=True) == [pointwise, PARTS[1], PARTS[2]]
    convolutions = Measured(Work("convolution", 0, 135, 60, 300), 6.0, (1.5, 3.5, 1.0))
    assert by_class(PARTS, levels=False) == [pointwise, convolutions]


def test_shares_are_of_the_peak_and_of_the_bandwidth() -> None:
    work = Work("convolution", 1, 45_000_000_000, 20_000_000_000, 30_000_000_000)
    part = Measured(work, 0.5, (0.03, 0.45, 0.02))
    assert part.macs_per_s == 40e9
    assert part.bytes_per_s == 60e9
    shown = line(part, Ceiling(macs_per_s=50e9, bytes_per_s=120e9), "1")
    assert shown == "| convolution | 1 | 500.0 | 45.00 | 20.00 | 40.0 | 80% | 89% | 30000 | 50% |"


def test_the_table_has_a_row_for_each_class_and_level_and_sums() -> None:
    rows = table(PARTS, 8.5, Ceiling(1e9, 1e9))
    named = [row.split(" | ")[:3] for row in rows[1:]]
    assert named == [
        ["| pointwise", "0", "2000.0"],
        ["| convolution", "0", "4000.0"],
        ["| convolution", "1", "2000.0"],
        ["| convolution", "all", "6000.0"],
        ["| convolution: input transform", "all", "1500.0"],
        ["| convolution: products", "all", "3500.0"],
        ["| convolution: output transform", "all", "1000.0"],
        ["| waiting", "", "500.0"],
        ["| network", "all", "8500.0"],
    ]


def test_a_table_in_markdown_has_as_many_columns_in_every_row() -> None:
    transfer = Measured(Work(TRANSFER, 0, 0, 0, 100), 1.0)
    head, *rows = "\n".join(table([transfer, *PARTS], 10.0, Ceiling(1e9, 1e9))).splitlines()
    assert {row.count("|") for row in rows} == {head.count("|")}
