"""Frames as a decoder gives them in, float32 blocks of one rate and one number of channels out.

Files may change both on their way (joined streams). The time stamps of the frames are followed: where the file says
that nothing sounds, silence is inserted (`Timeline`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain, pairwise
from typing import Any

import av
import numpy as np

from uvr.audio.downmix import UNPLACED, ChannelMix, channel_mix, channel_names
from uvr.audio.format import MAX_BLOCK_SAMPLES, AudioFormat, Block
from uvr.audio.resample import samples_of
from uvr.audio.timeline import Timeline
from uvr.errors import PermanentError

SAMPLE_RATES_HZ = range(4_000, 768_000 + 1)
"""Far outside these a file is not music, and resampling one small block could fill the memory."""


class FrameConverter:
    """Converts the frames of one song to `target`; `places` are those of its channels where frames name none."""

    def __init__(self, target: AudioFormat, places: tuple[str, ...], timeline: Timeline) -> None:
        self._target = target
        self._places = places
        self._timeline = timeline
        self._resampler: Any = None
        self._setup: object = None
        self._mix = ChannelMix(None)
        self._mix_notes: dict[str, None] = {}
        self.silence_samples = 0
        """How many of the samples so far were inserted; the timeline bounds them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the song is not as it was, in sentences for its owner; complete behind the last block."""
        return *self._mix_notes, *self._timeline.notes()

    def blocks(self, frames: Iterable[Any]) -> Iterator[Block]:
        """The samples of `frames`; raises `PermanentError` for what cannot be converted."""
        for frame, following in pairwise(chain(frames, [None])):
            if frame.sample_rate not in SAMPLE_RATES_HZ:
                raise PermanentError(f"A sample rate of {frame.sample_rate} Hz is not supported; 4 to 768 kHz are.")
            next_s = following.time if following else None
            silence_s = self._timeline.add(frame.time, frame.samples / frame.sample_rate, next_s)
            setup = frame.format.name, frame.layout.name, frame.sample_rate
            if silence_s or setup != self._setup:
                yield from self._converted(None)
                yield from self._silence(silence_s)
                self._set_up(frame)
                self._setup = setup
            frame.pts = None
            yield from self._converted(frame)
        yield from self._converted(None)

    def _set_up(self, frame: Any) -> None:
        places = channel_names(frame.layout)
        if set(places) == {UNPLACED} and len(places) == len(self._places):
            places = self._places
        self._mix = channel_mix(places, self._target.channels)
        self._mix_notes |= dict.fromkeys(self._mix.notes)
        self._resampler = av.AudioResampler(
            # Planes of more than eight channels are more than PyAV can count.
            format="fltp" if len(places) <= 2 else "flt",
            layout=frame.layout.name,
            rate=self._target.sample_rate,
            frame_size=max(1, 2 * MAX_BLOCK_SAMPLES // max(len(places), 2)),
        )

    def _converted(self, frame: Any) -> Iterator[Block]:
        try:
            for converted in self._resampler.resample(frame) if self._resampler else ():
                yield self._mix(samples_of(converted))
        except av.error.FFmpegError as error:
            channels = frame.layout.nb_channels if frame else 0
            message = f"The audio's {channels} channels cannot be converted; send it in stereo."
            raise PermanentError(message, ffmpeg=str(error)) from None

    def _silence(self, seconds: float) -> Iterator[Block]:
        missing = round(seconds * self._target.sample_rate)
        self.silence_samples += missing
        while missing > 0:
            samples = min(missing, MAX_BLOCK_SAMPLES)
            missing -= samples
            yield np.zeros((self._target.channels, samples), np.float32)
