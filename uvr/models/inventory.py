"""Which models are in MODEL_FILE_DIR, and what is known about each without loading it.

Reading the end of each file to recognize it takes a while in a folder of a hundred models. So what a file is, is
remembered until the file changes. This module imports nothing heavy, and downloads nothing.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from uvr.errors import PermanentError
from uvr.models import store
from uvr.models.audio_separator import vr_parameters_of
from uvr.models.catalogue import catalogue_name
from uvr.models.files import Stamp, stamp_of
from uvr.models.required_files import is_present, model_files, networks_of_bag
from uvr.models.roformers import require_description, roformer_description
from uvr.models.stems import stems_of_model

log = structlog.get_logger()

_SUFFIXES = {".onnx", ".pth", ".ckpt", ".safetensors", ".yaml"}


@dataclass(frozen=True)
class PresentModel:
    """A model whose files are all in the folder."""

    name: str
    """The catalogue's name, or the file name of the operator's own model."""
    stems: tuple[str, ...]
    """The stems that it gives; () if they are not known."""


class Inventory:
    """The models in `folder`, as they are each time it is asked. Used by one thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._explained: set[str] = set()
        self._recognized: dict[Path, tuple[Stamp, PresentModel | None]] = {}

    def models(self) -> dict[str, PresentModel]:
        """The models whose files are there, by name, in alphabetical order of their files."""
        found: dict[str, PresentModel] = {}
        with suppress(OSError):
            for path in sorted(self._folder.iterdir()):
                model = self._model_of(path) if path.suffix.lower() in _SUFFIXES else None
                if model and is_present(model.name, self._folder):
                    found[model.name] = model
                elif model:
                    self._explain(model)
        return found

    def _explain(self, model: PresentModel) -> None:
        """Say once in the log why a model of the operator's own is passed over."""
        try:
            require_description(model.name, self._folder)
        except PermanentError as error:
            if model.name not in self._explained:
                self._explained.add(model.name)
                log.info("model.passed_over", model=model.name, reason=error.message)

    def _model_of(self, path: Path) -> PresentModel | None:
        """The model whose main file is `path`, None if it is another kind of file; remembered while it is the same."""
        own = [path, path.with_name(f"{path.name}.json"), path.with_suffix(".yaml")]
        stamp = stamp_of(dict.fromkeys([*own, *model_files(path.name, path.parent)]))
        known = self._recognized.get(path)
        if known is None or known[0] != stamp:
            known = self._recognized[path] = stamp, _recognize(path)
        return known[1]


def _recognize(path: Path) -> PresentModel | None:
    try:
        if not _is_model(path):
            return None
    except (PermanentError, OSError) as error:
        log.info("model.passed_over", model=path.name, reason=str(error))
        return None
    return PresentModel(catalogue_name(path.name), stems_of_model(path.name, path.parent))


def _is_model(path: Path) -> bool:
    """Whether this is the main file of a model; raises `PermanentError` if what belongs to it is not known."""
    suffix = path.suffix.lower()
    if suffix in (".pth", ".safetensors") and roformer_description(path.name, path.parent):
        return True
    if suffix == ".onnx":
        store.parameters_of(path)
    elif suffix == ".pth":
        vr_parameters_of(path)
    elif suffix == ".yaml":
        return bool(networks_of_bag(path))
    return suffix != ".safetensors"
