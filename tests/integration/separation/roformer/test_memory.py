"""Memory does not depend on the song's length: stems go to disk as they are made."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.songs import made_song
from tests.support.roformers import write_model

ROOT = Path(__file__).resolve().parents[4]
MIB = 2**20
GROWTH_BYTES = 8 * MIB
"""Far below the 79 MiB that one copy of one of the longer song's three stems would take beyond the shorter one's."""
TINY = {
    "stereo": True,
    "dim": 8,
    "depth": 1,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "num_stems": 3,
    "freqs_per_bands": (128, 129),
    "stft_n_fft": 512,
    "stft_win_length": 512,
    "stft_hop_length": 512,
    "dim_head": 8,
    "heads": 1,
    "mask_estimator_depth": 1,
    "mlp_expansion_factor": 1,
}

pytestmark = [
    pytest.mark.usefixtures("kernels"),
    pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc"),
]


def peak_bytes(model: Path, song: Path, folder: Path) -> int:
    """The peak of a process that separates the song with a loaded network."""
    program = [sys.executable, "-m", "tests.support.roformer_process", model, song, folder]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(json.loads(done.stdout)["separating_bytes"])


def test_memory_does_not_grow_with_the_song(tmp_path: Path) -> None:
    model = write_model(tmp_path, "tiny.ckpt", TINY, ["drums", "bass", "vocals"])
    short, long = (peak_bytes(model, made_song(tmp_path / "song.wav", seconds), tmp_path) for seconds in (25, 260))
    assert long - short <= GROWTH_BYTES
    assert long <= 200 * MIB
