"""env.example and config.Settings agree on every variable and its default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from config import ROOT, Settings

LINE = re.compile(r"^(?P<comment># )?(?P<name>[A-Z][A-Z0-9_]*)=(?P<value>.*)$")
MUST_BE_CHOSEN = {"BASIC_AUTH_PASSWORD"}


def sections() -> dict[str, list[str]]:
    """The file's lines by section, in order."""
    found: dict[str, list[str]] = {"": []}
    for line in (ROOT / "env.example").read_text(encoding="utf-8").splitlines():
        heading = re.match(r"^# --- (.+?) -+$", line)
        if heading:
            found[heading[1]] = []
        else:
            found[list(found)[-1]].append(line)
    return found


def examples() -> dict[str, str]:
    """Variables of the service and their values, in the file's order."""
    lines = [line for section, lines in sections().items() if section != "Docker only" for line in lines]
    return {match["name"]: match["value"] for line in lines if (match := LINE.match(line))}


def defaults() -> dict[str, str]:
    """Fields of the settings with their defaults as written in .env, in the order of config.py."""
    return {name.upper(): written(field.default) for name, field in Settings.model_fields.items()}


def written(value: Any) -> str:
    if value is None or value == {}:
        return ""
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    if isinstance(value, Path):
        return value.as_posix()
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_every_setting_is_in_env_example_with_its_default():
    assert examples() == defaults()


def test_settings_keep_the_order_of_config():
    assert list(examples()) == list(defaults())


def test_only_what_must_be_chosen_is_not_commented_out():
    lines = [match for part in sections().values() for line in part if (match := LINE.match(line))]
    assert {match["name"] for match in lines if not match["comment"]} == MUST_BE_CHOSEN


def test_sections_are_those_of_config():
    headings = re.findall(r"^    # (\w+)$", (ROOT / "config.py").read_text(encoding="utf-8"), re.MULTILINE)
    assert list(sections()) == ["", *headings, "Docker only"]


def test_every_variable_is_explained_right_above():
    for lines in sections().values():
        for before, line in zip(["", *lines], lines, strict=False):
            if LINE.match(line):
                assert before.startswith("# ") or LINE.match(before), line


def test_settings_read_from_the_examples_are_the_defaults(monkeypatch, tmp_path):
    for name in examples():
        monkeypatch.delenv(name, raising=False)
    env_file = tmp_path / "all.env"
    env_file.write_text("".join(f"{name}={value}\n" for name, value in examples().items()))
    assert Settings(_env_file=env_file) == Settings(_env_file=None)


def test_the_chinese_twin_has_the_same_variables_in_the_same_groups():
    def groups(name: str) -> list[list[str]]:
        """The lines with variables of each paragraph, apart from the comments."""
        paragraphs = (ROOT / name).read_text(encoding="utf-8").split("\n\n")
        return [[line for line in paragraph.splitlines() if LINE.match(line)] for paragraph in paragraphs]

    assert groups("env.example.zh-CN") == groups("env.example")


def test_every_paragraph_of_the_chinese_twin_is_in_chinese():
    paragraphs = (ROOT / "env.example.zh-CN").read_text(encoding="utf-8").split("\n\n")
    untranslated = [text for text in paragraphs if "---" not in text and not re.search(r"[\u4e00-\u9fff]", text)]
    assert untranslated in ([], ["# debug、info、warning 或 error。\n# LOG_LEVEL=info"])
