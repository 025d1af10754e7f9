"""Reads the YAML files that describe models: plain values, and Python's tuples, which UVR's files contain.

The files come from strangers. Nothing in them is executed, and every other tag of Python is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from uvr.errors import PermanentError

MAX_DESCRIPTION_BYTES = 1 << 16
"""Thirty times the size of published descriptions."""
_TUPLE = "tag:yaml.org,2002:python/tuple"


def read_description(path: Path) -> Any:
    """The content of the YAML file `path`. Raises `PermanentError`, which names the file, and `OSError`."""
    import yaml  # only a process that reads a description needs it

    with path.open("rb") as file:
        content = file.read(MAX_DESCRIPTION_BYTES + 1)
    if len(content) > MAX_DESCRIPTION_BYTES:
        raise PermanentError(f"{path.name} is larger than 64 KiB, so it does not describe a model.")
    try:
        return yaml.load(content, _loader_of(yaml))  # noqa: S506  # derived from SafeLoader
    except (yaml.YAMLError, RecursionError, ValueError, TypeError, OverflowError, LookupError, AttributeError) as error:
        raise PermanentError(f"{path.name} cannot be read as YAML: {_reason(error)}.") from error


def _loader_of(yaml: Any) -> Any:
    class DescriptionLoader(yaml.SafeLoader):  # type: ignore[misc]
        """Keys are plain: hashing nested ones, and merging mappings, takes a time without limits."""

        def flatten_mapping(self, node: Any) -> None:
            for key, _ in node.value:
                if not isinstance(key, yaml.ScalarNode) or key.tag == "tag:yaml.org,2002:merge":
                    raise yaml.constructor.ConstructorError(None, None, "a key is not a name", key.start_mark)

        def construct_tuple(self, node: Any) -> tuple[Any, ...]:
            return tuple(self.construct_sequence(node, deep=True))

    DescriptionLoader.add_constructor(_TUPLE, DescriptionLoader.construct_tuple)
    return DescriptionLoader


def _reason(error: Exception) -> str:
    problem, mark = getattr(error, "problem", None), getattr(error, "problem_mark", None)
    place = f" in line {mark.line + 1}" if mark else ""
    return f"{str(problem)[:100]}{place}" if problem else "its values make no sense"
