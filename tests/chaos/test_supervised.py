"""A supervised process is restarted when it ends, and its children are found."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from random import Random

from tests.chaos.supervised import Supervised, descendants, send_signal, with_environment
from tests.support.waiting import eventually

PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


def spawn() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PARENT], env={**os.environ, "UVR_CHAOS_TEST": str(os.getpid())})


def test_a_killed_process_is_restarted_until_it_is_stopped() -> None:
    process = Supervised(spawn, Random(1))
    process.start()
    first = process.pid
    try:
        eventually(lambda: descendants(process.pid))
        orphans = descendants(process.pid)
        assert send_signal(first, signal.SIGKILL)
        eventually(lambda: process.pid not in (None, first))
        assert process.exit_codes == [-9]
        eventually(lambda: descendants(process.pid))
        orphans += descendants(process.pid)
    finally:
        process.stop()
    assert process.pid is None
    assert with_environment(f"UVR_CHAOS_TEST={os.getpid()}") == sorted(orphans), "they outlive their parent"
    for pid in orphans:
        send_signal(pid, signal.SIGKILL)
    eventually(lambda: not with_environment(f"UVR_CHAOS_TEST={os.getpid()}"))
