"""A release has the notes of its version, and one that is not finished is refused."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from config import ROOT, VERSION
from scripts.release_notes import NotReleasableError, check_version, main, release_notes

CHANGELOG = """# Changelog

## 0.3.0 (unreleased)

- Not yet.

## 0.2.0 (2026-12-01)

- Songs in any key ([how](docs/keys.md#minor), [why](https://example.org/why), [below](#older)).

### Running it

- A new command.

## 0.1.0 (2026-01-01)

- The first version.
"""
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def checkout(folder: Path, version: str) -> Path:
    (folder / "config.py").write_text(f'import os\nVERSION = "{version}"\n')
    (folder / "CHANGELOG.md").write_text(CHANGELOG)
    return folder


def test_the_notes_are_the_section_of_the_version_without_its_heading():
    notes = release_notes(CHANGELOG, "0.2.0")
    assert notes.startswith("- Songs in any key")
    assert notes.endswith("- A new command.")


def test_relative_links_lead_to_the_files_of_the_version():
    notes = release_notes(CHANGELOG, "0.2.0", "https://example.org/uvr/blob/v0.2.0/")
    links = re.findall(r"\]\((.+?)\)", notes)
    assert links == [
        "https://example.org/uvr/blob/v0.2.0/docs/keys.md#minor",
        "https://example.org/why",
        "#older",
    ]


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("0.3.0", r"dates 0\.3\.0 not yet: write its heading as ## 0\.3\.0 \(YYYY-MM-DD\)"),
        ("0.4.0", r"has no section 0\.4\.0"),
        ("0.2", r"has no section 0\.2$"),
    ],
)
def test_a_version_without_a_dated_section_is_refused(version: str, reason: str):
    with pytest.raises(NotReleasableError, match=reason):
        release_notes(CHANGELOG, version)


def test_a_section_without_text_is_refused():
    with pytest.raises(NotReleasableError, match="says nothing about"):
        release_notes("## 0.5.0 (2026-01-01)\n\n## 0.4.0 (2025-01-01)\n\nText", "0.5.0")


def test_the_command_prints_the_notes(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["0.2.0"], checkout(tmp_path, "0.2.0")) == 0
    assert capsys.readouterr().out == f"{release_notes(CHANGELOG, '0.2.0')}\n"


def test_a_tag_of_another_version_than_that_of_the_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert main(["0.2.0"], checkout(tmp_path, "0.3.0")) == 1
    assert capsys.readouterr() == ("", "VERSION in config.py is 0.3.0, not 0.2.0\n")


def test_the_changelog_has_a_section_for_the_version_of_the_code():
    check_version((ROOT / "config.py").read_text(encoding="utf-8"), VERSION)
    newest = re.search(
        r"^## (\S+) \((?:unreleased|\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert newest[1] == VERSION


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_of_others_are_pinned_by_commit(path: Path):
    """A tag can be moved to other code, which would then publish under our name."""
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    assert [action for action in used if not re.fullmatch(r"\./\S+|[\w./-]+@[0-9a-f]{40}", action)] == []


def test_published_images_have_the_names_that_docker_compose_derives():
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["images"]["strategy"]["matrix"] == {
        "arch": ["amd64", "arm64"],
        "target": ["service", "processor"],
    }
    [join] = [step["run"] for step in workflow["jobs"]["release"]["steps"] if step.get("name", "").startswith("Join")]
    assert 'for tag in "$VERSION" "$VERSION-processor"' in join
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    assert compose["processor"]["image"].endswith("${IMAGE:-${COMPOSE_PROJECT_NAME}}-processor}")


def test_only_what_publishes_may_write():
    workflow = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text(encoding="utf-8"))
    assert workflow["permissions"] == {"contents": "read"}
    granted = {name: job.get("permissions", {}) for name, job in workflow["jobs"].items()}
    assert granted == {
        "check": {},
        "test": {},
        "images": {"contents": "read", "packages": "write"},
        "release": {"contents": "write", "packages": "write"},
    }
