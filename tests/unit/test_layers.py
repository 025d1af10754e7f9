"""Imports run one way, and no process loads what it does not need."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Lowest first; a package imports from the layers below its own and from itself, never from its neighbors.
# docs/architecture.md shows the same table, highest first.
LAYERS: list[set[str]] = [
    {
        "uvr.client",
        "uvr.disk",
        "uvr.errors",
        "uvr.logs",
        "uvr.periodic",
        "uvr.prerequisites",
        "uvr.privacy",
        "uvr.spelling",
        "uvr.timestamps",
    },
    {"uvr.audio", "uvr.net"},
    {"config"},
    {"uvr.redis", "uvr.environment"},
    {"redis_queue", "uvr.metrics", "uvr.models", "uvr.storage"},
    {"uvr.separation", "uvr.worker"},
    {"uvr.tasks"},
    {"uvr.liveness", "uvr.webhooks"},
    {"uvr.api", "uvr.processor", "uvr.uploader"},
    {"uvr.cli"},
    {"app", "processor", "uploader", "download_models", "uvr.__main__"},
]
# What each entry point may not pull in when it starts: memory and start-up time that its process does not need.
FORBIDDEN = {
    "app": {"onnxruntime", "av", "numpy", "boto3", "onnx"},
    "processor": {"flask", "boto3", "prometheus_client"},
    "uploader": {"flask", "onnxruntime", "av", "numpy", "prometheus_client"},
    "uvr.__main__": {"flask", "redis", "boto3", "onnxruntime", "av", "numpy"},
}

SOURCES = [*ROOT.glob("*.py"), *(ROOT / "uvr").rglob("*.py")]


def package_of(module: str) -> str:
    """`uvr.api.routes.tasks` belongs to the package `uvr.api`; top-level modules count as packages of their own."""
    return ".".join(module.split(".")[:2]) if module.startswith("uvr.") else module


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> set[str]:
    """Every module of ours that `path` imports anywhere, `from uvr import logs` counting as `uvr.logs`."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            base = node.module or ""
            found |= {f"{base}.{alias.name}" if base == "uvr" else base for alias in node.names}
    return found


def layer_of(package: str) -> int:
    return next(number for number, packages in enumerate(LAYERS) if package in packages)


OURS = set().union(*LAYERS)


@pytest.mark.parametrize("path", SOURCES, ids=[module_of(path) for path in SOURCES])
def test_imports_run_one_way(path: Path) -> None:
    package = package_of(module_of(path))
    if package == "uvr":
        assert imported_modules(path) <= {"__future__"}, "uvr/__init__.py holds a docstring only"
        return
    assert package in OURS, f"{package} has no place in LAYERS yet: say which layer it belongs to"
    for other in {package_of(module) for module in imported_modules(path)} & OURS - {package}:
        assert layer_of(other) < layer_of(package), f"{package} must not import {other}"


@pytest.mark.parametrize("entry_point", sorted(FORBIDDEN))
def test_an_entry_point_starts_without_what_it_does_not_need(entry_point: str) -> None:
    reached = loaded_at_start(entry_point)
    assert not reached & FORBIDDEN[entry_point]


@pytest.mark.parametrize("entry_point", sorted(FORBIDDEN))
def test_only_the_child_with_the_network_loads_the_kernels(entry_point: str) -> None:
    assert not {name for name in modules_at_start(entry_point) if name.startswith("uvr.separation.native")}


def test_a_child_with_a_network_is_ready_without_an_http_client() -> None:
    """Only a download needs one, and importing it takes a tenth of the time until a network is loaded."""
    loaded = loaded_at_start("uvr.separation.child_main, uvr.separation.engine_factory")
    assert not loaded & {"requests", "urllib3"}


def test_the_architecture_page_shows_the_same_layers() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    table = page.partition("\n## Layers\n")[2].partition("```text\n")[2].partition("```")[0]
    assert [set(line.split()) for line in table.splitlines()] == LAYERS[::-1]


def test_the_architecture_page_describes_every_package_and_every_module_at_the_top() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    modules = page.partition("\n## Modules\n")[2].partition("\n## ")[0]
    packages = {f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "uvr").glob("*/**/__init__.py")}
    top = {f"uvr/{path.name}" for path in (ROOT / "uvr").glob("[!_]*.py")}
    assert set(re.findall(r"^\| `(\S+)` \|", modules, re.MULTILINE)) == packages | top


def loaded_at_start(entry_point: str) -> set[str]:
    """Names of all top-level packages that importing `entry_point` loads."""
    return {name.partition(".")[0] for name in modules_at_start(entry_point)}


@cache
def modules_at_start(entry_point: str) -> frozenset[str]:
    """Names of all modules that importing `entry_point` loads, in a process of its own."""
    code = f"import sys, {entry_point}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return frozenset(done.stdout.split())
