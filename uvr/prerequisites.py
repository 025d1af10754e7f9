"""Explains how to install the service, instead of a traceback, if Python is too old or lacks a package.

Every entry point imports this module first. It exits with status 2, and it must run on any Python 3 without packages.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

_ROOT = Path(__file__).resolve().parent.parent


def explain(problem: str) -> str:
    """Lines that say what to do about `problem`, a sentence about this Python."""
    environment = _ROOT / ".venv"
    if environment.is_dir() and Path(sys.prefix) != environment:
        return f"{problem}\nUse the environment of this service: run {environment}/bin/python instead.\n"
    return (
        f"{problem}\nRun `make setup`, which installs everything into .venv, and then .venv/bin/python instead.\n"
        "To use an environment of your own: python3 -m pip install -r requirements.txt\n"
    )


def _explain_missing_package(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    package = (getattr(error, "name", None) or "").partition(".")[0]
    is_ours = (_ROOT / package).exists() or (_ROOT / f"{package}.py").exists()
    if not isinstance(error, ModuleNotFoundError) or is_ours:
        sys.__excepthook__(kind, error, trace)
        return
    sys.stderr.write(explain(f"{sys.executable} lacks the package {package}."))
    raise SystemExit(2)


if sys.version_info < (3, 11):  # noqa: UP036  # this module must handle older versions
    version = ".".join(map(str, sys.version_info[:2]))
    sys.stderr.write(explain(f"{sys.executable} is Python {version}; the service needs 3.11 or later."))
    raise SystemExit(2)
sys.excepthook = _explain_missing_package
