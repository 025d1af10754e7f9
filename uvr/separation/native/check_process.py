"""Runs a self-check in a process that ends afterwards: its memory never belongs to the service, nor does its death.

    caller                                     check process
    pickled comparison ──▶ standard input  ──▶ runs it
                result ◀── standard output ◀── one line of JSON

The process ends with its caller, however that ends, because its standard input closes then. So a check also stops when
its task is cancelled, when the service stops, and when the caller is killed for lack of memory.
"""

from __future__ import annotations

import json
import logging
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from uvr.errors import ChangedModelError, UvrError
from uvr.separation.child_environment import child_environment

Comparison = Callable[[], float]
"""Computes the signal-to-noise ratio of the kernels in dB. It is pickled, so its class belongs to a module."""

MAX_CHECK_S = 600.0
"""The longest check that was seen took 20 s, on one slow core."""


class UnfinishedCheckError(Exception):
    """A check has not given a result; the message is a sentence's end that says why."""


@dataclass(frozen=True)
class CheckResult:
    """What a check found, and what it took."""

    snr_db: float
    elapsed_s: float
    max_bytes: int
    """The highest memory of its process."""


def run_check(comparison: Comparison) -> CheckResult:
    """The result of `comparison` in a process of its own. Raises `UnfinishedCheckError` or `ChangedModelError`."""
    started = time.monotonic()
    command = [sys.executable, "-P", "-m", "uvr.separation.native.check_process"]
    with subprocess.Popen(  # noqa: S603  # our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=child_environment()
    ) as process:
        overdue = threading.Timer(MAX_CHECK_S, process.kill)
        overdue.start()
        try:
            reply = _reply_of(process, comparison)
        finally:
            overdue.cancel()
            process.kill()
            if process.stdin:
                with suppress(BrokenPipeError):  # it died before it read everything
                    process.stdin.close()
    elapsed_s = round(time.monotonic() - started, 3)
    if "changed" in reply:
        raise ChangedModelError(reply["changed"])
    if "snr_db" not in reply:
        overlong = f"it took longer than {MAX_CHECK_S:g} s" if elapsed_s >= MAX_CHECK_S else ""
        raise UnfinishedCheckError(reply.get("error") or overlong or _cause_of_death(process.returncode))
    return CheckResult(reply["snr_db"], elapsed_s, reply["max_bytes"])


def _reply_of(process: subprocess.Popen[bytes], comparison: Comparison) -> dict[str, Any]:
    """The line that the process writes, {} if it dies first. Its standard input stays open meanwhile."""
    assert process.stdin
    assert process.stdout
    with suppress(BrokenPipeError):
        process.stdin.write(pickle.dumps(comparison))
        process.stdin.flush()
    line = process.stdout.readline()
    if not line.endswith(b"\n"):
        process.wait()
        return {}
    reply: dict[str, Any] = json.loads(line)
    return reply


def _cause_of_death(exit_code: int) -> str:
    if -exit_code == signal.SIGKILL:
        return "its process was killed, usually because there was not enough memory"
    with suppress(ValueError):
        return f"its process died of {signal.Signals(-exit_code).name}"
    return f"its process ended with exit code {exit_code}"


def main() -> None:
    """The check process: run the comparison that standard input gives, and write the result to standard output."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as replies:
        os.dup2(2, 1)  # what libraries print goes to the log
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        with suppress(OSError):  # as for the caller: if memory runs out, this process is killed first
            Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
        comparison = pickle.load(sys.stdin.buffer)  # noqa: S301  # from the caller, never from a client
        threading.Thread(target=_end_with_caller, name="caller-watch", daemon=True).start()
        print(json.dumps(_answer(comparison)), file=replies, flush=True)


def _answer(comparison: Comparison) -> dict[str, Any]:
    try:
        snr_db = comparison()
    except MemoryError:
        return {"error": "there was not enough memory"}
    except ChangedModelError as error:
        return {"changed": error.message}
    except UvrError as error:
        return {"error": error.message}
    except Exception as error:  # no matter which: the kernels are not used
        return {"error": f"{type(error).__name__}: {error}"}
    return {"snr_db": snr_db, "max_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def _end_with_caller() -> None:
    while os.read(0, 1 << 16):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
