"""Variables of the service that this one replaces and that mean nothing here: named at the start, and by the doctor.

An operator who still sets them would otherwise believe that they do something.
"""

from __future__ import annotations

import os

import structlog
from dotenv import dotenv_values

from config import ROOT

log = structlog.get_logger()

WHY = "the queues are in Redis: REDIS_URL, or REDIS_HOST and REDIS_PORT"
_PREFIX = "KAFKA_"


def retired_settings() -> list[str]:
    """The variables of this kind that have a value, in the environment or in .env, in alphabetical order."""
    env_file = os.environ.get("ENV_FILE", str(ROOT / ".env"))
    values = {**(dotenv_values(env_file) if env_file else {}), **os.environ}
    return sorted({name.upper() for name, value in values.items() if value and name.upper().startswith(_PREFIX)})


def warn_about_retired_settings() -> None:
    """One line in the log if there are any; for a process that starts."""
    if found := retired_settings():
        log.warning("settings.no_longer_used", variables=found, reason=WHY)
