"""Convolutions of large images keep transformed filters and store past the caches; the results are the same bits."""

from __future__ import annotations

import pytest

from tests.integration.separation.native.conftest import Arithmetic
from tests.integration.separation.native.test_kernels import (
    decibels,
    expected,
    network,
    numbers,
    random_convolution,
    random_tdf,
    result_of,
    small_network,
)
from uvr.separation.native import build
from uvr.separation.native.bindings import Library


@pytest.fixture(scope="module")
def all_large(kernels: Library, tmp_path_factory: pytest.TempPathFactory) -> Library:
    """The library built so that it treats every image as a large one."""
    assert kernels  # there is a compiler
    folder = tmp_path_factory.mktemp("large")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "FOLDER", folder)  # a build removes other libraries from it
        patch.setattr(build, "FLAGS", (*build.FLAGS, "-DMAX_LATE_FLOATS=0", "-DMIN_FLOATS_PAST_CACHE=0"))
        build.build(folder / "libtdfnet-large.so")
    return Library(folder / "libtdfnet-large.so")


@pytest.mark.parametrize(("channels", "bins", "frames"), [(4, 1, 1), (16, 41, 6), (48, 133, 9), (40, 22, 13)])
def test_convolutions_of_large_images_match_the_reference(
    all_large: Library, arithmetic: Arithmetic, channels: int, bins: int, frames: int
) -> None:
    x, layer = numbers(0, channels, bins, frames), random_convolution(channels, channels)

    with network(all_large, x.shape, layer, **arithmetic._asdict()) as net:
        result = result_of(all_large, net, x)

    assert decibels(expected(x.astype(float), [layer]), result) > 105


@pytest.mark.parametrize(("channels", "bins", "frames"), [(16, 22, 34), (48, 140, 20), (24, 66, 18)])
def test_size_and_threads_do_not_change_the_result(
    kernels: Library, all_large: Library, arithmetic: Arithmetic, channels: int, bins: int, frames: int
) -> None:
    x, layers = numbers(0, 4, bins, frames), small_network(channels, bins)
    layers.insert(2, random_tdf(channels, bins, 64, bias=True))  # large enough for Strassen's algorithm
    results = set()

    for library in (kernels, all_large):
        for threads in (1, 2, 3, 7):
            with network(library, x.shape, *layers, **arithmetic._asdict(), threads=threads) as net:
                results |= {result_of(library, net, x).tobytes() for _ in range(2)}

    assert len(results) == 1


def test_transformed_filters_need_four_times_the_memory(kernels: Library, all_large: Library) -> None:
    """9 numbers for each filter instead of 36; what remains is memory of one layer, which all layers share."""
    shape, layers = (64, 8, 4), [random_convolution(64, 64)] * 8
    bytes_of = {}

    for library in (kernels, all_large):
        with network(library, shape, *layers) as net:
            bytes_of[library] = library.bytes_of(net)

    saved, filters = bytes_of[all_large] - bytes_of[kernels], 64 * 64 * 4
    assert 8 * 27 * filters > saved >= 6 * 27 * filters
