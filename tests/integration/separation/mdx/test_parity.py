"""The same stems as audio-separator 0.47.1, recorded from it, on a network with the geometry of UVR-MDX-NET-Inst_HQ_4.

The reference was made at input peak 1.0, where that library works at 0.9 of the input's level and leaves it there.
"""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.audio import read_audio, snr_db
from tests.support.song import separate_song
from uvr.models.catalogue import MdxParameters
from uvr.separation.mdx.engine import MdxEngine

REFERENCE_LEVEL = 0.9


@pytest.fixture(scope="module")
def engine(shared_data) -> MdxEngine:
    hq_4 = MdxParameters(compensate=1.019, dim_f=2560, dim_t=256, n_fft=5120, primary_stem="Instrumental")
    return MdxEngine(shared_data / "parity" / "tiny-mdx-hq4.onnx", hq_4, backend="onnxruntime")


@pytest.mark.parametrize("case", ["full", "one_chunk", "short"])
def test_stems_equal_those_of_audio_separator(engine, shared_data, tmp_path, case):
    made = separate_song(engine, shared_data / "parity" / f"{case}.wav", tmp_path, max_seconds=60)
    with np.load(shared_data / "parity" / f"{case}.audio_separator.npz") as reference:
        for name in ("vocals", "instrumental"):
            expected = reference[name].T
            ours = read_audio(made.stems[name]) * REFERENCE_LEVEL
            assert ours.shape == expected.shape
            assert snr_db(expected, ours) > 120
