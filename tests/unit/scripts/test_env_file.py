"""The .env file that the first start writes."""

from __future__ import annotations

import stat

import pytest

from config import ROOT
from scripts.local.env_file import make_env_file, with_value


def test_value_takes_the_place_of_the_example():
    assert with_value("A=\n# B=1\nC=2\n", "A", "x") == "A=x\n# B=1\nC=2\n"
    assert with_value("A=\n# B=1\nC=2\n", "B", "x") == "A=\nB=x\nC=2\n"


def test_variable_without_an_example_is_added():
    assert with_value("A=1\n", "B", "x") == "A=1\nB=x\n"


def test_name_that_another_begins_with_is_left_alone():
    assert with_value("AB=1\nA=\n", "A", "x") == "AB=1\nA=x\n"


def test_new_file_is_for_its_owner_only_and_has_random_values(tmp_path):
    for name in ("one", "two"):
        make_env_file(ROOT / "env.example", tmp_path / name, ["BASIC_AUTH_PASSWORD", "REDIS_PASSWORD"])
    assert stat.S_IMODE((tmp_path / "one").stat().st_mode) == 0o600
    assert (tmp_path / "one").read_text() != (tmp_path / "two").read_text()


def test_file_that_is_there_is_never_overwritten(tmp_path):
    (tmp_path / ".env").write_text("BASIC_AUTH_PASSWORD=mine\n")
    with pytest.raises(FileExistsError):
        make_env_file(ROOT / "env.example", tmp_path / ".env", ["BASIC_AUTH_PASSWORD"])
    assert (tmp_path / ".env").read_text() == "BASIC_AUTH_PASSWORD=mine\n"
