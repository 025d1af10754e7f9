"""Float32 blocks in, an audio file out, as close to the song's own format as the file format allows.

Samples stored as integers are rounded to nearest once and saturate at full scale instead of wrapping around. Compressed
files declare how much padding their codec added, so players return exactly the samples that were written. WAV files
larger than 4 GiB become RF64, which tools for long recordings can read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self, cast

import av
import numpy as np

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
    """A lossy encoder: FFmpeg's name, the sample format it accepts, its sample rates in Hz, and its options."""

    name: str
    frame_format: str
    sample_rates: tuple[int, ...]
    options: Mapping[str, str] = field(default_factory=dict)
    bit_rate: int | None = None
    """Bits per second and channel; None if the options control it."""


# LAME's best variable bit rate (V0). With a constant one below 320 kbit/s (rates below 32 kHz have no higher ones) LAME
# makes music 5 % quieter, and the stems would no longer add up to the song.
_MP3 = _LossyCodec(
    "libmp3lame",
    "fltp",
    (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000),
    options={"flags": "+qscale", "global_quality": "0"},
)
_AAC = _LossyCodec("aac", "fltp", (*_MP3.sample_rates, 64_000, 88_200, 96_000), bit_rate=128_000)
# Opus accepts lower rates, but always decodes to 48 kHz.
_OPUS = _LossyCodec("libopus", "flt", (48_000,), bit_rate=96_000)

_LOSSY = {
    OutputFormat.MP3: _MP3,
    OutputFormat.M4A: _AAC,
    OutputFormat.OGG: _OPUS,
    OutputFormat.OPUS: _OPUS,
}
# FFmpeg's muxer for .m4a is "ipod", but it rejects covers; "mp4" differs only in the brand, which is set below.
_MUXERS = {OutputFormat.M4A: "mp4"}
_MUXER_OPTIONS: Mapping[OutputFormat, Mapping[str, str]] = {
    OutputFormat.WAV: {"rf64": "auto"},
    # Every player can read version 2.3 of ID3.
    OutputFormat.MP3: {"id3v2_version": "3"},
    OutputFormat.M4A: {"movflags": "faststart", "brand": "M4A "},
}


@dataclass(frozen=True)
class Encoding:
    """How the stems of one song are stored; `sample_rate` is in Hz, `channels` is 1 or 2."""

    output_format: OutputFormat
    sample_rate: int
    channels: int
    sample_format: SampleFormat
    """The file's sample format; for lossy files, the format that the encoder gets."""

    @property
    def max_sample(self) -> float:
        """The maximum sample value that does not clip; the minimum is -1.0, or -inf if the maximum is inf."""
        return 1.0 if self.output_format in _LOSSY else self.sample_format.max_sample


def encoding_for(song: AudioFormat, output_format: OutputFormat) -> Encoding:
    """The encoding in `output_format` that is closest to `song`.

    WAV files keep its sample format; FLAC files have 16 bits if the song has, otherwise 24. Rate and channels are kept,
    except that a lossy codec without the song's rate gets its next higher rate, or its highest one.
    """
    sample_format, sample_rate = song.sample_format, song.sample_rate
    if output_format is OutputFormat.FLAC and sample_format is not SampleFormat.INT16:
        sample_format = SampleFormat.INT24
    if lossy := _LOSSY.get(output_format):
        sample_format = SampleFormat.FLOAT32
        sample_rate = min((rate for rate in lossy.sample_rates if rate >= sample_rate), default=lossy.sample_rates[-1])
    return Encoding(output_format, sample_rate, song.channels, sample_format)


class AudioWriter:
    """Writes an audio file, which is complete when the `with` statement ends."""

    def __init__(self, path: Path, encoding: Encoding, tags: Tags = NO_TAGS) -> None:
        self._encoding = encoding
        self._layout = "mono" if encoding.channels == 1 else "stereo"
        self._samples = 0
        output_format = encoding.output_format
        # "bitexact" leaves FFmpeg's version out of the file, so equal songs give equal files.
        options = {"fflags": "bitexact", **_MUXER_OPTIONS.get(output_format, {})}
        if output_format is OutputFormat.M4A:
            # The length is written in ticks of the movie's clock, whose default is too coarse to count samples.
            options["movie_timescale"] = str(encoding.sample_rate)
        muxer = _MUXERS.get(output_format, output_format.value)
        # FFmpeg opens the file itself: with a Python file object the reason of a failed write would be lost.
        self._container = av.open(str(path.absolute()), "w", format=muxer, options=options)
        self._stream = self._add_stream()
        add_text(tags, self._container, self._stream, output_format)
        add_cover(tags, self._container, output_format)

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
        packed = sample_format.quantized(block).T.reshape(1, -1).astype(dtype)
        frame = av.AudioFrame.from_ndarray(packed, format=name, layout=self._layout)
        # Containers need the time stamps to mark the codec's padding.
        frame.sample_rate, frame.time_base = self._encoding.sample_rate, Fraction(1, self._encoding.sample_rate)
        frame.pts, self._samples = self._samples, self._samples + frame.samples
        self._container.mux(self._stream.encode(frame))

    def _add_stream(self) -> av.AudioStream:
        output_format, sample_format = self._encoding.output_format, self._encoding.sample_format
        lossy = _LOSSY.get(output_format)
        lossless_codec = sample_format.value if output_format is OutputFormat.WAV else output_format.value
        codec = lossy.name if lossy else lossless_codec
        options = dict(lossy.options) if lossy else {}
        added = self._container.add_stream(codec, rate=self._encoding.sample_rate, layout=self._layout, options=options)
        stream = cast("av.AudioStream", added)
        stream.format = lossy.frame_format if lossy else _FRAME_FORMATS[sample_format][0]
        if lossy and lossy.bit_rate:
            stream.bit_rate = lossy.bit_rate * self._encoding.channels
        return stream
