"""Variables that are no settings: what stands in .env or in the environment by a slip, and what may be meant.

A misspelt variable does nothing, and nothing else would say so. In .env every name that is not known is reported,
because the file is ours; in the environment, which holds the variables of many programs, only a near miss of a setting
that is missing. Values are never shown.

`python -m uvr.environment.unknown_variables <.env` says it for a file that is read outside of this process, as Docker's
compose does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import structlog
from dotenv import dotenv_values
from pydantic import AliasChoices

from config import Settings, env_file
from uvr.spelling import closest, near_miss

log = structlog.get_logger()

OF_SCRIPTS = frozenset(
    {
        *("API_BIND", "PYTHON_IMAGE", "REDIS_IMAGE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
        *("ENV_FILE", "START_TIMEOUT_SECONDS", "VENV", "LIBRARY_VENV", "PYTHON", "TORCH", "API_URL", "SONG"),
    }
)
"""What docker-compose.yml and the scripts read, and the service does not."""

_FOREIGN = ("AWS_", "COMPOSE_", "DOCKER_", "PIP_", "UV_", "KAFKA_")
"""Beginnings of what boto3, Docker, pip and uv read, and of what the service before this one read."""
_CUTOFF = 0.75


@dataclass(frozen=True)
class UnknownVariable:
    """A variable that nothing here reads, where it stands, and the setting that may be meant, "" for none."""

    name: str
    place: str
    meant: str

    @property
    def sentence(self) -> str:
        """What to say about it."""
        question = f"; did you mean {self.meant}?" if self.meant else ""
        return f"{self.name} in {self.place} is not a setting of this service{question}"


def unknown_variables(file: Path | None, environment: Mapping[str, str]) -> list[UnknownVariable]:
    """Those of `file` and those of `environment`, each in their order."""
    text = file.read_text(encoding="utf-8-sig") if file else ""
    in_file = _names_in(text)
    place = file.name if file else ""
    given = {*in_file, *(name.upper() for name in environment)}
    missing = [name for name in _SETTINGS if name not in given]
    slips = {name: near_miss(name.upper(), missing) for name in environment if name.upper() not in _KNOWN}
    return [
        *_unknown_in_file(in_file, place),
        *(UnknownVariable(name, "the environment", meant) for name, meant in slips.items() if meant),
    ]


def log_unknown_variables() -> None:
    """Log them, as a warning where a setting may be meant; for a process that starts."""
    for unknown in unknown_variables(env_file(), os.environ):
        write = log.warning if unknown.meant else log.info
        write("settings.unknown_variable", variable=unknown.name, place=unknown.place, did_you_mean=unknown.meant)


def _names_in(text: str) -> list[str]:
    return [name.upper() for name in dotenv_values(stream=StringIO(text), interpolate=False)]


def _unknown_in_file(names: Iterable[str], place: str) -> list[UnknownVariable]:
    missing = _KNOWN.difference(names)
    unknown = [name for name in names if name not in _KNOWN]
    found = [UnknownVariable(name, place, closest(name, sorted(missing), cutoff=_CUTOFF)) for name in unknown]
    return [variable for variable in found if variable.meant or not variable.name.startswith(_FOREIGN)]


def _names_of_settings() -> Iterable[str]:
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        yield from map(str, alias.choices if isinstance(alias, AliasChoices) else [name])


_SETTINGS = [name.upper() for name in _names_of_settings()]
_KNOWN = OF_SCRIPTS.union(_SETTINGS)


if __name__ == "__main__":
    for _unknown in _unknown_in_file(_names_in(sys.stdin.read()), ".env"):
        sys.stdout.write(f"{_unknown.sentence}\n")
