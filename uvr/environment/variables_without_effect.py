"""Reports variables that are set but have no effect: when a process starts, in the doctor, and in the local scripts.

Without a report an operator who misspells a variable, or keeps one of the replaced service, would believe that it does
something. Values are never shown.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import structlog

from config import env_file
from uvr.environment.unknown_variables import (
    UnknownVariable,
    unknown_in_environment,
    unknown_in_file,
    variables_in,
)

log = structlog.get_logger()

RETIRED_REASON = "the queues are in Redis: REDIS_URL, or REDIS_HOST and REDIS_PORT"
_RETIRED_PREFIX = "KAFKA_"


@dataclass(frozen=True)
class VariablesWithoutEffect:
    """`unknown` variables are no settings; `retired` ones belonged to the replaced service, in alphabetical order."""

    unknown: list[UnknownVariable]
    retired: list[str]


def variables_without_effect() -> VariablesWithoutEffect:
    """Those of the environment, and of .env or the file that ENV_FILE names."""
    file = env_file()
    in_file = variables_in(file.read_text(encoding="utf-8-sig")) if file else {}
    in_both = {**in_file, **{name.upper(): value for name, value in os.environ.items()}}
    return VariablesWithoutEffect(
        unknown=[
            *unknown_in_file(in_file, file.name if file else ""),
            *unknown_in_environment(os.environ, in_file),
        ],
        retired=sorted(name for name, value in in_both.items() if value and name.startswith(_RETIRED_PREFIX)),
    )


def log_variables_without_effect() -> None:
    """Log them when a process starts; an unknown variable that resembles a setting is logged as a warning."""
    found = variables_without_effect()
    for unknown in found.unknown:
        write = log.warning if unknown.meant else log.info
        write("settings.unknown_variable", variable=unknown.name, place=unknown.place, did_you_mean=unknown.meant)
    if found.retired:
        log.warning("settings.no_longer_used", variables=found.retired, reason=RETIRED_REASON)
