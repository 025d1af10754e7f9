"""Fetch trained models into MODEL_FILE_DIR ahead of time, list them, and check the ones that are there.

    python download_models.py                        the model that MODEL_NAME names
    python download_models.py Kim_Vocal_2 Spleeter-2stems
    python download_models.py --model Kim_Vocal_2    the same, as older scripts have it
    python download_models.py --all                  every one that can be downloaded
    python download_models.py --force                download again what is there already
    python download_models.py --list
    python download_models.py --check

Exit status: 0 done, 1 a model could not be had or is damaged, 2 wrong usage or faulty settings.
"""

from __future__ import annotations

import uvr.prerequisites  # noqa: F401  # says how to set up where a package is missing

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from config import Settings, SettingsError, read_settings, refuse_to_start
from uvr import logs
from uvr.cli.progress_bar import ProgressLine, megabytes
from uvr.errors import UvrError
from uvr.models import store
from uvr.models.audio_separator import multi_file_model_name
from uvr.models.catalogue import CATALOGUE, Model
from uvr.separation.engine_factory import model_file


def main(arguments: list[str] | None = None) -> int:
    """The command; `arguments` are those of the command line unless given."""
    try:
        settings = read_settings()
    except SettingsError as error:
        refuse_to_start(error.faults)
    logs.configure("error", settings.log_format, process="download_models")
    wanted = _parser(settings).parse_args(arguments)
    if wanted.list:
        sys.stdout.write(_table(CATALOGUE.values(), wanted.dir))
        return 0
    if wanted.check:
        return _check_all(wanted.names + wanted.model, wanted.dir)
    names = [model.name for model in CATALOGUE.values() if model.source] if wanted.all else wanted.names + wanted.model
    return _fetch_all(names or [settings.model_name], wanted)


def _parser(settings: Settings) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="download_models.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"default: MODEL_NAME ({settings.model_name})")
    parser.add_argument("--model", action="append", default=[], metavar="NAME", help="the same as NAME")
    parser.add_argument("--force", action="store_true", help="download again what is there already")
    action = parser.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="show every model of the catalogue")
    action.add_argument("--check", action="store_true", help="compare the files that are there with their hashes")
    action.add_argument("--all", action="store_true", help="fetch every model that can be downloaded")
    parser.add_argument("--dir", type=Path, default=settings.model_file_dir, help="default: MODEL_FILE_DIR")
    parser.add_argument(
        "--base-url", default=settings.model_base_url, help="download from this mirror; default: MODEL_BASE_URL"
    )
    return parser


def _fetch_all(names: list[str], wanted: argparse.Namespace) -> int:
    failures = 0
    for name in names:
        progress = ProgressLine(name, sys.stderr)
        try:
            path = model_file(name, wanted.dir, wanted.base_url, progress.downloaded, force=wanted.force)
        except UvrError as error:
            progress.close()
            sys.stderr.write(f"{error.message}\n")
            failures += 1
        else:
            progress.close()
            sys.stdout.write(f"{_arrived(name, path)}\n")
    return 1 if failures else 0


def _arrived(name: str, path: Path | None) -> str:
    if path is None:
        return f"{multi_file_model_name(name)}: audio-separator fetches its files at the first start of the processor"
    return f"{path} is ready ({megabytes(path.stat().st_size)})"


def _check_all(names: list[str], folder: Path) -> int:
    failures = 0
    for name in names or [
        model.name for model in CATALOGUE.values() if store.model_file_path(model.name, folder).is_file()
    ]:
        try:
            store.verify_model_file(name, folder)
            sys.stdout.write(f"{name}: good\n")
        except UvrError as error:
            sys.stdout.write(f"{name}: {error.message}\n")
            failures += 1
    return 1 if failures else 0


def _table(entries: Iterable[Model], folder: Path) -> str:
    heads = ("NAME", "ARCHITECTURE", "PRIMARY STEM", "SIZE", "VOCALS SDR", "HERE")
    rows = [heads, *(_row(model, folder) for model in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join(lines) + "\n"


def _row(model: Model, folder: Path) -> tuple[str, ...]:
    path = store.model_file_path(model.name, folder)
    size = path.stat().st_size if path.is_file() else model.size_bytes
    vocals_db = model.sdr_db.get("vocals")
    return (
        model.name,
        model.architecture,
        model.parameters.primary_stem if model.parameters else "-",
        megabytes(size) if size else "-",
        f"{vocals_db:.1f} dB" if vocals_db is not None else "-",
        "yes" if path.is_file() else "no" if model.source else "by hand only",
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped; the next call continues where this one was.\n")
        sys.exit(130)
