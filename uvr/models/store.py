"""Front of the models: a name in, the path of a checked model file out.

`ensure` looks into MODEL_FILE_DIR first, so that a folder filled by hand needs no network, and downloads or builds what
is missing. `parameters_of` says what the engine must know about a file, whatever its name. Neither numpy nor
onnxruntime is imported here.
"""

from __future__ import annotations

import glob
import json
import os
from pathlib import Path

import structlog

from uvr.errors import PermanentError, TransientError
from uvr.logs import without_secrets
from uvr.models import spleeter
from uvr.models.audio_separator import multi_file_model_name
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
from uvr.models.download import download
from uvr.models.files import ProgressCallback, file_lock, progress_log, publish, recorded_sha256, sha256, tail_md5

log = structlog.get_logger()


def ensure_model_file(
    name: str, folder: Path, *, base_url: str = "", force: bool = False, on_progress: ProgressCallback | None = None
) -> Path:
    """The checked file of the model `name`, downloaded or built into `folder` if it is not there.

    `name` is one of the catalogue in any spelling, a file in `folder`, or the path of a file. `base_url` is a mirror to
    download from instead; with `again` a file that is there is replaced, once the new one is whole. Safe when several
    processes do it at once.

    Raises `ModelUnavailableError` when the file cannot be had, and `PermanentError` for a name or a file that is
    unknown or not what it says.
    """
    path = model_file_path(name, folder)
    model = CATALOGUE.get(path.stem)
    if model is None:
        parameters_of(path)
        return path
    if force or not path.is_file():
        _obtain(model, path, base_url, on_progress or progress_log(model.name), force=force)
    _check_parameters(model, path)
    return path


def model_file_path(name: str, folder: Path) -> Path:
    """Where the file of the model `name` lies (see `ensure`), or will lie; `PermanentError` for an unknown name."""
    name, folder = split_model_path(name, folder)
    if by_hand := _onnx_file(name, folder):
        return by_hand
    if for_library := multi_file_model_name(name):
        raise PermanentError(
            f"{for_library} is not an MDX-Net model: audio-separator runs it, and fetches its files at the first start "
            f"of the processor with MODEL_NAME={for_library} (docs/models.md)."
        )
    model = find_model(name)
    return _onnx_file(model.name, folder) or folder / model.file


def split_model_path(name: str, folder: Path) -> tuple[str, Path]:
    """The name of a model and the folder of its file: a path is taken apart, any other name belongs into `folder`.

    A path may lack `.onnx`. Raises `PermanentError` when it leads to no file.
    """
    if os.sep not in name:
        return name, folder
    path = Path(name)
    file = path if path.is_file() else _onnx_file(path.name, path.parent)
    if file is None:
        raise PermanentError(
            f"There is no file {path.name} where this path leads. A name without a folder stands for a file in "
            "MODEL_FILE_DIR, or for a model that is fetched into it."
        )
    return file.name, file.parent


def _onnx_file(name: str, folder: Path) -> Path | None:
    """The ONNX file `name` in `folder`, whose ending may be in upper case, or left out of the name."""
    pattern = f"{glob.escape(without_suffix(name, '.onnx'))}.[oO][nN][nN][xX]"
    return max(folder.glob(pattern), default=None)


def parameters_of(path: Path) -> MdxParameters:
    """The parameters of a model file, by its hash in UVR's table, or else from `<file>.json` beside it.

    Raises `PermanentError` for a file that neither knows.
    """
    if not path.is_file():
        raise PermanentError(f"There is no model file {path.name} in MODEL_FILE_DIR.")
    parameters = PARAMETERS.get(tail_md5(path)) or _described(path)
    if parameters is None:
        raise PermanentError(
            f"{path.name} is not a model whose parameters are known: its hash {tail_md5(path)} is not in UVR's table. "
            "If it comes from UVR it is damaged: delete it and download it again. "
            f"If it is your own, write its parameters into {path.name}.json beside it (docs/models.md).",
            tail_md5=tail_md5(path),
        )
    return parameters


def read_parameters(description: Path) -> MdxParameters:
    """Parameters in one entry of UVR's format.

    It has compensate, mdx_dim_f_set, mdx_dim_t_set (the exponent of 2), mdx_n_fft_scale_set and primary_stem. Raises
    `PermanentError` for a file that does not.
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
    """Read the whole file of a model in `folder` and compare all its hashes; `PermanentError` names what is wrong."""
    path = model_file_path(name, folder)
    model = find_model(path.name)
    _check_parameters(model, path)
    expected = model.sha256 or recorded_sha256(path)
    if expected and sha256(path) != expected:
        raise PermanentError(f"{model.file} has changed since it arrived: delete it and download it again.")


def _obtain(model: Model, path: Path, base_url: str, on_progress: ProgressCallback, *, force: bool) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with file_lock(path):
            if path.is_file() and not force:
                return
            if model.name == SPLEETER_NAME:
                spleeter.build(path, on_progress)
            else:
                _download(model, path, base_url, on_progress)
            log.info("model.ready", model=model.name, bytes=path.stat().st_size)
    except OSError as error:
        reason = f"MODEL_FILE_DIR cannot be used: {error.strerror or type(error).__name__}"
        raise ModelUnavailableError(model, "", reason) from error


def _download(model: Model, path: Path, base_url: str, on_progress: ProgressCallback) -> None:
    url = f"{base_url.rstrip('/')}/{model.file}" if base_url else model.source
    if not url:
        raise ModelUnavailableError(model, "", "UVR gives it to its supporters only")
    part = path.with_name(f"{path.name}.part")
    try:
        download(url, part, on_progress, size_bytes=model.size_bytes)
    except (PermanentError, TransientError) as error:
        raise ModelUnavailableError(model, without_secrets(url), error.message) from error
    try:
        _check_arrived(model, part)
    except PermanentError as error:
        part.unlink()
        raise ModelUnavailableError(model, without_secrets(url), error.message) from error
    publish(part, path)


def _check_arrived(model: Model, part: Path) -> None:
    found = tail_md5(part)
    if (model.tail_md5 and found != model.tail_md5) or found not in PARAMETERS:
        raise PermanentError(f"what arrived is another file (hash {found}) and was deleted")
    if model.sha256 and sha256(part) != model.sha256:
        raise PermanentError("what arrived is another file (its SHA-256 differs) and was deleted")


def _check_parameters(model: Model, path: Path) -> None:
    parameters_of(path)
    if model.tail_md5 and tail_md5(path) != model.tail_md5:
        raise PermanentError(
            f"{model.file} is another model than its name says: delete it and download it again, "
            "or give it another name."
        )


def _described(path: Path) -> MdxParameters | None:
    description = path.with_name(f"{path.name}.json")
    return read_parameters(description) if description.is_file() else None
