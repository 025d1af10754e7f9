"""The README of the chart: one line for each value, with its default and the comment above it in values.yaml."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

_KEY = re.compile(r"^(?P<indent> *)(?P<key>\w+):")
_COMMENT = re.compile(r"^ *# (?P<text>.+)$")

_HEAD = """\
# uvr-api

The Helm chart of uvr-api: the API, and pods of a processor and an uploader that KEDA scales with the queue. It installs
no Redis and no storage; name those that you have. [Kubernetes](../../../docs/kubernetes.md) explains how to install,
scale and upgrade it. `deploy/helm/examples/` has values for a small service, for NVIDIA cards and for ARM.

Made from the comments of values.yaml by `make chart`.

| Value | Default | Meaning |
|---|---|---|
"""


@dataclass(frozen=True)
class Described:
    """A value with a comment: its path, and whether more values with comments follow inside."""

    path: tuple[str, ...]
    text: str


def readme(values_text: str) -> str:
    """The README for a values.yaml. Raises `ValueError` for a value that neither it nor its whole map describes."""
    values: dict[str, Any] = yaml.safe_load(values_text)
    found = list(described(values_text))
    groups = {value.path[:length] for value in found for length in range(1, len(value.path))}
    whole = [value.path for value in found if value.path not in groups]
    if missing := [".".join(path) for path in leaves(values) if not any(path[: len(it)] == it for it in whole)]:
        raise ValueError(f"values.yaml does not describe {', '.join(missing)}")
    return _HEAD + "".join(_row(value, values, is_group=value.path in groups) for value in found)


def described(values_text: str) -> Iterator[Described]:
    """The values with a comment right above them, in the order of the file."""
    path: list[tuple[int, str]] = []
    comment: list[str] = []
    for line in values_text.splitlines():
        if match := _KEY.match(line):
            depth = len(match["indent"])
            path = [*(step for step in path if step[0] < depth), (depth, match["key"])]
            if comment:
                yield Described(tuple(key for _, key in path), " ".join(comment))
        found = _COMMENT.match(line)
        comment = [*comment, found["text"]] if found else []


def leaves(values: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all values that are no maps, or empty ones."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def _row(value: Described, values: dict[str, Any], *, is_group: bool) -> str:
    default: Any = values
    for key in value.path:
        default = default[key]
    shown = "" if is_group else f"`{json.dumps(default, ensure_ascii=False)}`"
    return f"| `{'.'.join(value.path)}` | {shown} | {value.text.replace('|', chr(92) + '|')} |\n"
