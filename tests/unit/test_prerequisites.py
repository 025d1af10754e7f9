"""Every entry point explains how to install missing packages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT
from uvr import prerequisites

ENTRY_POINTS = [
    ["app.py"],
    ["processor.py"],
    ["uploader.py"],
    ["download_models.py", "--list"],
    ["-m", "uvr", "status"],
]


def bare_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python with nothing but its standard library."""
    return subprocess.run(
        [sys.executable, "-S", *arguments], cwd=ROOT, env={}, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("entry_point", ENTRY_POINTS, ids=" ".join)
def test_an_entry_point_names_the_missing_package_and_how_to_install_it(entry_point: list[str]) -> None:
    ended = bare_python(*entry_point)
    assert ended.returncode == 2
    first, second, *_ = ended.stderr.splitlines()
    assert first.startswith(f"{sys.executable} lacks the package ")
    assert ".venv/bin/python instead" in second
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_without_an_environment_the_commands_that_create_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prerequisites, "_ROOT", tmp_path)
    assert prerequisites.explain("/usr/bin/python3 lacks the package flask.") == (
        "/usr/bin/python3 lacks the package flask.\n"
        "Run `make setup`, which installs everything into .venv, and then .venv/bin/python instead.\n"
        "To use an environment of your own: python3 -m pip install -r requirements.txt\n"
    )


def test_with_an_environment_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(prerequisites, "_ROOT", tmp_path)
    assert prerequisites.explain("/usr/bin/python3 is Python 3.9; the service needs 3.11 or later.") == (
        "/usr/bin/python3 is Python 3.9; the service needs 3.11 or later.\n"
        f"Use the environment of this service: run {tmp_path}/.venv/bin/python instead.\n"
    )


def test_an_outdated_environment_is_installed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(prerequisites, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert "Run `make setup`" in prerequisites.explain("It lacks the package flask.")


def test_a_missing_module_of_our_own_gives_a_traceback() -> None:
    ended = bare_python("-c", "import uvr.prerequisites, uvr.nothing_of_this_name")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
