"""A Python without the service's packages says how to get them, whichever door is opened with it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from config import ROOT
from uvr import prerequisites

DOORS = [["app.py"], ["processor.py"], ["uploader.py"], ["download_models.py", "--list"], ["-m", "uvr", "status"]]


def bare_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a Python that has its standard library only."""
    return subprocess.run(
        [sys.executable, "-S", *arguments], cwd=ROOT, env={}, capture_output=True, text=True, timeout=30, check=False
    )


@pytest.mark.parametrize("door", DOORS, ids=" ".join)
def test_a_door_says_which_package_is_missing_and_what_installs_it(door: list[str]) -> None:
    ended = bare_python(*door)
    assert ended.returncode == 2
    first, second, *_ = ended.stderr.splitlines()
    assert first.startswith(f"{sys.executable} lacks the package ")
    assert ".venv/bin/python instead" in second
    assert "Traceback" not in ended.stderr
    assert ended.stdout == ""


def test_without_an_environment_the_commands_that_make_one_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prerequisites, "_ROOT", tmp_path)
    assert prerequisites.explain("/usr/bin/python3 lacks the package flask.") == (
        "/usr/bin/python3 lacks the package flask.\n"
        "`make setup` installs all that is needed into .venv: then run .venv/bin/python instead.\n"
        "In an environment of your own: python3 -m pip install -r requirements.txt\n"
    )


def test_with_an_environment_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(prerequisites, "_ROOT", tmp_path)
    assert prerequisites.explain("/usr/bin/python3 is Python 3.9; the service needs 3.11 or later.") == (
        "/usr/bin/python3 is Python 3.9; the service needs 3.11 or later.\n"
        f"The service has an environment of its own: run {tmp_path}/.venv/bin/python instead.\n"
    )


def test_an_environment_that_is_out_of_date_is_set_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".venv").mkdir()
    monkeypatch.setattr(prerequisites, "_ROOT", tmp_path)
    monkeypatch.setattr(sys, "prefix", str(tmp_path / ".venv"))
    assert "`make setup` installs" in prerequisites.explain("It lacks the package flask.")


def test_a_missing_module_of_ours_is_a_fault_with_a_traceback() -> None:
    ended = bare_python("-c", "import uvr.prerequisites, uvr.nothing_of_this_name")
    assert ended.returncode == 1
    assert "Traceback" in ended.stderr
