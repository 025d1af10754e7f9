"""The stems that are announced for a RoFormer, from its YAML file alone, are those that its engine gives."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from uvr.models.stems import stems_of_model
from uvr.separation.estimates import Estimates
from uvr.separation.remainder import with_remainder
from uvr.separation.roformer.configuration import RoformerConfiguration, read_configuration
from uvr.separation.spool import Spool

NAMES = st.sampled_from(
    [
        "vocals",
        "Vocals",
        "other",
        "Instrumental",
        "instrumental",
        "drums",
        "bass",
        "guitar",
        "piano",
        "karaoke",
        "Lead-Vocals",
        "reverb",
        "noreverb",
        "No Vocals",
        "no_vocals",
        "accompaniment",
        "lead vocals",
        "主唱",
        "伴奏",
        "music",
        "No Reverb",
    ]
) | st.text("abAB _-", min_size=1, max_size=40)


@st.composite
def descriptions(draw: st.DrawFn) -> dict[str, Any]:
    """Descriptions of networks with one to eight instruments, trained for all of them or for one."""
    instruments = draw(st.lists(NAMES, min_size=1, max_size=8, unique=True))
    target = draw(st.none() | st.sampled_from(instruments) | NAMES)
    stems = 1 if target else len(instruments)
    return {
        "model": {"dim": 8, "depth": 1, "num_stems": stems, "num_bands": 60},
        "training": {"instruments": instruments, "target_instrument": target},
        "inference": {"dim_t": 64},
    }


def given_by(configuration: RoformerConfiguration) -> Estimates:
    """What the engine makes of the estimates of such a network."""
    spools = {name: Spool(Path(name), 2, 1, 0.5) for name in configuration.stems}
    return with_remainder(Estimates(spools, "cpu", "native", configuration.residual))


@given(descriptions())
def test_announced_stems_are_those_that_are_made(description: dict[str, Any]) -> None:
    made = given_by(read_configuration(description, "own.yaml"))
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "own.ckpt").touch()
        Path(folder, "own.yaml").write_text(json.dumps(description), encoding="utf-8")
        assert stems_of_model("own.ckpt", Path(folder)) == made.names
    assert len(set(made.names)) == len(made.names)
    assert len(made.spools) == description["model"]["num_stems"]


@given(descriptions())
def test_a_model_that_estimates_vocals_also_gives_an_instrumental(description: dict[str, Any]) -> None:
    """Both are what the webhook of an old client has."""
    made = given_by(read_configuration(description, "own.yaml"))
    assert "vocals" not in made.spools or "instrumental" in made.names


@given(descriptions())
def test_a_single_estimate_and_the_rest_add_up_to_the_song(description: dict[str, Any]) -> None:
    made = given_by(read_configuration(description, "own.yaml"))
    if len(made.spools) == 1:
        assert made.residual
        assert (made.residual.of, made.residual.factor) == (*made.spools, 1.0)
