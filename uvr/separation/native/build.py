"""Builds the kernels with the C compiler of this machine: `python -m uvr.separation.native.build`.

The library lies beside this file. Its name carries a hash of the sources and the platform, so that one of other
sources, or of another machine that shares the folder, is never loaded; it appears whole or not at all. Where there is
no compiler, or none that can build them, one line says so and ONNX Runtime does the work. Needs Python alone.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER / "kernels"
FLAGS = ("-std=gnu99", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden")
"""No -march=native: the library chooses among instruction sets when it runs. No -ffast-math: results stay the same."""

_SOURCE_SUFFIXES = {".c", ".h", ".inl"}
_COMPILERS = ("cc", "gcc", "clang")
_MAX_S = 300


class BuildError(Exception):
    """The kernels cannot be built here; the message says why."""


def library_path() -> Path:
    """Where the library of these sources for this platform lies once it is built."""
    digest = hashlib.sha256(" ".join((sysconfig.get_platform(), *FLAGS)).encode())
    for source in sorted(path for path in SOURCES.iterdir() if path.suffix in _SOURCE_SUFFIXES):
        digest.update(source.name.encode() + source.read_bytes())
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return FOLDER / f"libtdfnet-{digest.hexdigest()[:16]}.{suffix}"


def compiler() -> list[str]:
    """The command of the C compiler: CC, which may have arguments, or the first that is there.

    Raises `BuildError`.
    """
    named = shlex.split(os.environ.get("CC", ""))
    for candidate in [named] if named else [[name] for name in _COMPILERS]:
        if shutil.which(candidate[0]):
            return candidate
    raise BuildError(f"there is no C compiler ({' '.join(named) or ', '.join(_COMPILERS)})")


def build(path: Path) -> None:
    """Build the library at `path`. Raises `BuildError`."""
    command = compiler()
    try:
        with tempfile.TemporaryDirectory() as name:
            made = Path(name) / path.name
            _link(command, _compiled(command, Path(name)), made)
            _publish(made, path)
    except OSError as error:
        raise BuildError(f"the library cannot be written: {error.strerror or error}") from error


def _compiled(command: list[str], folder: Path) -> list[Path]:
    """The object files of all sources, made side by side: each instruction set takes seconds of its own."""
    sources = sorted(SOURCES.glob("*.c"))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(partial(_object, command, folder), sources))


def _object(command: list[str], folder: Path, source: Path) -> Path:
    made = folder / f"{source.stem}.o"
    _run([*command, *FLAGS, "-c", str(source), "-o", str(made)])
    return made


def _link(command: list[str], objects: list[Path], made: Path) -> None:
    _run([*command, *FLAGS, "-shared", *map(str, objects), "-o", str(made), "-lm"])


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MAX_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from error
    if done.returncode:
        faults = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:]
        raise BuildError(f"{command[0]} failed: {'; '.join(faults[:2]) or f'exit status {done.returncode}'}")


def _publish(made: Path, path: Path) -> None:
    """Give the library its name in one step, and take away those of older sources."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        shutil.copy(made, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # a library with holes in it could end whoever loads it
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    for other in FOLDER.glob(f"libtdfnet-*{path.suffix}"):
        if other != path:
            other.unlink(missing_ok=True)


def _fault(path: Path) -> str:
    """Why the library at `path` cannot be loaded, as where it was built with a newer C library; "" if it can."""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return ""


def main() -> None:
    """Build the library unless it is there and can be loaded, and say what was done."""
    path = library_path()
    if path.is_file() and not _fault(path):
        return
    started = time.monotonic()
    try:
        build(path)
        fault = _fault(path)
    except BuildError as error:
        fault = str(error)
    if fault:
        print(f"MDX-Net runs on ONNX Runtime, without the faster kernels: {fault}.")  # noqa: T201
    else:
        print(f"Built the MDX-Net kernels in {time.monotonic() - started:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
