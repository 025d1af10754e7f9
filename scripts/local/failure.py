"""Explains a failed start: the log since then, with the reason in the last line, where people look first."""

from __future__ import annotations

import json
from collections.abc import Sequence

from scripts.local.process import Process


def explain(process: Process, sentence: str) -> str:
    """The last lines that `process` logged since its start, and then `sentence` with the reason found in them."""
    lines = process.log_tail().splitlines()
    reason = reason_in(lines)
    last = f"{sentence}: {reason}" if reason else f"{sentence}, and it wrote nothing to {process.log_file}."
    if len(lines) <= 1:
        return last
    return "\n".join([f"The last lines of {process.log_file} since this start:", *lines, "", last])


def reason_in(lines: Sequence[str]) -> str:
    """Why a process ended, according to its log: the last error, otherwise the last line, otherwise ""."""
    errors = [error for line in lines if (error := _logged_error(line))]
    written = [line.strip() for line in lines if line.strip()]
    return next(reversed(errors or written), "")


def _logged_error(line: str) -> str:
    """The error in a JSON line of the log; "" for every other line."""
    try:
        entry = json.loads(line)
    except ValueError:
        return ""
    if not isinstance(entry, dict) or entry.get("level") not in ("error", "critical"):
        return ""
    return str(entry.get("error") or entry.get("event") or "")
