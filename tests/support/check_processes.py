"""Faults in the process of a self-check: code that runs in it before anything else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

InCheckProcess = Callable[[str], None]
"""Makes every check process that starts from now on run some code first."""

_ONLY_THERE = """\
import sys
if "uvr.separation.native.check_process" in sys.orig_argv:
"""


def in_check_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> InCheckProcess:
    """Python imports `sitecustomize` first, and a check process imports from the same folders as its caller."""
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))

    def run(code: str) -> None:
        lines = (f"    {line}\n" for line in code.strip().splitlines())
        (folder / "sitecustomize.py").write_text(_ONLY_THERE + "".join(lines), encoding="utf-8")

    return run
