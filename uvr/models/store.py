"""The model files in MODEL_FILE_DIR: a model's name in, the path of its checked file out.

`ensure_model_file` uses the file in MODEL_FILE_DIR if there is one, so a folder that was filled by hand needs no
network; otherwise it downloads or builds the file. `parameters_of` gives the parameters of a file, which do not depend
on its name. This module imports neither numpy nor onnxruntime.
"""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import structlog

from uvr.errors import PermanentError
from uvr.models import spleeter
from uvr.models.catalogue import (
    CATALOGUE,
    PARAMETERS,
    SPLEETER_NAME,
    MdxParameters,
    Model,
    ModelUnavailableError,
    find_model,
    without_suffix,
)
from uvr.models.files import ProgressCallback, file_lock, progress_log, publish, recorded_sha256, sha256, tail_md5
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources

log = structlog.get_logger()


def ensure_model_file(
    name: str,
    folder: Path,
    *,
    sources: ModelSources = PUBLIC_SOURCES,
    force: bool = False,
    on_progress: ProgressCallback | None = None,
) -> Path:
    """The checked file of the model `name`, downloaded or built into `folder` if it is missing.

    `name` is a model of the catalogue in any spelling, a file in `folder`, or the path of a file. `sources` says
    where it may be downloaded. With `force` an existing file is replaced as soon as the new one is complete. Several
    processes may call this at the same time.

    Raises `ModelUnavailableError` if the download fails, and `PermanentError` if the name is unknown, the file's
    parameters are unknown, or the file is not the model that its name says.
    """
    path = model_file_path(name, folder)
    model = CATALOGUE.get(path.stem)
    if model is None or model.engine != "mdx":
        parameters_of(path)
        return path
    if force or not path.is_file():
        _fetch(model, path, sources, on_progress or progress_log(model.name), force=force)
    _check_parameters(model, path)
    return path


def model_file_path(name: str, folder: Path) -> Path:
    """The path of the model `name` (see `ensure_model_file`), whether or not it exists.

    Raises `PermanentError` for an unknown name.
    """
    name, folder = split_model_path(name, folder)
    if existing := _onnx_file(name, folder):
        return existing
    model = find_model(name)
    if model.engine != "mdx":
        raise PermanentError(
            f"{model.name} is not an MDX-Net model: audio-separator runs it, with MODEL_NAME={model.name} and what "
            "`make setup-library` installs (docs/models.md)."
        )
    return _onnx_file(model.name, folder) or folder / model.file


def split_model_path(name: str, folder: Path) -> tuple[str, Path]:
    """The file name and the folder of a model: a path is split, a plain name belongs to `folder`.

    A path may lack `.onnx`. Raises `PermanentError` if there is no such file.
    """
    if os.sep not in name:
        return name, folder
    path = Path(name)
    file = path if path.is_file() else _onnx_file(path.name, path.parent)
    if file is None:
        raise PermanentError(
            f"There is no file {path.name} at this path. A name without a folder means a file in MODEL_FILE_DIR, or a "
            "model that is downloaded into it."
        )
    return file.name, file.parent


def _onnx_file(name: str, folder: Path) -> Path | None:
    """The ONNX file `name` in `folder`; its suffix may be in upper case, and `name` may lack it."""
    pattern = f"{glob.escape(without_suffix(name, '.onnx'))}.[oO][nN][nN][xX]"
    return max(folder.glob(pattern), default=None)


def parameters_of(path: Path) -> MdxParameters:
    """The parameters of a model file, from UVR's table by its hash, or else from `<file>.json` in the same folder.

    Raises `PermanentError` if neither has them.
    """
    if not path.is_file():
        raise PermanentError(f"There is no model file {path.name} in MODEL_FILE_DIR.")
    if parameters := PARAMETERS.get(tail_md5(path)):
        return parameters
    description = path.with_name(f"{path.name}.json")
    if description.is_file():
        return read_parameters(description)
    raise PermanentError(
        f"The parameters of {path.name} are not known: its hash {tail_md5(path)} is not in UVR's table. "
        "If it comes from UVR it is damaged: delete it and download it again. "
        f"If it is your own model, write its parameters into {description.name} in the same folder (docs/models.md).",
        tail_md5=tail_md5(path),
    )


def read_parameters(description: Path) -> MdxParameters:
    """Parameters from a file with one entry in UVR's format.

    Its keys are compensate, mdx_dim_f_set, mdx_dim_t_set (the exponent of 2), mdx_n_fft_scale_set and primary_stem.
    Raises `PermanentError` if the file cannot be read or a value is missing or wrong.
    """
    try:
        entry = json.loads(description.read_text(encoding="utf-8"))
        return MdxParameters(
            compensate=float(entry["compensate"]),
            dim_f=int(entry["mdx_dim_f_set"]),
            dim_t=2 ** int(entry["mdx_dim_t_set"]),
            n_fft=int(entry["mdx_n_fft_scale_set"]),
            primary_stem=str(entry["primary_stem"]),
        )
    except OSError as error:
        raise PermanentError(f"{description.name} cannot be read: {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise PermanentError(f"{description.name} does not describe a model: {error!r} (docs/models.md).") from error


def verify_model_file(name: str, folder: Path) -> None:
    """Compare the file of a model in `folder` with all known hashes; `PermanentError` says what is wrong."""
    path = model_file_path(name, folder)
    model = find_model(path.name)
    _check_parameters(model, path)
    expected = model.sha256 or recorded_sha256(path)
    if expected and sha256(path) != expected:
        raise PermanentError(f"{model.file} has changed since it was downloaded: delete it and download it again.")


def _fetch(model: Model, path: Path, sources: ModelSources, on_progress: ProgressCallback, *, force: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path):
            if path.is_file() and not force:
                return
            if model.name == SPLEETER_NAME:
                spleeter.build(path, on_progress)
            else:
                _download(model, path, sources, on_progress)
            log.info("model.ready", model=model.name, bytes=path.stat().st_size)
    except OSError as error:
        reason = f"MODEL_FILE_DIR cannot be used: {error.strerror or type(error).__name__}"
        raise ModelUnavailableError(model, reason) from error


def _download(model: Model, path: Path, sources: ModelSources, on_progress: ProgressCallback) -> None:
    """Download the file from the first source whose file is this model, and publish it."""
    from uvr.models.download import NoSourceError, download_from_first_that_works  # loads requests

    urls = sources.urls(model.file, model.places)
    if not (model.places or sources.has_mirrors):
        raise ModelUnavailableError(model, "UVR offers it to its supporters only")
    if not urls:
        raise ModelUnavailableError(model, "none of the places in MODEL_SOURCES has it")
    part = path.with_name(f"{path.name}.part")

    def check(file: Path) -> None:
        if difference := _difference(model, file):
            raise PermanentError(f"the downloaded file is not this model ({difference}) and was deleted")

    try:
        download_from_first_that_works(urls, part, on_progress, size_bytes=model.size_bytes, check=check)
    except NoSourceError as error:
        raise ModelUnavailableError(model, error.message) from error
    publish(part, path)


def _difference(model: Model, file: Path) -> str:
    """How a downloaded file differs from the model that it should be, "" if it does not."""
    found = tail_md5(file)
    if (model.tail_md5 and found != model.tail_md5) or found not in PARAMETERS:
        return f"hash {found}"
    return "its SHA-256 differs" if model.sha256 and sha256(file) != model.sha256 else ""


def _check_parameters(model: Model, path: Path) -> None:
    parameters_of(path)
    if model.tail_md5 and tail_md5(path) != model.tail_md5:
        raise PermanentError(
            f"{model.file} is not the model that its name says: delete it and download it again, or rename it."
        )
