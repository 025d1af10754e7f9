"""A process that runs one engine for the benchmarks: `python -m bench.worker ENGINE MODEL`, started by `bench.support`.

Both engines have the same interface: a line of JSON on standard input names a song, a line on standard output reports
the measurements. Both are timed at the same two places: around the song and around the network. This module runs in
either environment, so it imports only the standard library at the top.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from uvr.separation.mdx.backends import Backend

Separate = Callable[[Path, Path], None]


class Stopwatch:
    """The wall time spent in the functions that it wraps."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap `call` so that its time is added."""

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def main() -> None:
    """Load the engine, report that it is ready, then separate songs until the end of the input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", type=Path)
    parser.add_argument("--warm", action="store_true", help="warm up before the first song")
    options = parser.parse_args()
    replies = redirect_stdout()
    network = Stopwatch()
    separate = ENGINES[options.engine](options.model, network, warm=options.warm)
    reply(replies, {"pid": os.getpid()})
    for line in sys.stdin:
        job = json.loads(line)
        reply(replies, _measured(separate, Path(job["source"]), Path(job["folder"]), network))


def uvr_api(model: Path, network: Stopwatch, *, warm: bool, backend: Backend = "auto") -> Separate:
    """The engine of this project, as the service's child process runs it."""
    from tests.support.song import separate_song
    from uvr.models.store import parameters_of
    from uvr.separation.mdx.engine import MdxEngine

    engine = MdxEngine(model, parameters_of(model), backend=backend)
    engine._network.run = network.around(engine._network.run)  # type: ignore[method-assign]
    if warm:
        engine.warm_up()

    def separate(source: Path, folder: Path) -> None:
        separate_song(engine, source, folder, max_seconds=86_400)

    return separate


def audio_separator(model: Path, network: Stopwatch, *, warm: bool) -> Separate:  # noqa: ARG001
    """audio-separator's `Separator` with its defaults; its model folder is that of `model`.

    It has no warm-up. The stems of float songs are written by soundfile, because its default writer rounds to 16 bits.
    """
    without_torchvision()
    from audio_separator.separator import Separator

    (entry,) = json.loads((model.parent / "mdx_model_data.json").read_text()).values()
    # With any other segment size it converts the network to torch.
    sizes = {"hop_length": 1024, "segment_size": 2 ** entry["mdx_dim_t_set"], "overlap": 0.25}
    separator = Separator(
        log_level=30,
        model_file_dir=str(model.parent),
        output_dir=str(model.parent),
        mdx_params=sizes | {"batch_size": 1, "enable_denoise": False},
    )
    separator.load_model(model_filename=model.name)
    engine = separator.model_instance
    engine.model_run = network.around(engine.model_run)

    def separate(source: Path, folder: Path) -> None:
        engine.output_dir = str(folder)
        engine.use_soundfile = source.name.startswith("float")
        names = {stem: stem.lower() for stem in ("Vocals", "Instrumental")}
        made = separator.separate(str(source), custom_output_names=names)
        assert len(made) == 2, f"audio-separator made {made}"

    return separate


ENGINES = {
    "uvr-api": uvr_api,
    "uvr-api on ONNX Runtime": partial(uvr_api, backend="onnxruntime"),
    "audio-separator": audio_separator,
}


def without_torchvision() -> None:
    """Replace torchvision, which audio-separator imports through onnx2torch but does not use here."""
    ops = types.ModuleType("torchvision.ops")
    ops.roi_align = None  # type: ignore[attr-defined]
    vision = types.ModuleType("torchvision")
    vision.ops = ops  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": vision, "torchvision.ops": ops}


def _measured(separate: Separate, source: Path, folder: Path, network: Stopwatch) -> dict[str, float]:
    network.seconds = 0.0
    started, cpu_before = time.perf_counter(), cpu_s()
    separate(source, folder)
    wall_s = time.perf_counter() - started
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s() - cpu_before,
        "outside": 1 - network.seconds / wall_s,
        "peak_rss_mib": peak_rss_mib(),
    }


def cpu_s() -> float:
    """The processor time of this process."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_rss_mib() -> float:
    """The peak memory of this process, in MiB."""
    # ru_maxrss would include the process that this one was forked from.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmHWM")


def redirect_stdout() -> TextIO:
    """The real standard output; whatever libraries print goes to standard error from now on."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def reply(replies: TextIO, message: dict[str, Any]) -> None:
    """Write one line of JSON."""
    print(json.dumps(message), file=replies, flush=True)


if __name__ == "__main__":
    main()
