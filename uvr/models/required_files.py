"""The files that each model consists of: one, or several for Demucs, MDX23C and RoFormer models.

Imports nothing heavy, and downloads nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import DOWNLOAD_CHECKS, find_vr_model, multi_file_model_name


def model_files(name: str, folder: Path) -> tuple[Path, ...]:
    """The files of the model `name` in `folder`, whether or not they are there; none if there is no such model.

    `name` is a name of the catalogue in any spelling, or that of a file in the folder.
    """
    if main := multi_file_model_name(name):
        return (folder / main, *_other_files(folder / main))
    if name.lower().endswith(".pth") and (folder / name).is_file():
        return (folder / name,)
    if model := find_vr_model(name):
        return (folder / model.file,)
    try:
        return (store.model_file_path(name, folder),)
    except PermanentError:
        return ()


def is_present(name: str, folder: Path) -> bool:
    """Whether all files of the model `name` are in `folder`."""
    files = model_files(name, folder)
    return bool(files) and all(path.is_file() for path in files)


def _other_files(main: Path) -> Iterator[Path]:
    """The files besides `main` that a model of several files needs."""
    listed = [files for group in DOWNLOAD_CHECKS.values() for files in group.values() if main.name in files]
    if main.suffix.lower() == ".ckpt":
        described = [text for files in listed for text in [files[main.name]] if "/" not in text]
        yield main.with_name(described[0]) if described else main.with_suffix(".yaml")
    elif listed:
        yield from (main.with_name(file) for file in listed[0] if file != main.name)
    else:
        yield from (_network_of_bag(main.parent, network) for network in networks_of_bag(main))


def networks_of_bag(bag: Path) -> list[str]:
    """The names of the networks in the YAML file of a Demucs bag; none for another file."""
    return yaml_list(bag, "models")


def yaml_list(file: Path, key: str) -> list[str]:
    """The list of words called `key` in a YAML file, on one line or several; empty if there is none.

    The API and the processor have no YAML library, and the lists in question are as simple as that.
    """
    with suppress(OSError, UnicodeDecodeError):
        pattern = rf"^\s*{key}:\s*(?:\[(?P<line>[^]]*)\]|\n(?P<block>(?:\s*-\s.*\n?)+))"
        if found := re.search(pattern, file.read_text(encoding="utf-8"), re.MULTILINE):
            words = found["line"].split(",") if found["line"] is not None else re.split(r"\n?\s*-\s", found["block"])
            return [word for word in (each.strip(" \n'\"") for each in words) if word]
    return []


def _network_of_bag(folder: Path, network: str) -> Path:
    """The file of a network, whose name may end in a hash: 955717e8-8726e21a.th."""
    return next(iter(sorted(folder.glob(f"{network}-*.th"))), folder / f"{network}.th")
