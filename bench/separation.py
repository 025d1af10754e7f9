"""The speed and memory of this engine compared with audio-separator: `python -m bench.separation [PART…]`.

Both separate the same songs with the same network, a stand-in of UVR-MDX-NET-Inst_HQ_4 (see `bench.standin`). They take
turns, in reverse order in every second round, and go on until their ratios agree (`bench.pairs`). This engine takes
part twice: with its own kernels, if there is a C compiler, and with the same version of ONNX Runtime as
audio-separator. Parts:

    cold:20     a process that starts, loads the network, separates one song of 20 s and ends
    warm:180    a song of 180 s in a process that has separated one before
    sizes       the installed size of each on disk

The default is sizes, cold:20 three times and warm:180 once, which takes about ten minutes on two cores; `--full` adds
warm:600, about twenty-five minutes more. The kernels' self-check runs before the measurement. Memory is the peak of the
process that separates (VmHWM). "ready" is the time from the start of the process until it can take a song: the network
is loaded and, for warm processes, warmed up as in the service. "outside" is the share of a song's time outside the
network. The real time factor is wall time divided by the song's length.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import standin
from bench.pairs import Pairs, agree, all_pairs, ratios_of, rounds_until
from bench.songs import made_song
from bench.support import (
    OURS,
    OURS_WITHOUT_KERNELS,
    ROOT,
    THEIR_ENVIRONMENT,
    THEIRS,
    Contender,
    contenders,
    install,
    load_average,
    machine,
    write_results,
)
from uvr.separation.native import bindings
from uvr.separation.native.bindings import InstructionSet

DEFAULT_PARTS = ("sizes", "cold:20", "warm:180")
MAX_MIB = 477
"""0.5 GB."""
FIRST_SONG_S = 7
"""The length of the song that warms up a worker: two segments."""
HEAD = """\
| song | process | engine | runs | wall s | real time factor | CPU s | peak MiB | ready s | outside | load |
|---|---|---|---|---|---|---|---|---|---|---|"""
LINE = (
    "| {song_s} s | {mode} | {engine} | {runs} | {wall_s:.1f} | {factor:.3f} | {cpu_s:.1f} | {peak_rss_mib:.0f} "
    "| {ready_s:.2f} | {outside:.1%} | {load:.1f} |"
)


@dataclass(frozen=True)
class Part:
    """Songs of one length in one kind of process."""

    mode: str
    song_s: int
    rounds: int


@dataclass(frozen=True)
class Run:
    """One song separated by one engine."""

    engine: str
    mode: str
    song_s: int
    wall_s: float
    cpu_s: float
    outside: float
    peak_rss_mib: float
    ready_s: float
    load: float
    """The load average of the machine before the run."""


@dataclass(frozen=True)
class Aim:
    """A target for one figure, and the value that was reached."""

    what: str
    aim: float
    reached: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the target is met."""
        return self.reached >= self.aim if self.at_least else self.reached <= self.aim

    @property
    def text(self) -> str:
        """The target in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.aim:g}"


@dataclass(frozen=True)
class Targets:
    """How many times as fast as audio-separator this engine shall be, and the share of its time beside the network."""

    cold_ratio: float
    warm_ratio: float
    outside: float


TARGETS = Targets(cold_ratio=3.6, warm_ratio=2.6, outside=0.025)
TARGETS_OF_AMX = Targets(cold_ratio=4.0, warm_ratio=4.5, outside=0.05)
"""On a processor with tiles the network takes less time, and everything else as much as before."""


def main() -> None:
    """Measure and report."""
    options = parsed_options()
    parts = [part for name in options.parts if (part := part_of(name, options.rounds))]
    model = standin.ensure() if options.model is None else options.model
    runs: list[Run] = []
    left_out = [OURS_WITHOUT_KERNELS] if options.without_onnxruntime else []
    with contenders(model) as all_engines, tempfile.TemporaryDirectory(prefix="uvr-bench-", dir=options.folder) as name:
        folder = Path(name)
        engines = [one for one in all_engines if one.name not in left_out]
        check_kernels(engines[0], folder)
        for part in parts:
            song = made_song(folder / f"song-{part.song_s}.wav", part.song_s)
            runs += (cold if part.mode == "cold" else warm)(engines, part, song, folder)
        sizes = installed_mb(folder) if "sizes" in options.parts else {}
    report(runs, sizes)


def parsed_options() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="This engine compared with audio-separator.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"cold:SECONDS, warm:SECONDS, sizes ({DEFAULT_PARTS})")
    parser.add_argument(
        "--rounds",
        type=int,
        default=0,
        help="runs per engine (3 for songs up to a minute, else 1), up to three times as many until ratios agree",
    )
    parser.add_argument(
        "--without-onnxruntime", action="store_true", help="leave out this engine on ONNX Runtime, to save time"
    )
    parser.add_argument("--full", action="store_true", help="add warm:600 to the parts")
    parser.add_argument("--model", type=Path, help="an MDX-Net file to use instead of the stand-in")
    parser.add_argument("--folder", type=Path, help="folder for songs and stems during the run (the temporary folder)")
    options = parser.parse_args()
    options.parts = [*(options.parts or DEFAULT_PARTS), *(["warm:600"] if options.full else [])]
    return options


def part_of(name: str, rounds: int) -> Part | None:
    """The part called `name` on the command line; None for `sizes`."""
    if name == "sizes":
        return None
    mode, _, seconds = name.partition(":")
    if mode not in {"cold", "warm"} or not seconds.isdecimal():
        raise SystemExit(f"{name} is not a part; use a form like cold:20, warm:180 or sizes")
    return Part(mode, int(seconds), rounds or (3 if int(seconds) <= 60 else 1))


def check_kernels(ours: Contender, folder: Path) -> None:
    """Separate a song, so that the self-check, which runs once per model and machine, is not part of a run."""
    first = made_song(folder / "first.wav", FIRST_SONG_S)
    with ours.start(folder / "log", warm=False) as worker:
        worker.separate(first, folder / "stems")


def in_turns(engines: list[Contender], rounds: int, runs: list[Run]) -> Iterable[Contender]:
    """Each engine once per round, in reverse order in every second round, until the ratios of the `runs` agree."""
    for number in rounds_until(lambda: agree(pairs_of(runs)), rounds):
        yield from engines if number % 2 == 0 else reversed(engines)


def pairs_of(runs: Iterable[Run]) -> Pairs:
    """The seconds of this engine and of audio-separator for a song, in each round."""
    ours, theirs = ([run.wall_s for run in runs if run.engine == engine] for engine in (OURS, THEIRS))
    return list(zip(ours, theirs, strict=True))


def cold(engines: list[Contender], part: Part, song: Path, folder: Path) -> list[Run]:
    """Every song in a new process. Each engine starts once before, so that files and compiled modules are cached."""
    for contender in engines:
        with contender.start(folder / "log", warm=False):
            pass
    runs: list[Run] = []
    for contender in in_turns(engines, part.rounds, runs):
        load = load_average()
        with contender.start(folder / "log", warm=False) as worker:
            figures = worker.separate(song, folder / "stems")
            figures |= worker.ended()
        runs.append(run_of(contender, part, figures, worker.ready_s, load))
    return runs


def warm(engines: list[Contender], part: Part, song: Path, folder: Path) -> list[Run]:
    """One process per engine, which is idle while the others run."""
    first = made_song(folder / "first.wav", FIRST_SONG_S)
    with ExitStack() as stack:
        workers = {one.name: stack.enter_context(one.start(folder / "log", warm=True)) for one in engines}
        for worker in workers.values():
            worker.separate(first, folder / "stems")
        runs: list[Run] = []
        for contender in in_turns(engines, part.rounds, runs):
            load = load_average()
            worker = workers[contender.name]
            runs.append(run_of(contender, part, worker.separate(song, folder / "stems"), worker.ready_s, load))
    return runs


def run_of(contender: Contender, part: Part, figures: dict[str, float], ready_s: float, load: float) -> Run:
    """The run with these figures; prints its time."""
    run = Run(contender.name, part.mode, part.song_s, ready_s=ready_s, load=load, **figures)
    print(f"{run.mode} {run.song_s} s  {run.engine}  {run.wall_s:.2f} s", file=sys.stderr)
    return run


def installed_mb(folder: Path) -> dict[str, float]:
    """The size on disk in MB of the packages that `make setup` installs and of audio-separator's environment."""
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    install(environment / "bin" / "python", "--requirement", str(ROOT / "requirements" / "local.txt"))
    return {OURS: disk_mb(environment), THEIRS: disk_mb(THEIR_ENVIRONMENT)}


def disk_mb(folder: Path) -> float:
    """The size as `du` counts it, without compiled modules, which depend on what was run before."""
    paths = (path for path in folder.rglob("*") if path.suffix != ".pyc")
    return sum(path.lstat().st_blocks for path in paths) * 512 / 1e6


def report(runs: list[Run], sizes: dict[str, float]) -> None:
    """Print the tables and write the same as JSON."""
    on = machine()
    rows = [row for part in dict.fromkeys((run.mode, run.song_s) for run in runs) for row in rows_of(part, runs)]
    aims = aims_of({(row["mode"], row["song_s"], row["engine"]): row for row in rows}, ratios_of_parts(runs), sizes)
    print(f"{on['cores']} cores of {on['processor']}; medians\n")
    print(HEAD)
    for row in rows:
        print(LINE.format(factor=row["wall_s"] / row["song_s"], **row))
    if sizes:
        print("\n| installed | MB |\n|---|---|")
        print("\n".join(f"| {engine} | {size:.0f} |" for engine, size in sizes.items()))
    print("\nSeconds of this engine, of audio-separator, and their ratio, round by round:\n")
    for mode, song_s in dict.fromkeys((run.mode, run.song_s) for run in runs):
        print(f"- {mode}, {song_s} s: {all_pairs(pairs_of(of_part(runs, mode, song_s)))}")
    print("\n| what | target | reached |\n|---|---|---|")
    print("\n".join(f"| {aim.what} | {aim.text} | {aim.reached:.3g}{'' if aim.met else ' (missed)'} |" for aim in aims))
    facts = {"machine": on, "runs": [asdict(run) for run in runs], "installed_mb": sizes}
    write_results("separation", facts | {"aims": [asdict(aim) | {"met": aim.met} for aim in aims]})


def has_amx() -> bool:
    """Whether the kernels use tiles here."""
    try:
        return bindings.load().best is InstructionSet.AMX
    except bindings.LibraryError:
        return False


def of_part(runs: list[Run], mode: str, song_s: int) -> list[Run]:
    """The runs of one part."""
    return [run for run in runs if (run.mode, run.song_s) == (mode, song_s)]


def ratios_of_parts(runs: list[Run]) -> dict[tuple[str, int], float]:
    """How many times as fast this engine is as audio-separator in each part, as the median over all rounds."""
    parts = dict.fromkeys((run.mode, run.song_s) for run in runs)
    return {part: statistics.median(ratios_of(pairs_of(of_part(runs, *part)))) for part in parts}


def rows_of(part: tuple[str, int], runs: list[Run]) -> Iterator[dict[str, Any]]:
    """The medians of each engine for one part."""
    for engine in (OURS, OURS_WITHOUT_KERNELS, THEIRS):
        same = [asdict(run) for run in of_part(runs, *part) if run.engine == engine]
        if not same:
            continue
        names = ("wall_s", "cpu_s", "outside", "peak_rss_mib", "ready_s", "load")
        medians = {name: statistics.median(run[name] for run in same) for name in names}
        yield {"mode": part[0], "song_s": part[1], "engine": engine, "runs": len(same)} | medians


def aims_of(
    rows: Mapping[tuple[str, int, str], Mapping[str, float]],
    ratios: Mapping[tuple[str, int], float],
    sizes: Mapping[str, float],
) -> list[Aim]:
    """The targets for the parts that were measured."""
    targets = TARGETS_OF_AMX if has_amx() else TARGETS
    aims = [
        Aim(f"{mode}, {song_s} s: times as fast", aim, ratios[mode, song_s], at_least=True)
        for mode, song_s, aim in (("cold", 20, targets.cold_ratio), ("warm", 180, targets.warm_ratio))
        if (mode, song_s) in ratios
    ]
    aims += [
        Aim(f"{mode}, {song_s} s: share of their peak memory", 0.25, ours["peak_rss_mib"] / theirs["peak_rss_mib"])
        for mode, song_s in (("cold", 20), ("warm", 600))
        if (ours := rows.get((mode, song_s, OURS))) and (theirs := rows.get((mode, song_s, THEIRS)))
    ]
    for (mode, song_s, engine), row in rows.items():
        if engine == OURS:
            aims.append(Aim(f"{mode}, {song_s} s: peak memory, MiB", MAX_MIB, row["peak_rss_mib"]))
    for mode, song_s, engine, what, figure, aim in (
        ("warm", 180, OURS_WITHOUT_KERNELS, "warm, 180 s, on ONNX Runtime: share outside the network", "outside", 0.02),
        ("warm", 180, OURS, "warm, 180 s: share outside the network", "outside", targets.outside),
        ("cold", 20, OURS, "start to ready, s", "ready_s", 0.7),
    ):
        if row := rows.get((mode, song_s, engine)):
            aims.append(Aim(what, aim, row[figure]))
    if sizes:
        aims.append(Aim("installed, MB", 500, sizes[OURS]))
    return aims


if __name__ == "__main__":
    main()
