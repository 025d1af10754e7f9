"""Builds the kernels with this machine's C compiler: `python -m uvr.separation.native.build`.

The library is written to this folder. Its name contains a hash of the sources and the platform, so a library of other
sources, or of another machine that shares the folder, is never loaded. It is renamed into place when complete. If there
is no compiler, or the build fails, one line says so, and ONNX Runtime is used. Needs only Python's standard library.
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
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
SOURCES = FOLDER / "kernels"
FLAGS = ("-std=gnu99", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden")
"""No -march=native: the library chooses the instruction set at run time. No -ffast-math: it would change results."""

_SOURCE_SUFFIXES = {".c", ".h", ".inl"}
_COMPILERS = ("cc", "gcc", "clang")
_MAX_COMPILE_S = 300


class BuildError(Exception):
    """The kernels cannot be built; the message says why."""


def library_path() -> Path:
    """The path of the library of the current sources for this platform, whether it is built or not."""
    digest = hashlib.sha256(" ".join((sysconfig.get_platform(), *FLAGS)).encode())
    for source in sorted(path for path in SOURCES.iterdir() if path.suffix in _SOURCE_SUFFIXES):
        digest.update(source.name.encode() + source.read_bytes())
    suffix = "dylib" if sys.platform == "darwin" else "so"
    return FOLDER / f"libtdfnet-{digest.hexdigest()[:16]}.{suffix}"


def compiler() -> list[str]:
    """The command of the C compiler: CC, which may contain arguments, or the first one found.

    Raises `BuildError` if there is none.
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
            folder = Path(name)
            sources = sorted(SOURCES.glob("*.c"))
            objects = [folder / f"{source.stem}.o" for source in sources]
            commands = [
                [*command, *FLAGS, "-c", str(source), "-o", str(target)]
                for source, target in zip(sources, objects, strict=True)
            ]
            with ThreadPoolExecutor(os.cpu_count()) as pool:  # in parallel: each instruction set takes seconds
                list(pool.map(_run, commands))
            library = folder / path.name
            _run([*command, *FLAGS, "-shared", *map(str, objects), "-o", str(library), "-lm"])
            _publish(library, path)
    except OSError as error:
        raise BuildError(f"the library cannot be written: {error.strerror or error}") from error


def _run(command: list[str]) -> None:
    """Run the compiler. Raises `BuildError` with its error messages."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MAX_COMPILE_S, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(f"{command[0]} could not be run: {error}") from error
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()[-1:]
        raise BuildError(f"{command[0]} failed: {'; '.join(errors[:2]) or f'exit status {done.returncode}'}")


def _publish(library: Path, path: Path) -> None:
    """Copy the library to `path` in one step, and delete libraries of older sources."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        shutil.copy(library, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # an incomplete library could crash the process that loads it
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    for other in FOLDER.glob(f"libtdfnet-*{path.suffix}"):
        if other != path:
            other.unlink(missing_ok=True)


def _load_error(path: Path) -> str:
    """Why the library at `path` cannot be loaded, for example if it needs a newer libc; "" if it can."""
    try:
        ctypes.CDLL(str(path))
    except OSError as error:
        return str(error)
    return ""


def main() -> None:
    """Build the library unless it exists and can be loaded; print one line about the result."""
    path = library_path()
    if path.is_file() and not _load_error(path):
        return
    started = time.monotonic()
    try:
        build(path)
        error = _load_error(path)
    except BuildError as failure:
        error = str(failure)
    if error:
        print(f"MDX-Net runs on ONNX Runtime, without the faster kernels: {error}.")  # noqa: T201
    else:
        print(f"Built the MDX-Net kernels in {time.monotonic() - started:.0f} s")  # noqa: T201


if __name__ == "__main__":
    main()
