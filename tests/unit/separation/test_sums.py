"""The error of a sum, and the mean of networks, for any shares of a song."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.audio import Samples, noise
from uvr.audio.format import AudioFormat, SampleFormat
from uvr.audio.tags import NO_TAGS
from uvr.separation.estimates import Estimates, Residual
from uvr.separation.mixture import Mixture
from uvr.separation.progress import SeparationObserver, ignore_progress
from uvr.separation.spool import Spool
from uvr.separation.stem_streams import Blocks, stem_streams
from uvr.separation.sums import stems_to_add_up, sum_error_db

SONG = noise(0.1)

shares = st.floats(-1, 1, width=32)


def stream(sound: Samples) -> Blocks:
    """The sound in two blocks."""
    return lambda: iter(np.split(sound, [1000], axis=1))


@settings(deadline=None)
@given(parts=st.lists(shares, min_size=1, max_size=6))
def test_the_error_is_what_the_stems_leave_of_the_song(parts: list[float]) -> None:
    error_db = sum_error_db(stream(SONG), [stream(SONG * np.float32(part)) for part in parts])
    left = abs(1 - sum(parts))
    if left > 1e-4:
        assert error_db == pytest.approx(20 * math.log10(left), abs=0.05)
    else:
        assert error_db < -75


def test_silence_has_no_error() -> None:
    assert sum_error_db(stream(SONG * 0), [stream(SONG * 0)] * 2) == -math.inf


@settings(deadline=None, max_examples=20)  # the machine may have other things to do
@given(
    models=st.lists(st.tuples(shares, st.floats(0.5, 1.5, width=32)), min_size=1, max_size=4),
    seconds=st.sampled_from([0.01, 1.6]),
)
def test_each_stem_of_several_networks_is_the_mean_of_their_waveforms(
    models: list[tuple[float, float]], seconds: float
) -> None:
    song = noise(seconds)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = Spool.of([song], folder / "source.f32", 2)
        mixture = Mixture(source, source, AudioFormat(44_100, 2, SampleFormat.FLOAT32), NO_TAGS)
        estimates = [noise(seconds, seed=number) * np.float32(share) for number, (share, _) in enumerate(models)]
        networks = [
            Estimates(
                {"vocals": Spool.of([estimate], folder / f"{number}.f32", 2)},
                "cpu",
                "native",
                Residual("instrumental", "vocals", factor),
            )
            for number, (estimate, (_, factor)) in enumerate(zip(estimates, models, strict=True))
        ]
        streams = stem_streams(networks, mixture, folder, SeparationObserver(ignore_progress))
        made = {stem: np.concatenate(list(blocks()), axis=1) for stem, blocks in streams.items()}
    left = [song - np.float32(factor) * estimate for estimate, (_, factor) in zip(estimates, models, strict=True)]
    for stem, each in {"vocals": estimates, "instrumental": left}.items():
        mean = np.mean(np.asarray(each, np.float64), axis=0)
        assert made[stem].dtype == np.float32
        # The error is that of float32, relative to what was averaged: a mean may be much quieter than its parts.
        level = max(float(np.abs(part).max()) for part in [song, *each])
        assert np.abs(made[stem] - mean).max() <= 4e-7 * level


@pytest.mark.parametrize(
    ("estimated", "given_names", "counted"),
    [
        ([["vocals"]], ["vocals", "instrumental"], []),
        ([["vocals"], ["vocals"]], ["vocals", "instrumental"], ["vocals", "instrumental"]),
        ([["drums", "bass", "vocals"]], ["drums", "bass", "vocals", "instrumental"], ["drums", "bass", "vocals"]),
        ([["drums", "bass", "vocals"], ["vocals"]], ["vocals", "instrumental"], ["vocals", "instrumental"]),
        ([["drums", "vocals"], ["drums", "bass", "vocals"]], ["drums", "vocals", "instrumental"], ["drums", "vocals"]),
        ([["drums", "vocals"], ["drums"]], ["drums"], []),
    ],
)
def test_an_instrumental_counts_only_where_it_contains_no_other_stem(
    estimated: list[list[str]], given_names: list[str], counted: list[str]
) -> None:
    silence = Spool(Path("x"), 2, 1, 0.0)
    networks = [
        Estimates(dict.fromkeys(names, silence), "cpu", "native", Residual("instrumental", "vocals"))
        for names in estimated
    ]
    assert stems_to_add_up(networks, given_names) == counted
