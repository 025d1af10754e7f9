"""Films for tests: a picture, and sound that begins late, has gaps, or comes in several tracks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.support.audio import Samples, noise

_FRAMES_PER_S = 25
_PICTURES = {".ts": "mpeg2video", ".mpg": "mpeg1video", ".flv": "flv1"}


@dataclass(frozen=True)
class Sound:
    """One audio track; each of `pauses` is a place in its sound and for how long the clock goes on there, in s."""

    samples: Samples = field(default_factory=lambda: noise(2))
    codec: str = "aac"
    rate: int = 44_100
    disposition: av.stream.Disposition = av.stream.Disposition.default
    pauses: tuple[tuple[float, float], ...] = ()


def write_film(path: Path, *sounds: Sound, picture_s: float = 2.0) -> Path:
    """A film with `sounds` in the container that the suffix of `path` names; without a picture if it lasts 0 s."""
    with av.open(str(path), "w") as container:
        packets = list(_pictures(container, path.suffix, picture_s)) if picture_s else []
        streams = [_stream(container, sound) for sound in sounds]
        for stream, sound in zip(streams, sounds, strict=True):
            packets += _sounds(stream, sound)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            container.mux(packet)
    return path


def _pictures(container: Any, suffix: str, seconds: float) -> Iterator[Any]:
    stream = container.add_stream(_PICTURES.get(suffix, "mpeg4"), rate=_FRAMES_PER_S)
    stream.width = stream.height = 64
    stream.pix_fmt = "yuv420p"
    for number in range(round(seconds * _FRAMES_PER_S)):
        image = av.VideoFrame(64, 64, "yuv420p")
        image.pts = number
        yield from stream.encode(image)
    yield from stream.encode(None)


def _stream(container: Any, sound: Sound) -> Any:
    layout = "mono" if len(sound.samples) == 1 else "stereo"
    stream = container.add_stream(sound.codec, rate=sound.rate, layout=layout)
    stream.disposition = sound.disposition
    return stream


def _sounds(stream: Any, sound: Sound) -> Iterator[Any]:
    size = stream.codec_context.frame_size or 1024
    resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, frame_size=size)
    packed = np.ascontiguousarray(sound.samples.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=stream.layout)
    frame.sample_rate, frame.pts = stream.rate, 0
    for part in [*resampler.resample(frame), *resampler.resample(None), None]:
        for packet in stream.encode(part):
            late_s = sum(length_s for at_s, length_s in sound.pauses if packet.pts * packet.time_base >= at_s)
            packet.pts += round(late_s / packet.time_base)
            packet.dts = packet.pts
            yield packet
