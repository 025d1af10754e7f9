"""The kernels compared with ONNX Runtime, for the network alone, and where their time goes: `make bench-network`.

Each contender is a process that computes the same segment, with one thread and with two: the kernels with each
instruction set in question, and ONNX Runtime, which uses the widest one. They take turns, in reverse order in every
second round, and go on until their ratios agree (`bench.pairs`). The network is the stand-in of UVR-MDX-NET-Inst_HQ_4
(`bench.standin`). Times are medians; ratios are medians of the ratios within each round. Memory is the peak of the
process (VmHWM). SNR compares each estimate with the same network in float64, which takes a minute and 8 GB once
(`--no-snr` skips it).

`--terms` chooses how many products of bfloat16 numbers the kernels add up for one product, 0 for none: float32. Without
it they choose as in the service.

The tables by class of layer (`bench.layers`) compare the kernels with what the same instruction set reaches in loops
that only multiply and add, or only read or write memory, on the same number of threads, measured before the turns.
With terms, the peak is that of products of tiles in the L1 cache, divided by the terms.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bench import standin
from bench.layers import Ceiling, measured, table, works
from bench.pairs import Pairs, agree, all_pairs, ratios_of, rounds_until
from bench.support import ROOT, best_bytes_per_s, machine, write_results
from bench.worker import peak_rss_mib
from uvr import logs
from uvr.models.store import parameters_of
from uvr.separation.mdx.stft import Spectrum
from uvr.separation.native import bindings
from uvr.separation.native.bindings import InstructionSet
from uvr.separation.native.graph_matcher import recognise
from uvr.separation.native.peak import Peak, peak_rate

KERNELS, RUNTIME = "kernels", "ONNX Runtime"
MIN_RATIO = {"AMX": 4.0, "AVX512_BF16": 2.4, "AVX512": 2.4, "AVX2": 1.6}
"""How many times as fast as ONNX Runtime, which is free to use AVX-512, the kernels shall be with two threads."""
MIN_SNR_DB = 75.0


@dataclass
class Contender:
    """A process with a loaded network, and the durations of its turns."""

    engine: str
    instruction_set: str
    """Of the kernels; "" for ONNX Runtime."""
    threads: int
    terms: int | None
    """Of the kernels; None until they have chosen."""
    process: subprocess.Popen[str]
    output: Path
    seconds: list[float] = field(default_factory=list)
    parts: list[list[list[float]]] = field(default_factory=list)
    """Of the kernels, for each turn: where its time went (see `NativeNetwork.seconds`)."""
    peak_mib: float = 0.0

    @property
    def name(self) -> str:
        """Of the engine, its instruction set and its terms."""
        terms = f"{self.terms} terms" if self.terms else ""
        return ", ".join(filter(None, [self.engine, self.instruction_set, terms]))

    @property
    def part_seconds(self) -> list[list[float]]:
        """The medians of the parts of all turns."""
        return [[statistics.median(step) for step in zip(*part, strict=True)] for part in zip(*self.parts, strict=True)]

    def take_turn(self) -> None:
        """Compute the segment once."""
        assert self.process.stdin
        assert self.process.stdout
        print("go", file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        self.seconds.append(answer["seconds"])
        self.parts.append(answer["parts"])
        self.terms = answer["terms"]
        self.peak_mib = answer["peak_mib"]


@dataclass(frozen=True)
class Limits:
    """What the processor can do at most with an instruction set: multiply-adds and bytes moved, each in a second."""

    floats_per_s: float
    tiles_per_s: float
    bytes_per_s: float

    def ceiling(self, terms: int | None) -> Ceiling:
        """For a network with so many terms."""
        return Ceiling(self.tiles_per_s / terms if terms else self.floats_per_s, self.bytes_per_s)


def main() -> None:
    """Measure all contenders and report; with `--serve`, be one of them."""
    options = parsed_options()
    model = standin.ensure()
    if options.serve:
        serve(options, model)
        return
    names = instruction_sets(options.isa, options.terms)
    limits = {(name, threads): limits_of(name, threads) for name in names for threads in options.threads}
    kernels = [(KERNELS, *choice) for choice in product(names, options.terms)]
    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as folder, ExitStack() as stack:
        segment = Path(folder) / "segment.npy"
        np.save(segment, standin.spectrum())
        contenders = [
            stack.enter_context(contender(*choice, segment, threads))
            for threads in options.threads
            for choice in [*kernels, (RUNTIME, "", None)]
        ]
        take_turns(contenders, options.rounds)
        snrs = [] if options.no_snr else snrs_db(model, np.load(segment), contenders)
        report(contenders, snrs)
    report_layers(model, contenders, limits)
    on = machine() | {"limits": {f"{name}, {threads}": vars(found) for (name, threads), found in limits.items()}}
    rows = [
        {"network": one.name, "threads": one.threads, "seconds": one.seconds, "peak_mib": one.peak_mib}
        | {"part_seconds": one.part_seconds}
        for one in contenders
    ]
    write_results("network", {"machine": on, "rows": rows, "snrs_db": snrs})


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The kernels compared with ONNX Runtime, for the network alone.")
    parser.add_argument(
        "--rounds", type=int, default=7, help="turns per contender (7), up to three times as many until ratios agree"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="numbers of threads (1 2)")
    parser.add_argument(
        "--isa",
        nargs="+",
        choices=[one.name for one in InstructionSet],
        help="instruction sets of the kernels (all of this processor but BASELINE, and without terms AVX512_BF16)",
    )
    parser.add_argument(
        "--terms",
        nargs="+",
        type=int,
        default=[None],
        help="bfloat16 products that the kernels add up for one product, 0 for float32 (as the service chooses)",
    )
    parser.add_argument("--no-snr", action="store_true", help="skip the comparison with float64")
    parser.add_argument("--serve", choices=(KERNELS, RUNTIME), help=argparse.SUPPRESS)
    parser.add_argument("--segment", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def instruction_sets(named: list[str] | None, terms: list[int | None]) -> list[str]:
    """The instruction sets to measure, each by its own name instead of BEST, and once."""
    library = bindings.load()
    same = {InstructionSet.BASELINE} | ({InstructionSet.AVX512_BF16} if not any(terms) else set())
    wide = [one for one in library.instruction_sets if one not in same] or [library.best]
    sets = [InstructionSet[name] for name in named] if named else wide
    return list(dict.fromkeys(library.resolved(one).name for one in sets))


def limits_of(name: str, threads: int) -> Limits:
    """What this processor can do at most with an instruction set."""
    isa = InstructionSet[name]
    floats, tiles = (peak_rate(peak, isa, threads) for peak in (Peak.MULTIPLY, Peak.TILES))
    return Limits(floats, tiles, best_bytes_per_s(isa, threads))


@contextmanager
def contender(engine: str, isa: str, terms: int | None, segment: Path, threads: int) -> Iterator[Contender]:
    """A process that loads the network and runs while the block does."""
    output = segment.with_name(f"{engine}-{isa}-{terms}-{threads}.npy")
    options = ["--segment", str(segment), "--output", str(output), "--threads", str(threads)]
    options += ["--isa", isa or "BEST", *([] if terms is None else ["--terms", str(terms)])]
    command = [sys.executable, "-m", "bench.network", "--serve", engine, *options]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        yield Contender(engine, isa, threads, terms, process, output)


def take_turns(contenders: list[Contender], rounds: int) -> None:
    """Let all compute the segment in turns: once to warm up, then `rounds` times, and more if the ratios differ."""
    for one in contenders:
        one.take_turn()
        one.seconds.clear()
        one.parts.clear()

    def all_agree() -> bool:
        return all(agree(pairs_of(one, contenders)) for one in contenders if one.engine == KERNELS)

    for number in rounds_until(all_agree, rounds):
        for one in contenders if number % 2 == 0 else reversed(contenders):
            one.take_turn()


def pairs_of(ours: Contender, contenders: list[Contender]) -> Pairs:
    """The seconds of the kernels and of ONNX Runtime with as many threads, in each round."""
    (theirs,) = (one for one in contenders if one.engine == RUNTIME and one.threads == ours.threads)
    return list(zip(ours.seconds, theirs.seconds, strict=True))


def serve(options: argparse.Namespace, model: Path) -> None:
    """What such a process does: compute the segment once for each line of input."""
    logs.configure("warning", "json", process="bench")
    network = loaded(options.serve, model, options.threads[0], options.isa[0], options.terms[0])
    spectrum = np.load(options.segment)
    for _ in sys.stdin:
        started = time.perf_counter()
        estimate = network.run(spectrum)
        seconds = time.perf_counter() - started
        np.save(options.output, estimate)
        parts = network.seconds if options.serve == KERNELS else []
        answer = {"seconds": seconds, "parts": parts, "terms": getattr(network, "terms", 0)}
        print(json.dumps(answer | {"peak_mib": peak_rss_mib()}), flush=True)


def loaded(engine: str, model: Path, threads: int, isa: str, terms: int | None) -> Any:
    """The loaded network; imports only what this contender needs."""
    if engine == RUNTIME:
        from uvr.separation.mdx.onnxruntime_network import OnnxRuntimeNetwork

        return OnnxRuntimeNetwork(model, parameters_of(model), threads=threads, device="cpu")
    from uvr.separation.native.network import NativeNetwork

    precision: dict[str, Any] = {} if terms is None else {"terms": terms}
    architecture = recognise(model.read_bytes())
    return NativeNetwork(architecture, threads=threads, instruction_set=InstructionSet[isa], **precision)


def snrs_db(model: Path, spectrum: Spectrum, engines: list[Contender]) -> list[float]:
    """The SNR of each estimate with respect to float64, in dB."""
    exact = in_double(model, spectrum)
    differences = (np.load(one.output).astype(np.float64) - exact for one in engines)
    return [10 * float(np.log10(np.sum(exact**2) / np.sum(difference**2))) for difference in differences]


def in_double(model: Path, spectrum: Spectrum) -> NDArray[np.float64]:
    """The output of the network in float64; stored, because it takes a minute."""
    from tests.support.in_double import run_in_double

    digest = hashlib.sha256(model.read_bytes() + spectrum.tobytes()).hexdigest()[:16]
    stored = ROOT / "bench" / "results" / f"exact-{digest}.npy"
    if not stored.is_file():
        stored.parent.mkdir(exist_ok=True)
        np.save(stored, run_in_double(onnx.load(model), spectrum))
    exact: NDArray[np.float64] = np.load(stored)
    return exact


def report(contenders: list[Contender], snrs: list[float]) -> None:
    """Print how fast, how large and how exact all are, and compare that with the targets."""
    on = machine()
    print(
        f"{on['cores']} cores of {on['processor']}; medians of {len(contenders[0].seconds)} turns, range in brackets\n"
    )
    print("| network | threads | seconds per segment | peak MiB | SNR to float64, dB |\n|---|---|---|---|---|")
    for number, one in enumerate(contenders):
        snr = f"{snrs[number]:.1f}" if snrs else ""
        seconds = f"{statistics.median(one.seconds):.2f} ({min(one.seconds):.2f} to {max(one.seconds):.2f})"
        print(f"| {one.name} | {one.threads} | {seconds} | {one.peak_mib:.0f} | {snr} |")
    print("\n| what | aim | reached |\n|---|---|---|")
    ours = [one for one in contenders if one.engine == KERNELS]
    for one in ours:
        what = f"{one.name}, {threads_of(one)}: times as fast as ONNX Runtime"
        ratio = statistics.median(ratios_of(pairs_of(one, contenders)))
        print_reached(what, MIN_RATIO.get(one.instruction_set), ratio, 2)
    if snrs:
        worst = min(snr for snr, one in zip(snrs, contenders, strict=True) if one.engine == KERNELS)
        print_reached("SNR to float64, dB", MIN_SNR_DB, worst, 1)
    for name in dict.fromkeys(one.name for one in ours):
        estimates = {np.load(one.output).tobytes() for one in ours if one.name == name}
        print(f"| {name}: different results for different numbers of threads | 1 | {len(estimates)} |")
    print("\nSeconds of the kernels, of ONNX Runtime, and their ratio, round by round:\n")
    for one in ours:
        print(f"- {one.name}, {threads_of(one)}: {all_pairs(pairs_of(one, contenders))}")


def print_reached(what: str, aim: float | None, reached: float, digits: int) -> None:
    """One row of the table of aims."""
    missed = " (missed)" if aim is not None and reached < aim else ""
    print(f"| {what} | {'' if aim is None else format(aim, 'g')} | {reached:.{digits}f}{missed} |")


def threads_of(one: Contender) -> str:
    """The number of threads in words."""
    return f"{one.threads} thread{'s' * (one.threads > 1)}"


def report_layers(model: Path, contenders: list[Contender], limits: dict[tuple[str, int], Limits]) -> None:
    """Print for the kernels where the time goes, by class of layer and level."""
    architecture = recognise(model.read_bytes())
    for one in contenders:
        if one.engine != KERNELS:
            continue
        ceiling = limits[one.instruction_set, one.threads].ceiling(one.terms)
        peak, bandwidth = ceiling.macs_per_s / 1e9, ceiling.bytes_per_s / 1e9
        print(f"\n{one.name}, {threads_of(one)}: peak {peak:.1f} GMAC/s, bandwidth {bandwidth:.1f} GB/s\n")
        parts = measured(list(works(architecture, one.terms or 0)), one.part_seconds, one.threads)
        print("\n".join(table(parts, statistics.median(one.seconds), ceiling)))


if __name__ == "__main__":
    main()
