"""The names of stems, their common gain, those that the client wants, their sum, and the mean of several networks."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.audio import Samples, noise, read_audio, snr_db
from uvr.audio.format import AudioFormat, SampleFormat
from uvr.audio.output_format import OutputFormat
from uvr.audio.tags import NO_TAGS
from uvr.errors import PermanentError
from uvr.models.stem_names import stem_pair
from uvr.separation.engine import Separation
from uvr.separation.estimates import Estimates, Residual
from uvr.separation.mixture import Mixture
from uvr.separation.progress import SeparationObserver, ignore_progress
from uvr.separation.spool import Spool
from uvr.separation.stem_writer import common_gain, write_stems


@pytest.mark.parametrize(
    ("primary_stem", "names"),
    [
        ("Vocals", ("vocals", "instrumental")),
        ("Instrumental", ("instrumental", "vocals")),
        ("Drums", ("drums", "no_drums")),
        ("Lead Vocals", ("lead_vocals", "no_lead_vocals")),
    ],
)
def test_stems_are_named_after_the_primary_one(primary_stem, names):
    assert stem_pair(primary_stem) == names


def stems(**samples: list[float]):
    return {name: lambda values=values: iter([np.array([values], np.float32)]) for name, values in samples.items()}


def test_one_stem_that_would_clip_lowers_the_gain_of_all_stems():
    gain = common_gain(stems(vocals=[0.1, -0.2], instrumental=[0.5, -1.25]), SampleFormat.INT16.max_sample)
    assert gain == pytest.approx(0.8)


@pytest.mark.parametrize("sample_format", [SampleFormat.INT16, SampleFormat.INT24, SampleFormat.INT32])
def test_samples_up_to_full_scale_need_no_gain(sample_format):
    assert common_gain(stems(vocals=[-1.0, sample_format.max_sample]), sample_format.max_sample) == 1.0


def test_the_smallest_step_beyond_full_scale_needs_gain():
    assert common_gain(stems(vocals=[1.0]), SampleFormat.INT16.max_sample) == pytest.approx(32767 / 32768)


def test_float_files_keep_samples_beyond_full_scale():
    assert common_gain(stems(vocals=[2.0]), SampleFormat.FLOAT32.max_sample) == 1.0


RATE_HZ = 44_100
SAMPLES = 150_000
"""More than two blocks."""


class Song:
    """A song of noise and estimates of it on disk, with the level and length that the test needs."""

    def __init__(self, folder: Path, rate_hz: int = RATE_HZ, sample_format: SampleFormat = SampleFormat.INT16) -> None:
        self.folder = folder
        source = self.spool("source", noise(SAMPLES / rate_hz, rate=rate_hz, peak=0.9))
        at_network_rate = source if rate_hz == RATE_HZ else self.spool("mixture", noise(SAMPLES / rate_hz, peak=0.9))
        self.mixture = Mixture(source, at_network_rate, AudioFormat(rate_hz, 2, sample_format), NO_TAGS)

    def spool(self, name: str, sound: Samples) -> Spool:
        return Spool.of([sound], self.folder / f"{name}.f32", 2)

    def network(self, *names: str, scale: float = 0.3, seed: int = 1, residual: Residual | None = None) -> Estimates:
        """Estimates that have nothing to do with each other."""
        spools = {
            name: self.spool(f"{seed}-{number}", scale * noise(self._length_s, peak=0.9, seed=seed + number))
            for number, name in enumerate(names)
        }
        return Estimates(spools, "cpu", "native", residual, f"model-{seed}")

    def exact(self, *shares: float) -> Estimates:
        """Four estimates that are `shares` of the song."""
        song = self.mixture.at_network_rate
        names = ("drums", "bass", "other", "vocals")
        spools = {
            name: self.spool(name, share * song.read(0, song.samples))
            for name, share in zip(names, shares, strict=True)
        }
        return Estimates(spools, "cpu", "native")

    def write(
        self,
        *networks: Estimates,
        wanted: tuple[str, ...] = (),
        output_format: OutputFormat = OutputFormat.WAV,
        peaks_dir: Path | None = None,
    ) -> Separation:
        work, output = (Path(tempfile.mkdtemp(dir=self.folder)) for _ in range(2))
        observer = SeparationObserver(ignore_progress)
        return write_stems(networks, self.mixture, work, output, output_format, observer, wanted, peaks_dir)

    @property
    def _length_s(self) -> float:
        return self.mixture.at_network_rate.samples / RATE_HZ


@pytest.mark.parametrize("output_format", [OutputFormat.WAV, OutputFormat.FLAC, OutputFormat.OPUS])
def test_a_stem_that_is_wanted_alone_has_the_same_bytes_as_with_all_others(tmp_path, output_format):
    song = Song(tmp_path)
    network = song.network("drums", "vocals", scale=2.0)
    complete = song.write(network, output_format=output_format)
    assert complete.gain < 0.7, "the stems would clip without a gain"
    for name, path in complete.stems.items():
        alone = song.write(network, wanted=(name,), output_format=output_format)
        assert alone.stems.keys() == {name}
        assert alone.gain == complete.gain
        assert [file.name for file in alone.stems[name].parent.iterdir()] == [path.name]
        assert alone.stems[name].read_bytes() == path.read_bytes()


def test_the_peaks_of_each_stem_are_those_of_its_file(tmp_path):
    song, peaks_dir = Song(tmp_path), tmp_path / "peaks"
    peaks_dir.mkdir()
    made = song.write(song.network("vocals", "drums", scale=2.0), wanted=("vocals",), peaks_dir=peaks_dir)
    assert made.gain < 1
    assert sorted(path.name for path in peaks_dir.iterdir()) == ["vocals.coarse.dat", "vocals.fine.dat"]
    values = np.frombuffer((peaks_dir / "vocals.fine.dat").read_bytes()[24:], np.int8).reshape(-1, 2)
    stem = read_audio(made.stems["vocals"])
    lowest = [stem[:, start : start + 512].min() for start in range(0, stem.shape[1], 512)]
    assert np.abs(values[:, 0] / 128 - lowest).max() < 1 / 128


def test_a_remainder_that_nobody_wants_is_not_computed(tmp_path):
    song = Song(tmp_path, sample_format=SampleFormat.FLOAT32)
    network = song.network("drums", "vocals")
    network.spools["vocals"].path.unlink()
    assert song.write(network, wanted=("drums",)).stems.keys() == {"drums"}


def test_wanted_stems_have_their_usual_order_and_may_be_spelled_as_the_model_does(tmp_path):
    song = Song(tmp_path)
    made = song.write(song.network("Drums", "Vocals"), wanted=("instrumental", "Drums"))
    assert list(made.stems) == ["drums", "instrumental"]


def test_an_unknown_stem_is_refused_with_those_that_the_model_gives(tmp_path):
    song = Song(tmp_path)
    with pytest.raises(PermanentError) as refused:
        song.write(song.network("Vocals"), wanted=("vocals", "drums", "piano"))
    assert refused.value.message == "There is no stem drums, piano: model-1 gives vocals, instrumental."


def test_stems_that_add_up_have_no_sum_error(tmp_path):
    song = Song(tmp_path)
    made = song.write(song.exact(0.25, 0.25, 0.3, 0.2))
    assert made.stems.keys() == {"drums", "bass", "other", "vocals", "instrumental"}
    assert made.sum_error_db is None
    assert "sum_error_db" not in made.facts()
    assert not made.notes


def test_stems_that_do_not_add_up_say_by_how_much(tmp_path):
    song = Song(tmp_path)
    made = song.write(song.exact(0.25, 0.25, 0.3, 0.19))
    assert made.facts()["sum_error_db"] == -40.0
    assert made.notes == ("The stems do not add up to the song exactly: the difference is 40.0 dB below the song.",)


def test_the_sum_of_chosen_stems_means_nothing(tmp_path):
    song = Song(tmp_path)
    assert song.write(song.exact(0.25, 0.25, 0.3, 0.1), wanted=("drums", "vocals")).sum_error_db is None


def test_a_pair_with_a_remainder_adds_up(tmp_path):
    song = Song(tmp_path)
    assert song.write(song.network("vocals", residual=Residual("instrumental", "vocals"))).sum_error_db is None


def test_a_pair_whose_remainder_lacks_more_than_the_other_stem_says_by_how_much(tmp_path):
    song = Song(tmp_path)
    network = song.network("vocals", residual=Residual("instrumental", "vocals", 1.05))
    whole, vocals = (spool.read(0, spool.samples) for spool in (song.mixture.source, network.spools["vocals"]))
    made = song.write(network)
    assert made.sum_error_db == pytest.approx(-snr_db(whole, whole - 0.05 * vocals), abs=0.06)
    assert made.differs_by_compensate
    assert not made.notes


def test_an_instrumental_beside_estimates_of_two_stems_is_measured(tmp_path):
    song = Song(tmp_path)
    made = song.write(song.network("vocals", "instrumental"))
    assert made.sum_error_db is not None
    assert not made.differs_by_compensate


@pytest.mark.parametrize("rate_hz", [RATE_HZ, 48_000])
def test_stems_of_several_models_are_the_mean_of_their_waveforms(tmp_path, rate_hz):
    song = Song(tmp_path, rate_hz, SampleFormat.FLOAT32)
    networks = [
        song.network("vocals", seed=1, residual=Residual("instrumental", "vocals", 1.1)),
        song.network("drums", "other", "vocals", seed=10),
        song.network("Vocals", "Other", seed=20),
    ]
    each = [song.write(network) for network in networks]
    together = song.write(*networks)
    assert list(together.stems) == ["vocals", "instrumental"]
    for name, path in together.stems.items():
        mean = np.mean([read_audio(made.stems[name]).astype(np.float64) for made in each], axis=0)
        assert snr_db(mean, read_audio(path)) > 120


def test_models_without_a_common_stem_are_refused_with_what_each_gives(tmp_path):
    song = Song(tmp_path)
    with pytest.raises(PermanentError) as refused:
        song.write(song.network("Vocals"), song.network("Drums", seed=5))
    assert "model-1 gives vocals, instrumental; model-5 gives drums, no_drums" in refused.value.message


def test_a_stem_that_only_one_of_several_models_gives_is_refused(tmp_path):
    song = Song(tmp_path)
    with pytest.raises(PermanentError, match="so together they give vocals, instrumental"):
        song.write(song.network("Vocals"), song.network("Drums", "Vocals", seed=5), wanted=("drums",))


def test_facts_name_everything_that_computed_an_ensemble(tmp_path):
    song = Song(tmp_path)
    own = song.network("Vocals")
    other = replace(song.network("Vocals", seed=5), backend="audio-separator")
    networks = [replace(own, precision=precision) for precision in ("float32", "bfloat16", "float32")]
    made = song.write(*networks)
    assert made.facts()["precision"] == "float32, bfloat16"
    made = song.write(*networks, other, replace(other))
    assert (made.provider, made.backend) == ("cpu", "native, audio-separator")
    assert "precision" not in made.facts(), "another program decides it"


def test_silence_at_another_rate_gives_silent_stems(tmp_path):
    song = Song(tmp_path, 48_000)
    silence = song.spool("silence", np.zeros((2, song.mixture.at_network_rate.samples), np.float32))
    made = song.write(Estimates(dict.fromkeys(("drums", "bass"), silence), "cpu", "native"))
    assert not any(read_audio(path).any() for path in made.stems.values())
