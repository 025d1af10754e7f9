"""Memory use does not depend on the song's length. `python -m bench.memory` measures two hours, too long for a test."""

from __future__ import annotations

import sys

import pytest

from bench.memory import measured
from bench.songs import made_song
from tests.support.networks import HQ_4, write_model

LIMIT_MIB = 150
GROWTH_MIB = 8
"""Far below the 53 MiB that one copy of the longer song's samples would take."""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")


def test_memory_besides_the_network_is_small_and_does_not_grow_with_the_song(tmp_path):
    model = write_model(tmp_path / "half.onnx", parameters=HQ_4)
    short, long = (measured(model, made_song(tmp_path / "song.wav", seconds), tmp_path) for seconds in (20, 170))
    assert short.beside_network <= LIMIT_MIB
    assert long.beside_network <= LIMIT_MIB
    assert long.beside_network - short.beside_network <= GROWTH_MIB
