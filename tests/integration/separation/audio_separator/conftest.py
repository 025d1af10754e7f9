"""The environment with audio-separator, which several test processes may need at the same moment."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def audio_separator_python() -> Path:
    """The interpreter of the environment with audio-separator, which is made at the first use."""
    environment = Path(os.environ.get("LIBRARY_VENV") or ROOT / ".venv-library")
    lock_name = f"uvr-library-{sha256(str(environment).encode()).hexdigest()[:16]}.lock"
    with Path(tempfile.gettempdir(), lock_name).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = subprocess.run([ROOT / "scripts/setup.sh", "library"], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"audio-separator cannot be installed here: {made.stderr.strip().splitlines()[-1]}")
    return environment / "bin/python"
