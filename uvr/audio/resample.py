"""Changing the sample rate of a stream of blocks, from the song's rate to the network's and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import av
import numpy as np

from uvr.audio.format import Block

# FFmpeg's default filter (32 taps) damages the top of the band: 48 → 44.1 → 48 kHz gives 35 dB SNR on noise below
# 20 kHz. This one gives 120 dB at the same speed.
FILTER = {"filter_size": "128", "cutoff": "0.97", "filter_type": "kaiser", "kaiser_beta": "12"}


def samples_of(frame: av.AudioFrame) -> Block:
    """The samples of a float32 frame, as a block of shape (channels, samples)."""
    samples = np.asarray(frame.to_ndarray(), np.float32)
    return samples if frame.format.is_planar else samples.reshape(frame.samples, -1).T


def resampled(blocks: Iterable[Block], from_hz: int, to_hz: int) -> Iterator[Block]:
    """`blocks` at another sample rate; sample 0 stays at time 0, the total length may be off by one sample.

    With equal rates the blocks pass through unchanged.
    """
    if from_hz == to_hz:
        yield from blocks
        return
    resampler = None
    for block in blocks:
        layout = "mono" if len(block) == 1 else "stereo"
        resampler = resampler or av.AudioResampler(format="fltp", layout=layout, rate=to_hz, options=FILTER)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format="fltp", layout=layout)
        frame.sample_rate = from_hz
        yield from map(samples_of, resampler.resample(frame))
    if resampler:
        yield from map(samples_of, resampler.resample(None))


def fit_to_length(blocks: Iterable[Block], samples: int, channels: int) -> Iterator[Block]:
    """`blocks`, cut or padded with silence to exactly `samples` samples."""
    missing = samples
    for block in blocks:
        if missing:
            yield block[:, :missing]
            missing -= min(missing, block.shape[1])
    if missing:
        yield np.zeros((channels, missing), np.float32)
