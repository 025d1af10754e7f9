"""Creates .env from env.example at the first start, with random passwords and readable by this user only."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path


def make_env_file(example: Path, target: Path, names: Sequence[str]) -> None:
    """Copy `example` to `target` (mode 0600) and give each variable in `names` a random value."""
    text = example.read_text(encoding="utf-8")
    for name in names:
        text = with_value(text, name, secrets.token_hex(16))
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)


def with_value(text: str, name: str, value: str) -> str:
    """`text` with the line `NAME=…` or `# NAME=…` replaced by `NAME=value`, or with that line appended."""
    line = re.compile(rf"^(?:# ?)?{name}=.*$", re.MULTILINE)
    if line.search(text):
        return line.sub(f"{name}={value}", text, count=1)
    return f"{text}{name}={value}\n"
