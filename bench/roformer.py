"""RoFormers on our kernels compared with audio-separator in torch: `make bench-roformer`.

Both load the same checkpoint with random weights, in the geometry of a well-known model (`bench.roformer_geometries`),
and take turns in reverse order in every second round, each in its own process with two threads: first one chunk of 8 s,
until the ratios agree (`bench.pairs`), then a song. torch is free to use what it likes; the kernels run with each
instruction set that `--isa` names, in each precision of `--precision` (INFERENCE_PRECISION).

The default, Kim's geometry with the widest instruction set and a song of 60 s, takes about twelve minutes on two cores,
nine of them in torch. `--geometry kim ep_317 --isa AVX512 AVX2` measures everything, which takes more than an hour.

Times are medians; ratios are medians of the ratios within each round. A chunk is measured with its STFT and inverse.
The peak of the memory is VmHWM of the process; "beside files" is the part that is not mapped from a file, which no
other process shares. "First start" is the time from the start of the process until it can take a song, with the
conversion of the checkpoint (by the first contender only) and the self-check; "start" is the same later. "SNR" compares
the estimates of a chunk with those of torch. The tables by class (`bench.roformer_classes`) show where the time of a
chunk goes, compared with the peak of float32, or of products of tiles in the L1 cache divided by the terms.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.pairs import Pairs, agree, all_pairs, ratios_of, rounds_until
from bench.roformer_classes import classes_of, table
from bench.roformer_geometries import (
    CHUNK_SAMPLES,
    FRAMES,
    GEOMETRIES,
    OVERLAPS,
    chunks_of,
    macs_of_chunk,
    write_model,
)
from bench.songs import made_music, made_song
from bench.support import (
    OURS,
    THEIR_ENVIRONMENT,
    THEIRS,
    Worker,
    machine,
    make_their_environment,
    write_model_lists,
    write_results,
)
from uvr.separation.instruction_sets import VARIABLE
from uvr.separation.native import bindings
from uvr.separation.native.bindings import InstructionSet
from uvr.separation.native.peak import Peak, peak_rate
from uvr.separation.roformer.configuration import NetworkShape

THREADS = 2
MORE_CORES = (4, 8)
MIN_RATIO = {"AMX": 7.0, "AVX512_BF16": 2.5, "AVX512": 2.5, "AVX2": 2.0}
"""How many times as fast as torch a chunk of Kim's geometry shall be."""
MAX_UNMAPPED_MIB, MAX_START_S = 1430, 1.0
"""1.5 GB."""


@dataclass
class Contender:
    """One engine, and what was measured of it."""

    engine: str
    instruction_set: str
    """Of the kernels; of torch, the widest one of this processor, which it is free to use."""
    precision: str = ""
    """INFERENCE_PRECISION of the kernels; "" leaves it as it is."""
    terms: int = 0
    """How many bfloat16 products the kernels add up for one product; 0 means float32."""
    first_start_s: float = 0.0
    first_start_unmapped_mib: float = 0.0
    start_s: float = 0.0
    chunk_s: list[float] = field(default_factory=list)
    one_thread_s: float = 0.0
    """A chunk with one thread; 0 if it was not measured."""
    song_wall_s: float = 0.0
    peak_mib: float = 0.0
    unmapped_mib: float = 0.0
    snr_db: float | None = None
    class_s: list[dict[str, float]] = field(default_factory=list)
    """Of the kernels, for each chunk: the seconds of each class."""

    @property
    def name(self) -> str:
        """Of the engine, and of its instruction set and precision if they were chosen."""
        if self.engine == THEIRS:
            return f"{self.engine}, torch float32"
        terms = f"{self.terms} term{'s' * (self.terms > 1)}" if self.terms else ""
        return ", ".join(filter(None, [self.engine, self.instruction_set, self.precision, terms]))

    def start(self, model: Path, threads: int = THREADS) -> Worker:
        """Its process, which loads `model`."""
        python = Path(sys.executable) if self.engine == OURS else THEIR_ENVIRONMENT / "bin" / "python"
        command = [str(python), "-m", "bench.roformer_worker", self.engine, str(model), str(threads)]
        precision = {"INFERENCE_PRECISION": self.precision} if self.precision else {}
        return Worker(command, model.parent / "log", **{VARIABLE: self.instruction_set.lower()}, **precision)

    def note(self, answer: dict[str, Any]) -> float:
        """Keep the highest memory of all jobs; returns the wall time of this one."""
        self.peak_mib = max(self.peak_mib, answer["peak_mib"])
        self.unmapped_mib = max(self.unmapped_mib, answer["unmapped_mib"])
        self.class_s += [answer["classes"]] if answer.get("classes") else []
        return float(answer.get("wall_s", 0))


def main() -> None:
    """Measure every geometry and report."""
    options = parsed_options()
    make_their_environment()
    library = bindings.load()
    sets = dict.fromkeys(library.resolved(InstructionSet[name]).name for name in options.isa)
    names = [*sets, library.best.name]
    peaks = peaks_of(Peak.MULTIPLY, names)
    tiles = peaks_of(Peak.TILES, names)
    found: dict[str, list[Contender]] = {}
    for geometry in options.geometry:
        ours = [Contender(OURS, name, precision) for name in sets for precision in options.precision]
        contenders = [*ours, Contender(THEIRS, library.best.name)]
        with tempfile.TemporaryDirectory(prefix="uvr-bench-", dir=options.folder) as name:
            measure(geometry, contenders, Path(name), options.rounds, options.song_s)
        found[geometry] = contenders
        peaks = {name: max(peaks[name], again) for name, again in peaks_of(Peak.MULTIPLY, names).items()}
    report(found, peaks, tiles, options.song_s)
    rows = {geometry: [asdict(each) for each in contenders] for geometry, contenders in found.items()}
    write_results(
        "roformer", {"machine": machine(), "peaks": peaks, "tiles": tiles, "song_s": options.song_s, "rows": rows}
    )


def peaks_of(peak: Peak, names: Iterable[str]) -> dict[str, float]:
    """The multiply-adds in a second that each instruction set can do at most."""
    return {name: peak_rate(peak, InstructionSet[name], THREADS) for name in names}


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="RoFormers on our kernels compared with audio-separator in torch.")
    parser.add_argument("--rounds", type=int, default=3, help="turns of a chunk for each engine (3), or more")
    parser.add_argument("--song-s", type=int, default=60, help="length of the song in seconds, 0 for no song (60)")
    sets = [one.name for one in InstructionSet]
    parser.add_argument("--isa", nargs="+", default=["BEST"], choices=sets, help="instruction sets of ours (BEST)")
    choices = ("auto", "float32", "bfloat16")
    parser.add_argument("--precision", nargs="+", default=[""], choices=choices, help="INFERENCE_PRECISION of ours")
    parser.add_argument("--geometry", nargs="+", default=["kim"], choices=GEOMETRIES, help="networks (kim)")
    parser.add_argument("--folder", type=Path, help="folder for models and songs during the run (the temporary folder)")
    options = parser.parse_args()
    if 0 < options.song_s < 10:
        parser.error("--song-s must be 0 or at least 10: both engines cut shorter songs into other chunks")
    return options


def measure(geometry: str, contenders: list[Contender], folder: Path, rounds: int, song_s: int) -> None:
    """Measure all contenders with one network."""
    model = write_model(folder, geometry)
    files = {"roformer_download_list": {"Roformer Model: bench": {model.name: model.with_suffix(".yaml").name}}}
    write_model_lists(folder, files, {})
    chunk = folder / "chunk.npy"
    np.save(chunk, music_of(CHUNK_SAMPLES))
    for one in contenders:
        with one.start(model) as worker:  # converts and checks
            one.first_start_s, one.first_start_unmapped_mib = worker.ready_s, worker.facts["unmapped_mib"]
    with ExitStack() as stack:
        workers = [stack.enter_context(one.start(model)) for one in contenders]
        for one, worker in zip(contenders, workers, strict=True):
            one.start_s, one.terms = worker.ready_s, worker.facts["terms"]
        for each, (one, worker) in turns(contenders, workers, rounds):
            one.chunk_s.append(one.note(worker.ask(chunk_job(chunk, each))))
        for one, worker in zip(contenders, workers, strict=True):
            if song_s:
                song = made_song(folder / f"song-{song_s}.wav", song_s)
                one.song_wall_s = one.note(worker.separate(song, folder / f"stems-{one.name}"))
    for number, one in enumerate(contenders):
        one.snr_db = snr_db(folder / f"estimate-{len(contenders) - 1}.npy", folder / f"estimate-{number}.npy")
        if one.engine == OURS:
            with one.start(model, threads=1) as worker:
                one.one_thread_s = worker.ask(chunk_job(chunk, number))["wall_s"]


def turns(
    contenders: list[Contender], workers: list[Worker], rounds: int
) -> Iterable[tuple[int, tuple[Contender, Worker]]]:
    """All of them with their numbers, in reverse order in every second round, until the ratios agree."""
    pairs = list(enumerate(zip(contenders, workers, strict=True)))

    def all_agree() -> bool:
        return all(agree(pairs_of(one, contenders[-1])) for one in contenders[:-1])

    for number in rounds_until(all_agree, rounds):
        yield from pairs if number % 2 == 0 else reversed(pairs)


def chunk_job(chunk: Path, number: int) -> dict[str, str]:
    """The job to estimate a chunk."""
    return {"chunk": str(chunk), "estimate": str(chunk.with_name(f"estimate-{number}.npy"))}


def music_of(samples: int) -> np.ndarray:
    """Music of shape (2, samples) in float32."""
    music = np.concatenate(list(made_music(samples / 44_100 + 1)))[:samples]
    return np.ascontiguousarray(music.T, np.float32) / np.float32(32768)


def snr_db(reference: Path, estimate: Path) -> float | None:
    """The signal-to-noise ratio of an estimate; None for the reference itself, and if there are none."""
    if reference == estimate or not reference.is_file():
        return None
    exact, found = (np.load(path).astype(np.float64) for path in (reference, estimate))
    return 10 * float(np.log10(np.sum(exact**2) / np.sum((exact - found) ** 2)))


def parallel_share(one_s: float, two_s: float) -> float:
    """The share of the work that runs in parallel, by Amdahl's law, from the times with one thread and with two."""
    return min(1.0, max(0.0, 2 * (1 - two_s / one_s)))


def seconds_with(cores: int, one_s: float, share: float) -> float:
    """What Amdahl's law gives for `cores` cores if `share` of the work runs in parallel."""
    return one_s * (1 - share + share / cores)


def report(found: dict[str, list[Contender]], peaks: dict[str, float], tiles: dict[str, float], song_s: int) -> None:
    """Print all tables. `peaks` are the multiply-adds in a second in float32, `tiles` those of tiles of bfloat16."""
    on = machine()
    print(f"{on['cores']} cores of {on['processor']}, {THREADS} threads; {peaks_shown(peaks, tiles)}\n")

    def peak_of(one: Contender) -> float:
        return tiles[one.instruction_set] / one.terms if one.terms else peaks[one.instruction_set]

    report_chunks(found, peak_of)
    report_pairs(found)
    report_classes(found, peak_of)
    if song_s:
        report_songs(found, song_s)
        report_more_cores(found, song_s)
    report_aims(found)


def peaks_shown(peaks: dict[str, float], tiles: dict[str, float]) -> str:
    """The peaks in words."""
    rates = (f"{name} {rate / 1e9:.1f} ({tiles[name] / 1e9:.1f})" for name, rate in peaks.items())
    return f"peak in GMAC/s of float32 (of tiles in bfloat16): {', '.join(rates)}"


def report_chunks(found: dict[str, list[Contender]], peak_of: Callable[[Contender], float]) -> None:
    """Speed and memory for one chunk, and the starts."""
    print(
        "| geometry | engine | s per chunk | GMAC/s | of the peak | times as fast | SNR, dB | peak MiB "
        f"| beside files, MiB | first start, s | its MiB beside files | start, s |\n{'|---' * 12}|"
    )
    for geometry, contenders in found.items():
        macs = macs_of_chunk(NetworkShape(**GEOMETRIES[geometry]), FRAMES)
        for one in contenders:
            if not one.chunk_s:
                continue
            seconds = statistics.median(one.chunk_s)
            rate, ratio = macs / seconds, ratio_of(one, contenders[-1])
            times = f"{seconds:.2f} ({min(one.chunk_s):.2f} to {max(one.chunk_s):.2f})"
            snr = "" if one.snr_db is None else f"{one.snr_db:.1f}"
            print(
                f"| {geometry}, {macs / 1e9:.0f} GMAC | {one.name} | {times} | {rate / 1e9:.1f} "
                f"| {rate / peak_of(one):.0%} | {ratio:.2f} | {snr} | {one.peak_mib:.0f} "
                f"| {one.unmapped_mib:.0f} | {one.first_start_s:.2f} | {one.first_start_unmapped_mib:.0f} "
                f"| {one.start_s:.2f} |"
            )


def pairs_of(ours: Contender, theirs: Contender) -> Pairs:
    """The seconds of both for a chunk, in each round."""
    return list(zip(ours.chunk_s, theirs.chunk_s, strict=True))


def ratio_of(ours: Contender, theirs: Contender) -> float:
    """How many times as fast `ours` is with a chunk, as the median over all rounds."""
    return statistics.median(ratios_of(pairs_of(ours, theirs)))


def report_pairs(found: dict[str, list[Contender]]) -> None:
    """What the ratios were made from."""
    print("\nSeconds of ours, of torch, and their ratio, round by round:\n")
    for geometry, contenders in found.items():
        for one in contenders[:-1]:
            print(f"- {geometry}, {one.name}: {all_pairs(pairs_of(one, contenders[-1]))}")


def report_classes(found: dict[str, list[Contender]], peak_of: Callable[[Contender], float]) -> None:
    """Where the time of a chunk goes."""
    for geometry, contenders in found.items():
        work = classes_of(NetworkShape(**GEOMETRIES[geometry]), FRAMES)
        for one in contenders[:-1]:
            if one.class_s:
                seconds = {name: statistics.median(each[name] for each in one.class_s) for name in one.class_s[0]}
                print(f"\n{geometry}, {one.name}: peak {peak_of(one) / 1e9:.1f} GMAC/s\n")
                print("\n".join(table(work, seconds, statistics.median(one.chunk_s), peak_of(one))))


def report_songs(found: dict[str, list[Contender]], song_s: int) -> None:
    """A whole song."""
    print(f"\n| geometry | song | overlap | chunks | engine | s | real time factor | times as fast |\n{'|---' * 8}|")
    for geometry, contenders in found.items():
        overlap = OVERLAPS[geometry]
        head = f"| {geometry} | {song_s} s | {overlap} | {chunks_of(song_s, overlap)}"
        for one in contenders:
            wall_s, ratio = one.song_wall_s, contenders[-1].song_wall_s / one.song_wall_s
            print(f"{head} | {one.name} | {wall_s:.1f} | {wall_s / song_s:.2f} | {ratio:.2f} |")


def report_more_cores(found: dict[str, list[Contender]], song_s: int) -> None:
    """What more cores would give: computed, not measured."""
    cores = " | ".join(f"{count} cores, computed" for count in MORE_CORES)
    print("\nReal time factors with more cores are computed by Amdahl's law from a chunk with one and two threads.\n")
    print(f"| geometry | engine | 1 thread, s | 2 threads, s | in parallel | 2 cores, measured | {cores} |")
    print("|---" * (6 + len(MORE_CORES)) + "|")
    for geometry, contenders in found.items():
        for one in contenders:
            if not one.one_thread_s or not one.chunk_s:
                continue
            two_s = statistics.median(one.chunk_s)
            share, factor = parallel_share(one.one_thread_s, two_s), one.song_wall_s / song_s
            more = [factor * seconds_with(count, one.one_thread_s, share) / two_s for count in MORE_CORES]
            computed = " | ".join(f"{each:.2f}" for each in more)
            print(
                f"| {geometry} | {one.name} | {one.one_thread_s:.2f} | {two_s:.2f} | {share:.1%} | {factor:.2f} "
                f"| {computed} |"
            )


def report_aims(found: dict[str, list[Contender]]) -> None:
    """Compare Kim's geometry with the targets."""
    print("\n| what, Kim's geometry | aim | reached |\n|---|---|---|")
    contenders = found.get("kim", [])
    for one in contenders[:-1]:
        if one.chunk_s and one.instruction_set in MIN_RATIO:
            aim, ratio = MIN_RATIO[one.instruction_set], ratio_of(one, contenders[-1])
            missed = "" if ratio >= aim else " (missed)"
            print(f"| {one.name}: times as fast as torch | at least {aim:g} | {ratio:.2f}{missed} |")
        for what, most, value in (
            ("memory beside files, MiB", MAX_UNMAPPED_MIB, one.unmapped_mib),
            ("start to ready after the conversion, s", MAX_START_S, one.start_s),
        ):
            missed = "" if value <= most else " (missed)"
            print(f"| {one.name}: {what} | at most {most:g} | {value:.2f}{missed} |")


if __name__ == "__main__":
    main()
