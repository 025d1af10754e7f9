"""Layers that work strip by strip compute the same bits as one layer after the other, with less memory."""

from __future__ import annotations

import pytest

from tests.integration.separation.native.test_kernels import (
    Arguments,
    decibels,
    expected,
    network,
    numbers,
    random_convolution,
    random_down,
    random_pointwise,
    random_tdf,
    random_up,
    result_of,
)
from uvr.separation.native import build
from uvr.separation.native.bindings import InstructionSet, Library

Layers = list[tuple[str, Arguments]]

BINS = 22
FRAMES = 142
"""Enough for the strips of seven threads; the last strip, and its last row of tiles, are not full. 71 on level 1."""


@pytest.fixture(scope="module")
def in_strips(kernels: Library, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The library built so that it divides small images into strips, too."""
    folder = tmp_path_factory.mktemp("strips")
    assert kernels  # there is a compiler
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FOLDER", folder)  # a build removes other libraries from it
        patch.setattr(build, "FLAGS", (*build.FLAGS, "-DMIN_WAVE_FLOATS=0"))
        build.build(folder / "libtdfnet-strips.so")
    return Library(folder / "libtdfnet-strips.so")


def convolutions(channels: int, count: int) -> Layers:
    return [random_convolution(channels, channels, seed=21 + 2 * number) for number in range(count)]


def whole_network(channels: int) -> Layers:
    return [
        random_pointwise(4, channels),
        *convolutions(channels, 3),
        random_tdf(channels, BINS, 64, bias=True),
        random_down(channels, 2 * channels),
        *convolutions(2 * channels, 2),
        random_tdf(2 * channels, BINS // 2, 3, bias=False),
        random_up(2 * channels, channels),
        *convolutions(channels, 3),
        random_tdf(channels, BINS, 64, bias=False),
        random_pointwise(channels, 4, relu=False),
    ]


# What reads and overwrites which image depends on the order of the layers.
ORDERS: dict[str, Layers] = {
    "one convolution": convolutions(4, 1),
    "two convolutions": convolutions(4, 2),
    "four convolutions": convolutions(4, 4),
    "a TDF between convolutions": [*convolutions(4, 2), random_tdf(4, BINS, 3, bias=True), *convolutions(4, 2)],
    "other numbers of channels": [random_convolution(4, 8), random_convolution(8, 8), random_convolution(8, 4)],
    "a 1x1 convolution between": [*convolutions(4, 2), random_pointwise(4, 4), *convolutions(4, 2)],
    "1x1 convolutions only": [random_pointwise(4, 8), random_pointwise(8, 4)],
    "TDFs only": [random_tdf(4, BINS, 64, bias=False)] * 3,
    "a level without layers": [random_down(4, 8), random_up(8, 4), *convolutions(4, 2)],
}


@pytest.mark.parametrize("channels", [4, 16, 24])
def test_strips_match_the_reference(in_strips: Library, instruction_set: InstructionSet, channels: int) -> None:
    x, layers = numbers(0, 4, BINS, FRAMES), whole_network(channels)

    with network(in_strips, x.shape, *layers, instruction_set=instruction_set) as net:
        result = result_of(in_strips, net, x)

    assert decibels(expected(x.astype(float), layers), result) > 85


@pytest.mark.parametrize("frames", [32, 36, 70, FRAMES])
def test_strips_and_threads_do_not_change_the_result(
    kernels: Library, in_strips: Library, instruction_set: InstructionSet, frames: int
) -> None:
    x, layers, results = numbers(0, 4, BINS, frames), whole_network(16), set()

    for library in (kernels, in_strips):
        for threads in (1, 2, 3, 7):
            with network(library, x.shape, *layers, instruction_set=instruction_set, threads=threads) as net:
                results |= {result_of(library, net, x).tobytes() for _ in range(2)}

    assert len(results) == 1


@pytest.mark.parametrize("order", ORDERS)
def test_layers_may_have_any_order(kernels: Library, in_strips: Library, order: str) -> None:
    x, results = numbers(0, 4, BINS, FRAMES), set()

    for library in (kernels, in_strips):
        with network(library, x.shape, *ORDERS[order], threads=2) as net:
            results.add(result_of(library, net, x).tobytes())

    assert len(results) == 1


def test_strips_need_less_memory(kernels: Library, in_strips: Library) -> None:
    """Three convolutions and their input: one image and two rings instead of two images."""
    shape, layers = (4, BINS, 512), [random_pointwise(4, 16), *convolutions(16, 3)]
    bytes_of = {}

    for library in (kernels, in_strips):
        with network(library, shape, *layers) as net:
            bytes_of[library] = library.bytes_of(net)

    image = 4 * BINS * 16 * 512
    assert bytes_of[kernels] - bytes_of[in_strips] > image / 2
