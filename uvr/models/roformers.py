"""Which models are RoFormers, by the catalogue or by the YAML file beside a checkpoint.

Imports nothing heavy: the processes that choose an engine load no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from uvr.errors import PermanentError
from uvr.models.catalogue import known_model
from uvr.models.descriptions import read_description
from uvr.models.files import Stamp, stamp_of

CHECKPOINT_SUFFIXES = (".ckpt", ".pth", ".safetensors")
_OVERLAP, _MAX_OVERLAP = 8, 256
_BANDS = ("freqs_per_bands", "num_bands")
"""Keys that only a RoFormer's description has."""


def roformer_description(name: str, folder: Path) -> Path | None:
    """The YAML file of the RoFormer `name` in `folder`; None if the model is another one, or not known to be one.

    The file of a model of the catalogue may still be missing.
    """
    model = known_model(name)
    if model and model.engine != "roformer":
        return None
    if model and model.further_files:
        path = folder / model.further_files[0].name
        return path if not path.is_file() or _describes_roformer(path) else None
    checkpoint = folder / name
    path = checkpoint.with_suffix(".yaml")
    if not name.lower().endswith(CHECKPOINT_SUFFIXES) or not checkpoint.is_file() or not path.is_file():
        return None
    return path if _describes_roformer(path) else None


def times_through_network(description: Path) -> int:
    """How often each part of a song goes through the RoFormer of a YAML file: `num_overlap`, 1 if that is unknown."""
    try:
        overlap = dict(read_description(description)["inference"]).get("num_overlap", _OVERLAP)
    except (PermanentError, OSError, LookupError, TypeError, ValueError):
        return 1
    return min(overlap, _MAX_OVERLAP) if isinstance(overlap, int) and overlap > 0 else 1


def require_description(name: str, folder: Path) -> None:
    """Raise `PermanentError` if the YAML file beside the checkpoint `name` in `folder` is missing or cannot be read.

    What a model of the catalogue lacks is no fault: it can be downloaded.
    """
    model = known_model(name)
    checkpoint = folder / (model.file if model else name)
    if checkpoint.suffix.lower() not in (".ckpt", ".safetensors"):
        return
    path = folder / model.further_files[0].name if model else checkpoint.with_suffix(".yaml")
    if not path.is_file() and checkpoint.is_file() and not model:
        raise PermanentError(
            f"{name} needs the YAML file that describes its network: put it beside the model, as {path.name} "
            "(docs/models.md)."
        )
    try:
        if path.is_file():
            read_description(path)
    except OSError as error:
        raise PermanentError(f"{path.name} cannot be read: {error.strerror}.") from error


def _describes_roformer(path: Path) -> bool:
    return _read(path, stamp_of([path]))


@lru_cache(maxsize=256)  # a processor asks for all its models every few seconds
def _read(path: Path, _stamp: Stamp) -> bool:
    try:
        description = read_description(path)
    except (PermanentError, OSError):
        return False
    section = description.get("model") if isinstance(description, Mapping) else None
    return isinstance(section, Mapping) and any(key in section for key in _BANDS)
