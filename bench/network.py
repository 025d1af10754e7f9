"""How fast the kernels are beside ONNX Runtime, in one run, the network alone: `python -m bench.network`.

Each is a process of its own that computes the same segment, with one thread and with two, in turns: forwards in one
round, backwards in the next. The network is the stand-in of UVR-MDX-NET-Inst_HQ_4 (`bench.standin`). Times are medians;
so are ratios, which are made inside each round. Memory is the peak of the process (VmHWM). SNR is that of each estimate
to the same network in float64, which takes a minute and 8 GB once (`--no-snr` leaves it out).
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
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from bench import standin
from bench.support import ROOT, machine, write_results
from bench.worker import peak_rss_mib
from uvr import logs
from uvr.models.store import parameters_of
from uvr.separation.mdx.stft import Spectrum
from uvr.separation.native.bindings import InstructionSet

KERNELS, RUNTIME = "kernels", "ONNX Runtime"
LEAST_RATIO, MIN_SNR_DB = 1.9, 75.0


@dataclass
class Contender:
    """A process with a loaded network, and how long its turns took."""

    name: str
    threads: int
    process: subprocess.Popen[str]
    output: Path
    seconds: list[float] = field(default_factory=list)
    peak_mib: float = 0.0

    def take_turn(self) -> None:
        """Compute the segment once."""
        assert self.process.stdin
        assert self.process.stdout
        print("go", file=self.process.stdin, flush=True)
        answer = json.loads(self.process.stdout.readline())
        self.seconds.append(answer["seconds"])
        self.peak_mib = answer["peak_mib"]


def main() -> None:
    """Let each have its turns, report; or be one of those who have them."""
    options = parsed_options()
    model = standin.ensure()
    if options.serve:
        serve(options.serve, model, options.segment, options.threads[0], options.isa)
        return
    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as name, ExitStack() as stack:
        segment = Path(name) / "segment.npy"
        np.save(segment, standin.spectrum())
        engines = [
            stack.enter_context(contender(engine, segment, threads, options.isa))
            for threads in options.threads
            for engine in (KERNELS, RUNTIME)
        ]
        for number in range(-1, options.rounds):
            for one in engines if number % 2 == 0 else reversed(engines):
                one.take_turn()
                if number < 0:  # it warms everything up
                    one.seconds.clear()
        snrs = [] if options.no_snr else snrs_db(model, np.load(segment), engines)
        report(engines, snrs, options)


def parsed_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="The kernels beside ONNX Runtime, the network alone.")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (7)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="threads to compute with (1 2)")
    parser.add_argument("--isa", default="BEST", choices=[one.name for one in InstructionSet], help="of the kernels")
    parser.add_argument("--no-snr", action="store_true", help="leave the comparison with float64 out")
    parser.add_argument("--serve", choices=(KERNELS, RUNTIME), help=argparse.SUPPRESS)
    parser.add_argument("--segment", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


@contextmanager
def contender(name: str, segment: Path, threads: int, isa: str) -> Iterator[Contender]:
    """A process that has loaded the network, until the block ends."""
    options = ["--segment", str(segment), "--threads", str(threads), "--isa", isa]
    command = [sys.executable, "-m", "bench.network", "--serve", name, *options]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=ROOT, **pipes) as process:
        yield Contender(name, threads, process, segment.with_name(f"{name}-{threads}.npy"))


def serve(name: str, model: Path, segment: Path, threads: int, isa: str) -> None:
    """The inside of such a process: a segment for each line."""
    logs.configure("warning", "json", process="bench")
    network = loaded(name, model, threads, isa)
    spectrum = np.load(segment)
    for _ in sys.stdin:
        started = time.perf_counter()
        estimate = network.run(spectrum)
        seconds = time.perf_counter() - started
        np.save(segment.with_name(f"{name}-{threads}.npy"), estimate)
        print(json.dumps({"seconds": seconds, "peak_mib": peak_rss_mib()}), flush=True)


def loaded(name: str, model: Path, threads: int, isa: str) -> Any:
    """The network; what the other one needs is not imported."""
    if name == RUNTIME:
        from uvr.separation.mdx.onnxruntime_network import Network

        return Network(model, parameters_of(model), threads=threads, device="cpu")
    from uvr.separation.native.graph_matcher import recognise
    from uvr.separation.native.network import NativeNetwork

    return NativeNetwork(recognise(model.read_bytes()), threads=threads, instruction_set=InstructionSet[isa])


def snrs_db(model: Path, spectrum: Spectrum, engines: list[Contender]) -> list[float]:
    """How far each estimate's difference to float64's is below it."""
    exact = in_double(model, spectrum)
    differences = (np.load(one.output).astype(np.float64) - exact for one in engines)
    return [10 * float(np.log10(np.sum(exact**2) / np.sum(difference**2))) for difference in differences]


def in_double(model: Path, spectrum: Spectrum) -> NDArray[np.float64]:
    """The network in float64; kept, because it takes a minute."""
    from tests.support.in_double import run_in_double

    digest = hashlib.sha256(model.read_bytes() + spectrum.tobytes()).hexdigest()[:16]
    kept = ROOT / "bench" / "results" / f"exact-{digest}.npy"
    if not kept.is_file():
        kept.parent.mkdir(exist_ok=True)
        np.save(kept, run_in_double(onnx.load(model), spectrum))
    exact: NDArray[np.float64] = np.load(kept)
    return exact


def report(engines: list[Contender], snrs: list[float], options: argparse.Namespace) -> None:
    """Print the figures and how they compare with the aims, and write the same as JSON."""
    on = machine()
    print(f"{on['cores']} cores of {on['processor']}; medians of {options.rounds} turns, least and most in brackets\n")
    print("| network | threads | seconds a segment | peak MiB | SNR to float64, dB |\n|---|---|---|---|---|")
    rows = []
    for number, one in enumerate(engines):
        snr = f"{snrs[number]:.1f}" if snrs else ""
        seconds = f"{statistics.median(one.seconds):.2f} ({min(one.seconds):.2f} to {max(one.seconds):.2f})"
        print(f"| {one.name} | {one.threads} | {seconds} | {one.peak_mib:.0f} | {snr} |")
        rows.append({"network": one.name, "threads": one.threads, "seconds": one.seconds, "peak_mib": one.peak_mib})
    print("\n| what | aim | reached |\n|---|---|---|")
    for ours, theirs in zip(engines[::2], engines[1::2], strict=True):
        ratio = statistics.median(its / own for own, its in zip(ours.seconds, theirs.seconds, strict=True))
        missed = "" if ratio >= LEAST_RATIO else " (missed)"
        threads = f"{ours.threads} thread{'s' * (ours.threads > 1)}"
        print(f"| {threads}: times as fast as ONNX Runtime | {LEAST_RATIO} | {ratio:.2f}{missed} |")
    if snrs:
        worst = min(snrs[::2])
        print(f"| SNR to float64, dB | {MIN_SNR_DB:g} | {worst:.1f}{'' if worst >= MIN_SNR_DB else ' (missed)'} |")
        estimates = {np.load(one.output).tobytes() for one in engines[::2]}
        print(f"| different results for different numbers of threads | 1 | {len(estimates)} |")
    write_results("network", {"machine": on, "rows": rows, "snrs_db": snrs, "instruction_set": options.isa})


if __name__ == "__main__":
    main()
