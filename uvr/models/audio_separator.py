"""What the service knows about the models that audio-separator runs, beside the catalogue.

A VR model is a single file, whose parameters are found by its hash. Demucs, MDX23C and RoFormer models have several
files: they go by audio-separator's names for them, which end in .yaml or .ckpt. This module imports nothing heavy.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from uvr.errors import PermanentError
from uvr.models.catalogue import CATALOGUE, Model, ModelFile, ModelUnavailableError, known_model
from uvr.models.files import ProgressCallback, file_lock, progress_log, publish, recorded_sha256, sha256, tail_md5
from uvr.net.model_sources import PUBLIC_SOURCES, ModelSources

VrParameters = Mapping[str, Any]
"""The parameters of a VR model, by UVR's names: vr_model_param, primary_stem, nout, nout_lstm, …"""

_TABLES = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))

VR_PARAMETERS: Mapping[str, VrParameters] = _TABLES["vr_parameters"]
"""Parameters by the `tail_md5` of the model file."""

DOWNLOAD_CHECKS: Mapping[str, Any] = _TABLES["download_checks"]
"""UVR's list of models with several files, in the form that audio-separator reads (download_checks.json)."""

VR_MODELS: Mapping[str, Model] = {name: model for name, model in CATALOGUE.items() if model.architecture == "VR"}

_MULTI_FILE_SUFFIXES = (".yaml", ".ckpt")


def find_vr_model(name: str) -> Model | None:
    """The VR model called `name` (see `known_model`); None if there is none."""
    model = known_model(name)
    return model if model and model.architecture == "VR" else None


def multi_file_model_name(name: str) -> str:
    """audio-separator's name of the Demucs, MDX23C or RoFormer model `name`; "" if it is another kind of model.

    A name that ends in .yaml or .ckpt is accepted even if it is not in the catalogue: it is a file of the operator's.
    """
    model = known_model(name)
    if model and model.further_files:
        return model.file
    return name if name.lower().endswith(_MULTI_FILE_SUFFIXES) else ""


def ensure_model_files(
    model: Model,
    folder: Path,
    *,
    sources: ModelSources = PUBLIC_SOURCES,
    force: bool = False,
    on_progress: ProgressCallback | None = None,
) -> Path:
    """The file in `folder` by which audio-separator loads `model`, after all its files that are missing were fetched.

    With `force` all are fetched again. audio-separator finds them there and downloads nothing itself. Raises
    `ModelUnavailableError` if a download fails, and `PermanentError` if the file of a VR model is not a known one.
    """
    for file in model.files:
        path = folder / file.name
        if file.content and not path.is_file():
            _write(model, path, file.content)
        elif not file.content and (force or not path.is_file()):
            urls = _urls(model, file, sources)
            check = _check(model, file)
            download_model_file(model, urls, path, on_progress, force=force, size_bytes=file.size_bytes, check=check)
    path = folder / model.file
    if model.architecture == "VR":
        vr_parameters_of(path)
    return path


def verify_model_files(model: Model, folder: Path) -> None:
    """Compare the files of `model` in `folder` with all known hashes; `PermanentError` says what is wrong."""
    if missing := missing_files(model, folder):
        raise PermanentError(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not in MODEL_FILE_DIR.")
    for file in model.files:
        path = folder / file.name
        expected = file.sha256 or recorded_sha256(path)
        if expected and sha256(path) != expected:
            raise PermanentError(f"{file.name} is not the file that it should be: delete it and download it again.")
    if model.architecture == "VR":
        vr_parameters_of(folder / model.file)


def missing_files(model: Model, folder: Path) -> list[str]:
    """The names of the files of `model` that are not in `folder`."""
    return [file.name for file in model.files if not (folder / file.name).is_file()]


def _write(model: Model, path: Path, content: str) -> None:
    part = path.with_name(f"{path.name}.part")
    with _folder_faults(model, path), _locked(path):
        if not path.is_file():
            part.write_text(content, encoding="utf-8")
            part.replace(path)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with file_lock(path):
        yield


@contextmanager
def _folder_faults(model: Model, path: Path) -> Iterator[None]:
    """Says in words why a file cannot be written."""
    try:
        yield
    except OSError as error:
        reason = f"MODEL_FILE_DIR cannot be used: {error.strerror or type(error).__name__}"
        raise ModelUnavailableError(model, reason, file=path.name) from error


def _urls(model: Model, file: ModelFile, sources: ModelSources) -> list[str]:
    if not (file.places or sources.has_mirrors):
        raise ModelUnavailableError(model, "UVR offers it to its supporters only", file=file.name)
    urls = sources.urls(file.name, file.places)
    if not urls:
        raise ModelUnavailableError(model, f"none of the places in MODEL_SOURCES has {file.name}", file=file.name)
    return urls


def _check(model: Model, file: ModelFile) -> Callable[[Path], None]:
    """A check of a downloaded file that raises `PermanentError` if it is not the file that it should be."""

    def check(path: Path) -> None:
        if file.sha256 and sha256(path) != file.sha256:
            raise PermanentError(f"the downloaded file is not {file.name} (its SHA-256 differs) and was deleted")
        if model.architecture == "VR" and tail_md5(path) not in VR_PARAMETERS:
            raise PermanentError(f"the downloaded file is not this model (hash {tail_md5(path)}) and was deleted")

    return check


def vr_parameters_of(path: Path) -> VrParameters:
    """The parameters of a VR model file, by its hash; `PermanentError` if UVR's table does not contain it."""
    parameters = VR_PARAMETERS.get(tail_md5(path))
    if parameters is None:
        raise PermanentError(
            f"The parameters of {path.name} are not known: its hash {tail_md5(path)} is not in UVR's table of VR "
            "models. If it comes from UVR it is damaged: delete it and download it again. If it is a RoFormer, put the "
            f"YAML file that describes it beside it, as {path.with_suffix('.yaml').name}."
        )
    return parameters


def download_model_file(
    model: Model,
    urls: list[str],
    path: Path,
    on_progress: ProgressCallback | None = None,
    *,
    force: bool = False,
    size_bytes: int | None = None,
    check: Callable[[Path], None] = lambda _: None,
) -> None:
    """Download the first of `urls` that works, and whose file passes `check`, to `path`: once for all processes.

    An existing file is kept, unless `force` is set. Raises `ModelUnavailableError` if all fail.
    """
    from uvr.models.download import NoSourceError, download_from_first_that_works  # loads requests

    part, report = path.with_name(f"{path.name}.part"), on_progress or progress_log(model.name)
    try:
        with _folder_faults(model, path), _locked(path):
            if force or not path.is_file():
                download_from_first_that_works(urls, part, report, size_bytes=size_bytes, check=check)
                publish(part, path)
    except NoSourceError as error:
        raise ModelUnavailableError(model, error.message, file=path.name) from error
