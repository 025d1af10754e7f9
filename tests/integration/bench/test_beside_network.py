"""The bench of the work beside the network finds that work in a real song."""

from __future__ import annotations

import pytest

from bench import standin
from bench.beside_network import NETWORK, PLACES, measured
from uvr.separation.native.bindings import Library
from uvr.separation.native.stft import NativeStft

SMALL = standin.Geometry(bins=640, frames=32, growth=4, levels=3)


@pytest.mark.parametrize("cold", [True, False])
def test_all_classes_of_a_resampled_song_take_time(kernels: Library, tmp_path, cold) -> None:  # noqa: ARG001
    model = standin.ensure(tmp_path / "small.onnx", SMALL)
    before = NativeStft.forward
    clock = measured(model, 3, 48_000, cold=cold)
    assert {kind for _, _, kind in PLACES} | {NETWORK, "rest"} == clock.wall_s.keys()
    assert min(clock.wall_s.values()) > 0
    assert NativeStft.forward is before, "the functions are not timed any more"
