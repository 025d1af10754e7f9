"""A background process with a pid file and a log, which outlives the script that started it.

The process inherits an exclusive lock on its pid file. The operating system lets go of that lock when the process ends,
however it ends, so a pid that now belongs to somebody else's program is never mistaken for ours, on any platform.
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
    """One of the service's processes, running or not; `run_dir` and `log_dir` hold its pid file and its log."""

    name: str
    run_dir: Path
    log_dir: Path
    _log_begin_bytes: int = field(default=0, init=False)

    @property
    def pid_file(self) -> Path:
        """Where the pid stands while the process runs."""
        return self.run_dir / f"{self.name}.pid"

    @property
    def log_file(self) -> Path:
        """Everything the process writes, of this run and of earlier ones."""
        return self.log_dir / f"{self.name}.log"

    def start(self, command: Sequence[str | Path], *, cwd: Path, stdin: str = "") -> None:
        """Run `command` in a session of its own, so that Ctrl-C in this terminal does not reach it."""
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
        with suppress(BrokenPipeError), child.stdin:  # broken when it died at once, which the caller sees by `pid`
            child.stdin.write(stdin)

    def pid(self) -> int | None:
        """The pid of the process, None when it does not run."""
        try:
            with self.pid_file.open() as pid_file:
                fcntl.flock(pid_file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return int(self.pid_file.read_text() or 0) or None
        return None

    def uptime_s(self) -> float:
        """Seconds since the start of a process that runs."""
        return time.time() - self.pid_file.stat().st_mtime

    def signal(self, number: int, *, whole_group: bool = False) -> None:
        """Send a signal to the process, or to its children as well; nothing happens when it does not run."""
        pid = self.pid()
        if pid is not None:
            with suppress(ProcessLookupError, PermissionError):  # it ended meanwhile; macOS then says the latter
                (os.killpg if whole_group else os.kill)(pid, number)

    def log_tail(self, lines: int = 20) -> str:
        """The last lines of the log, none of which is older than a `start` of this very object."""
        with self.log_file.open("rb") as log:
            log.seek(self._log_begin_bytes)
            return b"".join(deque(log, maxlen=lines)).decode(errors="replace")


def stop(processes: Sequence[Process], grace_s: float) -> list[str]:
    """Stop all of them side by side: SIGTERM, and SIGKILL after `grace_s`. The names of those that had to be killed."""
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
