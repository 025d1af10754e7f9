"""The process that the bench of RoFormers measures computes what the engine does, and reports time and memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bench.roformer import music_of, snr_db
from bench.songs import made_song
from bench.support import OURS, Worker
from tests.support.roformers import GEOMETRIES, write_model
from uvr.separation.instruction_sets import VARIABLE
from uvr.separation.native.bindings import InstructionSet, Library


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return write_model(folder, "small.ckpt", GEOMETRIES["kims_hop"], ["vocals", "other"], target="vocals")


def worker(model: Path, folder: Path, **variables: str) -> Worker:
    command = [sys.executable, "-m", "bench.roformer_worker", OURS, str(model), "1"]
    return Worker(command, folder / "log", **variables)


def test_a_chunk_and_a_song_are_measured(kernels: Library, model: Path, tmp_path: Path) -> None:
    chunk, estimates = tmp_path / "chunk.npy", [tmp_path / f"{name}.npy" for name in ("widest", "narrowest")]
    np.save(chunk, music_of(441 * 86))
    sets = (kernels.instruction_sets[0], kernels.instruction_sets[-1])
    for estimate, instruction_set in zip(estimates, sets, strict=True):
        chosen = {VARIABLE: instruction_set.name.lower(), "INFERENCE_PRECISION": "float32"}
        with worker(model, tmp_path, **chosen) as engine:
            assert engine.ready_s > 0
            assert engine.facts["terms"] == (3 if instruction_set is InstructionSet.AMX else 0)
            answer = engine.ask({"chunk": str(chunk), "estimate": str(estimate)})
            assert answer["wall_s"] > sum(answer["classes"].values()) > 0
            assert min(answer["classes"].values()) > 0
            assert answer["peak_mib"] > answer["unmapped_mib"] > 5
        assert np.load(estimate).shape == (1, 2, 441 * 86)
    found_db = snr_db(*estimates)
    assert found_db is not None
    assert found_db > 90
    with worker(model, tmp_path) as engine:
        answer = engine.separate(made_song(tmp_path / "song.wav", 11), tmp_path / "stems")
        assert answer["wall_s"] > 0
    assert {path.name for path in (tmp_path / "stems").iterdir()} == {"vocals.wav", "instrumental.wav"}
