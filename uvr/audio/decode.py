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

from uvr.audio.container import EMPTY, audio_track, clock_may_jump, misread_bits, open_media, others_begin_s, refuse
from uvr.audio.duration_limit import claimed_seconds, max_samples, too_long
from uvr.audio.format import AudioFormat, Block, SampleFormat
from uvr.audio.frame_converter import FrameConverter
from uvr.audio.timeline import Timeline
from uvr.audio.wav_valid_bits import ValidBits
from uvr.errors import PermanentError

log = structlog.get_logger()


class AudioReader:
    """The song in a file (`audio_track`), decoded block by block; use it in a `with` statement.

    More than two channels are mixed down to stereo (`channels`), not scaled down, so samples may lie beyond full scale.
    The blocks together are exactly what the decoder gives, without the encoder padding that the container declares, and
    with silence where the container says that nothing sounds (`Timeline`). Raises `PermanentError` on entering when
    there is no audio to decode or clearly too much, and from `blocks` for an empty or too long one or samples that are
    no numbers.
    """

    format: AudioFormat

    def __init__(self, path: Path, *, max_seconds: float) -> None:
        self._path = path
        self._max_seconds = max_seconds
        self._damaged_packets = 0

    def __enter__(self) -> Self:
        self._sound_s = claimed_seconds(self._path, self._max_seconds)
        with ExitStack() as opened:
            file = opened.enter_context(self._path.open("rb"))
            self._bits = misread_bits(file)
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
        samples, most = 0, max_samples(self._max_seconds, self.format.sample_rate)
        for block in self._converter.blocks(self._frames):
            samples += block.shape[1]
            # A wrong clock may fill all that was allowed with silence, but makes no song too long.
            if samples - self._converter.silence_samples > most:
                raise too_long(most / self.format.sample_rate)
            if not np.isfinite(block).all():
                raise PermanentError("The audio has samples that are no numbers (NaN or infinite); export it again.")
            yield block
        if not samples:
            raise PermanentError(EMPTY)

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the song is not as its file has it, in sentences for its owner; complete behind the last block."""
        return *filter(None, [self._track.note]), *self._converter.notes

    def _begin(self) -> None:
        """The first frame tells the format: with some codecs (HE-AAC) the header has another rate."""
        self._track = audio_track(self._container)
        stream = self._track.stream
        frames = self._decoded(stream)
        first = next(frames, None)
        if first is None:
            self._refuse_nothing()
        sample_format = _sample_format(stream.codec_context.codec, first.format.name, self._bits)
        self.format = AudioFormat(first.sample_rate, min(first.layout.nb_channels, 2), sample_format)
        max_s = max_samples(self._max_seconds, self.format.sample_rate) / self.format.sample_rate
        timeline = Timeline(
            others_begin_s(self._container, stream),
            may_jump=clock_may_jump(self._container),
            allowed_s=max_s - self._sound_s,
        )
        self._converter = FrameConverter(self.format, self._track.places, timeline)
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


def _sample_format(codec: Any, frame_format: str, bits: ValidBits | None) -> SampleFormat:
    """What a decoded frame format stood for in the file: lossy codecs decode to float but are worth 16 bits."""
    name = frame_format.removesuffix("p")
    if not codec.lossless or name in {"u8", "s16"}:
        return SampleFormat.INT16
    if name in {"flt", "dbl"}:
        return SampleFormat.FLOAT32
    # FLAC, ALAC and the like hand out 24-bit samples as 32-bit frames, and some WAV files hold them so.
    all_count = codec.name.startswith("pcm_s32") and not (bits and bits.valid <= SampleFormat.INT24.bits)
    return SampleFormat.INT32 if all_count else SampleFormat.INT24
