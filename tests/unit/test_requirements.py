"""The locked requirements: what pyproject.toml asks for, the same versions everywhere, from no particular host."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config import ROOT

FOLDER = ROOT / "requirements"
GROUPS = {
    "dev": ["api", "processor", "embedded", "test", "lint", "tools"],
    "local": ["api", "processor", "embedded"],
    "api": ["api"],
    "processor": ["processor"],
    "library": ["api", "processor", "embedded", "library"],
    "tools": ["tools"],
}
PIN = re.compile(
    r"^(?P<requirement>[a-z0-9][^ ]*==[^ ]+(?: ; .+?)?) \\\n(?P<hashes>(?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE
)


def pins(name: str) -> list[Requirement]:
    """The locked requirements of one file."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return [Requirement(match["requirement"]) for match in PIN.finditer(text)]


def asked_for(name: str) -> list[Requirement]:
    """What pyproject.toml asks for in the groups of one file."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lists = [project["dependency-groups"][group] for group in GROUPS[name]]
    if name != "tools":
        lists.append(project["project"]["dependencies"])
    return [Requirement(text) for texts in lists for text in texts]


def version(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


def test_every_file_has_its_groups():
    assert {path.stem for path in FOLDER.glob("*.txt")} == GROUPS.keys()


@pytest.mark.parametrize("name", GROUPS)
def test_pins_satisfy_what_the_project_asks_for(name):
    locked = pins(name)
    for wanted in asked_for(name):
        versions = [version(pin) for pin in locked if pin.name == canonicalize_name(wanted.name)]
        assert versions, f"{wanted.name} is not locked: make lock"
        assert all(wanted.specifier.contains(found) for found in versions), (
            f"{wanted} is locked as {versions}: make lock"
        )


@pytest.mark.parametrize("name", GROUPS)
def test_every_line_is_a_pin_with_hashes_or_a_comment(name):
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    rest = PIN.sub("", text)
    assert [line for line in rest.splitlines() if not line.lstrip().startswith("#")] == []


@pytest.mark.parametrize("name", sorted(GROUPS.keys() - {"dev"}))
def test_files_agree_on_versions(name):
    dev = {(pin.name, str(pin.marker)): version(pin) for pin in pins("dev")}
    for pin in pins(name):
        assert dev.get((pin.name, str(pin.marker)), version(pin)) == version(pin)


@pytest.mark.parametrize("name", GROUPS)
def test_no_index_host_or_local_path_is_written_down(name):
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    assert not re.findall(r"://|--index|--extra-index|--find-links|^#.* /", text, re.MULTILINE)
