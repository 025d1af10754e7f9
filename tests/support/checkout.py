"""A copy of this checkout in a folder of its own, to run its scripts as a user does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from config import Settings
from tests.support.ports import free_port
from tests.support.service import ROOT
from uvr.separation.native.build import library_path


class Checkout:
    """The tracked files and those git would add, and an environment with free ports and this test run's packages.

    Unless it `is_fresh`, the results of a first start are there as well: kernels and compiled modules.
    """

    def __init__(self, folder: Path, model_dir: Path, *, is_fresh: bool = False, **variables: str) -> None:
        self.folder = folder
        _copy(folder, "--cached", "--others")
        if not is_fresh:
            _copy(folder, "--others", "--ignored", "uvr", "scripts")
        ours = {name.upper() for name in Settings.model_fields} | {"ENV_FILE", "API_URL"}
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ours},
            "VENV": sys.prefix,
            "API_PORT": str(free_port()),
            "REDIS_PORT": str(free_port()),
            "MODEL_NAME": "Spleeter-2stems",
            "MODEL_FILE_DIR": str(model_dir),
            **variables,
        }

    def run(self, script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run one of the checkout's scripts to its end."""
        return subprocess.run(
            [self.folder / script, *arguments],
            env=self.environment | variables,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )

    def pids(self) -> dict[str, int]:
        """The pids in run/, by process."""
        return {path.stem: int(path.read_text()) for path in (self.folder / "run").glob("*.pid")}

    def variable(self, name: str) -> str:
        """The value of a variable in the checkout's .env."""
        lines = (self.folder / ".env").read_text(encoding="utf-8").splitlines()
        return [line.removeprefix(f"{name}=") for line in lines if line.startswith(f"{name}=")][-1]


def _copy(folder: Path, *which: str) -> None:
    """Copy the files of this checkout that `git ls-files` lists with the options `which`."""
    listing = ["git", "ls-files", "-z", "--exclude-standard", *which]
    names = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    # Without the kernels, each copy would build its own.
    kernels = [str(library_path().relative_to(ROOT))] if library_path().is_file() else []
    for name in filter(None, [*names, *kernels]):
        source, target = ROOT / name, folder / name
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
