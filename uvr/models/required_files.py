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
from uvr.models.catalogue import known_model
from uvr.models.roformers import roformer_description


def model_files(name: str, folder: Path) -> tuple[Path, ...]:
    """The files of the model `name` in `folder`, whether or not they are there; none if there is no such model.

    `name` is a name of the catalogue in any spelling, or that of a file in the folder.
    """
    main = folder / name
    if main.suffix.lower() == ".pth" and main.is_file():
        description = roformer_description(name, folder)
        return (main, description) if description else (main,)
    model = known_model(name)
    if model and model.engine != "mdx":
        return tuple(folder / file.name for file in model.files)
    if main.suffix.lower() in (".ckpt", ".safetensors", ".yaml"):
        return (main, *_other_files(main))
    try:
        return (store.model_file_path(name, folder),)
    except PermanentError:
        return ()


def is_present(name: str, folder: Path) -> bool:
    """Whether all files of the model `name` are in `folder`."""
    files = model_files(name, folder)
    return bool(files) and all(path.is_file() for path in files)


def _other_files(main: Path) -> Iterator[Path]:
    """The files besides `main` that a model of the operator's own needs."""
    if main.suffix.lower() != ".yaml":
        yield main.with_suffix(".yaml")
    else:
        yield from (_network_of_bag(main.parent, network) for network in networks_of_bag(main))


def networks_of_bag(bag: Path) -> list[str]:
    """The names of the networks in the YAML file of a Demucs bag, on one line or several; none for another file.

    Without a YAML library: the API has none, and needs none for such a list.
    """
    with suppress(OSError, UnicodeDecodeError):
        pattern = r"^\s*models:\s*(?:\[(?P<line>[^]]*)\]|\n(?P<block>(?:\s*-\s.*\n?)+))"
        if found := re.search(pattern, bag.read_text(encoding="utf-8"), re.MULTILINE):
            words = found["line"].split(",") if found["line"] is not None else re.split(r"\n?\s*-\s", found["block"])
            return [word for word in (each.strip(" \n'\"") for each in words) if word]
    return []


def _network_of_bag(folder: Path, network: str) -> Path:
    """The file of a network, whose name may end in a hash: 955717e8-8726e21a.th."""
    return next(iter(sorted(folder.glob(f"{network}-*.th"))), folder / f"{network}.th")
