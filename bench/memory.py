"""The peak memory of a separation without its network, for songs of several lengths: `python -m bench.memory`.

Each song is separated in its own process. The network's share is what ONNX Runtime, loading the model and a first run
add; everything else counts: interpreter, libraries, decoder, buffers, encoder. The network only multiplies by 0.5, with
the geometry of UVR-MDX-NET-Inst_HQ_4, so two hours of audio take minutes instead of one and a half hours. They need
9 GB of disk. Linux only, because a process must read and reset its peak memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.songs import made_song

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results" / "memory.json"
SECONDS = (20, 600, 7200)
MIB = 2**20


@dataclass(frozen=True)
class Memory:
    """The memory of one process, in MiB."""

    network: float
    beside_network: float
    """The peak minus the network's share."""


def measured(model: Path, song: Path, folder: Path) -> Memory:
    """Separate `song` into `folder` in a new process; the model's parameters are in <file>.json in its folder."""
    command = [sys.executable, "-m", "bench.memory", "--measure", str(model), str(song), str(folder)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return Memory(**json.loads(done.stdout))


def measure(model: Path, song: Path, folder: Path) -> Memory:
    """What that process does; the imports are placed so that their memory counts on the right side."""
    import numpy as np

    from uvr.audio import decode, encode, resample  # noqa: F401
    from uvr.models import store
    from uvr.separation import mixture, spool, stem_writer  # noqa: F401
    from uvr.separation.mdx import overlap_add, stft  # noqa: F401

    before = _mib("VmRSS")
    from tests.support.song import separate_song
    from uvr.separation.mdx.engine import MdxEngine
    from uvr.separation.mdx.onnxruntime_network import OnnxRuntimeNetwork

    parameters = store.parameters_of(model)
    engine = MdxEngine(model, parameters)
    network: OnnxRuntimeNetwork = engine._network
    network.run(np.ones((4, parameters.dim_f, parameters.dim_t), np.float32))
    share = _mib("VmRSS") - before
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # resets VmHWM
    separate_song(engine, song, folder, max_seconds=1e6)
    return Memory(round(share, 1), round(_mib("VmHWM") - share, 1))


def _mib(entry: str) -> float:
    """A size from /proc: VmRSS is the current memory, VmHWM its peak."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith(f"{entry}:")).split()[1]) * 1024 / MIB


def main() -> None:
    """Measure every length and report."""
    parser = argparse.ArgumentParser(description="Peak memory without the network.")
    parser.add_argument(
        "--seconds", type=int, nargs="*", default=SECONDS, help=f"lengths of the songs in seconds {SECONDS}"
    )
    parser.add_argument("--measure", type=Path, nargs=3, metavar=("MODEL", "SONG", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        from uvr import logs

        logs.configure("warning", "json", process="bench")
        print(json.dumps(asdict(measure(*options.measure))))
        return
    report({seconds: _one_length(seconds) for seconds in options.seconds})


def _one_length(seconds: int) -> dict[str, float]:
    from tests.support.networks import HQ_4, write_model

    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as name:
        folder = Path(name)
        model = write_model(folder / "half.onnx", parameters=HQ_4)
        song = made_song(folder / "song.wav", seconds)
        return asdict(measured(model, song, folder))


def report(rows: dict[int, dict[str, float]]) -> None:
    """Print the table and write the same to bench/results/memory.json."""
    for seconds, row in rows.items():
        print(f"{seconds:5d} s of audio: {row['beside_network']:6.1f} MiB without the network")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
