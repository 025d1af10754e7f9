"""Every channel of a song is mixed in or named in a note, whatever layout its file declares."""

from __future__ import annotations

import av
import numpy as np
import pytest

from uvr.audio.downmix import channel_mix, channel_names

HALF_POWER = 0.7071
MIXED_DOWN = "The song's {} channels were mixed down to stereo."


def weights(*names: str, channels: int = 2) -> list[list[float]]:
    """The weights of each channel in each output channel, to four digits."""
    alone = np.eye(len(names), dtype=np.float32)
    return channel_mix(names, channels)(alone).T.astype(float).round(4).tolist()


@pytest.mark.parametrize("names", [("FL", "FR"), ("BL", "BR"), ("SL", "SR"), ("FC", "LFE"), ("NONE", "NONE")])
def test_two_channels_are_left_and_right_whatever_they_declare(names):
    assert weights(*names) == [[1, 0], [0, 1]]
    assert channel_mix(names, 2).notes == ()


def test_one_channel_stays_mono_whatever_it_declares():
    assert weights("LFE", channels=1) == [[1]]


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("3.0", {"FL": [1, 0], "FR": [0, 1], "FC": [HALF_POWER, HALF_POWER]}),
        ("4.0", {"FL": [1, 0], "FR": [0, 1], "FC": [HALF_POWER, HALF_POWER], "BC": [0.5, 0.5]}),
        ("quad", {"FL": [1, 0], "FR": [0, 1], "BL": [HALF_POWER, 0], "BR": [0, HALF_POWER]}),
        ("7.1(wide)", {"FLC": [1, 0], "FRC": [0, 1], "LFE": [0, 0], "BL": [HALF_POWER, 0]}),
        ("7.1.4", {"SL": [HALF_POWER, 0], "TFL": [HALF_POWER, 0], "TBR": [0, HALF_POWER]}),
        ("22.2", {"TC": [0.5, 0.5], "TBC": [0.5, 0.5], "BFR": [0, HALF_POWER], "LFE2": [0, 0]}),
        ("ambisonic 1", {"AMBI0": [0.5, 0.5], "AMBI1": [0.5, -0.5], "AMBI2": [0, 0], "AMBI3": [0, 0]}),
    ],
)
def test_channels_with_a_position_go_to_its_side(layout, expected):
    names = channel_names(av.AudioLayout(layout))
    found = dict(zip(names, weights(*names), strict=True))
    assert {name: found[name] for name in expected} == expected


LAYOUTS = [
    *("2.1", "3.0", "3.0(back)", "4.0", "quad", "quad(side)", "3.1", "5.0", "5.0(side)", "4.1", "5.1", "5.1(side)"),
    *("6.0", "6.0(front)", "hexagonal", "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)", "7.1", "7.1(wide)"),
    *("5.1.2", "octagonal", "cube", "5.1.4", "7.1.2", "7.1.4", "9.1.4", "hexadecagonal", "22.2"),
    *("3 channels", "5 channels", "9 channels", "64 channels", "ambisonic 2", "BL+BR+LFE", "FC+LFE+DL+DR"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_channel_of_every_layout_is_mixed_in_or_named(layout):
    names = channel_names(av.AudioLayout(layout))
    mix = channel_mix(names, 2)
    assert mix.notes[0] == MIXED_DOWN.format(len(names))
    left_out = [name for name, sides in zip(names, weights(*names), strict=True) if not any(sides)]
    assert all(name in " ".join(mix.notes[1:]) for name in left_out)
    assert len(left_out) < len(names)


@pytest.mark.parametrize("channels", [3, 9, 64])
def test_channels_without_a_position_are_all_mixed_in(channels):
    mix = channel_mix(("NONE",) * channels, 2)
    assert mix.notes == (MIXED_DOWN.format(channels),)
    assert weights(*("NONE",) * channels) == [[1, 0], [0, 1], *[[HALF_POWER, HALF_POWER]] * (channels - 2)]


def test_channels_that_are_left_out_are_named():
    assert channel_mix(("FL", "FR", "LFE"), 2).notes[1:] == ("The song's LFE channel is not in the mix.",)
    both = channel_mix(("FL", "FR", "LFE", "DL", "DR"), 2).notes[1:]
    assert both == ("The song's channels LFE, DL, DR are not in the mix.",)


def test_a_song_with_only_lfe_channels_is_not_silent():
    assert weights("LFE", "LFE", "LFE") == [[HALF_POWER, HALF_POWER]] * 3


def test_parts_with_another_number_of_channels_keep_their_level():
    assert weights("FC") == [[1, 1]]
    assert weights("FL", "FR", channels=1) == [[0.5], [0.5]]
    assert channel_mix(("FC",), 2).notes == ("The song changes between 2 and 1 channels; the stems have 2.",)
