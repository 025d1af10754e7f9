"""`python -m uvr separate`: songs on this machine's disk in, stems on this machine's disk out.

Promises to scripts: what can be known before the work is refused before it; a song that fails, even one that crashes
the network, does not keep the others from being separated; stems appear under their names whole or not at all; a song
is never overwritten by a stem; stdout has the stems' paths, or one JSON object for each song, and nothing else; the
exit status is 0 when all songs are separated, 1 when some failed, and 2 when none was begun.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from config import Settings
from uvr.audio.output_format import OutputFormat
from uvr.cli.output_names import stem_names, why_not_writable
from uvr.cli.progress_bar import ProgressLine
from uvr.errors import PermanentError, UvrError
from uvr.models import store
from uvr.models.catalogue import stem_pair, without_suffix
from uvr.separation.child_main import EngineFactory
from uvr.separation.devices import Device
from uvr.separation.engine import Separation
from uvr.separation.engine_factory import MdxEngineFactory, choose_engine
from uvr.separation.separator import Separator

DONE, SOME_FAILED, NOT_BEGUN = 0, 1, 2

Outcome = dict[str, Any]
"""What became of one song: input, status, stems, facts and error_message, as --json prints it."""


def add_parser(commands: Any) -> None:
    """Add `separate` to the commands of an argument parser."""
    parser = commands.add_parser("separate", help="split songs into stems", description=separate.__doc__)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help="an audio file, or a video with sound")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="where stems go, as {song}_{stem}.{format}"
    )
    parser.add_argument(
        "--model",
        metavar="NAME|PATH",
        help="a model of the catalogue, or any MDX-Net ONNX file; default: MODEL_NAME",
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE.json", help="the model's parameters under UVR's names (docs/models.md)"
    )
    parser.add_argument(
        "--format", choices=[form.value for form in OutputFormat], default="wav", help="of the stems; default: wav"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object for each song")
    parser.add_argument("--threads", type=int, help="default: INFERENCE_THREADS; 0: every core")
    parser.add_argument("--device", choices=get_args(Device), help="default: DEVICE")
    parser.set_defaults(run=separate)


@dataclass(frozen=True)
class _Song:
    """A song, and what its stems are called after."""

    source: Path
    name: str


def separate(wanted: argparse.Namespace, settings: Settings) -> int:
    """Split songs into vocals and instrumental, without the service and without Redis."""
    if obstacle := why_not_writable(wanted.output):
        sys.stderr.write(f"{obstacle}\n")
        return NOT_BEGUN
    wanted.model = wanted.model or settings.model_name
    sources = list(dict.fromkeys(wanted.inputs))
    songs = list(map(_Song, sources, stem_names([source.stem for source in sources], wanted.output)))
    try:
        engine = _engine(wanted, settings)
        separator = Separator(engine, log_level="error", log_format=settings.log_format)
        separator.start()
    except UvrError as error:
        sys.stderr.write(f"{error.message}\n")
        return NOT_BEGUN
    stems = stem_pair(engine.parameters.primary_stem) if isinstance(engine, MdxEngineFactory) else ()
    with closing(separator):
        outcomes = [_reported(_outcome(song, wanted, separator, stems), as_json=wanted.json) for song in songs]
    return DONE if all(outcome["status"] == "success" for outcome in outcomes) else SOME_FAILED


def _engine(wanted: argparse.Namespace, settings: Settings) -> EngineFactory:
    path = Path(wanted.model)
    # Here a file in the current folder counts without a slash as well.
    model = str(path.absolute()) if path.is_file() or os.sep in wanted.model else wanted.model
    threads = settings.inference_threads if wanted.threads is None else wanted.threads
    device = wanted.device or settings.device
    if wanted.params:
        if not path.is_file():
            raise PermanentError(f"--params describes a model file, and {path} is none.")
        parameters, backend = store.read_parameters(wanted.params), settings.network_backend
        return MdxEngineFactory(path.absolute(), parameters, threads, device, backend)
    with closing(ProgressLine(path.name, sys.stderr)) as line:
        return choose_engine(
            model,
            settings.model_file_dir,
            engine=settings.separation_engine,
            base_url=settings.model_base_url,
            threads=threads,
            device=device,
            backend=settings.network_backend,
            on_progress=line.downloaded,
        )


def _outcome(song: _Song, wanted: argparse.Namespace, separator: Separator, stems: Iterable[str]) -> Outcome:
    started = time.monotonic()
    try:
        # Before the work where the model says which stems it gives, and behind it in any case.
        _refuse_to_overwrite(_places(song, stems, wanted), wanted)
        separation, places = _separated(song, wanted, separator)
    except UvrError as error:
        return _told(song.source, "failed", error_message=error.message)
    except OSError as error:
        return _told(song.source, "failed", error_message=_sentence(error, song.source))
    facts = {
        "model": without_suffix(Path(wanted.model).name, ".onnx"),
        **separation.facts(),
        "separation_s": round(time.monotonic() - started, 3),
    }
    return _told(song.source, "success", stems={name: str(path) for name, path in places.items()}, facts=facts)


def _sentence(error: OSError, source: Path) -> str:
    """What went wrong, with the name of the file it happened to unless that is the song's own."""
    reason = f"{error.strerror or error}."
    return reason if error.filename in (None, str(source)) else f"{error.filename}: {reason}"


def _separated(song: _Song, wanted: argparse.Namespace, separator: Separator) -> tuple[Separation, dict[str, Path]]:
    """Separate one song in a hidden folder beside its stems' final places, and put the stems there."""
    with song.source.open("rb"):
        pass  # what is missing or forbidden is said in the system's own words
    with (
        tempfile.TemporaryDirectory(dir=wanted.output, prefix=".separating-") as folder,
        closing(ProgressLine(song.source.name, sys.stderr)) as line,
    ):
        work_dir = Path(folder).absolute()
        separation = separator.separate(
            song.source.absolute(),
            work_dir,
            work_dir,
            max_seconds=math.inf,
            timeout_s=math.inf,
            output_format=OutputFormat(wanted.format),
            on_progress=line.advanced,
            cancelled=lambda: False,
        )
        places = _places(song, separation.stems, wanted)
        _refuse_to_overwrite(places, wanted)
        for name, place in places.items():
            separation.stems[name].replace(place)
        return separation, places


def _places(song: _Song, stems: Iterable[str], wanted: argparse.Namespace) -> dict[str, Path]:
    return {stem: wanted.output / f"{song.name}_{stem}.{wanted.format}" for stem in stems}


def _refuse_to_overwrite(places: Mapping[str, Path], wanted: argparse.Namespace) -> None:
    for place in places.values():
        if place.exists() and any(song.exists() and song.samefile(place) for song in wanted.inputs):
            raise PermanentError(f"{place.name} is one of the songs and would be overwritten; choose another folder.")


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
