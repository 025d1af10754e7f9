"""How fast the engine is beside audio-separator, in one run: `python -m bench.separation [PART…]`.

Both separate the same songs with the same network, a stand-in of UVR-MDX-NET-Inst_HQ_4 (see `bench.standin`), in
turns: forwards in one round, backwards in the next. This engine takes part twice: as it comes, with its own kernels
where there is a C compiler, and on the same version of ONNX Runtime as audio-separator. Parts:

    cold:20     a process that starts, loads the network, separates one song of 20 s and ends
    warm:180    a song of 180 s in a process that has separated one before
    sizes       what either takes on disk when installed

Without parts: sizes, cold:20 three times and warm:180 once, about ten minutes on two cores; with `--full` warm:600
too, about twenty-five more. The kernels' self-check is made before. Memory is the peak of the process that separates
(VmHWM). "ready" is from the start of the process to its being ready for a song: network loaded, and for warm ones set
up as the service does it. "outside" is the share of a song's time that is not spent in the network. Real time factor
is wall time by the song's length.
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

DEFAULT_PARTS = ("sizes", "cold:20", "warm:180")
MOST_MIB = 763
"""0.8 GB."""
FIRST_SONG_S = 7
"""What warms a worker: two segments."""
HEAD = """\
| song | process | engine | runs | wall s | real time factor | CPU s | peak MiB | ready s | outside | load |
|---|---|---|---|---|---|---|---|---|---|---|"""
LINE = (
    "| {song_s} s | {mode} | {engine} | {runs} | {wall_s:.1f} | {factor:.3f} | {cpu_s:.1f} | {peak_rss_mib:.0f} "
    "| {ready_s:.2f} | {outside:.1%} | {load:.1f} |"
)


@dataclass(frozen=True)
class Part:
    """Songs of one length through one kind of process."""

    mode: str
    song_s: int
    rounds: int


@dataclass(frozen=True)
class Run:
    """One song through one engine."""

    engine: str
    mode: str
    song_s: int
    wall_s: float
    cpu_s: float
    outside: float
    peak_rss_mib: float
    ready_s: float
    load: float
    """Of the machine before the run: how many processes wanted a processor."""


@dataclass(frozen=True)
class Aim:
    """A figure that the engine should reach, and what it reached."""

    what: str
    aim: float
    reached: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.reached >= self.aim if self.at_least else self.reached <= self.aim

    @property
    def text(self) -> str:
        """The aim in words."""
        return f"{'at least' if self.at_least else 'at most'} {self.aim:g}"


def main() -> None:
    """Measure and report."""
    options = parsed_options()
    parts = [part for name in options.parts if (part := part_of(name, options.rounds))]
    model = standin.ensure() if options.model is None else options.model
    runs: list[Run] = []
    with contenders(model) as engines, tempfile.TemporaryDirectory(prefix="uvr-bench-", dir=options.folder) as name:
        folder = Path(name)
        check_kernels(engines[0], folder)
        for part in parts:
            song = made_song(folder / f"song-{part.song_s}.wav", part.song_s)
            runs += (cold if part.mode == "cold" else warm)(engines, part, song, folder)
        sizes = installed_mb(folder) if "sizes" in options.parts else {}
    report(runs, sizes)


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="This engine beside audio-separator.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"cold:SECONDS, warm:SECONDS, sizes ({DEFAULT_PARTS})")
    parser.add_argument("--rounds", type=int, default=0, help="runs of each engine (3 up to a minute of song, else 1)")
    parser.add_argument("--full", action="store_true", help="add warm:600 to the parts")
    parser.add_argument("--model", type=Path, help="another MDX-Net file than the stand-in")
    parser.add_argument("--folder", type=Path, help="where songs and stems are kept meanwhile (the temporary folder)")
    options = parser.parse_args()
    options.parts = [*(options.parts or DEFAULT_PARTS), *(["warm:600"] if options.full else [])]
    return options


def part_of(name: str, rounds: int) -> Part | None:
    """The part that the command line calls `name`; None for the sizes, which are no song."""
    if name == "sizes":
        return None
    mode, _, seconds = name.partition(":")
    if mode not in {"cold", "warm"} or not seconds.isdecimal():
        raise SystemExit(f"{name} is no part: write cold:20, warm:180 or sizes")
    return Part(mode, int(seconds), rounds or (3 if int(seconds) <= 60 else 1))


def check_kernels(ours: Contender, folder: Path) -> None:
    """Separate a song, so that the self-check, which is made once for a model on a machine, falls into no run."""
    first = made_song(folder / "first.wav", FIRST_SONG_S)
    with ours.start(folder / "log", warm=False) as worker:
        worker.separate(first, folder / "stems")


def in_turns(engines: list[Contender], rounds: int) -> Iterable[Contender]:
    """Each engine once a round, the order changing."""
    for number in range(rounds):
        yield from engines if number % 2 == 0 else reversed(engines)


def cold(engines: list[Contender], part: Part, song: Path, folder: Path) -> list[Run]:
    """Every song in a process of its own. One start goes first, so that files and compiled modules are at hand."""
    for contender in engines:
        with contender.start(folder / "log", warm=False):
            pass
    runs = []
    for contender in in_turns(engines, part.rounds):
        load = load_average()
        with contender.start(folder / "log", warm=False) as worker:
            figures = worker.separate(song, folder / "stems")
            figures |= worker.ended()
        runs.append(run_of(contender, part, figures, worker.ready_s, load))
    return runs


def warm(engines: list[Contender], part: Part, song: Path, folder: Path) -> list[Run]:
    """One process for each engine, idle while the others work."""
    first = made_song(folder / "first.wav", FIRST_SONG_S)
    with ExitStack() as stack:
        workers = {one.name: stack.enter_context(one.start(folder / "log", warm=True)) for one in engines}
        for worker in workers.values():
            worker.separate(first, folder / "stems")
        runs = []
        for contender in in_turns(engines, part.rounds):
            load = load_average()
            worker = workers[contender.name]
            runs.append(run_of(contender, part, worker.separate(song, folder / "stems"), worker.ready_s, load))
    return runs


def run_of(contender: Contender, part: Part, figures: dict[str, float], ready_s: float, load: float) -> Run:
    """The run with these figures."""
    run = Run(contender.name, part.mode, part.song_s, ready_s=ready_s, load=load, **figures)
    print(f"{run.mode} {run.song_s} s  {run.engine}  {run.wall_s:.2f} s", file=sys.stderr)
    return run


def installed_mb(folder: Path) -> dict[str, float]:
    """Megabytes on disk: the service's packages as `make setup` installs them, and audio-separator's environment."""
    environment = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    install(environment / "bin" / "python", "--requirement", str(ROOT / "requirements" / "local.txt"))
    return {OURS: disk_mb(environment), THEIRS: disk_mb(THEIR_ENVIRONMENT)}


def disk_mb(folder: Path) -> float:
    """As `du` counts, compiled modules left out: which of them are there depends on what was run."""
    paths = (path for path in folder.rglob("*") if path.suffix != ".pyc")
    return sum(path.lstat().st_blocks for path in paths) * 512 / 1e6


def report(runs: list[Run], sizes: dict[str, float]) -> None:
    """The tables, and the same as JSON."""
    on = machine()
    rows = [row for part in dict.fromkeys((run.mode, run.song_s) for run in runs) for row in rows_of(part, runs)]
    aims = aims_of({(row["mode"], row["song_s"], row["engine"]): row for row in rows}, sizes)
    print(f"{on['cores']} cores of {on['processor']}; medians\n")
    print(HEAD)
    for row in rows:
        print(LINE.format(factor=row["wall_s"] / row["song_s"], **row))
    if sizes:
        print("\n| installed | MB |\n|---|---|")
        print("\n".join(f"| {engine} | {size:.0f} |" for engine, size in sizes.items()))
    print("\n| what | aim | reached |\n|---|---|---|")
    print("\n".join(f"| {aim.what} | {aim.text} | {aim.reached:.3g}{'' if aim.met else ' (missed)'} |" for aim in aims))
    facts = {"machine": on, "runs": [asdict(run) for run in runs], "installed_mb": sizes}
    write_results("separation", facts | {"aims": [asdict(aim) | {"met": aim.met} for aim in aims]})


def rows_of(part: tuple[str, int], runs: list[Run]) -> Iterator[dict[str, Any]]:
    """The medians of each engine for one part."""
    for engine in (OURS, OURS_WITHOUT_KERNELS, THEIRS):
        same = [asdict(run) for run in runs if (run.mode, run.song_s) == part and run.engine == engine]
        names = ("wall_s", "cpu_s", "outside", "peak_rss_mib", "ready_s", "load")
        medians = {name: statistics.median(run[name] for run in same) for name in names}
        yield {"mode": part[0], "song_s": part[1], "engine": engine, "runs": len(same)} | medians


def aims_of(rows: Mapping[tuple[str, int, str], Mapping[str, float]], sizes: Mapping[str, float]) -> list[Aim]:
    """What should be reached, as far as it was measured."""
    aims = []

    def compare(what: str, mode: str, song_s: int, figure: str, aim: float, *, theirs_by_ours: bool) -> None:
        ours, theirs = rows.get((mode, song_s, OURS)), rows.get((mode, song_s, THEIRS))
        if ours and theirs:
            ratio = theirs[figure] / ours[figure]
            aims.append(Aim(what, aim, ratio if theirs_by_ours else 1 / ratio, at_least=theirs_by_ours))

    compare("cold, 20 s: times as fast", "cold", 20, "wall_s", 3.2, theirs_by_ours=True)
    compare("warm, 180 s: times as fast", "warm", 180, "wall_s", 2.0, theirs_by_ours=True)
    compare("cold, 20 s: share of their peak memory", "cold", 20, "peak_rss_mib", 0.25, theirs_by_ours=False)
    compare("warm, 600 s: share of their peak memory", "warm", 600, "peak_rss_mib", 0.25, theirs_by_ours=False)
    for (mode, song_s, engine), row in rows.items():
        if engine == OURS:
            aims.append(Aim(f"{mode}, {song_s} s: peak memory, MiB", MOST_MIB, row["peak_rss_mib"]))
    if plain := rows.get(("warm", 180, OURS_WITHOUT_KERNELS)):
        aims.append(Aim("warm, 180 s, on ONNX Runtime: share outside the network", 0.02, plain["outside"]))
    if ours := rows.get(("warm", 180, OURS)):
        aims.append(Aim("start to ready, warmed up, s", 1.5, ours["ready_s"]))
    if sizes:
        aims.append(Aim("installed, MB", 500, sizes[OURS]))
    return aims


if __name__ == "__main__":
    main()
