"""Every package of the images and of a local installation has a wheel for ARM, so nothing is compiled there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT

PLATFORM = "aarch64-manylinux_2_28"
"""Debian 10, Ubuntu 20.04 and everything newer."""
NO_WHEEL = "building from source is disabled"


@pytest.mark.parametrize("python", ["3.11", "3.13"])
@pytest.mark.parametrize("name", ["api", "processor", "local"])
def test_every_locked_package_has_a_wheel_for_arm(name: str, python: str, tmp_path: Path) -> None:
    command = [
        sys.executable, ROOT / "scripts" / "uv.py", "pip", "install", "--dry-run", "--no-deps", "--require-hashes",
        "--target", tmp_path, "--python-version", python, "--python-platform", PLATFORM, "--only-binary", ":all:",
        "--requirement", ROOT / "requirements" / f"{name}.txt",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode and NO_WHEEL not in done.stderr:
        pytest.skip(f"the package index could not be asked: {done.stderr.strip()[-200:]}")
    assert not done.returncode, done.stderr
