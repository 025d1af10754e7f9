"""Float32 blocks in, a WAV file out, in any of the sample formats a source may have had.

Samples are rounded once, to nearest, and saturate at full scale instead of wrapping round. Files beyond 4 GiB become
RF64, which every reader of long recordings knows.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import av
import numpy as np
from numpy.typing import NDArray

from uvr.audio.format import AudioFormat, Block, SampleFormat

_FRAME_FORMATS = {
    SampleFormat.INT16: ("s16", np.int16),
    SampleFormat.INT24: ("s32", np.int32),
    SampleFormat.INT32: ("s32", np.int32),
    SampleFormat.FLOAT32: ("flt", np.float32),
}


class WavWriter:
    """A WAV file under construction; it is complete when the `with` statement ends."""

    def __init__(self, path: Path, audio_format: AudioFormat) -> None:
        self._format = audio_format
        self._layout = "mono" if audio_format.channels == 1 else "stereo"
        # FFmpeg opens the file itself: through a Python file it would lose the reason of a failed write.
        self._container = av.open(
            str(path.absolute()), "w", format="wav", options={"rf64": "auto", "fflags": "bitexact"}
        )
        codec = audio_format.sample_format.value
        stream = self._container.add_stream(codec, rate=audio_format.sample_rate, layout=self._layout)
        self._stream = cast("av.AudioStream", stream)
        self._stream.format = _FRAME_FORMATS[audio_format.sample_format][0]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._container.close()

    def write(self, block: Block) -> None:
        """Append `block`, of shape (channels, samples)."""
        name, dtype = _FRAME_FORMATS[self._format.sample_format]
        packed = _quantized(block, self._format.sample_format).T.reshape(1, -1).astype(dtype)
        frame = av.AudioFrame.from_ndarray(packed, format=name, layout=self._layout)
        frame.sample_rate = self._format.sample_rate
        self._container.mux(self._stream.encode(frame))


def _quantized(block: Block, sample_format: SampleFormat) -> NDArray[Any]:
    """Sample values as the frame holds them; 24-bit ones lie in the upper bits of 32, where FFmpeg takes them from."""
    if sample_format is SampleFormat.FLOAT32:
        return block
    scale = 2 ** (sample_format.bits - 1)
    # In float64, because float32 cannot tell the largest 32-bit integers apart.
    values: NDArray[np.float64] = np.clip(np.rint(block.astype(np.float64) * scale), -scale, scale - 1)
    return values * 256 if sample_format is SampleFormat.INT24 else values
