"""`python -m uvr separate`: split audio files into stems on this machine, without the service.

Promises to scripts: an error that can be found in advance is reported before the work starts. A song that fails, even
one that crashes the network, does not stop the others. A stem appears under its name only when it is complete. A stem
never overwrites one of the songs. stdout has the paths of the stems, or one JSON object per song, and nothing else. The
exit status is 0 if all songs were separated, 1 if some failed, and 2 if no separation was started.
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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from config import Settings, SettingsError, refuse_to_start
from uvr.audio.output_format import OutputFormat
from uvr.cli.option_types import joined, separate_names
from uvr.cli.output_names import stem_names, why_not_writable
from uvr.cli.progress_bar import ProgressLine
from uvr.cli.song_folders import NoSongsError, songs_with_prefixes
from uvr.errors import PermanentError, UvrError
from uvr.models import store
from uvr.models.catalogue import without_suffix
from uvr.models.packed_files import PackedFilesPolicy
from uvr.models.presets import MAX_ENSEMBLE, read_presets
from uvr.models.required_files import is_present
from uvr.models.stem_names import safe_stem_name, stem_pair
from uvr.models.stems import stems_of_model
from uvr.separation.devices import Device
from uvr.separation.engine_factory import MdxEngineFactory, ModelEngineFactory, choose_engine
from uvr.separation.memory import usable_memory_bytes
from uvr.separation.model_library import ModelLibrary
from uvr.separation.separator import Separator

DONE, SOME_FAILED, NOT_STARTED = 0, 1, 2

Result = dict[str, Any]
"""The result of one song as --json prints it: input, status, stems, facts and error_message."""


def add_parser(commands: Any) -> None:
    """Add `separate` to the commands of an argument parser."""
    parser = commands.add_parser("separate", help="split songs into stems", description=separate.__doc__)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="an audio file, a video with sound, or a folder with all songs below it",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, metavar="DIR", help="save stems there as {song}_{stem}.{format}"
    )
    parser.add_argument(
        "--model",
        type=separate_names,
        action="append",
        metavar="NAME|PATH",
        help="a preset, the name of a known model, or any MDX-Net ONNX file; several models, with commas between them, "
        "are averaged; default: MODEL_NAME",
    )
    parser.add_argument(
        "--stems", type=separate_names, action="append", metavar="NAME,…", help="save only these; default: all"
    )
    parser.add_argument(
        "--params", type=Path, metavar="FILE.json", help="the model's parameters in UVR's format (docs/models.md)"
    )
    parser.add_argument(
        "--format",
        choices=[form.value for form in OutputFormat],
        default="wav",
        help="format of the stems; default: wav",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object per song")
    parser.add_argument("--threads", type=int, help="number of threads, 0 for all cores; default: INFERENCE_THREADS")
    parser.add_argument("--device", choices=get_args(Device), help="default: DEVICE")
    parser.set_defaults(run=separate)


@dataclass(frozen=True)
class _Song:
    """A song, and the name that its stems begin with."""

    source: Path
    name: str


def separate(options: argparse.Namespace, settings: Settings) -> int:
    """Split songs into vocals and instrumental, without the service and without Redis."""
    if obstacle := why_not_writable(options.output):
        sys.stderr.write(f"{obstacle}\n")
        return NOT_STARTED
    try:
        found = songs_with_prefixes(options.inputs, options.output)
        options.inputs = [Path(song) for song in found]
        names = stem_names([prefix + Path(song).stem for song, prefix in found.items()], options.output)
        songs = list(map(_Song, options.inputs, names))
        options.models = _chosen_models(joined(options.model) or [settings.model_name], settings)
        engines = {model: _choose_engine(model, options, settings) for model in options.models}
        stems = _known_stems(engines, joined(options.stems))
        separator = _start_separator(engines, settings)
    except SettingsError as error:  # of PRESETS_FILE
        refuse_to_start(error.faults)
    except (NoSongsError, UvrError) as error:
        sys.stderr.write(f"{error}\n")
        return NOT_STARTED
    status = DONE
    with closing(separator):
        for song in songs:
            result = _separate_song(song, options, separator, stems)
            _print_result(result, as_json=options.json)
            if result["status"] != "success":
                status = SOME_FAILED
    return status


def _start_separator(engines: Mapping[str, ModelEngineFactory], settings: Settings) -> Separator:
    """A separator with these models, of which the first one is loaded."""
    name, engine = next(iter(engines.items()))
    separator = Separator(
        engine,
        name=name,
        library=_ChosenModels(settings.model_file_dir, engines=engines),
        max_model_bytes=settings.max_model_memory_bytes or usable_memory_bytes() // 2,
        log_level="error",
        log_format=settings.log_format,
    )
    separator.start()
    return separator


@dataclass(frozen=True)
class _ChosenModels(ModelLibrary):
    """The models of the command line, which may be files anywhere."""

    engines: Mapping[str, ModelEngineFactory] = field(default_factory=dict)

    def engine_factory(self, name: str) -> ModelEngineFactory:
        return self.engines[name]


def _chosen_models(given: list[str], settings: Settings) -> list[str]:
    """The models of the command line. A preset is the first of its models that is here, else the first one.

    Raises `SettingsError` for a PRESETS_FILE that is not valid, and `PermanentError` for a preset beside other models,
    and for too many models.
    """
    given = list(dict.fromkeys(given))
    if len(given) > MAX_ENSEMBLE:
        raise PermanentError(f"At most {MAX_ENSEMBLE} models can be averaged, not {len(given)}.")
    presets = read_presets(settings.presets_file)
    named = [name for name in given if name.lower() in presets]
    if not named:
        return given
    if len(given) > 1:
        raise PermanentError(f"{named[0]} is a preset; give it alone, or models by their names.")
    options = presets[named[0].lower()].options
    return list(
        next((each for each in options if all(is_present(it, settings.model_file_dir) for it in each)), options[0])
    )


def _known_stems(engines: Mapping[str, ModelEngineFactory], wanted: Iterable[str]) -> list[str]:
    """The stems that will be saved; [] if that is not known in advance.

    Raises `PermanentError` if it is known and one of `wanted` is not among them.
    """
    each = [
        stem_pair(engine.parameters.primary_stem)
        if isinstance(engine, MdxEngineFactory)
        else stems_of_model(engine.name, engine.folder)
        for engine in engines.values()
    ]
    if not all(each):
        return []
    given, names = [stem for stem in each[0] if all(stem in stems for stems in each)], set(map(safe_stem_name, wanted))
    if missing := sorted(names - set(given)):
        models = ", ".join(Path(model).name for model in engines)
        raise PermanentError(f"There is no stem {', '.join(missing)}: {models} gives {', '.join(given) or 'none'}.")
    return [stem for stem in given if stem in names or not names]


def _choose_engine(given: str, options: argparse.Namespace, settings: Settings) -> ModelEngineFactory:
    """The engine for a model of the command line; downloads a known model if its file is missing."""
    path = Path(given)
    # Unlike in MODEL_NAME, the name of a file in the current folder counts as a path even without a slash.
    model = str(path.absolute()) if path.is_file() or os.sep in given else given
    threads = settings.inference_threads if options.threads is None else options.threads
    device = options.device or settings.device
    if options.params:
        if not path.is_file():
            raise PermanentError(f"--params describes a model file, and {path} is not a file.")
        if len(options.models) > 1:
            raise PermanentError("--params describes one model file; for several, put FILE.onnx.json beside each.")
        parameters, backend = store.read_parameters(options.params), settings.network_backend
        return MdxEngineFactory(path.absolute(), parameters, threads, device, backend, settings.network_isa)
    with closing(ProgressLine(path.name, sys.stderr)) as line:
        return choose_engine(
            model,
            settings.model_file_dir,
            engine=settings.separation_engine,
            sources=settings.sources_of_models,
            threads=threads,
            device=device,
            backend=settings.network_backend,
            instruction_set=settings.network_isa,
            packed_files=PackedFilesPolicy.of(settings),
            precision=settings.inference_precision,
            on_progress=line.downloaded,
        )


def _separate_song(song: _Song, options: argparse.Namespace, separator: Separator, stems: Iterable[str]) -> Result:
    """Separate one song; errors become part of the result. `stems` are the stems of the model, as far as known."""
    result: Result = {"input": str(song.source), "status": "failed", "stems": {}, "facts": {}, "error_message": None}
    started = time.monotonic()
    try:
        # Checked here if the stems of the model are known in advance, and in any case after the separation.
        _refuse_to_overwrite(_stem_paths(song, stems, options), options)
        paths, facts = _write_stems(song, options, separator)
    except UvrError as error:
        return {**result, "error_message": error.message}
    except OSError as error:
        reason = f"{error.strerror or error}."
        is_about_song = error.filename in (None, str(song.source))
        return {**result, "error_message": reason if is_about_song else f"{error.filename}: {reason}"}
    facts = {
        "model": ", ".join(without_suffix(Path(model).name, ".onnx") for model in options.models),
        **facts,
        "separation_s": round(time.monotonic() - started, 3),
    }
    stem_paths = {name: str(path) for name, path in paths.items()}
    return {**result, "status": "success", "stems": stem_paths, "facts": facts}


def _write_stems(
    song: _Song, options: argparse.Namespace, separator: Separator
) -> tuple[dict[str, Path], dict[str, object]]:
    """Separate one song in a hidden folder next to its stems, and move them; returns their paths and the facts."""
    with song.source.open("rb"):
        pass  # for the system's own error message if the file is missing or not readable
    with (
        tempfile.TemporaryDirectory(dir=options.output, prefix=".separating-") as folder,
        closing(ProgressLine(song.source.name, sys.stderr)) as line,
    ):
        work_dir = Path(folder).absolute()
        separation = separator.separate(
            song.source.absolute(),
            work_dir,
            work_dir,
            max_seconds=math.inf,
            timeout_s=math.inf,
            output_format=OutputFormat(options.format),
            models=options.models,
            wanted_stems=joined(options.stems),
            on_progress=line.advanced,
            cancelled=lambda: False,
        )
        paths = _stem_paths(song, separation.stems, options)
        _refuse_to_overwrite(paths, options)
        for stem, path in paths.items():
            separation.stems[stem].replace(path)
        return paths, separation.facts()


def _stem_paths(song: _Song, stems: Iterable[str], options: argparse.Namespace) -> dict[str, Path]:
    return {stem: options.output / f"{song.name}_{stem}.{options.format}" for stem in stems}


def _refuse_to_overwrite(paths: Mapping[str, Path], options: argparse.Namespace) -> None:
    for path in paths.values():
        if path.exists() and any(song.exists() and song.samefile(path) for song in options.inputs):
            raise PermanentError(f"{path.name} is one of the songs and would be overwritten; choose another folder.")


def _print_result(result: Result, *, as_json: bool) -> None:
    """Print the result of a song as soon as it is there; errors and notes go to stderr."""
    if as_json:
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(f"{path}\n" for path in result["stems"].values()))
    sys.stdout.flush()
    if result["error_message"]:
        messages = [result["error_message"]]
    else:
        messages = list(result["facts"]["notes"])
        gain = result["facts"]["gain"]
        if gain < 1:
            messages.append(f"The stems are {-20 * math.log10(gain):.1f} dB quieter, so that none of them clips.")
    for message in messages:
        sys.stderr.write(f"{result['input']}: {message}\n")
