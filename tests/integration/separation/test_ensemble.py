"""Several real networks on one song: each stem is the mean of their waveforms, computed in flat memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import read_audio, snr_db, write_audio
from uvr.audio.format import AudioFormat, SampleFormat
from uvr.audio.output_format import OutputFormat
from uvr.audio.tags import NO_TAGS
from uvr.models import store
from uvr.separation.engine import Separation
from uvr.separation.estimates import Estimates, Residual
from uvr.separation.jobs import Encode, Sealed, Separate
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.mixture import Mixture, decode_mixture
from uvr.separation.progress import SeparationObserver, ignore_progress
from uvr.separation.spool import Spool

OBSERVER = SeparationObserver(ignore_progress)


@pytest.fixture(scope="module")
def trained(model_dir: Path) -> MdxEngine:
    path = store.ensure_model_file("Spleeter-2stems", model_dir)
    return MdxEngine(path, store.parameters_of(path), threads=1)


def written(
    folder: Path, name: str, mixture: Sealed, networks: Sequence[Sealed], wanted: tuple[str, ...] = ()
) -> Separation:
    work, output = folder / f"work-{name}", folder / f"stems-{name}"
    work.mkdir()
    output.mkdir()
    return Encode(mixture, tuple(networks), work, output, OutputFormat.WAV, wanted)(None, OBSERVER)


@pytest.mark.parametrize("rate_hz", [44_100, 48_000])
def test_the_stems_of_two_networks_are_the_mean_of_both(
    trained: MdxEngine, halving: MdxEngine, shared_data: Path, tmp_path: Path, rate_hz: int
) -> None:
    sound = read_audio(shared_data / "music" / "rubidium" / "mixture.flac")[:, 441_000:573_300]
    song = write_audio(tmp_path / "song.wav", sound, codec="pcm_f32le", rate=rate_hz)
    mixture, networks = Sealed.of(decode_mixture(song, tmp_path, max_seconds=60, observer=OBSERVER)), []
    for name, engine in {"trained": trained, "halving": halving}.items():
        (tmp_path / name).mkdir()
        networks.append(Separate(mixture, tmp_path / name)(engine, OBSERVER))
    each = [written(tmp_path, f"of-{number}", mixture, [network]) for number, network in enumerate(networks)]
    together = written(tmp_path, "of-both", mixture, networks)
    assert list(together.stems) == ["vocals", "instrumental"]
    for stem, path in together.stems.items():
        mean = np.mean([read_audio(made.stems[stem]).astype(np.float64) for made in each], axis=0)
        assert snr_db(mean, read_audio(path)) > 120
    # The second network's parameter `compensate` is not 1, so its stems add up to less than the song.
    assert -60 < together.facts()["sum_error_db"] < -20
    alone = written(tmp_path, "one", mixture, networks, ("vocals",))
    assert list(alone.stems) == ["vocals"]
    assert alone.stems["vocals"].read_bytes() == together.stems["vocals"].read_bytes()


def test_the_mean_of_four_models_takes_no_more_memory_for_a_longer_song(tmp_path: Path) -> None:
    peaks = [_peak_bytes(tmp_path / str(seconds), seconds * 48_000) for seconds in (5, 30)]
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 2**24


def _peak_bytes(folder: Path, samples: int) -> int:
    """The memory that Python and numpy take for four models and a song of silence at a rate of its own."""

    def silence(name: str, length: int) -> Spool:
        path = folder / f"{name}.f32"
        with path.open("xb") as file:
            file.truncate(length * 8)
        return Spool(path, 2, length, 0.0)

    folder.mkdir()
    at_network_rate = round(samples * 44_100 / 48_000)
    song = silence("source", samples)
    mixture = Mixture(song, silence("mixture", at_network_rate), AudioFormat(48_000, 2, SampleFormat.INT16), NO_TAGS)
    residual = Residual("instrumental", "vocals")
    networks = [
        Sealed.of(Estimates({"vocals": silence(f"vocals-{number}", at_network_rate)}, "cpu", "native", residual))
        for number in range(4)
    ]
    tracemalloc.start()
    try:
        written(folder, "all", Sealed.of(mixture), networks)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
