"""`python -m uvr separate`: songs on this machine's disk in, stems on this machine's disk out.

Promises to scripts: a song that fails, even one that crashes the network, does not keep the others from being
separated; stems appear under their names whole or not at all; a song is never overwritten by a stem; stdout has the
stems' paths, or one JSON object for each song, and nothing else; the exit status is 0 when all songs are separated,
1 when some failed, and 2 when none was begun.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

from config import Settings
from uvr.commands.progress import ProgressLine
from uvr.errors import PermanentError, UvrError
from uvr.models import store
from uvr.output_format import OutputFormat
from uvr.separation.child_main import EngineFactory
from uvr.separation.devices import Device
from uvr.separation.engine import Separation
from uvr.separation.engines import MdxEngineFactory, engine_factory
from uvr.separation.separator import Separator

DONE, SOME_FAILED, NOT_BEGUN = 0, 1, 2

Outcome = dict[str, Any]
"""What became of one song: input, status, stems, facts and error_message, as --json prints it."""


def add_parser(commands: Any, settings: Settings) -> None:
    """Add `separate` to the commands of an argument parser."""
    parser = commands.add_parser("separate", help="split songs into stems", description=separate.__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="an audio file, or a video with sound")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where stems go, as {song}_{stem}.{format}"
    )
    parser.add_argument(
        "--model",
        default=settings.model_name,
        metavar="NAME|PATH",
        help=f"a model of the catalogue, or any MDX-Net ONNX file; default: MODEL_NAME ({settings.model_name})",
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE.json", help="the model's parameters under UVR's names (docs/models.md)"
    )
    parser.add_argument(
        "--format", choices=[form.value for form in OutputFormat], default="wav", help="of the stems; default: wav"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each song")
    parser.add_argument(
        "--threads", type=int, default=settings.inference_threads, help="default: INFERENCE_THREADS; 0: every core"
    )
    parser.add_argument("--device", choices=get_args(Device), default=settings.device, help="default: DEVICE")
    parser.set_defaults(run=separate)


def separate(wanted: argparse.Namespace, settings: Settings) -> int:
    """Split songs into vocals and instrumental, without the service and without Redis."""
    try:
        _refuse_equal_names(wanted.inputs)
        _make_folder(wanted.output)
        engine = _engine(wanted, settings)
        separator = Separator(engine, log_level="error", log_format=settings.log_format)
        separator.start()
    except UvrError as error:
        sys.stderr.write(f"{error.message}\n")
        return NOT_BEGUN
    with closing(separator):
        outcomes = [_reported(_outcome(source, wanted, separator), as_json=wanted.json) for source in wanted.inputs]
    return DONE if all(outcome["status"] == "success" for outcome in outcomes) else SOME_FAILED


def _refuse_equal_names(sources: list[Path]) -> None:
    name, times = Counter(source.stem for source in sources).most_common(1)[0]
    if times > 1:
        raise PermanentError(
            f'{times} of the songs are called "{name}", so their stems would overwrite each other; '
            "separate them into different folders."
        )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PermanentError(f"Stems cannot be written to {folder}: {error.strerror}.") from error


def _engine(wanted: argparse.Namespace, settings: Settings) -> EngineFactory:
    path = Path(wanted.model)
    if wanted.params:
        if not path.is_file():
            raise PermanentError(f"--params describes a model file, and {path} is none.")
        parameters, backend = store.read_parameters(wanted.params), settings.network_backend
        return MdxEngineFactory(path.absolute(), parameters, wanted.threads, wanted.device, backend)
    name, folder = (path.name, path.absolute().parent) if path.is_file() else (wanted.model, settings.model_file_dir)
    with closing(ProgressLine(name, sys.stderr)) as line:
        return engine_factory(
            name,
            folder,
            engine=settings.separation_engine,
            base_url=settings.model_base_url,
            threads=wanted.threads,
            device=wanted.device,
            backend=settings.network_backend,
            on_progress=line.downloaded,
        )


def _outcome(source: Path, wanted: argparse.Namespace, separator: Separator) -> Outcome:
    started = time.monotonic()
    try:
        separation, stems = _separated(source, wanted, separator)
    except UvrError as error:
        return _told(source, "failed", error_message=error.message)
    except OSError as error:
        return _told(source, "failed", error_message=f"{error.strerror or error}.")
    facts = {
        "model": Path(wanted.model).name.removesuffix(".onnx"),
        **separation.facts(),
        "separation_s": round(time.monotonic() - started, 3),
    }
    return _told(source, "success", stems={name: str(path) for name, path in stems.items()}, facts=facts)


def _separated(source: Path, wanted: argparse.Namespace, separator: Separator) -> tuple[Separation, dict[str, Path]]:
    """Separate one song in a hidden folder beside its stems' final places, and put the stems there."""
    with source.open("rb"):
        pass  # what is missing or forbidden is said in the system's own words
    with (
        tempfile.TemporaryDirectory(dir=wanted.output, prefix=".separating-") as folder,
        closing(ProgressLine(source.name, sys.stderr)) as line,
    ):
        work_dir = Path(folder).absolute()
        separation = separator.separate(
            source.absolute(),
            work_dir,
            work_dir,
            max_seconds=math.inf,
            timeout_s=math.inf,
            output_format=OutputFormat(wanted.format),
            on_progress=line.advanced,
            cancelled=lambda: False,
        )
        return separation, _placed(separation.stems, source, wanted)


def _placed(made: dict[str, Path], source: Path, wanted: argparse.Namespace) -> dict[str, Path]:
    stems = {name: wanted.output / f"{source.stem}_{name}{path.suffix}" for name, path in made.items()}
    for target in stems.values():
        if target.exists() and any(song.exists() and song.samefile(target) for song in wanted.inputs):
            raise PermanentError(f"{target.name} is one of the songs and would be overwritten; choose another folder.")
    for name, target in stems.items():
        made[name].replace(target)
    return stems


def _told(source: Path, status: str, **more: object) -> Outcome:
    return {"input": str(source), "status": status, "stems": {}, "facts": {}, "error_message": None, **more}


def _reported(outcome: Outcome, *, as_json: bool) -> Outcome:
    """Tell about one song as soon as it has ended."""
    if as_json:
        sys.stdout.write(json.dumps(outcome, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(f"{path}\n" for path in outcome["stems"].values()))
    sys.stdout.flush()
    for remark in _remarks(outcome):
        sys.stderr.write(f"{outcome['input']}: {remark}\n")
    return outcome


def _remarks(outcome: Outcome) -> list[str]:
    if outcome["error_message"]:
        return [outcome["error_message"]]
    gain = outcome["facts"]["gain"]
    loud = [f"The stems are turned down by {-20 * math.log10(gain):.1f} dB, so that none clips."] if gain < 1 else []
    return [*outcome["facts"]["notes"], *loud]
