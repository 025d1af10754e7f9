"""Large arrays go back to the system as soon as they are freed."""

from __future__ import annotations

import platform
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ARRAYS_OF_A_SONG = """
import numpy as np
from pathlib import Path
from uvr.separation.allocator import return_large_arrays

def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

def use(megabytes):
    np.ones(megabytes << 18, np.float32)

CALL
use(20)  # from now on glibc would take smaller ones from the heap
before = resident_bytes()
kept = []
for _ in range(4):
    use(12)
    kept.append(np.ones(1 << 10, np.float32))
print(resident_bytes() - before)
"""


def kept_bytes(call: str) -> int:
    code = ARRAYS_OF_A_SONG.replace("CALL", call)
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_freed_arrays_leave_nothing_resident() -> None:
    assert kept_bytes("return_large_arrays()") < 1 << 20
    assert kept_bytes("pass") > 8 << 20, "glibc keeps none either: the module is no longer needed"
