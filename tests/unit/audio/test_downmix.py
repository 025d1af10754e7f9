"""Where each channel of a song goes: no claim of a file makes one vanish without a word."""

from __future__ import annotations

import av
import numpy as np
import pytest

from uvr.audio.downmix import channel_mix, channel_names

HALF_POWER = 0.7071
MIXED_DOWN = "The song's {} channels were mixed down to stereo."


def weights(*places: str, channels: int = 2) -> list[list[float]]:
    """What each place gives to each channel that goes out, to four digits."""
    alone = np.eye(len(places), dtype=np.float32)
    return channel_mix(places, channels)(alone).T.astype(float).round(4).tolist()


@pytest.mark.parametrize("places", [("FL", "FR"), ("BL", "BR"), ("SL", "SR"), ("FC", "LFE"), ("NONE", "NONE")])
def test_two_channels_are_left_and_right_whatever_they_claim(places):
    assert weights(*places) == [[1, 0], [0, 1]]
    assert channel_mix(places, 2).notes == ()


def test_one_channel_stays_alone_wherever_it_stands():
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
def test_channels_with_a_place_go_to_its_side(layout, expected):
    places = channel_names(av.AudioLayout(layout))
    found = dict(zip(places, weights(*places), strict=True))
    assert {place: found[place] for place in expected} == expected


LAYOUTS = [
    *("2.1", "3.0", "3.0(back)", "4.0", "quad", "quad(side)", "3.1", "5.0", "5.0(side)", "4.1", "5.1", "5.1(side)"),
    *("6.0", "6.0(front)", "hexagonal", "6.1", "6.1(back)", "6.1(front)", "7.0", "7.0(front)", "7.1", "7.1(wide)"),
    *("5.1.2", "octagonal", "cube", "5.1.4", "7.1.2", "7.1.4", "9.1.4", "hexadecagonal", "22.2"),
    *("3 channels", "5 channels", "9 channels", "64 channels", "ambisonic 2", "BL+BR+LFE", "FC+LFE+DL+DR"),
]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_channel_of_every_layout_is_mixed_in_or_named(layout):
    places = channel_names(av.AudioLayout(layout))
    made = channel_mix(places, 2)
    assert made.notes[0] == MIXED_DOWN.format(len(places))
    silent = [place for place, sides in zip(places, weights(*places), strict=True) if not any(sides)]
    assert all(place in " ".join(made.notes[1:]) for place in silent)
    assert len(silent) < len(places)


@pytest.mark.parametrize("channels", [3, 9, 64])
def test_of_channels_that_say_no_place_none_is_lost(channels):
    made = channel_mix(("NONE",) * channels, 2)
    assert made.notes == (MIXED_DOWN.format(channels),)
    assert weights(*("NONE",) * channels) == [[1, 0], [0, 1], *[[HALF_POWER, HALF_POWER]] * (channels - 2)]


def test_what_is_not_in_the_mix_is_named():
    assert channel_mix(("FL", "FR", "LFE"), 2).notes[1:] == ("The song's LFE channel is not in the mix.",)
    both = channel_mix(("FL", "FR", "LFE", "DL", "DR"), 2).notes[1:]
    assert both == ("The song's channels LFE, DL, DR are not in the mix.",)


def test_a_song_of_nothing_but_bass_channels_is_not_silent():
    assert weights("LFE", "LFE", "LFE") == [[HALF_POWER, HALF_POWER]] * 3


def test_parts_with_other_channels_keep_their_level():
    assert weights("FC") == [[1, 1]]
    assert weights("FL", "FR", channels=1) == [[0.5], [0.5]]
    assert channel_mix(("FC",), 2).notes == ("The song has 2 and 1 channels by turns; the stems have 2.",)
