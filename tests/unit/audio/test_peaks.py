"""Peaks that are written block by block are compared with a plain computation over the whole song."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from uvr.audio.peaks import COARSE_SAMPLES, FINE_SAMPLES, PeaksWriter

RATE_HZ = 44100


def noise(samples: int, channels: int = 2) -> np.ndarray:
    return np.random.default_rng(5).uniform(-1, 1, (channels, samples)).astype(np.float32)


@pytest.fixture
def written(tmp_path):
    """A function that writes the peaks of blocks and returns what is in each of the files."""

    def written(*blocks: np.ndarray, rate_hz: int = RATE_HZ) -> dict[int, tuple[tuple[int, ...], np.ndarray]]:
        paths = {FINE_SAMPLES: tmp_path / "fine.dat", COARSE_SAMPLES: tmp_path / "coarse.dat"}
        with PeaksWriter(paths[FINE_SAMPLES], paths[COARSE_SAMPLES], rate_hz) as writer:
            for block in blocks:
                writer.write(block)
        files = {samples: path.read_bytes() for samples, path in paths.items()}
        return {
            samples: (struct.unpack_from("<iIiiIi", data), np.frombuffer(data, np.int8, offset=24).reshape(-1, 2))
            for samples, data in files.items()
        }

    return written


def expected(song: np.ndarray, samples: int) -> np.ndarray:
    groups = [song[:, start : start + samples] for start in range(0, song.shape[1], samples)]
    pairs = np.array([[group.min(), group.max()] for group in groups]).reshape(-1, 2)
    return np.clip(np.rint(pairs * 128), -128, 127)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, FINE_SAMPLES, COARSE_SAMPLES, 100_003])
@pytest.mark.parametrize("block_samples", [1000, 8192, 65536])
def test_each_pair_is_the_lowest_and_highest_sample_of_its_group(written, channels, samples, block_samples):
    song = noise(samples, channels)
    blocks = [song[:, start : start + block_samples] for start in range(0, samples, block_samples)]
    for samples_per_pair, (_, pairs) in written(*blocks).items():
        assert np.array_equal(pairs, expected(song, samples_per_pair))


def test_the_header_is_audiowaveforms_version_2_with_8_bits_and_one_channel(written):
    files = written(noise(20_000), rate_hz=48_000)
    assert files[FINE_SAMPLES][0] == (2, 1, 48_000, 512, 40, 1)
    assert files[COARSE_SAMPLES][0] == (2, 1, 48_000, 8192, 3, 1)


def test_samples_beyond_full_scale_and_no_numbers_are_no_surprise(written):
    song = np.array([[2.0, -3.0, np.nan, np.inf]], np.float32)
    assert written(song)[FINE_SAMPLES][1].tolist() == [[-128, 127]]
    assert written(np.full((2, 600), np.nan, np.float32))[FINE_SAMPLES][1].tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("blocks", [[], [np.zeros((2, 0), np.float32)]])
def test_a_stem_without_samples_has_no_pairs(written, blocks):
    header, pairs = written(*blocks)[COARSE_SAMPLES]
    assert (header[4], len(pairs)) == (0, 0)


def test_nothing_is_left_of_peaks_whose_stem_failed(tmp_path):
    with (
        pytest.raises(OSError, match="no room"),
        PeaksWriter(tmp_path / "fine", tmp_path / "coarse", RATE_HZ) as writer,
    ):
        writer.write(noise(10_000))
        raise OSError("no room")
    assert not list(tmp_path.iterdir())
