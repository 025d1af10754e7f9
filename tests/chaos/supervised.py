"""A process that is restarted after a short pause whenever it ends, as by a supervisor, and ways to find its children.

Processes are found through /proc, so this runs on Linux only.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

_PAUSES_S = (0.1, 1.0)
_STOP_S = 20.0


class Supervised:
    """One process of the stack; `spawn` starts it, `chance` draws the pauses."""

    def __init__(self, spawn: Callable[[], subprocess.Popen[bytes]], chance: Random) -> None:
        self._spawn = spawn
        self._chance = chance
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, name="supervisor")
        self.exit_codes: list[int] = []
        """Its exit codes, without the last one; a negative code is the number of a signal."""

    @property
    def pid(self) -> int | None:
        """Its process id, None while it does not run."""
        process = self._process
        return process.pid if process and process.poll() is None else None

    def start(self) -> None:
        """Run it until `stop`."""
        self._process = self._spawn()
        self._thread.start()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it by a signal without a restart; does nothing if it was never started."""
        self._stopping.set()
        if self._process is None:
            return
        if (pid := self.pid) is not None:
            send_signal(pid, number)
        self._thread.join(_STOP_S)
        if (pid := self.pid) is not None:
            send_signal(pid, signal.SIGKILL)
        self._thread.join()

    def _keep_running(self) -> None:
        assert self._process
        while True:
            code = self._process.wait()
            if self._stopping.wait(self._chance.uniform(*_PAUSES_S)):
                return
            self.exit_codes.append(code)
            self._process = self._spawn()


def send_signal(pid: int, number: int) -> bool:
    """Send a signal; False if there is no such process."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def descendants(pid: int) -> list[int]:
    """All processes started by this one, directly or indirectly, without zombies."""
    children: dict[int, list[int]] = {}
    for child, parent in _living():
        children.setdefault(parent, []).append(child)
    found, pending = [], [pid]
    while pending:
        found_here = children.get(pending.pop(), [])
        found += found_here
        pending += found_here
    return sorted(found)


def with_environment(entry: str) -> list[int]:
    """The processes of this user that were started with `entry`, NAME=value, in their environment."""
    return sorted(pid for pid, _ in _living() if entry.encode() in _environment(pid))


def _living() -> Iterator[tuple[int, int]]:
    """All processes with their parents."""
    for folder in Path("/proc").iterdir():
        with suppress(OSError):
            if folder.name.isdigit():
                state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
                if state != "Z":
                    yield int(folder.name), int(parent)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []
