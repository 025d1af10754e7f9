"""Values of options that several commands have; argparse prints the errors."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path


def separate_names(text: str) -> list[str]:
    """Names that are separated by commas. The path of a file may contain commas itself."""
    found = [text] if Path(text).is_file() else [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f'"{text}" has an empty name; separate names by single commas')
    return found


def key_and_value(text: str) -> tuple[str, str]:
    """A key and its value, which an equals sign separates."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise argparse.ArgumentTypeError(f'"{text}" is not of the form KEY=VALUE')
    return key, value


def joined(lists: Iterable[list[str]] | None) -> list[str]:
    """The names of an option that was given several times, each once."""
    return list(dict.fromkeys(name for names in lists or () for name in names))
