"""Float32 blocks in, an audio file out, made as the song was wherever the format can.

Samples that are stored as integers are rounded once, to nearest, and saturate at full scale instead of wrapping round.
Compressed files say how much padding their codec added, so that players give back the samples that were written. WAV
files beyond 4 GiB become RF64, which every reader of long recordings knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from numpy.typing import NDArray

from uvr.audio.format import AudioFormat, Block, SampleFormat
from uvr.audio.output_format import OutputFormat
from uvr.audio.tags import NO_TAGS, Tags, add_cover, add_text

_FRAME_FORMATS = {
    SampleFormat.INT16: ("s16", np.int16),
    SampleFormat.INT24: ("s32", np.int32),
    SampleFormat.INT32: ("s32", np.int32),
    SampleFormat.FLOAT32: ("flt", np.float32),
}


@dataclass(frozen=True)
class _LossyCodec:
    """A lossy encoder: FFmpeg's name of it, the sample format it takes, its rates in Hz, and its options."""

    name: str
    frame_format: str
    sample_rates: tuple[int, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    bit_rate: int | None = None
    """Bits per second for one channel; None leaves it to the options."""


# LAME's best variable bit rate (V0). At constant ones below 320 kbit/s, all there are below 32 kHz, it turns music down
# by 5 %, and a song's stems would not add up to it any more.
_MP3 = _LossyCodec(
    "libmp3lame",
    "fltp",
    (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    options={"flags": "+qscale", "global_quality": "0"},
)
_AAC = _LossyCodec("aac", "fltp", (*_MP3.sample_rates, 64_000, 88_200, 96_000), bit_rate=128_000)
# Opus has lower rates for its input, but whoever decodes the file gets 48 kHz.
_OPUS = _LossyCodec("libopus", "flt", (48_000,), bit_rate=96_000)

_LOSSY = {
    OutputFormat.MP3: _MP3,
    OutputFormat.M4A: _AAC,
    OutputFormat.OGG: _OPUS,
    OutputFormat.OPUS: _OPUS,
}
# FFmpeg's "ipod" would be the container of .m4a, but refuses covers; its "mp4" is the same but for the brand.
_CONTAINERS = {OutputFormat.M4A: "mp4"}


@dataclass(frozen=True)
class Encoding:
    """How the stems of one song are stored in `output_format`; `sample_rate` is in Hz, `channels` 1 or 2."""

    output_format: OutputFormat
    sample_rate: int
    channels: int
    sample_format: SampleFormat
    """Of the file, or, for a lossy one, of what its encoder is given."""

    @property
    def max_sample(self) -> float:
        """The largest sample that does not clip; -1.0 is the smallest, or -inf where there is no largest one."""
        return 1.0 if self.output_format in _LOSSY else self.sample_format.max_sample


def encoding_for(song: AudioFormat, output_format: OutputFormat) -> Encoding:
    """The encoding that comes closest to `song`.

    WAV files have its sample format; FLAC files have its 16 bits, or 24 for anything finer. Rate and channels are kept;
    where a lossy codec does not have the rate, it gets the next higher one it has, or else its highest.
    """
    sample_format, sample_rate = song.sample_format, song.sample_rate
    if output_format is OutputFormat.FLAC and sample_format is not SampleFormat.INT16:
        sample_format = SampleFormat.INT24
    if lossy := _LOSSY.get(output_format):
        sample_format = SampleFormat.FLOAT32
        sample_rate = min((rate for rate in lossy.sample_rates if rate >= sample_rate), default=lossy.sample_rates[-1])
    return Encoding(output_format, sample_rate, song.channels, sample_format)


class AudioWriter:
    """An audio file under construction; it is complete when the `with` statement ends."""

    def __init__(self, path: Path, encoding: Encoding, tags: Tags = NO_TAGS) -> None:
        self._encoding = encoding
        self._layout = "mono" if encoding.channels == 1 else "stereo"
        self._samples = 0
        form = encoding.output_format
        # FFmpeg opens the file itself: through a Python file it would lose the reason of a failed write.
        self._container = av.open(
            str(path.absolute()), "w", format=_CONTAINERS.get(form, form.value), options=_muxer_options(encoding)
        )
        self._stream = self._add_stream()
        add_text(tags, self._container, self._stream, form)
        add_cover(tags, self._container, form)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            if exc is None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def write(self, block: Block) -> None:
        """Append `block`, of shape (channels, samples)."""
        sample_format = self._encoding.sample_format
        name, dtype = _FRAME_FORMATS[sample_format]
        packed = _quantized(block, sample_format).T.reshape(1, -1).astype(dtype)
        frame = av.AudioFrame.from_ndarray(packed, format=name, layout=self._layout)
        # Without time stamps the containers could not tell where the codec's padding begins and ends.
        frame.sample_rate, frame.time_base = self._encoding.sample_rate, Fraction(1, self._encoding.sample_rate)
        frame.pts, self._samples = self._samples, self._samples + frame.samples
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self) -> av.AudioStream:
        lossy = _LOSSY.get(self._encoding.output_format)
        codec = lossy.name if lossy else self._lossless_codec()
        options = dict(lossy.options) if lossy else {}
        added = self._container.add_stream(codec, rate=self._encoding.sample_rate, layout=self._layout, options=options)
        stream = cast("av.AudioStream", added)
        stream.format = lossy.frame_format if lossy else _FRAME_FORMATS[self._encoding.sample_format][0]
        if lossy and lossy.bit_rate:
            stream.bit_rate = lossy.bit_rate * self._encoding.channels
        return stream

    def _lossless_codec(self) -> str:
        form = self._encoding.output_format
        return self._encoding.sample_format.value if form is OutputFormat.WAV else form.value


def _muxer_options(encoding: Encoding) -> dict[str, str]:
    """Options of FFmpeg's container formats; "bitexact" keeps FFmpeg's version out, so equal songs give equal files."""
    options = {
        OutputFormat.WAV: {"rf64": "auto"},
        # 2.3 is the version of ID3 that every player reads.
        OutputFormat.MP3: {"id3v2_version": "3"},
        # The length is given in ticks of the movie's clock, which by default are too coarse to tell samples.
        OutputFormat.M4A: {"movflags": "faststart", "brand": "M4A ", "movie_timescale": str(encoding.sample_rate)},
    }
    return {"fflags": "bitexact", **options.get(encoding.output_format, {})}


def _quantized(block: Block, sample_format: SampleFormat) -> NDArray[Any]:
    """Sample values as the frame holds them; 24-bit ones lie in the upper bits of 32, where FFmpeg takes them from."""
    if sample_format is SampleFormat.FLOAT32:
        return block
    scale = 2 ** (sample_format.bits - 1)
    # Float32 holds every integer of up to 24 bits, but cannot tell the largest 32-bit ones apart.
    exact = block.astype(np.float64) if sample_format is SampleFormat.INT32 else block
    values: NDArray[Any] = np.clip(np.rint(exact * scale), -scale, scale - 1)
    return values * 256 if sample_format is SampleFormat.INT24 else values
