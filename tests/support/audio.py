"""Audio files of every kind for tests, written and read with PyAV directly and not with the code under test."""

from __future__ import annotations

import io
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


def noise(seconds: float, *, rate: int = 44100, channels: int = 2, peak: float = 0.5, seed: int = 0) -> Samples:
    """Uniform noise below 8 kHz whose largest sample is `peak`, faded in and out, of shape (channels, samples)."""
    samples = round(seconds * rate)
    spectrum = np.fft.rfft(np.random.default_rng(seed).uniform(-1, 1, (channels, samples)))
    spectrum[:, np.fft.rfftfreq(samples, 1 / rate) > min(8000, rate * 0.4)] = 0
    sound = np.fft.irfft(spectrum, samples)
    position = np.arange(samples)
    sound *= np.minimum(1, np.minimum(position, position[::-1]) / (0.05 * rate))
    return (sound * (peak / np.abs(sound).max())).astype(np.float32)


def chord(seconds: float, *, rate: int = 44100, channels: int = 2) -> Samples:
    """Notes up to 1.8 kHz that are struck three times a second: a sound that lossy codecs are made for."""
    time_s = np.arange(round(seconds * rate)) / rate
    tones = [
        sum(np.sin(2 * np.pi * tone_hz * (1 + channel / 1000) * time_s) for tone_hz in (220, 277, 330, 1760))
        for channel in range(channels)
    ]
    return (0.15 * np.stack(tones) * np.exp(-((time_s * 3) % 1))).astype(np.float32)


def write_audio(path: Path, sound: Samples, *, codec: str, rate: int = 44100, layout: str = "", **options: str) -> Path:
    """`sound`, of shape (channels, samples), encoded into the container that the suffix of `path` names."""
    layout = layout or ("mono" if len(sound) == 1 else "stereo")
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout, options=options)
        mux_audio(container, stream, sound)
    return path


def mux_audio(container: av.container.OutputContainer, stream: av.AudioStream, sound: Samples) -> None:
    """Encode `sound` in frames of the size that the codec wants."""
    size = stream.codec_context.frame_size or 4096
    resampler = av.AudioResampler(stream.format, stream.layout, stream.rate, frame_size=size)
    packed = np.ascontiguousarray(sound.T).reshape(1, -1)
    frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=stream.layout)
    frame.sample_rate, frame.pts = stream.rate, 0
    for part in [*resampler.resample(frame), *resampler.resample(None), None]:
        container.mux(stream.encode(part))


def encoded(sound: Samples, suffix: str, *, codec: str, rate: int = 44100, **options: str) -> bytes:
    """`sound` as the bytes of a file whose name would end in `suffix`."""
    with tempfile.TemporaryDirectory() as folder:
        return write_audio(Path(folder) / f"song{suffix}", sound, codec=codec, rate=rate, **options).read_bytes()


def read_audio(source: Path | bytes) -> Samples:
    """All samples of the first audio stream, float32 of shape (channels, samples)."""
    with av.open(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        frames = [part for frame in container.decode(stream) for part in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray() for frame in frames], axis=1)


def codec_of(path: Path) -> str:
    """FFmpeg's name of the codec of the first audio stream."""
    with av.open(str(path)) as container:
        return container.streams.audio[0].codec_context.name


def snr_db(true: Samples, estimate: Samples) -> float:
    """10·log10(Σs²/Σ(s-ŝ)²), in dB; the plain SDR when the estimate is a stem."""
    signal, error = true.astype(np.float64), true.astype(np.float64) - estimate
    return float(10 * np.log10((signal**2).sum() / max((error**2).sum(), 1e-300)))


def picture(codec: str) -> bytes:
    """A picture of 16 by 16 pixels as "mjpeg" or "png"."""
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.time_base = 16, 16, Fraction(1, 1)
    context.pix_fmt = {"mjpeg": "yuvj420p", "png": "rgb24"}[codec]
    frame = av.VideoFrame(16, 16, context.pix_fmt)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    return b"".join(bytes(packet) for part in (frame, None) for packet in context.encode(part))
