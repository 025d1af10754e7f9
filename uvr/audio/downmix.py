"""Which of a song's channels goes to which side when it is made stereo, and which have no place there.

The weights are FFmpeg's (ITU-R BS.775), which has none for some places: those above the listener, ambisonics, and
channels that say no place at all. Here every channel is mixed in or named, whatever a file claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uvr.audio.format import Block

_HALF_POWER = 0.5**0.5
_LEFT, _RIGHT, _CENTRE = (_HALF_POWER, 0.0), (0.0, _HALF_POWER), (_HALF_POWER, _HALF_POWER)
_NOWHERE = (0.0, 0.0)

# By FFmpeg's names of channels. Others go by their last letter: TBL is on the left, TFC in the middle.
_WEIGHTS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "FC": _CENTRE,
    "LFE": _NOWHERE,
    "LFE2": _NOWHERE,
    # A stereo mix of the channels, in the same file as these.
    "DL": _NOWHERE,
    "DR": _NOWHERE,
    # Of ambisonics, two microphones that look to the left and to the right.
    "AMBI0": (0.5, 0.5),
    "AMBI1": (0.5, -0.5),
}
_BY_LAST_LETTER = {"L": _LEFT, "R": _RIGHT, "C": (0.5, 0.5)}
UNPLACED = "NONE"
"""FFmpeg's name of a channel that says no place."""

# What files mean that only count their channels; FFmpeg's own choice, but that three channels have no bass channel.
_USUAL_PLACES = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


@dataclass(frozen=True)
class ChannelMix:
    """Weights of shape (channels out, channels in), or None for channels that stay as they are."""

    weights: NDArray[np.float32] | None
    notes: tuple[str, ...] = ()
    """What is lost or moved, in sentences for the song's owner."""

    def __call__(self, block: Block) -> Block:
        """`block` with as many channels as go out."""
        return block if self.weights is None else self.weights @ block


def channel_names(layout: Any) -> tuple[str, ...]:
    """FFmpeg's names of the channels of a PyAV layout, `UNPLACED` for those without."""
    return tuple(channel.name for channel in layout.channels)


def declared_channel_names(stream: Any) -> tuple[str, ...]:
    """The channels of a stream that is not decoded yet, as its file names them; the decoder then only counts some.

    PyAV 18 shares an unusual order of channels (film order: L C R Ls Rs LFE) between a frame and its layout without
    copying it, so both free it and the process dies. Behind this call no frame has such an order.
    """
    layout = stream.codec_context.layout
    places = channel_names(layout)
    if places and layout.name.startswith(f"{len(places)} channels"):
        stream.codec_context.layout = f"{len(places)} channels"
    return places


def channel_mix(places: Sequence[str], channels: int) -> ChannelMix:
    """How the channels at `places` become `channels`, 1 or 2.

    One channel is mono and two are left and right, whatever places they claim: files with two that claim to be behind
    the listener, or one of them the bass, are stereo songs with a wrong claim.
    """
    given = len(places)
    if given == channels:
        return ChannelMix(None)
    if given <= 2:
        weights = [[1.0], [1.0]] if given == 1 else [[0.5, 0.5]]
        note = f"The song has {channels} and {given} channels by turns; the stems have {channels}."
        return ChannelMix(np.array(weights, np.float32), (note,))
    placed = _placed(places)
    stereo = np.array([_weights(place) for place in placed], np.float32).T
    if not stereo.any():  # only in files that lie: a song is more than its bass
        stereo[:] = _HALF_POWER
    unheard = [place for place, sides in zip(placed, stereo.T, strict=True) if not sides.any()]
    notes = [f"The song's {given} channels were mixed down to {'mono' if channels == 1 else 'stereo'}."]
    if unheard:
        named = f"channels {', '.join(unheard)} are" if len(unheard) > 1 else f"{unheard[0]} channel is"
        notes.append(f"The song's {named} not in the mix.")
    return ChannelMix(stereo if channels == 2 else stereo.mean(axis=0, keepdims=True), tuple(notes))


def _placed(places: Sequence[str]) -> Sequence[str]:
    """Places for channels that say none: the usual ones of so many, or else left, right, and the rest in the middle."""
    if set(places) != {UNPLACED}:
        return places
    return _USUAL_PLACES.get(len(places), ("FL", "FR", *places[2:]))


def _weights(place: str) -> tuple[float, float]:
    if place.startswith("AMBI"):
        return _WEIGHTS.get(place, _NOWHERE)
    return _WEIGHTS.get(place) or _BY_LAST_LETTER.get(place[-1:], _CENTRE)
