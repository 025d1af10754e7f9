"""A background process with a pid file and a log, which continues to run after the script that started it.

The process inherits an exclusive lock on its pid file. The operating system releases that lock when the process ends,
no matter how it ends. Therefore a pid that now belongs to another program is never mistaken for ours, on any platform.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Process:
    """A process of the service, running or not; its pid file is in `run_dir`, its log in `log_dir`."""

    name: str
    run_dir: Path
    log_dir: Path
    _log_begin_bytes: int = field(default=0, init=False)

    @property
    def pid_file(self) -> Path:
        """The file that contains the pid while the process runs."""
        return self.run_dir / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        """The output of the process, of this run and of earlier ones."""
        return self.log_dir / f"{self.name}.log"

    def start(self, command: Sequence[str | Path], *, cwd: Path, stdin: str = "") -> None:
        """Run `command` in its own session, so that Ctrl-C in this terminal does not reach it."""
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.log_dir.mkdir(parents=True, exist_ok=True)
        with self.pid_file.open("a+") as pid_file, self.log_file.open("ab") as log:
            fcntl.flock(pid_file, fcntl.LOCK_EX)
            self._log_begin_bytes = log.tell()
            child = subprocess.Popen(
                command,
                cwd=cwd,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[pid_file.fileno()],
                start_new_session=True,
                text=True,
            )
            pid_file.truncate(0)
            pid_file.write(f"{child.pid}\n")
        assert child.stdin
        with suppress(BrokenPipeError), child.stdin:  # broken if it died at once; the caller sees that by `pid`
            child.stdin.write(stdin)

    def pid(self) -> int | None:
        """The pid of the process, or None if it is not running."""
        try:
            with self.pid_file.open() as pid_file:
                fcntl.flock(pid_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return int(self.pid_file.read_text() or 0) or None
        return None

    def uptime_s(self) -> float:
        """Seconds since the running process was started."""
        return time.time() - self.pid_file.stat().st_mtime

    def signal(self, number: int, *, whole_group: bool = False) -> None:
        """Send a signal to the process, or to its children as well. Nothing happens if it is not running."""
        pid = self.pid()
        if pid is not None:
            with suppress(ProcessLookupError, PermissionError):  # it has ended; macOS then raises the latter
                (os.killpg if whole_group else os.kill)(pid, number)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log, without those from before the last `start` of this object."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_begin_bytes)
            return b"".join(deque(log, maxlen=lines)).decode(errors="replace")


def stop(processes: Sequence[Process], grace_s: float) -> list[str]:
    """Stop all of them at once: SIGTERM, then SIGKILL after `grace_s`; returns the names of those that were killed."""
    for process in processes:
        process.signal(signal.SIGTERM)
    late = _still_running(processes, grace_s)
    for process in late:
        process.signal(signal.SIGKILL, whole_group=True)
    _still_running(late, 5)
    for process in processes:
        process.pid_file.unlink(missing_ok=True)
    return [process.name for process in late]


def _still_running(processes: Sequence[Process], limit_s: float) -> list[Process]:
    deadline = time.monotonic() + limit_s
    while (running := [process for process in processes if process.pid()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    return running
