"""What is known about the models that audio-separator runs: VR models by name, and which files the others consist of.

VR models are single files, so they are found, fetched and checked here as MDX-Net models are (see `models`). Models of
several files (Demucs, MDX23C, Roformer) go by audio-separator's own names, which end in .yaml or .ckpt and are found
without the ending as well; it knows where their parts come from. Nothing heavy is imported.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uvr.errors import PermanentError, TransientError
from uvr.logs import without_secrets
from uvr.models.catalogue import RELEASE_URL, UVR_TERMS, Model, ModelUnavailableError, without_suffix
from uvr.models.download import download
from uvr.models.files import ProgressCallback, file_lock, progress_log, publish, tail_md5

VrParameters = Mapping[str, Any]
"""What a VR model file does not say about itself, in UVR's words: vr_model_param, primary_stem, nout, nout_lstm, …"""

_TABLES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
_TITLE_PREFIXES = ("VR Arch Single Model v5: ", "VR Arch Single Model v4: ")

VR_PARAMETERS: Mapping[str, VrParameters] = _TABLES["vr_parameters"]
"""Parameters by the MD5 of a file's last 10,240,000 bytes."""

DOWNLOAD_CHECKS: Mapping[str, Any] = _TABLES["download_checks"]
"""UVR's list of models of several files, in the form in which audio-separator reads it."""

VR_MODELS: Mapping[str, Model] = {
    entry["file"].removesuffix(".pth"): Model(
        name=entry["file"].removesuffix(".pth"),
        architecture="VR",
        source=f"{RELEASE_URL}/{entry['file']}",
        license=UVR_TERMS,
        **entry,
    )
    for entry in _TABLES["vr"]
}


def find_vr_model(name: str) -> Model | None:
    """The VR model called `name`, by its file's name or as UVR's menus call it; None when there is none."""
    for prefix in _TITLE_PREFIXES:
        name = name.removeprefix(prefix)
    wanted = without_suffix(name, ".pth").partition(" by ")[0].lower()
    return next((model for key, model in VR_MODELS.items() if key.lower() == wanted), None)


def multi_file_model_name(name: str) -> str:
    """audio-separator's name for the Demucs, MDX23C or Roformer model `name`; "" for a model of another kind.

    `name` may lack the ending, or be the title in UVR's menus. What has the ending counts as such a model even when it
    is in no table: audio-separator knows more of them.
    """
    known = _SEVERAL_FILES.get(without_suffix(name, *_ENDINGS).lower(), "")
    return known or (name if name.lower().endswith(_ENDINGS) else "")


_ENDINGS = (".yaml", ".ckpt")
_SEVERAL_FILES = {
    without_suffix(alias, *_ENDINGS).lower(): file
    for models in DOWNLOAD_CHECKS.values()
    for title, files in models.items()
    for file in files
    if file.endswith(_ENDINGS)
    for alias in (file, title, title.partition(": ")[2])
}


def ensure_vr_model_file(
    model: Model, folder: Path, *, base_url: str = "", force: bool = False, on_progress: ProgressCallback | None = None
) -> Path:
    """The checked file of a VR model, downloaded into `folder` if it is not there, or `again`.

    Raises `ModelUnavailableError` when it cannot be had, and `PermanentError` when the file there is another one.
    """
    path = folder / model.file
    if force or not path.is_file():
        url = f"{base_url.rstrip('/')}/{model.file}" if base_url else model.source
        download_model_file(model, url, path, on_progress, force=force)
    vr_parameters_of(path)
    return path


def vr_parameters_of(path: Path) -> VrParameters:
    """The parameters of a VR model file by its hash in UVR's table; `PermanentError` for a file that is not in it."""
    parameters = VR_PARAMETERS.get(tail_md5(path))
    if parameters is None:
        raise PermanentError(
            f"{path.name} is not a VR model whose parameters are known: its hash {tail_md5(path)} is not in UVR's "
            "table. If it comes from UVR it is damaged: delete it and download it again."
        )
    return parameters


def download_model_file(
    model: Model, url: str, path: Path, on_progress: ProgressCallback | None = None, *, force: bool = False
) -> None:
    """Download `url` to `path`, whole or not at all, once for all processes; `ModelUnavailableError` when it fails.

    A file that is there is kept, unless it is to be fetched `again`.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path):
            if force or not path.is_file():
                download(url, part, on_progress or progress_log(model.name), size_bytes=model.size_bytes)
                publish(part, path)
    except (PermanentError, TransientError) as error:
        raise ModelUnavailableError(model, without_secrets(url), error.message) from error
    except OSError as error:
        reason = f"MODEL_FILE_DIR cannot be used: {error.strerror or type(error).__name__}"
        raise ModelUnavailableError(model, "", reason) from error
