"""Says how to set up, in place of a traceback, where Python is too old or lacks a package. Every door imports it first.

The process then ends with status 2. It has to run where nothing is installed, and on any Python 3.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

_ROOT = Path(__file__).resolve().parent.parent


def explain(problem: str) -> str:
    """`problem`, a sentence about this Python, and what to do about it, in lines for a person."""
    environment = _ROOT / ".venv"
    if environment.is_dir() and Path(sys.prefix) != environment:
        return f"{problem}\nThe service has an environment of its own: run {environment}/bin/python instead.\n"
    return (
        f"{problem}\n`make setup` installs all that is needed into .venv: then run .venv/bin/python instead.\n"
        "In an environment of your own: python3 -m pip install -r requirements.txt\n"
    )


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    package = (getattr(error, "name", None) or "").partition(".")[0]
    is_ours = (_ROOT / package).exists() or (_ROOT / f"{package}.py").exists()
    if not isinstance(error, ModuleNotFoundError) or is_ours:
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(explain(f"{sys.executable} lacks the package {package}."))
    raise SystemExit(2)


if sys.version_info < (3, 11):  # noqa: UP036  # this is for those who have an older one
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(explain(f"{sys.executable} is Python {version}; the service needs 3.11 or later."))
    raise SystemExit(2)
sys.excepthook = _hook
