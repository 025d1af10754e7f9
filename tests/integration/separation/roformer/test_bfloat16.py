"""What bfloat16 costs a trained network on music: nothing that can be heard, or counted in SDR."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import Samples, read_audio, snr_db
from uvr.models.descriptions import read_description
from uvr.separation.mdx.stft import Stft
from uvr.separation.native.roformer import aligned
from uvr.separation.roformer.bands import Bands
from uvr.separation.roformer.checkpoint import read_checkpoint
from uvr.separation.roformer.configuration import read_configuration
from uvr.separation.roformer.network import RoformerNetwork
from uvr.separation.roformer.packing import packed_arrays
from uvr.separation.roformer.reference import Spectrum
from uvr.separation.roformer.weights import read_weights

pytestmark = pytest.mark.usefixtures("kernels")

SONGS = ("rubidium", "potassium")
CHUNKS = 3


class TrainedNetwork:
    """The small network of ../shared/data/roformer, in one kind of arithmetic."""

    def __init__(self, folder: Path, terms: int) -> None:
        path = folder / "tiny-bs-roformer.ckpt"
        self._configuration = read_configuration(read_description(path.with_suffix(".yaml")), path.name)
        shape = self._configuration.shape
        bands, self._frames, arrays = Bands(shape), self._configuration.segment_frames, {}
        for name, array in packed_arrays(read_weights(read_checkpoint(path), shape, bands, path.name), shape, terms):
            arrays[name] = aligned(*array.shape, dtype=array.dtype)
            arrays[name][...] = array
        self._network = RoformerNetwork(arrays, shape, bands, self._frames, threads=2, terms=terms)
        self.chunk_samples = shape.stft_hop_length * (self._frames - 1)
        self._stft = Stft(n_fft=shape.stft_n_fft, hop_length=shape.stft_hop_length, dim_f=shape.bins,
                          frames=self._frames, threads=2, window=shape.stft_win_length)  # fmt: skip

    def estimate(self, chunk: Samples) -> tuple[Spectrum, Samples]:
        """The masks and the vocals of one chunk."""
        parts = self._stft.forward(chunk)
        spectrum = parts[::2] + 1j * parts[1::2]
        masks = self._network.masks(np.asarray(spectrum, np.complex64))
        vocals = masks[0] * spectrum
        sound = np.stack([vocals.real, vocals.imag], axis=1).reshape(parts.shape)
        return masks, self._stft.inverse(np.asarray(sound, np.float32))


@pytest.mark.parametrize("song", SONGS)
@pytest.mark.parametrize(("terms", "least_db", "most_lost_db"), [(1, 35, 0.02), (3, 90, 0.0005)])
def test_sdr_is_that_of_float32(shared_data: Path, song: str, terms: int, least_db: float, most_lost_db: float) -> None:
    """Of both stems, in chunks from the middle of the song; and the masks of each chunk stay close to float32."""
    folder, music = shared_data / "roformer", shared_data / "music" / song
    exact, network = TrainedNetwork(folder, 0), TrainedNetwork(folder, terms)
    mixture, truth = (read_audio(music / f"{name}.flac") for name in ("mixture", "vocals"))
    start = mixture.shape[1] // 3
    found: list[list[Samples]] = [[], []]
    for first in range(start, start + CHUNKS * exact.chunk_samples, exact.chunk_samples):
        chunk = mixture[:, first : first + exact.chunk_samples]
        (masks, vocals), (others, their_vocals) = exact.estimate(chunk), network.estimate(chunk)
        assert snr_db(numbers_of(masks), numbers_of(others)) > least_db
        found[0].append(vocals)
        found[1].append(their_vocals)
    part = np.s_[:, start : start + CHUNKS * exact.chunk_samples]
    vocals, their_vocals = (np.concatenate(each, axis=1) for each in found)
    for true, ours, theirs in (
        (truth[part], vocals, their_vocals),
        (mixture[part] - truth[part], mixture[part] - vocals, mixture[part] - their_vocals),
    ):
        assert snr_db(true, theirs) == pytest.approx(snr_db(true, ours), abs=most_lost_db)


def numbers_of(masks: Spectrum) -> Samples:
    return np.ascontiguousarray(masks).view(np.float32).reshape(1, -1)
