"""What a song takes beside the network, by class of work: `python -m bench.beside_network`.

One process separates a song of `--song-s` seconds (60) with the stand-in of UVR-MDX-NET-Inst_HQ_4, after a shorter one
(`--cold` leaves that out). Each moment counts for the innermost of the functions below that runs, on the thread that
separates; "CPU" is the time of all threads of the process in the same moments. `--rate-hz 48000` adds what resampling
takes. "At twice the speed" is the share that the class would have if only the network took half of its time.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import standin
from bench.songs import made_song
from bench.support import machine, write_results
from tests.support.song import separate_song
from uvr import logs
from uvr.audio.decode import AudioReader
from uvr.audio.encode import AudioWriter
from uvr.models.store import parameters_of
from uvr.separation import mixture, stem_streams, stem_writer
from uvr.separation.mdx.engine import MdxEngine
from uvr.separation.mdx.overlap_add import Segmentation
from uvr.separation.mdx.stft import Stft
from uvr.separation.native.stft import NativeStft
from uvr.separation.spool import Spool

NETWORK, REST = "network", "rest"
FIRST_SONG_S = 7
PLACES: list[tuple[Any, str, str]] = [
    (AudioReader, "__enter__", "open"),
    (AudioReader, "blocks", "decode"),
    (mixture, "read_tags", "tags"),
    (mixture, "resampled", "resample"),
    (stem_streams, "resampled", "resample"),
    (stem_writer, "resampled", "resample"),
    (Spool, "several", "samples to disk"),
    (Spool, "read", "samples from disk"),
    (MdxEngine, "_estimates", "level"),
    (Stft, "forward", "STFT"),
    (NativeStft, "forward", "STFT"),
    (Stft, "inverse", "inverse STFT"),
    (NativeStft, "inverse", "inverse STFT"),
    (Segmentation, "join", "overlap-add"),
    (stem_writer, "common_gain", "gain"),
    (stem_writer, "_sum_error_db", "sum of the stems"),
    (AudioWriter, "__init__", "encode"),
    (AudioWriter, "write", "encode"),
    (AudioWriter, "__exit__", "encode"),
]
"""The functions that are timed, and the class of work that each belongs to. Generators count while they run."""


@dataclass
class Clock:
    """Counts each moment for the innermost function that runs."""

    wall_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    _running: list[str] = field(default_factory=list)
    _since: tuple[float, float] = (0.0, 0.0)

    def around(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """`call`, whose time counts for the class `name`; if it makes an iterator, the time of each step."""

        def timed(*arguments: Any, **options: Any) -> Any:
            made = self._count(name, call, *arguments, **options)
            return self._steps(name, made) if isinstance(made, Iterator) else made

        return timed

    def _steps(self, name: str, made: Iterator[Any]) -> Iterator[Any]:
        while (step := self._count(name, next, made, self)) is not self:
            yield step

    def _count(self, name: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self._book()
        self._running.append(name)
        try:
            return call(*arguments, **options)
        finally:
            self._book()
            self._running.pop()

    def _book(self) -> None:
        now = time.perf_counter(), time.process_time()
        if self._running:
            name = self._running[-1]
            self.wall_s[name] = self.wall_s.get(name, 0.0) + now[0] - self._since[0]
            self.cpu_s[name] = self.cpu_s.get(name, 0.0) + now[1] - self._since[1]
        self._since = now


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="What a song takes beside the network.")
    parser.add_argument("--song-s", type=int, default=60, help="length of the song in seconds (60)")
    parser.add_argument("--rate-hz", type=int, default=44_100, help="sample rate of the song (44100)")
    parser.add_argument("--cold", action="store_true", help="the first song of the process")
    parser.add_argument("--model", type=Path, help="an MDX-Net file to use instead of the stand-in")
    options = parser.parse_args()
    logs.configure("warning", "json", process="bench")
    clock = measured(options.model or standin.ensure(), options.song_s, options.rate_hz, cold=options.cold)
    on = machine()
    print(f"{on['cores']} cores of {on['processor']}; a song of {options.song_s} s at {options.rate_hz} Hz\n")
    print("\n".join(table(clock)))
    write_results("beside_network", {"machine": on, "wall_s": clock.wall_s, "cpu_s": clock.cpu_s} | vars(options))


def measured(model: Path, song_s: int, rate_hz: int, *, cold: bool) -> Clock:
    """The times of one song."""
    clock = Clock()
    engine = MdxEngine(model, parameters_of(model))
    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as name:
        folder = Path(name)
        if not cold:
            separate_song(engine, made_song(folder / "first.wav", FIRST_SONG_S), folder, max_seconds=86_400)
        song = made_song(folder / "song.wav", song_s, rate_hz)
        engine._network.run = clock.around(engine._network.run, NETWORK)  # type: ignore[method-assign]
        originals = [(owner, place, owner.__dict__[place]) for owner, place, _ in PLACES]
        for owner, place, kind in PLACES:
            setattr(owner, place, timed(owner.__dict__[place], kind, clock))
        try:
            clock.around(separate_song, REST)(engine, song, folder, max_seconds=86_400)
        finally:
            for owner, place, original in originals:
                setattr(owner, place, original)
    return clock


def timed(found: Any, kind: str, clock: Clock) -> Any:
    """A function, or a class method, whose time counts for a class of work."""
    if isinstance(found, classmethod):
        return classmethod(clock.around(found.__func__, kind))
    return clock.around(found, kind)


def table(clock: Clock) -> list[str]:
    """The classes, those that take most first, and all that is beside the network."""
    wall_s, network_s = sum(clock.wall_s.values()), clock.wall_s[NETWORK]
    kinds = sorted(clock.wall_s, key=lambda kind: -clock.wall_s[kind])
    rows = [(kind, clock.wall_s[kind], clock.cpu_s[kind]) for kind in kinds]
    cpu_s = sum(clock.cpu_s.values()) - clock.cpu_s[NETWORK]
    lines = ["| class | ms | CPU ms | of the time | at twice the speed |", "|---|---|---|---|---|"]
    for kind, kind_s, kind_cpu_s in [*rows, ("all beside the network", wall_s - network_s, cpu_s)]:
        faster_s = kind_s / 2 if kind == NETWORK else kind_s
        shares = f"{kind_s / wall_s:.2%} | {faster_s / (wall_s - network_s / 2):.2%}"
        lines.append(f"| {kind} | {1e3 * kind_s:.1f} | {1e3 * kind_cpu_s:.1f} | {shares} |")
    return lines


if __name__ == "__main__":
    main()
