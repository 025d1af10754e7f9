"""Whole songs through audio-separator's Separator, as its users get them, and through our engine.

The songs have a peak of 0.5, at which the Separator changes no level: it scales down louder songs to 0.9, and then also
every stem that is louder than that. So the stems are compared sample by sample. It always writes 44.1 kHz and stereo.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import Samples, read_audio, snr_db, write_audio
from tests.support.song import separate_song
from uvr.separation.roformer.chunks import Chunks
from uvr.separation.roformer.engine import RoformerEngine

pytestmark = [pytest.mark.usefixtures("kernels"), pytest.mark.timeout(600)]

ROOT = Path(__file__).resolve().parents[4]
MODEL = "tiny-bs-roformer.ckpt"
CHUNK, SHORT_CHUNK, STEP_SHARE, HOP = 131_072, 255 * 512, 2, 512
SONGS = {
    "much_shorter_than_a_chunk": (30_720, 2, 44_100),
    "no_whole_number_of_hops": (100_003, 2, 44_100),
    "a_chunk": (CHUNK, 2, 44_100),
    "a_chunk_and_a_sample": (CHUNK + 1, 2, 44_100),
    "below_ten_seconds": (440_999, 2, 44_100),
    "ten_seconds": (441_000, 2, 44_100),
    "mono": (140_003, 1, 44_100),
    "another_rate": (150_001, 2, 48_000),
}
"""Samples, channels and rate."""


@pytest.fixture(scope="module")
def engine(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> RoformerEngine:
    folder = tmp_path_factory.mktemp("beside")
    for file in (shared_data / "roformer").glob("tiny-bs-roformer.*"):
        shutil.copyfile(file, folder / file.name)
    return RoformerEngine(folder / MODEL, folder / "tiny-bs-roformer.yaml", threads=2, precision="float32")


@pytest.fixture(scope="module")
def songs(shared_data: Path, audio_separator_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with each song, and what the Separator makes of it."""
    folder = tmp_path_factory.mktemp("songs")
    for file in (shared_data / "roformer").glob("tiny-bs-roformer.*"):
        shutil.copyfile(file, folder / file.name)
    music = read_audio(shared_data / "music" / "rubidium" / "mixture.flac")[:, 441_000:]
    music = music * np.float32(0.5 / np.abs(music).max())
    for name, (samples, channels, rate) in SONGS.items():
        write_audio(folder / f"{name}.wav", music[:channels, :samples], codec="pcm_f32le", rate=rate)
    program = [audio_separator_python, "-m", "tests.support.separator_songs", folder, MODEL, "vocals"]
    offline = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9"}
    done = subprocess.run(
        [*program, *(folder / f"{name}.wav" for name in SONGS)],
        cwd=ROOT,
        env=os.environ | offline,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def ours(engine: RoformerEngine, song: Path, folder: Path) -> Samples:
    return read_audio(separate_song(engine, song, folder, max_seconds=60).stems["vocals"])


@pytest.mark.parametrize("name", SONGS)
def test_the_stem_has_the_length_of_the_song_to_the_sample(
    engine: RoformerEngine, songs: Path, tmp_path: Path, name: str
) -> None:
    samples, channels, rate = SONGS[name]
    assert ours(engine, songs / f"{name}.wav", tmp_path).shape == (channels, samples)
    assert np.load(songs / f"{name}.npy").shape == (2, -(-samples * 44_100 // rate))


@pytest.mark.parametrize("name", [name for name, (_, _, rate) in SONGS.items() if rate == 44_100])
def test_the_stem_is_the_one_of_the_separator(engine: RoformerEngine, songs: Path, tmp_path: Path, name: str) -> None:
    samples, channels, _ = SONGS[name]
    expected, found = np.load(songs / f"{name}.npy"), ours(engine, songs / f"{name}.wav", tmp_path)
    if channels == 1:
        expected = expected.mean(axis=0, keepdims=True)
    if samples >= CHUNK or samples % HOP == 0:
        assert snr_db(expected, found) > 60
        return
    # The Separator leaves out what is beyond the last whole hop; our network sees it, in one more frame.
    whole = samples - samples % HOP
    assert not expected[:, whole:].any()
    assert found[:, whole:].any()
    assert snr_db(expected[:, : whole - 2 * HOP], found[:, : whole - 2 * HOP]) > 30


@pytest.mark.parametrize("name", [name for name, (samples, _, _) in SONGS.items() if samples >= CHUNK])
def test_chunks_begin_where_the_separator_cuts(songs: Path, name: str) -> None:
    samples, _, rate = SONGS[name]
    at_network_rate = -(-samples * 44_100 // rate)
    size = SHORT_CHUNK if at_network_rate < 441_000 else CHUNK
    assert Chunks(at_network_rate, size, STEP_SHARE).starts == json.loads((songs / f"{name}.json").read_text())
