"""Decoded frames in, float32 blocks with one sample rate and one number of channels out.

Joined streams may change rate, channels and sample format from frame to frame. Where the file's time stamps show a gap
in the sound, silence is inserted (see `Timeline`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

import av
import numpy as np

from uvr.audio.downmix import NO_POSITION, ChannelMix, channel_mix, channel_names
from uvr.audio.format import MAX_BLOCK_SAMPLES, AudioFormat, Block
from uvr.audio.resample import samples_of
from uvr.audio.timeline import Timeline
from uvr.errors import PermanentError

SAMPLE_RATES_HZ = range(4_000, 768_000 + 1)
"""Files far outside this range are not music, and resampling one of their blocks could exhaust the memory."""


class FrameConverter:
    """Converts the frames of one song to `target`.

    `declared_names` are the channel names that the file declares; they apply to frames without names of their own.
    """

    def __init__(self, target: AudioFormat, declared_names: tuple[str, ...], timeline: Timeline) -> None:
        self._target = target
        self._declared_names = declared_names
        self._timeline = timeline
        self._resampler: Any = None
        self._frame_format: object = None
        self._mix = ChannelMix(None)
        self._mix_notes: dict[str, None] = {}
        self.silence_samples = 0
        """How many of the samples so far are inserted silence; `Timeline` limits them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """How the blocks differ from the file, in sentences for the client; complete after the last block."""
        return *self._mix_notes, *self._timeline.notes()

    def blocks(self, frames: Iterable[Any]) -> Iterator[Block]:
        """The samples of `frames`; raises `PermanentError` for a frame that cannot be converted."""
        for frame, following in pairwise(chain(frames, [None])):
            if frame.sample_rate not in SAMPLE_RATES_HZ:
                raise PermanentError(f"A sample rate of {frame.sample_rate} Hz is not supported; 4 to 768 kHz are.")
            next_s = following.time if following else None
            silence_s = self._timeline.add(frame.time, frame.samples / frame.sample_rate, next_s)
            frame_format = frame.format.name, frame.layout.name, frame.sample_rate
            if silence_s or frame_format != self._frame_format:
                yield from self._convert(None)
                missing = round(silence_s * self._target.sample_rate)
                self.silence_samples += missing
                for start in range(0, missing, MAX_BLOCK_SAMPLES):
                    yield np.zeros((self._target.channels, min(MAX_BLOCK_SAMPLES, missing - start)), np.float32)
                self._configure(frame)
                self._frame_format = frame_format
            frame.pts = None
            yield from self._convert(frame)
        yield from self._convert(None)

    def _configure(self, frame: Any) -> None:
        names = channel_names(frame.layout)
        if set(names) == {NO_POSITION} and len(names) == len(self._declared_names):
            names = self._declared_names
        self._mix = channel_mix(names, self._target.channels)
        self._mix_notes |= dict.fromkeys(self._mix.notes)
        self._resampler = av.AudioResampler(
            # PyAV cannot handle more than eight planes, so more than two channels come interleaved.
            format="fltp" if len(names) <= 2 else "flt",
            layout=frame.layout.name,
            rate=self._target.sample_rate,
            frame_size=max(1, 2 * MAX_BLOCK_SAMPLES // max(len(names), 2)),
        )

    def _convert(self, frame: Any) -> Iterator[Block]:
        """The blocks that `frame` completes; for None, those that remain in the resampler."""
        try:
            for converted in self._resampler.resample(frame) if self._resampler else ():
                yield self._mix(samples_of(converted))
        except av.error.FFmpegError as error:
            channels = frame.layout.nb_channels if frame else 0
            message = f"The audio's {channels} channels cannot be converted; send it in stereo."
            raise PermanentError(message, ffmpeg=str(error)) from None
