"""Download models into MODEL_FILE_DIR ahead of time, list them, and check the files that are present.

    python download_models.py                        the model of MODEL_NAME
    python download_models.py Kim_Vocal_2 Spleeter-2stems
    python download_models.py --model Kim_Vocal_2    the same, in the form of older scripts
    python download_models.py --all                  all MDX-Net models that can be downloaded
    python download_models.py --force                also download models that are present
    python download_models.py --list
    python download_models.py --check

Exit status: 0 success, 1 a model could not be downloaded or is damaged, 2 wrong usage or invalid settings.
"""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # says how to set up where a package is missing

import argparse
import sys
from pathlib import Path

from config import Settings, SettingsError, read_settings, refuse_to_start
from uvr import logs
from uvr.cli.progress_bar import ProgressLine, megabytes
from uvr.errors import UvrError
from uvr.models import store
from uvr.models.audio_separator import missing_files, verify_model_files
from uvr.models.catalogue import CATALOGUE, Model, known_model
from uvr.net.model_sources import ModelSources
from uvr.separation.engine_factory import model_file
from uvr.worker.shutdown import end_on_sigterm


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status; `arguments` default to the command line's."""
    try:
        settings = read_settings()
    except SettingsError as error:
        refuse_to_start(error.faults)
    logs.configure("error", settings.log_format, process="download_models")
    options = _parser(settings).parse_args(arguments)
    if options.list:
        sys.stdout.write(_table(options.dir))
        return 0
    names = options.names + options.model
    if options.check:
        return _check_all(names, options.dir)
    if options.all:
        names = [model.name for model in CATALOGUE.values() if model.engine == "mdx" and model.places]
    return _download_all(names or [settings.model_name], options, settings)


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="download_models.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: MODEL_NAME ({settings.model_name})")
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help="the same as NAME")
    parser.add_argument("--force", action="store_true", help="also download models that are present")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="show all models of the catalogue")
    action.add_argument("--check", action="store_true", help="compare the files that are present with their hashes")
    action.add_argument("--all", action="store_true", help="download all MDX-Net models that can be downloaded")
    parser.add_argument("--dir", type=Path, default=settings.model_file_dir, help="default: MODEL_FILE_DIR")
    parser.add_argument(
        "--base-url", default="", help="mirror to download from; default: MODEL_BASE_URL, or else MODEL_SOURCES"
    )
    return parser


def _download_all(names: list[str], options: argparse.Namespace, settings: Settings) -> int:
    failures = 0
    sources = ModelSources((options.base_url,)) if options.base_url else settings.sources_of_models
    for name in names:
        progress = ProgressLine(name, sys.stderr)
        try:
            path = model_file(name, options.dir, sources, progress.downloaded, force=options.force)
        except UvrError as error:
            progress.close()
            sys.stderr.write(f"{error.message}\n")
            failures += 1
        else:
            progress.close()
            sys.stdout.write(f"{path} is ready ({megabytes(_size_bytes(path))})\n")
    return 1 if failures else 0


def _size_bytes(path: Path) -> int:
    """The size of the model whose file is `path`, with its other files."""
    model = known_model(path.name)
    others = [path.with_name(file.name) for file in model.further_files] if model else []
    return sum(file.stat().st_size for file in (path, *others) if file.is_file())


def _check_all(names: list[str], folder: Path) -> int:
    present = (model.name for model in CATALOGUE.values() if _is_present(model, folder))
    failures = 0
    for name in names or present:
        try:
            _verify(name, folder)
            sys.stdout.write(f"{name}: good\n")
        except UvrError as error:
            sys.stdout.write(f"{name}: {error.message}\n")
            failures += 1
    return 1 if failures else 0


def _verify(name: str, folder: Path) -> None:
    model = known_model(name)
    if model and model.engine != "mdx":
        verify_model_files(model, folder)
    else:
        store.verify_model_file(name, folder)


def _is_present(model: Model, folder: Path) -> bool:
    if model.engine == "mdx":
        return store.model_file_path(model.name, folder).is_file()
    return not missing_files(model, folder)


def _table(folder: Path) -> str:
    header = ("NAME", "ARCHITECTURE", "FOR", "STEMS", "SIZE", "SDR", "SONGS", "COMMERCIAL USE", "PRESENT", "LICENSE")
    rows = [header, *(_row(model, folder) for model in CATALOGUE.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _row(model: Model, folder: Path) -> tuple[str, ...]:
    is_present = _is_present(model, folder)
    size_bytes = model.total_bytes
    if is_present:
        path = store.model_file_path(model.name, folder) if model.engine == "mdx" else folder / model.file
        size_bytes = _size_bytes(path)
    stem = next((stem for stem in model.stems if stem in model.sdr_db), "")
    return (
        model.name,
        model.architecture,
        ", ".join(model.purposes) or "-",
        ", ".join(model.stems) or "-",
        megabytes(size_bytes) if size_bytes else "-",
        f"{stem} {model.sdr_db[stem]:.1f} dB" if stem else "-",
        str(model.quality_songs or "-"),
        model.commercial_use,
        "yes" if is_present else "no" if model.is_public else "by hand only",
        model.license,
    )


if __name__ == "__main__":
    end_on_sigterm()  # it may be the first process of a container
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; the next call resumes the download.\n")
        sys.exit(130)
