"""Mixing a song's channels down to stereo or mono, with a note about each channel that is left out.

The weights are FFmpeg's (ITU-R BS.775). FFmpeg has none for height channels, ambisonics and channels without a
position; here every channel is either mixed in or named in a note, whatever layout a file declares.
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
_LEFT_OUT = (0.0, 0.0)

# Weights (left, right) by FFmpeg's channel names. Other names go by their last letter: TBL is left, TFC is centre.
_WEIGHTS = {
    "FL": (1.0, 0.0),
    "FR": (0.0, 1.0),
    "FLC": (1.0, 0.0),
    "FRC": (0.0, 1.0),
    "FC": _CENTRE,
    "LFE": _LEFT_OUT,
    "LFE2": _LEFT_OUT,
    # A ready stereo mix of the other channels.
    "DL": _LEFT_OUT,
    "DR": _LEFT_OUT,
    # First-order ambisonics: two virtual microphones that point to the left and to the right.
    "AMBI0": (0.5, 0.5),
    "AMBI1": (0.5, -0.5),
}
_BY_LAST_LETTER = {"L": _LEFT, "R": _RIGHT, "C": (0.5, 0.5)}
NO_POSITION = "NONE"
"""FFmpeg's name of a channel without a position."""

# Layouts of files that declare only a number of channels; FFmpeg's defaults, except that 3 channels have no LFE.
_DEFAULT_LAYOUTS = {
    3: ("FL", "FR", "FC"),
    4: ("FL", "FR", "FC", "BC"),
    5: ("FL", "FR", "FC", "BL", "BR"),
    6: ("FL", "FR", "FC", "LFE", "BL", "BR"),
    7: ("FL", "FR", "FC", "LFE", "BC", "SL", "SR"),
    8: ("FL", "FR", "FC", "LFE", "BL", "BR", "SL", "SR"),
}


@dataclass(frozen=True)
class ChannelMix:
    """Weights of shape (channels out, channels in), or None if the channels stay as they are."""

    weights: NDArray[np.float32] | None
    notes: tuple[str, ...] = ()
    """What is lost or changed, in sentences for the client."""

    def __call__(self, block: Block) -> Block:
        """`block` mixed to the number of output channels."""
        return block if self.weights is None else self.weights @ block


def channel_names(layout: Any) -> tuple[str, ...]:
    """FFmpeg's names of the channels of a PyAV layout; `NO_POSITION` for those without a position."""
    return tuple(channel.name for channel in layout.channels)


def declared_channel_names(stream: Any) -> tuple[str, ...]:
    """The channel names that the file declares for `stream`; call it before decoding.

    PyAV 18 frees an unusual channel order (film order: L C R Ls Rs LFE) twice, once with a frame and once with its
    layout, and the process dies. Therefore this replaces such an order by the bare number of channels in the decoder.
    """
    layout = stream.codec_context.layout
    names = channel_names(layout)
    if names and layout.name.startswith(f"{len(names)} channels"):
        stream.codec_context.layout = f"{len(names)} channels"
    return names


def channel_mix(names: Sequence[str], channels: int) -> ChannelMix:
    """The mix of channels called `names` to `channels` (1 or 2) channels.

    One channel is always mono and two are always left and right, whatever positions they declare: files whose two
    channels claim to be surround channels, or one of them the LFE, are stereo songs with a wrong declaration.
    """
    given = len(names)
    if given == channels:
        return ChannelMix(None)
    if given <= 2:
        weights = [[1.0], [1.0]] if given == 1 else [[0.5, 0.5]]
        note = f"The song changes between {channels} and {given} channels; the stems have {channels}."
        return ChannelMix(np.array(weights, np.float32), (note,))
    if set(names) == {NO_POSITION}:
        names = _DEFAULT_LAYOUTS.get(given, ("FL", "FR", *names[2:]))
    stereo = np.array([_stereo_weights(name) for name in names], np.float32).T
    if not stereo.any():  # only files with a wrong declaration have nothing but LFE channels
        stereo[:] = _HALF_POWER
    left_out = [name for name, sides in zip(names, stereo.T, strict=True) if not sides.any()]
    notes = [f"The song's {given} channels were mixed down to {'mono' if channels == 1 else 'stereo'}."]
    if left_out:
        which = f"channels {', '.join(left_out)} are" if len(left_out) > 1 else f"{left_out[0]} channel is"
        notes.append(f"The song's {which} not in the mix.")
    return ChannelMix(stereo if channels == 2 else stereo.mean(axis=0, keepdims=True), tuple(notes))


def _stereo_weights(name: str) -> tuple[float, float]:
    if name.startswith("AMBI"):
        return _WEIGHTS.get(name, _LEFT_OUT)
    return _WEIGHTS.get(name) or _BY_LAST_LETTER.get(name[-1:], _CENTRE)
