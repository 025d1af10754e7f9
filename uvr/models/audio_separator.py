"""The catalogue of models that audio-separator runs, and the download of its VR models.

A VR model is a single file, which is found, downloaded and checked here like an MDX-Net model (see `store`). Demucs,
MDX23C and RoFormer models have several files: they are known by audio-separator's names for them, which end in .yaml or
.ckpt, and audio-separator downloads their files itself. This module imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uvr.errors import PermanentError
from uvr.models.catalogue import UVR_TERMS, Model, ModelUnavailableError, find_model, public_places, without_suffix
from uvr.models.download import NoSourceError, download_from_first_that_works
from uvr.models.files import ProgressCallback, file_lock, progress_log, publish, tail_md5
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources

VrParameters = Mapping[str, Any]
"""The parameters of a VR model, by UVR's names: vr_model_param, primary_stem, nout, nout_lstm, …"""

_TABLES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_TITLE_PREFIXES = ("VR Arch Single Model v5: ", "VR Arch Single Model v4: ")

VR_PARAMETERS: Mapping[str, VrParameters] = _TABLES["vr_parameters"]
"""Parameters by the `tail_md5` of the model file."""

DOWNLOAD_CHECKS: Mapping[str, Any] = _TABLES["download_checks"]
"""UVR's list of models with several files, in the form that audio-separator reads (download_checks.json)."""

VR_MODELS: Mapping[str, Model] = {
    entry["file"].removesuffix(".pth"): Model(
        name=entry["file"].removesuffix(".pth"),
        architecture="VR",
        license=UVR_TERMS,
        places=public_places(entry["file"], "VR_Arch"),
        **entry,
    )
    for entry in _TABLES["vr"]
}

_MULTI_FILE_SUFFIXES = (".yaml", ".ckpt")
_MULTI_FILE_MODELS = {
    without_suffix(alias, *_MULTI_FILE_SUFFIXES).lower(): file
    for models in DOWNLOAD_CHECKS.values()
    for title, files in models.items()
    for file in files
    if file.endswith(_MULTI_FILE_SUFFIXES)
    for alias in (file, title, title.partition(": ")[2])
}


def find_vr_model(name: str) -> Model | None:
    """The VR model whose file name or title in UVR's menus is `name`; None if there is none."""
    for prefix in _TITLE_PREFIXES:
        name = name.removeprefix(prefix)
    stem = without_suffix(name, ".pth").partition(" by ")[0].lower()
    return next((model for key, model in VR_MODELS.items() if key.lower() == stem), None)


def multi_file_model_name(name: str) -> str:
    """audio-separator's name of the Demucs, MDX23C or RoFormer model `name`; "" if it is another kind of model.

    `name` may lack the suffix or be the title in UVR's menus. A name with the suffix is accepted even if it is not in
    UVR's list, because audio-separator knows more models.
    """
    listed = _MULTI_FILE_MODELS.get(without_suffix(name, *_MULTI_FILE_SUFFIXES).lower(), "")
    return listed or (name if name.lower().endswith(_MULTI_FILE_SUFFIXES) else "")


def catalogue_name(name: str) -> str:
    """The catalogue's name of a model that MODEL_NAME may spell differently; `name` for a model of the operator's."""
    if model := find_vr_model(name):
        return model.name
    try:
        return find_model(name).name
    except PermanentError:
        return multi_file_model_name(name) or name


def ensure_vr_model_file(
    model: Model,
    folder: Path,
    *,
    sources: ModelSources = PUBLIC_SOURCES,
    force: bool = False,
    on_progress: ProgressCallback | None = None,
) -> Path:
    """The checked file of a VR model in `folder`, downloaded if it is missing, or always with `force`.

    Raises `ModelUnavailableError` if the download fails, and `PermanentError` if the file is not a known VR model.
    """
    path = folder / model.file
    if force or not path.is_file():
        download_model_file(model, sources.urls(model.file, model.places), path, on_progress, force=force)
    vr_parameters_of(path)
    return path


def vr_parameters_of(path: Path) -> VrParameters:
    """The parameters of a VR model file, by its hash; `PermanentError` if UVR's table does not contain it."""
    parameters = VR_PARAMETERS.get(tail_md5(path))
    if parameters is None:
        raise PermanentError(
            f"The parameters of {path.name} are not known: its hash {tail_md5(path)} is not in UVR's table of VR "
            "models. If it comes from UVR it is damaged: delete it and download it again."
        )
    return parameters


def download_model_file(
    model: Model, urls: list[str], path: Path, on_progress: ProgressCallback | None = None, *, force: bool = False
) -> None:
    """Download the first of `urls` that works to `path` atomically, once for all processes.

    An existing file is kept, unless `force` is set. Raises `ModelUnavailableError` if all fail.
    """
    part, report = path.with_name(f"{path.name}.part"), on_progress or progress_log(model.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path):
            if force or not path.is_file():
                download_from_first_that_works(urls, part, report, size_bytes=model.size_bytes)
                publish(part, path)
    except NoSourceError as error:
        raise ModelUnavailableError(model, error.message) from error
    except OSError as error:
        reason = f"MODEL_FILE_DIR cannot be used: {error.strerror or type(error).__name__}"
        raise ModelUnavailableError(model, reason) from error
