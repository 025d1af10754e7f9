"""`python -m uvr …` as a process that reads no settings but those that a test gives it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.support.service import ROOT


def uvr_command(*arguments: str | Path, **variables: str) -> dict[str, Any]:
    """What `subprocess.run` and `Popen` need to start the command with `variables` as its settings."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LD_LIBRARY_PATH") if name in os.environ}
    return {
        "args": [sys.executable, "-m", "uvr", *map(str, arguments)],
        "cwd": ROOT,
        "env": {**inherited, "ENV_FILE": "", **variables},
        "stdin": subprocess.DEVNULL,
    }


def run_uvr(*arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = uvr_command(*arguments, **variables)
    return subprocess.run(**command, check=False, capture_output=True, text=True, timeout=120)
