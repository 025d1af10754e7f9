"""Which settings the code of a process reads: every `settings.name` in its modules and in all that they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from config import Settings

ROOT = Path(__file__).resolve().parents[2]


def settings_used_by(door: str) -> set[str]:
    """The fields of `Settings` that the process of the entry point `door` may read, also through properties."""
    names = {name for path in modules_of(door) for name in attributes_of_settings(path)}
    properties = {name: set(attributes_of_self(name)) for name in names - Settings.model_fields.keys()}
    while properties:
        name, inner = properties.popitem()
        names |= inner
        properties |= {one: set(attributes_of_self(one)) for one in inner - Settings.model_fields.keys() - {name}}
    return names & Settings.model_fields.keys()


def modules_of(door: str) -> set[Path]:
    """The files of all our modules that `door` imports, at the start or later."""
    found: set[Path] = set()
    waiting = [door]
    while waiting:
        path = ROOT / f"{waiting.pop().replace('.', '/')}.py"
        if path in found or not path.is_file() or path.name == "config.py":
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


def attributes_of_settings(path: Path) -> Iterator[str]:
    """Every `name` in `settings.name` or `….settings.name`, whatever it is."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and ast.unparse(node.value).endswith(("settings", "settings()")):
            yield node.attr


def attributes_of_self(name: str) -> Iterator[str]:
    """Every `self.…` in the property `name` of `Settings`; nothing if there is no such property."""
    tree = ast.parse((ROOT / "config.py").read_text(encoding="utf-8"))
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef) and function.name == name:
            for node in ast.walk(function):
                if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self":
                    yield node.attr
