"""A process that runs one engine for `bench.roformer`: `python -m bench.roformer_worker ENGINE MODEL THREADS`.

Jobs are lines of JSON on standard input: a song with a folder for its stems (`source`, `folder`), or a file with the
samples of one chunk and one for its estimate (`chunk`, `estimate`). Each is answered by a line on standard output: its
wall time, the peak of the process (VmHWM), the highest memory that is not mapped from files, looked at twenty times a
second, and for a chunk on our kernels the seconds of each class of work. This module runs in either environment, so it
imports only the standard library at the top.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.worker import peak_rss_mib, redirect_stdout, reply, without_torchvision

LOOK_S = 0.05

Classes = dict[str, float]


@dataclass(frozen=True)
class Engine:
    """A loaded engine."""

    separate: Callable[[Path, Path], None]
    """Separates a song into a folder."""
    estimate: Callable[[Any], tuple[Any, Classes]]
    """Estimates one chunk of shape (channels, samples), and says what each class of work took, if it knows."""
    terms: int = 0
    """How many bfloat16 products make one product; 0 means float32."""


class UnmappedMemory:
    """Looks at the memory of this process that belongs to no file, since its creation, and keeps the maximum."""

    def __init__(self) -> None:
        self.peak_mib = 0.0
        threading.Thread(target=self._look, daemon=True).start()

    def _look(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, unmapped_mib())
            time.sleep(LOOK_S)


def unmapped_mib() -> float:
    """The resident memory of this process without the pages of files that it maps, in MiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Rss")}
    return (int(sizes["RssAnon"]) + int(sizes["RssShmem"])) / 1024


def main() -> None:
    """Load the engine, report that it is ready, then do jobs until the end of the input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", type=Path)
    parser.add_argument("threads", type=int)
    options = parser.parse_args()
    memory, replies = UnmappedMemory(), redirect_stdout()
    engine = ENGINES[options.engine](options.model, options.threads)
    reply(replies, {"peak_mib": peak_rss_mib(), "unmapped_mib": memory.peak_mib, "terms": engine.terms})
    for line in sys.stdin:
        job = json.loads(line)
        if "chunk" in job:
            answer = timed_chunk(engine, Path(job["chunk"]), Path(job["estimate"]))
        else:
            started = time.perf_counter()
            engine.separate(Path(job["source"]), Path(job["folder"]))
            answer = {"wall_s": time.perf_counter() - started}
        reply(replies, answer | {"peak_mib": peak_rss_mib(), "unmapped_mib": memory.peak_mib})


def timed_chunk(engine: Engine, source: Path, target: Path) -> dict[str, Any]:
    """The seconds for one chunk and its classes, without reading it and writing its estimate."""
    import numpy as np

    chunk = np.load(source)
    started = time.perf_counter()
    found, classes = engine.estimate(chunk)
    wall_s = time.perf_counter() - started
    np.save(target, np.asarray(found, np.float32).reshape(-1, *chunk.shape))
    return {"wall_s": wall_s, "classes": classes}


def uvr_api(model: Path, threads: int) -> Engine:
    """The engine of this project; NETWORK_ISA limits its instruction set, INFERENCE_PRECISION its precision."""
    from bench.roformer_classes import timed_classes
    from tests.support.song import separate_song
    from uvr import logs
    from uvr.separation.roformer.engine import RoformerEngine

    logs.configure("warning", "json", process="bench")
    chosen = os.environ.get("INFERENCE_PRECISION")
    precision: dict[str, Any] = {"precision": chosen} if chosen else {}
    engine = RoformerEngine(model, model.with_suffix(".yaml"), threads=threads, **precision)

    def separate(source: Path, folder: Path) -> None:
        separate_song(engine, source, folder, max_seconds=86_400)

    def estimate(chunk: Any) -> tuple[Any, Classes]:
        with timed_classes() as classes:
            return engine._stems_of(chunk, engine._stft(), lambda _share: None), classes

    return Engine(separate, estimate, getattr(engine, "terms", 0))


def audio_separator(model: Path, threads: int) -> Engine:
    """audio-separator's `Separator` with its defaults: float32, and the overlap of the YAML file."""
    without_torchvision()
    import torch
    from audio_separator.separator import Separator

    torch.set_num_threads(threads)
    separator = Separator(log_level=30, model_file_dir=str(model.parent), output_dir=str(model.parent))
    separator.load_model(model_filename=model.name)
    engine = separator.model_instance

    def separate(source: Path, folder: Path) -> None:
        engine.output_dir = str(folder)
        made = separator.separate(str(source), custom_output_names={"vocals": "vocals", "other": "other"})
        assert len(made) == 2, f"audio-separator made {made}"

    def estimate(chunk: Any) -> tuple[Any, Classes]:
        with torch.inference_mode():
            return engine.model_run(torch.from_numpy(chunk)[None]).numpy(), {}

    return Engine(separate, estimate)


ENGINES = {"uvr-api": uvr_api, "audio-separator": audio_separator}


if __name__ == "__main__":
    main()
