"""Shared code of the engine benchmarks: both engines as processes, each in its own environment, and their set-up.

audio-separator has its own environment, so neither engine loads packages of the other, and its own model folder with
all files that it would otherwise download.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from uvr.models.files import tail_md5
from uvr.models.store import parameters_of
from uvr.separation.native.bindings import InstructionSet
from uvr.separation.native.peak import Peak, peak_rate

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "bench" / "results"
OURS, OURS_WITHOUT_KERNELS, THEIRS = "uvr-api", "uvr-api on ONNX Runtime", "audio-separator"
THEIR_VERSION = "0.47.1"
THEIR_ENVIRONMENT = ROOT / ".venv-audio-separator"
THEIR_KINDS = ("vr", "mdx", "demucs", "mdx23c", "roformer")
# soundfile 0.14.0 has a wheel without its library, which uv prefers.
THEIR_PACKAGES = (f"audio-separator[cpu]=={THEIR_VERSION}", "torch==2.13.0", "soundfile<0.14", "imageio-ffmpeg")


@dataclass(frozen=True)
class Contender:
    """One engine: its name, its Python and its model file."""

    name: str
    python: Path
    model: Path

    def start(self, log: Path, *, warm: bool) -> Worker:
        """Start a process that loads the network."""
        return Worker([str(self.python), "-m", "bench.worker", self.name, str(self.model), *["--warm"] * warm], log)


class Worker:
    """A running engine; use it in a `with` statement. `ready_s` is the time from its start until it can take a song."""

    def __init__(self, command: list[str], log: Path, **variables: str) -> None:
        path = os.pathsep.join([str(Path(command[0]).parent), os.environ["PATH"]])
        self._log = log
        self._started = time.perf_counter()
        with log.open("ab") as stderr:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"PATH": path} | variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.ready_s = 0.0
        self.facts: dict[str, Any] = {}
        """What the engine said when it was ready."""

    def __enter__(self) -> Self:
        self.facts = self._answer()
        self.ready_s = time.perf_counter() - self._started
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._process.stdin
        assert self._process.stdout
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()

    def separate(self, source: Path, folder: Path) -> dict[str, float]:
        """Separate one song: its wall and processor seconds, share outside the network, and peak memory in MiB."""
        folder.mkdir(exist_ok=True)
        return self.ask({"source": str(source), "folder": str(folder)})

    def ask(self, job: dict[str, Any]) -> dict[str, Any]:
        """Give the engine a job and wait for its answer."""
        assert self._process.stdin
        print(json.dumps(job), file=self._process.stdin, flush=True)
        return self._answer()

    def ended(self) -> dict[str, float]:
        """End the worker; the wall and processor seconds since its start."""
        assert self._process.stdin
        self._process.stdin.close()
        _, status, usage = os.wait4(self._process.pid, 0)
        wall_s = time.perf_counter() - self._started
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return {"wall_s": wall_s, "cpu_s": usage.ru_utime + usage.ru_stime}

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            tail = self._log.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise RuntimeError(f"an engine failed:\n{tail}")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def contenders(model: Path) -> Iterator[list[Contender]]:
    """Three engines with the same network: this one, this one without its own kernels, and audio-separator."""
    make_their_environment()
    with tempfile.TemporaryDirectory(prefix="uvr-bench-models-") as name:
        theirs = their_model_folder(model, Path(name))
        yield [
            Contender(OURS, Path(sys.executable), model),
            Contender(OURS_WITHOUT_KERNELS, Path(sys.executable), model),
            Contender(THEIRS, THEIR_ENVIRONMENT / "bin" / "python", theirs),
        ]


def their_model_folder(model: Path, folder: Path) -> Path:
    """Fill `folder` so that audio-separator finds `model` and its parameters in it; returns the model's path there."""
    parameters = parameters_of(model)
    entry = {
        "compensate": parameters.compensate,
        "mdx_dim_f_set": parameters.dim_f,
        "mdx_dim_t_set": parameters.dim_t.bit_length() - 1,
        "mdx_n_fft_scale_set": parameters.n_fft,
        "primary_stem": parameters.primary_stem,
    }
    write_model_lists(folder, {"mdx_download_list": {"MDX-Net Model: bench": model.name}}, {tail_md5(model): entry})
    (folder / model.name).symlink_to(model.resolve())
    return folder / model.name


def write_model_lists(folder: Path, known: dict[str, Any], mdx_parameters: dict[str, Any]) -> None:
    """Write the lists that audio-separator would otherwise download; `known` has those that are not empty."""
    kinds = ("vr_download_list", "mdx_download_list", "mdx_download_vip_list", "demucs_download_list")
    kinds = (*kinds, "mdx23c_download_list", "mdx23c_download_vip_list", "roformer_download_list")
    files: dict[str, dict[str, Any]] = {
        "download_checks.json": {kind: {} for kind in kinds} | known,
        "mdx_model_data.json": mdx_parameters,
        "vr_model_data.json": {},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def make_their_environment() -> None:
    """Install audio-separator if it is missing: with its CPU runtime and without torchvision.

    torch comes from the indexes in pip's configuration. Its own index has a CPU build
    (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu); the one on PyPI takes 5 GB with CUDA.
    """
    python = THEIR_ENVIRONMENT / "bin" / "python"
    complete = THEIR_ENVIRONMENT / "complete"
    if complete.is_file():
        return
    print(f"Installing audio-separator {THEIR_VERSION} into {THEIR_ENVIRONMENT.name}", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", THEIR_ENVIRONMENT], check=True)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as override:
        override.write("torchvision; sys_platform == 'never'\n")
        override.flush()
        # Both engines run the network on the same version of ONNX Runtime.
        install(python, "--override", override.name, *THEIR_PACKAGES, f"onnxruntime=={version('onnxruntime')}")
    ffmpeg = "import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())"
    found = subprocess.run([python, "-c", ffmpeg], check=True, capture_output=True, text=True).stdout.strip()
    python.with_name("ffmpeg").symlink_to(found)
    complete.touch()


def install(python: Path, *arguments: str) -> None:
    """Install packages into the environment of `python` with uv and pip's settings."""
    command = [sys.executable, "scripts/uv.py", "pip", "install", "--quiet", "--python", str(python), *arguments]
    subprocess.run(command, check=True, cwd=ROOT)


def best_bytes_per_s(instruction_set: InstructionSet, threads: int) -> float:
    """The bandwidth of the memory: the best of reading, copying and a triad, with arrays well beyond the caches."""
    moves = (Peak.READ, Peak.COPY, Peak.TRIAD)
    size = max(1 << 27, 4 * largest_cache_bytes())
    return max(peak_rate(move, instruction_set, threads, array_bytes=size) for move in moves)


def largest_cache_bytes() -> int:
    """The size of the largest cache, as Linux reports it; 0 if it does not."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    return max((int(size.read_text().strip().rstrip("K")) * 1024 for size in sizes), default=0)


def load_average() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def machine() -> dict[str, Any]:
    """The processor and the number of cores."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in facts if line.startswith("model name")]
    return {"processor": names[0] if names else platform.machine(), "cores": len(os.sched_getaffinity(0))}


def write_results(name: str, facts: dict[str, Any]) -> None:
    """Write `facts` to bench/results/<name>.json."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
