"""Names of stems are safe everywhere, stay as they are once they are safe, and are never shared by two stems."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uvr.models.audio_separator import VR_PARAMETERS
from uvr.models.catalogue import PARAMETERS
from uvr.models.stem_names import MAX_LENGTH, safe_stem_name, safe_stem_names, stem_pair

SAFE = re.compile(rf"(?=.{{1,{MAX_LENGTH}}}$)[a-z0-9]+(_[a-z0-9]+)*")

names = st.text(max_size=60) | st.text(alphabet="aB_- 2", max_size=5)


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("Vocals", "vocals"),
        ("Lead Vocals", "lead_vocals"),
        ("Lead-Vocals", "lead_vocals"),
        ("No Drum-Bass", "no_drum_bass"),
        ("Drums/Bass", "drums_bass"),
        ("../../etc/passwd", "etc_passwd"),
        ("Flûte & Violon", "flute_violon"),
        ("CON.wav", "con_wav"),
        ("主唱", "stem"),
        ("", "stem"),
    ],
)
def test_a_name_becomes_lower_case_letters_digits_and_underscores(name: str, safe: str) -> None:
    assert safe_stem_name(name) == safe


@settings(deadline=None)  # the machine may have other things to do
@given(name=names)
def test_every_name_becomes_safe_and_stays_so(name: str) -> None:
    safe = safe_stem_name(name)
    assert SAFE.fullmatch(safe)
    assert PurePosixPath(f"{safe}.wav").stem == safe
    assert safe_stem_name(safe) == safe


@settings(deadline=None)
@given(own=st.lists(names, max_size=8, unique=True))
def test_no_two_stems_of_a_model_share_a_name(own: list[str]) -> None:
    chosen = safe_stem_names(own)
    assert list(chosen) == own
    assert len(set(chosen.values())) == len(own)
    assert all(SAFE.fullmatch(name) for name in chosen.values())
    assert safe_stem_names(chosen.values()) == {name: name for name in chosen.values()}


def test_a_stem_that_has_a_safe_name_keeps_it_whatever_the_others_are_called() -> None:
    assert safe_stem_names(["Lead-Vocals", "lead vocals", "lead_vocals", "lead_vocals_2"]) == {
        "Lead-Vocals": "lead_vocals_3",
        "lead vocals": "lead_vocals_4",
        "lead_vocals": "lead_vocals",
        "lead_vocals_2": "lead_vocals_2",
    }


def test_the_stems_of_known_models_are_called_as_ever() -> None:
    primary_stems = {parameters.primary_stem for parameters in PARAMETERS.values()}
    primary_stems |= {parameters["primary_stem"] for parameters in VR_PARAMETERS.values()}
    for name in primary_stems:
        assert stem_pair(name)[0] == name.lower().replace(" ", "_")
