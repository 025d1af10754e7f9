"""Says how to set up, instead of a traceback, if Python is too old or lacks a package. Entry points import it first.

The process then exits with status 2. This module must run without any packages and on any Python 3.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

_ROOT = Path(__file__).resolve().parent.parent


def explain(problem: str) -> str:
    """`problem`, a sentence about this Python, followed by what to do about it."""
    environment = _ROOT / ".venv"
    if environment.is_dir() and Path(sys.prefix) != environment:
        return f"{problem}\nThe packages are installed in another environment: use {environment}/bin/python instead.\n"
    return (
        f"{problem}\nRun `make setup` to install everything into .venv, then use .venv/bin/python.\n"
        "To use your own environment instead: python3 -m pip install -r requirements.txt\n"
    )


def _hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    package = (getattr(error, "name", None) or "").partition(".")[0]
    is_ours = (_ROOT / package).exists() or (_ROOT / f"{package}.py").exists()
    if not isinstance(error, ModuleNotFoundError) or is_ours:
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(explain(f"{sys.executable} lacks the package {package}."))
    raise SystemExit(2)


if sys.version_info < (3, 11):  # noqa: UP036  # this check is for older versions
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(explain(f"{sys.executable} is Python {version}; the service requires 3.11 or later."))
    raise SystemExit(2)
sys.excepthook = _hook
