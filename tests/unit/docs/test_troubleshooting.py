"""The messages on the page for troubleshooting are those of the service, in both languages."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = [ROOT / "docs" / name for name in ("troubleshooting.md", "troubleshooting.zh-CN.md")]
_SENTENCE = re.compile(r"^\| `([^`]+)`", re.MULTILINE)
"""A message in the first column of a table."""


def messages_of(page: Path) -> list[str]:
    return _SENTENCE.findall(page.read_text(encoding="utf-8"))


@cache
def sentences_of_the_service() -> str:
    """All texts in the sources; what is inserted into one is a `…`."""
    sources = [path for folder in ("uvr", "scripts") for path in (ROOT / folder).rglob("*.py")]
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in [*ROOT.glob("*.py"), *sources]]
    texts = [text for tree in trees for node in ast.walk(tree) if (text := text_of(node))]
    return "\n".join([*texts, *(path.read_text(encoding="utf-8") for path in ROOT.glob("*.sh"))])


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join("…" if isinstance(part, ast.FormattedValue) else text_of(part) for part in node.values)
    return ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_message_is_one_of_the_service(page: Path) -> None:
    assert len(messages_of(page)) > 30
    known = re.sub("…+", "…", sentences_of_the_service())
    assert [message for message in messages_of(page) if message not in known] == []


def test_both_languages_explain_the_same_messages() -> None:
    english, chinese = map(messages_of, PAGES)
    assert chinese == english
