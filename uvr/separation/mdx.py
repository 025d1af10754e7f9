"""The MDX-Net engine: one song in, two stems out, as a stream.

    decode → 44.1 kHz → spool (peak) → segments → STFT → network → inverse → overlap-add → spool → gain → encode

Promises: the result does not depend on the input's level; primary · compensate + secondary is the mixture again; the
stems have the source's rate, channels, sample format and length, to the sample; all is float32 until the last step;
memory is flat in the song's length, disk use beside the output is twice the song in float32.

The steps are those of UVR's MDX-Net (see `overlap`, `stft`), with the level mended: networks are not indifferent to it,
so every mixture is brought to the same peak before the network and its estimate back by the same factor.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from uvr.audio.decode import AudioReader
from uvr.audio.format import AudioFormat, Block
from uvr.audio.resample import cut_to_length, resampled
from uvr.errors import CancelledError, TransientError
from uvr.separation.engine import Separation
from uvr.separation.models import MdxParameters
from uvr.separation.network import Network
from uvr.separation.overlap import Segmentation
from uvr.separation.spool import Spool
from uvr.separation.stems import Stems, common_gain, names_of, write_stems
from uvr.separation.stft import Stft

NETWORK_RATE_HZ = 44_100
NETWORK_PEAK = 0.9
"""The level networks work at; UVR and audio-separator bring loud mixtures to the same one."""
FAINTEST_PEAK = 1e-30
"""Below it, the factor to `NETWORK_PEAK` would overflow in float32."""
RUMBLE_BINS = 3
"""The lowest bins, zero in what the networks were trained on."""

_DECODED, _SEPARATED = 0.02, 0.98


class MdxEngine:
    """A loaded MDX-Net model that separates songs, one at a time (see `engine.Engine`)."""

    def __init__(self, model_path: Path, parameters: MdxParameters, *, threads: int = 0) -> None:
        self._parameters = parameters
        self._network = Network(model_path, parameters, threads=threads)
        self._stft = Stft(
            n_fft=parameters.n_fft,
            hop_length=parameters.hop_length,
            dim_f=parameters.dim_f,
            frames=parameters.dim_t,
        )
        self._segment = parameters.hop_length * (parameters.dim_t - 1)

    @property
    def provider(self) -> str:
        """What the network really runs on: "cpu", "cuda"."""
        return self._network.provider

    def warm_up(self) -> None:
        """Run the network once on silence, so that the first song does not pay for what is set up at first use."""
        self._network.warm_up()

    def separate(
        self,
        source: Path,
        output_dir: Path,
        *,
        max_seconds: float,
        on_progress: Callable[[float], None],
        cancelled: Callable[[], bool],
    ) -> Separation:
        """Split `source` into <primary>.wav and <secondary>.wav under `output_dir`.

        `on_progress` gets a growing share of the work, 0.0 to 1.0, once per segment. Raises `PermanentError` for a
        source that is no audio or longer than `max_seconds`, `TransientError` when the disk is full, and
        `CancelledError` within a segment after `cancelled()` has become true. Nothing is left behind then.
        """
        watch = _Watch(on_progress, cancelled)
        with (
            _full_disk_explained(),
            AudioReader(source, max_seconds=max_seconds) as song,
            Spool(output_dir, song.format.channels) as mixture,
            Spool(output_dir, song.format.channels) as primary,
        ):
            length = _spool_mixture(song, mixture, watch)
            self._spool_primary(mixture, primary, watch)
            stems = self._stems(mixture, primary, song.format, length, watch)
            gain = common_gain(stems, song.format.sample_format)
            paths = write_stems(stems, output_dir, song.format, gain)
        on_progress(1.0)
        return Separation(
            stems=paths,
            audio_s=length / song.format.sample_rate,
            sample_rate=song.format.sample_rate,
            channels=song.format.channels,
            gain=gain,
            provider=self.provider,
        )

    def _spool_primary(self, mixture: Spool, primary: Spool, watch: _Watch) -> None:
        segmentation = Segmentation(mixture.samples, self._segment, trim=self._parameters.n_fft // 2)
        for block in segmentation.join(self._estimates(mixture, segmentation, watch)):
            primary.append(block if primary.channels == 2 else block.mean(axis=0, keepdims=True))

    def _estimates(self, mixture: Spool, segmentation: Segmentation, watch: _Watch) -> Iterator[Block]:
        """The primary stem's share of each segment, at the mixture's own level."""
        factor = NETWORK_PEAK / max(mixture.peak, FAINTEST_PEAK)
        starts = segmentation.starts
        for number, start in enumerate(starts, start=1):
            watch.check()
            segment = mixture.read(start, start + self._segment)
            yield self._estimate(segment * np.float32(factor)) / np.float32(factor)
            watch.report(_DECODED + (_SEPARATED - _DECODED) * number / len(starts))

    def _estimate(self, segment: Block) -> Block:
        """The primary stem in a `segment` of shape (1 or 2, samples), as (2, samples)."""
        stereo = np.broadcast_to(segment, (2, self._segment))
        if not stereo.any():
            # Digital silence has no stems, but a network with biases would hear some.
            return np.zeros(stereo.shape, np.float32)
        spectrum = self._stft.forward(stereo)
        spectrum[:, :RUMBLE_BINS] = 0
        return self._stft.inverse(self._network.run(spectrum))

    def _stems(self, mixture: Spool, primary: Spool, song: AudioFormat, length: int, watch: _Watch) -> Stems:
        """Both stems at the song's rate and length. The secondary is made when it is read: it needs no disk."""
        compensate = np.float32(self._parameters.compensate)

        def secondary_blocks() -> Iterator[Block]:
            for whole, part in zip(mixture.blocks(), primary.blocks(), strict=True):
                yield whole - compensate * part

        def at_song_rate(blocks: Callable[[], Iterator[Block]]) -> Callable[[], Iterator[Block]]:
            def fitted() -> Iterator[Block]:
                at_rate = resampled(blocks(), NETWORK_RATE_HZ, song.sample_rate)
                return watch.over(cut_to_length(at_rate, length, song.channels))

            return fitted

        names = names_of(self._parameters.primary_stem)
        return dict(zip(names, map(at_song_rate, (primary.blocks, secondary_blocks)), strict=True))


class _Watch:
    """What the caller wants to hear, and whether the result is still wanted."""

    def __init__(self, on_progress: Callable[[float], None], cancelled: Callable[[], bool]) -> None:
        self.report = on_progress
        self._cancelled = cancelled

    def check(self) -> None:
        if self._cancelled():
            raise CancelledError("The separation was stopped because its result is no longer wanted.")

    def over(self, blocks: Iterator[Block]) -> Iterator[Block]:
        """`blocks`, ending with `CancelledError` when they are no longer wanted."""
        for block in blocks:
            self.check()
            yield block


def _spool_mixture(song: AudioReader, mixture: Spool, watch: _Watch) -> int:
    """Decode the whole song into `mixture` at the network's rate; its length in samples at its own rate."""
    length = 0

    def counted() -> Iterator[Block]:
        nonlocal length
        for block in watch.over(song.blocks()):
            length += block.shape[1]
            yield block

    for block in resampled(counted(), song.format.sample_rate, NETWORK_RATE_HZ):
        mixture.append(block)
    watch.report(_DECODED)
    return length


@contextmanager
def _full_disk_explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise TransientError("The server's disk is full; the song will be tried again.") from error
