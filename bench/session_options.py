"""What ONNX Runtime's options do to the network's time and memory: `python -m bench.session_options [NAME…]`.

Every try loads the stand-in of UVR-MDX-NET-Inst_HQ_4 in a process of its own and runs the same spectra, in turns with
the others. Time is the processor's and the wall's for one segment, the least of all runs, because what disturbs a run
only ever adds to it. "SNR" is how close the output comes to that of the plain session.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.support import ROOT, write_results
from bench.worker import peak_rss_mib

RUNS = 2


@dataclass(frozen=True)
class Try:
    """A session that differs from the plain one, and how many segments it is given at once."""

    change: Callable[[Any], object] = lambda _options: None
    batch: int = 1


def _no_arena(options: Any) -> None:
    options.enable_cpu_mem_arena = False


def _no_pattern(options: Any) -> None:
    options.enable_mem_pattern = False


def _neither(options: Any) -> None:
    _no_arena(options)
    _no_pattern(options)


def _exact_arena(options: Any) -> None:
    """An arena that grows by what is asked for and not by powers of two."""
    import onnxruntime as ort

    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, ort.OrtArenaCfg({"arena_extend_strategy": 1}))
    options.add_session_config_entry("session.use_env_allocators", "1")
    _no_pattern(options)


def _optimised(level: str) -> Callable[[Any], None]:
    def change(options: Any) -> None:
        import onnxruntime as ort

        options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, f"ORT_{level}")

    return change


def _parallel(options: Any) -> None:
    import onnxruntime as ort

    options.execution_mode = ort.ExecutionMode.ORT_PARALLEL


def _parallel_at_rest(options: Any) -> None:
    _parallel(options)
    options.inter_op_num_threads = 2
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")


def _one_thread(options: Any) -> None:
    options.intra_op_num_threads = 1


def _entry(key: str, value: str) -> Callable[[Any], None]:
    return lambda options: options.add_session_config_entry(key, value)


TRIES = {
    "plain": Try(),
    "memory pattern off": Try(_no_pattern),
    "arena off": Try(_no_arena),
    "arena and pattern off": Try(_neither),
    "arena grows exactly, pattern off": Try(_exact_arena),
    "optimisation extended (no NCHWc)": Try(_optimised("ENABLE_EXTENDED")),
    "optimisation off": Try(_optimised("DISABLE_ALL")),
    "parallel execution": Try(_parallel),
    "parallel execution, its threads not spinning": Try(_parallel_at_rest),
    "spinning off": Try(_entry("session.intra_op.allow_spinning", "0")),
    "second thread bound to core 2": Try(_entry("session.intra_op_thread_affinities", "2")),
    "dynamic block base 4": Try(_entry("session.dynamic_block_base", "4")),
    "denormals as zero": Try(_entry("session.set_denormal_as_zero", "1")),
    "prepacking off": Try(_entry("session.disable_prepacking", "1")),
    "one thread": Try(_one_thread),
    "batch 2": Try(batch=2),
    "batch 2, memory pattern off": Try(_no_pattern, batch=2),
}


def main() -> None:
    """Measure every try in turns, or one of them when this is the process for it."""
    parser = argparse.ArgumentParser(description="Session options of ONNX Runtime.")
    parser.add_argument("names", nargs="*", help=f"tries ({', '.join(TRIES)})")
    parser.add_argument("--rounds", type=int, default=2, help="processes for each try (2)")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        print(json.dumps(measured(TRIES[options.names[0]], options.inside)))
        return
    names = list(dict.fromkeys(["plain", *(options.names or TRIES)]))
    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as folder:
        figures: dict[str, list[dict[str, float]]] = {name: [] for name in names}
        for number in range(options.rounds):
            for name in names if number % 2 == 0 else reversed(names):
                figures[name].append(in_a_process(name, Path(folder)))
    report(figures)


def in_a_process(name: str, folder: Path) -> dict[str, float]:
    """The figures of one process; the plain session's output stays in `folder` for the others."""
    command = [sys.executable, "-m", "bench.session_options", name, "--inside", str(folder)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    print(f"{name}: {figures}", file=sys.stderr)
    return figures


def measured(attempt: Try, folder: Path) -> dict[str, float]:
    """Load, run, compare."""
    import numpy as np
    import onnxruntime

    from bench import standin

    spectra = np.stack([standin.spectrum(start_s) for start_s in range(attempt.batch)])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 2
    options.log_severity_level = 3
    attempt.change(options)
    started = time.perf_counter()
    session = onnxruntime.InferenceSession(standin.ensure(), options, providers=["CPUExecutionProvider"])
    load_s = time.perf_counter() - started
    times = []
    for _ in range(RUNS):
        cpu_before, started = _cpu_s(), time.perf_counter()
        (output,) = session.run(None, {"input": spectra})
        times.append(((time.perf_counter() - started) / attempt.batch, (_cpu_s() - cpu_before) / attempt.batch))
    plain = folder / "plain.npy"
    if not plain.is_file():
        np.save(plain, output[0])
    error = float(np.square(output[0] - np.load(plain), dtype=np.float64).sum())
    signal = float(np.square(output[0], dtype=np.float64).sum())
    return {
        "wall_s": min(wall_s for wall_s, _ in times),
        "cpu_s": min(cpu_s for _, cpu_s in times),
        "first_wall_s": times[0][0],
        "load_s": load_s,
        "peak_rss_mib": peak_rss_mib(),
        "snr_db": 10 * float(np.log10(signal / error)) if error else 999.0,
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def report(figures: dict[str, list[dict[str, float]]]) -> None:
    """The table, and the same as JSON."""
    print("| session | wall s | CPU s | load s | peak MiB | SNR dB |\n|---|---|---|---|---|---|")
    best = {name: {key: min(run[key] for run in runs) for key in runs[0]} for name, runs in figures.items()}
    for name, row in best.items():
        snr = "same" if row["snr_db"] == 999 else f"{row['snr_db']:.0f}"
        print(
            f"| {name} | {row['wall_s']:.2f} | {row['cpu_s']:.2f} | {row['load_s']:.2f} "
            f"| {row['peak_rss_mib']:.0f} | {snr} |"
        )
    write_results("session_options", {"runs": figures})


if __name__ == "__main__":
    main()
