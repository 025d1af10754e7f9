"""One engine in a process of its own, for the benches: `python -m bench.worker ENGINE MODEL`, run by `bench.support`.

Both engines are driven the same way: a line of JSON in says which song to separate, a line out says what it took. Both
are timed at the same two places, around the song and around the network; the rest is what each of them does in between.
Runs in either environment, so nothing is imported at the top but the standard library.
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
    """Wall seconds spent inside the calls it was laid around."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def around(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """`call`, timed."""

        def timed(*arguments: Any) -> Any:
            started = time.perf_counter()
            try:
                return call(*arguments)
            finally:
                self.seconds += time.perf_counter() - started

        return timed


def main() -> None:
    """Load the engine, say so, then separate song after song until there is no more input."""
    parser = argparse.ArgumentParser()
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model", type=Path)
    parser.add_argument("--warm", action="store_true", help="set up before the first song what it would wait for")
    options = parser.parse_args()
    replies = _stdout_kept_clean()
    network = Stopwatch()
    separate = ENGINES[options.engine](options.model, network, warm=options.warm)
    _reply(replies, {"pid": os.getpid()})
    for line in sys.stdin:
        job = json.loads(line)
        _reply(replies, _measured(separate, Path(job["source"]), Path(job["folder"]), network))


def uvr_api(model: Path, network: Stopwatch, *, warm: bool, backend: Backend = "auto") -> Separate:
    """The engine of this project, as the service's child process runs it."""
    from uvr.models.store import parameters_of
    from uvr.separation.mdx.engine import MdxEngine
    from uvr.separation.song import separate_song

    engine = MdxEngine(model, parameters_of(model), backend=backend)
    engine._network.run = network.around(engine._network.run)  # type: ignore[method-assign]
    if warm:
        engine.warm_up()

    def separate(source: Path, folder: Path) -> None:
        separate_song(engine, source, folder, max_seconds=86_400)

    return separate


def audio_separator(model: Path, network: Stopwatch, *, warm: bool) -> Separate:  # noqa: ARG001
    """audio-separator's `Separator` with its defaults; its model folder is the one that `model` lies in.

    It knows no warm-up. Stems of a song in float are written by soundfile, because its default writer would round them
    to 16 bits.
    """
    _without_torchvision()
    from audio_separator.separator import Separator

    (entry,) = json.loads((model.parent / "mdx_model_data.json").read_text()).values()
    # Any other segment size makes it convert the network to torch.
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


def _without_torchvision() -> None:
    """onnx2torch, which audio-separator imports but does not use here, wants torchvision for operators no model has."""
    ops = types.ModuleType("torchvision.ops")
    ops.roi_align = None  # type: ignore[attr-defined]
    vision = types.ModuleType("torchvision")
    vision.ops = ops  # type: ignore[attr-defined]
    sys.modules |= {"torchvision": vision, "torchvision.ops": ops}


def _measured(separate: Separate, source: Path, folder: Path, network: Stopwatch) -> dict[str, float]:
    network.seconds = 0.0
    started, cpu_before = time.perf_counter(), _cpu_s()
    separate(source, folder)
    wall_s = time.perf_counter() - started
    return {
        "wall_s": wall_s,
        "cpu_s": _cpu_s() - cpu_before,
        "outside": 1 - network.seconds / wall_s,
        "peak_rss_mib": peak_rss_mib(),
    }


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def peak_rss_mib() -> float:
    """The most memory that this process ever held, in MiB."""
    # ru_maxrss would also count the process this one was forked from.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("this Linux does not tell a process its peak memory")


def _stdout_kept_clean() -> TextIO:
    """The real standard output; what libraries print goes to standard error from now on."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def _reply(replies: TextIO, message: dict[str, Any]) -> None:
    print(json.dumps(message), file=replies, flush=True)


if __name__ == "__main__":
    main()
