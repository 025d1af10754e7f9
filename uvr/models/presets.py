"""Presets: a name for a purpose, such as `best`, and the models for it in the order in which they are preferred.

The first model that is here is taken, so a preset means the best that this service can do. presets.json has those of
the service, docs/models.md says by which public figures they are ordered. PRESETS_FILE, in the same form, adds presets
and replaces them:

    {"choir": {"purpose": "choirs", "models": ["our_choir.onnx", ["Kim_Vocal_1", "UVR-MDX-NET-Voc_FT"]]}}

A list in the list is an ensemble, whose models must all be here. A preset without models is switched off. Only the API
reads the file: a task carries the names of its models.
"""

from __future__ import annotations

from codecs import BOM_UTF8
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from config import SettingsError
from uvr.models.catalogue import CATALOGUE, catalogue_name

VARIABLE = "PRESETS_FILE"
MAX_ENSEMBLE = 4
"""How many models may make the stems of one song."""


@dataclass(frozen=True)
class Preset:
    """`options` are models, each the names of one model or of an ensemble, the preferred one first."""

    name: str
    purpose: str
    options: tuple[tuple[str, ...], ...]


_ModelName = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^/\\]+$")]
_Ensemble = Annotated[list[_ModelName], Field(min_length=1, max_length=MAX_ENSEMBLE)]
_PresetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class _Entry(BaseModel):
    """One preset in a file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    models: list[_ModelName | _Ensemble]
    purpose: str = ""


_FILE: TypeAdapter[dict[str, _Entry]] = TypeAdapter(dict[_PresetName, _Entry])


def read_presets(path: Path | None) -> Mapping[str, Preset]:
    """The presets by name: those of the service, and those of the file at `path`, None for no file.

    Raises `SettingsError` that names everything that is wrong with the file.
    """
    entries = _entries(Path(__file__).with_suffix(".json")) | (_entries(path) if path else {})
    return {name: preset for name, entry in entries.items() if (preset := _preset(name, entry)).options}


def _entries(path: Path) -> dict[str, _Entry]:
    try:
        entries = _FILE.validate_json(path.read_bytes().removeprefix(BOM_UTF8))
    except OSError as error:
        raise SettingsError([f"{VARIABLE}: {path} cannot be read: {error.strerror}"]) from None
    except ValidationError as error:
        raise SettingsError([f"{VARIABLE}: {path}: {fault}" for fault in _faults(error)]) from None
    # Clients who ask for a model of the catalogue must get that model.
    if taken := [name for name in entries if catalogue_name(name) != name or name in CATALOGUE]:
        raise SettingsError([f"{VARIABLE}: {path}: {name} is the name of a model; choose another" for name in taken])
    return entries


def _faults(error: ValidationError) -> list[str]:
    """What is wrong with a file, one sentence for each preset."""
    faults: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        where = [str(part) for part in fault["loc"]]
        if not where:
            faults[""] = f"must be a JSON object of presets ({fault['msg']})"
        elif "[key]" in where:
            faults[where[0]] = f"{where[0]} must consist of a-z, 0-9, - and _, and not begin with - or _"
        else:
            form = f'{{"models": […], "purpose": "…"}} with names of models, or lists of 1 to {MAX_ENSEMBLE} names'
            faults[where[0]] = f"{where[0]} must be {form}"
    return list(faults.values())


def _preset(name: str, entry: _Entry) -> Preset:
    options = [[option] if isinstance(option, str) else option for option in entry.models]
    return Preset(name, entry.purpose, tuple(tuple(dict.fromkeys(map(catalogue_name, names))) for names in options))
