"""The stems that a model gives, as far as that is known without loading it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import vr_parameters_of
from uvr.models.catalogue import stem_pair
from uvr.models.required_files import model_files

_INSTRUMENTS = re.compile(r"^\s*instruments:\s*\[([^]]*)\]|^\s*instruments:\s*\n((?:\s*-\s*\S.*\n?)+)", re.MULTILINE)
_DEMUCS = ("drums", "bass", "other", "vocals", "instrumental")


def stems_of_model(name: str, folder: Path) -> tuple[str, ...]:
    """The stems of the model `name`, whose files are in `folder`; () if they are not known."""
    main, *others = model_files(name, folder) or (None,)
    if main is None or not main.is_file():
        return ()
    with suppress(PermanentError, OSError, KeyError):
        if main.suffix.lower() == ".onnx":
            return stem_pair(store.parameters_of(main).primary_stem)
        if main.suffix.lower() == ".pth":
            return stem_pair(vr_parameters_of(main)["primary_stem"])
        if main.suffix.lower() == ".yaml":
            return _DEMUCS
        return _described(others[0].read_text(encoding="utf-8"))
    return ()


def _described(description: str) -> tuple[str, ...]:
    """The stems that a YAML description of a network lists, and the instrumental beside vocals alone."""
    found = _INSTRUMENTS.search(description)
    names = re.findall(r"[\w -]*\w", (found[1] or found[2]).lower()) if found else []
    stems = [re.sub(r"\W", "_", name.strip(" -")) for name in names]
    if set(stems) == {"vocals", "other"}:
        return ("vocals", "instrumental")
    return (*stems, "instrumental") if "vocals" in stems and "instrumental" not in stems else tuple(stems)
