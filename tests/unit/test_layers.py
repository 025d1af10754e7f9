"""Imports run one way, and no process loads what it does not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent

# Lowest first; a module may import from layers below its own and from its own package.
LAYERS: list[set[str]] = [
    {
        "config",
        "uvr.background",
        "uvr.bucket_address",
        "uvr.client",
        "uvr.shutdown",
        "uvr.disk",
        "uvr.errors",
        "uvr.logs",
        "uvr.metrics",
        "uvr.output_format",
        "uvr.prerequisites",
        "uvr.receiver_headers",
        "uvr.web_page",
        "uvr.spelling",
    },
    {"uvr.redis", "uvr.retired_settings", "uvr.url_guard", "uvr.http_answers", "uvr.variables"},
    {"redis_queue"},
    {
        "uvr.tasks",
        "uvr.queues",
        "uvr.presence",
        "uvr.pace",
        "uvr.link_key",
        "uvr.totals",
        "uvr.repeats",
        "uvr.upload_list",
    },
    {
        "uvr.audio",
        "uvr.models",
        "uvr.fetch",
        "uvr.handover",
        "uvr.nodes",
        "uvr.receivers",
        "uvr.separation",
        "uvr.storage",
        "uvr.task_log",
        "uvr.webhooks",
    },
    {"uvr.worker", "uvr.dead_letters", "uvr.control", "uvr.news", "uvr.uploads"},
    {
        "uvr.endings",
        "uvr.turns",
        "uvr.separating",
        "uvr.storing",
        "uvr.delivering",
        "uvr.housekeeping",
        "uvr.api",
        "uvr.commands",
    },
    {"app", "processor", "uploader", "download_models", "uvr.__main__"},
]
# Siblings of one layer do not import each other, with these exceptions.
ALLOWED_SIBLINGS = {
    ("config", "uvr.receiver_headers"),
    ("uvr.url_guard", "uvr.http_answers"),
    ("uvr.commands", "uvr.api"),  # doctor, which looks at what the API looks at
    ("config", "uvr.bucket_address"),
    ("uvr.queues", "uvr.pace"),
    ("uvr.queues", "uvr.tasks"),
    ("uvr.queues", "uvr.repeats"),
    ("uvr.queues", "uvr.upload_list"),
    ("uvr.control", "uvr.dead_letters"),
    ("uvr.control", "uvr.uploads"),
    ("uvr.separation", "uvr.audio"),
    ("uvr.separation", "uvr.models"),
    ("uvr.separating", "uvr.endings"),
    ("uvr.separating", "uvr.turns"),
    ("uvr.storing", "uvr.endings"),
}
# What each door may not pull in when it starts: memory and start-up time that its process does not need.
FORBIDDEN = {
    "app": {"onnxruntime", "av", "numpy", "boto3", "onnx"},
    "processor": {"flask", "boto3", "prometheus_client"},
    "uploader": {"flask", "onnxruntime", "av", "numpy", "prometheus_client"},
    "uvr.__main__": {"flask", "redis", "boto3", "onnxruntime", "av", "numpy"},
}

SOURCES = [*ROOT.glob("*.py"), *(ROOT / "uvr").rglob("*.py")]


def room_of(module: str) -> str:
    """`uvr.api.tasks` belongs to the room `uvr.api`; top-level modules are rooms of their own."""
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


def layer_of(room: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if room in rooms)


OURS = set().union(*LAYERS)


@pytest.mark.parametrize("path", SOURCES, ids=[module_of(path) for path in SOURCES])
def test_imports_run_one_way(path: Path) -> None:
    room = room_of(module_of(path))
    if room == "uvr":
        assert imported_modules(path) <= {"__future__"}, "uvr/__init__.py holds a docstring only"
        return
    assert room in OURS, f"{room} has no place in LAYERS yet: say which layer it belongs to"
    for other in {room_of(module) for module in imported_modules(path)} & OURS - {room}:
        below = layer_of(other) < layer_of(room)
        assert below or (room, other) in ALLOWED_SIBLINGS, f"{room} must not import {other}"


@pytest.mark.parametrize("door", sorted(FORBIDDEN))
def test_a_door_starts_without_what_it_does_not_need(door: str) -> None:
    reached = loaded_at_start(door)
    assert not reached & FORBIDDEN[door]


@pytest.mark.parametrize("door", sorted(FORBIDDEN))
def test_only_the_child_with_the_network_loads_the_kernels(door: str) -> None:
    assert not {name for name in modules_at_start(door) if name.startswith("uvr.separation.native")}


def loaded_at_start(door: str) -> set[str]:
    """Names of all packages that importing `door` loads."""
    return {name.partition(".")[0] for name in modules_at_start(door)}


@cache
def modules_at_start(door: str) -> frozenset[str]:
    """Names of all modules that importing `door` loads, in a process of its own."""
    code = f"import sys, {door}; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    return frozenset(done.stdout.split())
