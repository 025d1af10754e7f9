"""Any audio or video file in, float32 blocks out.

Promises: the length is counted on decoded samples, never believed from headers; memory does not grow with the file;
what is wrong is said in a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import av
import numpy as np
import structlog

from uvr.audio.format import BLOCK_SAMPLES, AudioFormat, Block, SampleFormat
from uvr.audio.length import most_samples, refuse_longer, too_long
from uvr.audio.media import EMPTY, first_audio_stream, open_media, refuse
from uvr.audio.resample import samples_of
from uvr.errors import PermanentError

log = structlog.get_logger()

SAMPLE_RATES_HZ = range(4_000, 768_000 + 1)
"""Far outside these a file is not music, and resampling one small block could fill the memory."""


class AudioReader:
    """The first audio stream of a file, decoded block by block; use it in a `with` statement.

    More than two channels are mixed down to stereo with FFmpeg's coefficients (ITU-R BS.775), not scaled down, so
    samples may lie beyond full scale. The blocks together are exactly what the decoder gives: encoder padding that the
    container declares is removed, gaps in the time stamps are not filled. Raises `PermanentError` on entering when
    there is no audio to decode or clearly too much, and from `blocks` for an empty or too long one or samples that are
    no numbers.
    """

    format: AudioFormat
    source_channels: int
    """How many channels the file has; `format` has as many, or 2 after a mix-down."""

    def __init__(self, path: Path, *, max_seconds: float) -> None:
        self._path = path
        self._max_seconds = max_seconds
        self._damaged_packets = 0

    def __enter__(self) -> Self:
        refuse_longer(self._path, self._max_seconds)
        with ExitStack() as opened:
            file = opened.enter_context(self._path.open("rb"))
            self._container = opened.enter_context(open_media(file))
            self._begin()
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def blocks(self) -> Iterator[Block]:
        """All samples in order, once, as blocks of shape (`format.channels`, up to 65536 samples)."""
        samples, most = 0, most_samples(self._max_seconds, self.format.sample_rate)
        for block in _converted(self._frames, self.format):
            samples += block.shape[1]
            if samples > most:
                raise too_long(most / self.format.sample_rate)
            if not np.isfinite(block).all():
                raise PermanentError("The audio has samples that are no numbers (NaN or infinite); export it again.")
            yield block
        if not samples:
            raise PermanentError(EMPTY)

    def _begin(self) -> None:
        """The first frame tells the format: with some codecs (HE-AAC) the header has another rate."""
        stream = first_audio_stream(self._container)
        frames = self._decoded(stream)
        first = next(frames, None)
        if first is None:
            self._refuse_nothing()
        self.source_channels = first.layout.nb_channels
        sample_format = _sample_format(stream.codec_context.codec, first.format.name)
        self.format = AudioFormat(first.sample_rate, min(self.source_channels, 2), sample_format)
        self._frames = chain([first], frames)

    def _decoded(self, stream: Any) -> Iterator[Any]:
        """Frames of `stream`; packets that cannot be decoded are left out, as players do."""
        packets = 0
        for packet in _packets(self._container, stream):
            packets += 1
            try:
                yield from packet.decode()
            except av.error.FFmpegError:  # decoders report damage with various classes
                self._damaged_packets += 1
        if self._damaged_packets:
            log.warning("audio.damaged", damaged_packets=self._damaged_packets, packets=packets)
        if self._damaged_packets * 2 > packets:
            refuse("most of its audio data is damaged")

    def _refuse_nothing(self) -> NoReturn:
        if self._damaged_packets:
            refuse("its audio data is damaged")
        raise PermanentError(EMPTY)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of `stream`; a file that breaks off in the middle ends there."""
    try:
        yield from container.demux(stream)
    except (av.error.FFmpegError, OSError) as error:
        log.warning("audio.truncated", ffmpeg=str(error))


def _sample_format(codec: Any, frame_format: str) -> SampleFormat:
    """What a decoded frame format stood for in the file: lossy codecs decode to float but are worth 16 bits."""
    name = frame_format.removesuffix("p")
    if not codec.lossless or name in {"u8", "s16"}:
        return SampleFormat.INT16
    if name in {"flt", "dbl"}:
        return SampleFormat.FLOAT32
    # FLAC, ALAC and the like hand out 24-bit samples as 32-bit frames.
    return SampleFormat.INT32 if codec.name.startswith("pcm_s32") else SampleFormat.INT24


def _converted(frames: Iterator[Any], target: AudioFormat) -> Iterator[Block]:
    """Frames as float32 blocks at the target's rate and channels; files may change both half-way (joined streams)."""
    resampler, setup = None, None
    for frame in frames:
        if (now := (frame.format.name, frame.layout, frame.sample_rate)) != setup:
            yield from _pushed(resampler, None)
            resampler, setup = _converter(frame.sample_rate, target), now
        frame.pts = None
        yield from _pushed(resampler, frame)
    yield from _pushed(resampler, None)


def _converter(from_hz: int, target: AudioFormat) -> av.AudioResampler:
    if from_hz not in SAMPLE_RATES_HZ:
        raise PermanentError(f"A sample rate of {from_hz} Hz is not supported; 4 to 768 kHz are.")
    layout = "mono" if target.channels == 1 else "stereo"
    return av.AudioResampler(format="fltp", layout=layout, rate=target.sample_rate, frame_size=BLOCK_SAMPLES)


def _pushed(resampler: av.AudioResampler | None, frame: Any) -> Iterator[Block]:
    try:
        for converted in resampler.resample(frame) if resampler else ():
            yield samples_of(converted)
    except av.error.FFmpegError as error:
        channels = frame.layout.nb_channels if frame else 0
        message = f"The audio's {channels} channels cannot be mixed down to stereo; send it in stereo."
        raise PermanentError(message, ffmpeg=str(error)) from None
