"""The stems that a model gives, as far as that is known without loading it."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import vr_parameters_of
from uvr.models.catalogue import stem_pair
from uvr.models.required_files import model_files, yaml_list

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
        return _described(yaml_list(others[0], "instruments"))
    return ()


def _described(instruments: list[str]) -> tuple[str, ...]:
    """The stems of a network with these instruments, and the instrumental beside vocals."""
    stems = [re.sub(r"[^a-z0-9_]", "_", name.lower()) for name in instruments]
    if set(stems) == {"vocals", "other"}:
        return ("vocals", "instrumental")
    return (*stems, "instrumental") if "vocals" in stems and "instrumental" not in stems else tuple(stems)
