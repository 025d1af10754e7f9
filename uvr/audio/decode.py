"""Any audio or video file in, float32 blocks out.

Promises: the length is counted on decoded samples and never taken from headers; memory use does not grow with the
file; every refusal is a sentence that says what is wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import av
import numpy as np
import structlog

from uvr.audio.container import (
    EMPTY_MESSAGE,
    audio_track,
    clock_may_jump,
    misread_bits,
    open_media,
    other_tracks_start_s,
    reject,
)
from uvr.audio.duration_limit import claimed_duration_s, max_samples, too_long_error
from uvr.audio.format import AudioFormat, Block, SampleFormat
from uvr.audio.frame_converter import FrameConverter
from uvr.audio.timeline import Timeline
from uvr.audio.wav_valid_bits import ValidBits
from uvr.errors import PermanentError

log = structlog.get_logger()


class AudioReader:
    """Decodes the song in a file (see `audio_track`) block by block; use it in a `with` statement.

    More than two channels are mixed down to stereo (see `downmix`) without scaling, so samples may exceed full scale.
    The blocks are exactly the decoder's output without the encoder padding that the container declares, and with
    silence where the container declares a gap (see `Timeline`). Entering raises `PermanentError` when there is no audio
    to decode or clearly too much; `blocks` raises it for an empty or too long song, or samples that are not numbers.
    """

    format: AudioFormat

    def __init__(self, path: Path, *, max_seconds: float) -> None:
        self._path = path
        self._max_seconds = max_seconds
        self._damaged_packets = 0

    def __enter__(self) -> Self:
        claimed_s = claimed_duration_s(self._path, self._max_seconds)
        with ExitStack() as opened:
            file = opened.enter_context(self._path.open("rb"))
            bits = misread_bits(file)
            self._container = opened.enter_context(open_media(file))
            self._start(claimed_s, bits)
            self._opened = opened.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._opened.close()

    def blocks(self) -> Iterator[Block]:
        """All samples in order, once, as blocks of shape (`format.channels`, up to 65536 samples)."""
        samples, limit = 0, max_samples(self._max_seconds, self.format.sample_rate)
        for block in self._converter.blocks(self._frames):
            samples += block.shape[1]
            # Wrong time stamps may fill the whole limit with silence, but do not make a song too long.
            if samples - self._converter.silence_samples > limit:
                raise too_long_error(limit / self.format.sample_rate)
            if not np.isfinite(block).all():
                raise PermanentError("The audio has samples that are not numbers (NaN or infinite); export it again.")
            yield block
        if not samples:
            raise PermanentError(EMPTY_MESSAGE)

    @property
    def notes(self) -> tuple[str, ...]:
        """How the blocks differ from the file, in sentences for the client; complete after the last block."""
        return *filter(None, [self._track.note]), *self._converter.notes

    def _start(self, claimed_s: float, bits: ValidBits | None) -> None:
        """Decode the first frame, which gives the format: with some codecs (HE-AAC) the header has another rate."""
        self._track = audio_track(self._container)
        stream = self._track.stream
        frames = self._decoded_frames(stream)
        first = next(frames, None)
        if first is None:
            if self._damaged_packets:
                reject("its audio data is damaged")
            raise PermanentError(EMPTY_MESSAGE)
        sample_format = _sample_format(stream.codec_context.codec, first.format.name, bits)
        self.format = AudioFormat(first.sample_rate, min(first.layout.nb_channels, 2), sample_format)
        max_s = max_samples(self._max_seconds, self.format.sample_rate) / self.format.sample_rate
        timeline = Timeline(
            other_tracks_start_s(self._container, stream),
            clock_may_jump=clock_may_jump(self._container),
            max_silence_s=max_s - claimed_s,
        )
        self._converter = FrameConverter(self.format, self._track.channel_names, timeline)
        self._frames = chain([first], frames)

    def _decoded_frames(self, stream: Any) -> Iterator[Any]:
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
            reject("most of its audio data is damaged")


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """Packets of `stream`, up to the point where a truncated file breaks off."""
    try:
        yield from container.demux(stream)
    except (av.error.FFmpegError, OSError) as error:
        log.warning("audio.truncated", ffmpeg=str(error))


def _sample_format(codec: Any, frame_format: str, bits: ValidBits | None) -> SampleFormat:
    """How the file stores its samples; lossy codecs decode to float but are worth 16 bits."""
    name = frame_format.removesuffix("p")
    if not codec.lossless or name in {"u8", "s16"}:
        return SampleFormat.INT16
    if name in {"flt", "dbl"}:
        return SampleFormat.FLOAT32
    # FLAC, ALAC and similar codecs decode 24-bit samples to 32-bit frames, and some WAV files store them in 32 bits.
    uses_all_bits = codec.name.startswith("pcm_s32") and not (bits and bits.valid <= SampleFormat.INT24.bits)
    return SampleFormat.INT32 if uses_all_bits else SampleFormat.INT24
