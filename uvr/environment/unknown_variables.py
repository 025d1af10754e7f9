"""Finds variables that are no settings, and the setting that each one probably means.

In .env every unknown name is reported, because the file is ours. The environment holds the variables of many programs,
so there only a near miss of a setting that is not set is reported.

`python -m uvr.environment.unknown_variables <.env` prints the unknown variables of a file that this process does not
read itself. start.sh needs this, because only Docker Compose reads its .env.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import StringIO

from dotenv import dotenv_values
from pydantic import AliasChoices

from config import Settings
from uvr.spelling import closest, near_miss

_CONTAINERS = ("REDIS", "API", "UPLOADER", "PROCESSOR", "MINIO", "PROXY", "PROMETHEUS", "GRAFANA")
SCRIPT_VARIABLES = frozenset(
    {
        *("API_BIND", "PYTHON_IMAGE", "REDIS_IMAGE", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"),
        "REDIS_MAXMEMORY",
        *("PROCESSORS", "GPU_PROCESSORS", "IMAGE", "PROCESSOR_IMAGE"),
        *("CONTAINER_USER", "DATA_FOLDER", "MODELS_FOLDER", "MINIO_FOLDER"),
        *("DOMAIN", "PROXY_BIND", "HTTP_PORT", "HTTPS_PORT", "MINIO_BIND", "MINIO_PORT"),
        *("PROMETHEUS_PORT", "GRAFANA_PORT", "GRAFANA_PASSWORD", "METRICS_RETENTION"),
        *("MINIO_IMAGE", "CADDY_IMAGE", "PROMETHEUS_IMAGE", "GRAFANA_IMAGE"),
        *(f"{part}_{limit}" for part in _CONTAINERS for limit in ("MEMORY", "CPUS", "PIDS")),
        *("ENV_FILE", "START_TIMEOUT_SECONDS", "VENV", "LIBRARY_VENV", "PYTHON", "TORCH", "API_URL", "SONG"),
    }
)
"""Variables that docker-compose.yml and the scripts read, and the service does not."""

_FOREIGN_PREFIXES = ("AWS_", "COMPOSE_", "DOCKER_", "PIP_", "UV_", "KAFKA_")
"""Prefixes of the variables that boto3, Docker, pip and uv read, and that the replaced service read."""
_SETTING_NAMES = [
    str(name).upper()
    for field_name, field in Settings.model_fields.items()
    for name in (field.validation_alias.choices if isinstance(field.validation_alias, AliasChoices) else [field_name])
]
_ALL_NAMES = SCRIPT_VARIABLES.union(_SETTING_NAMES)
_CUTOFF = 0.75


@dataclass(frozen=True)
class UnknownVariable:
    """A variable that nothing here reads, where it is set, and the setting it probably means, "" if none is similar."""

    name: str
    place: str
    meant: str

    @property
    def sentence(self) -> str:
        """The report about it, without its value."""
        question = f"; did you mean {self.meant}?" if self.meant else ""
        return f"{self.name} in {self.place} is not a setting of this service{question}"


def variables_in(text: str) -> dict[str, str | None]:
    """The variables of a .env file's text with their values, names in upper case, in the order of the file."""
    return {name.upper(): value for name, value in dotenv_values(stream=StringIO(text), interpolate=False).items()}


def unknown_in_file(names: Iterable[str], place: str) -> list[UnknownVariable]:
    """The unknown ones among `names` of a .env file; `place` is the name of the file."""
    names = list(names)
    not_in_file = sorted(_ALL_NAMES.difference(names))
    unknown = [
        UnknownVariable(name, place, closest(name, not_in_file, cutoff=_CUTOFF))
        for name in names
        if name not in _ALL_NAMES
    ]
    return [variable for variable in unknown if variable.meant or not variable.name.startswith(_FOREIGN_PREFIXES)]


def unknown_in_environment(environment: Mapping[str, str], names_in_file: Iterable[str]) -> list[UnknownVariable]:
    """Variables of `environment` that are a near miss of a setting which neither it nor the .env file sets."""
    set_names = {*names_in_file, *map(str.upper, environment)}
    not_set = [name for name in _SETTING_NAMES if name not in set_names]
    meant = {name: near_miss(name.upper(), not_set) for name in environment if name.upper() not in _ALL_NAMES}
    return [UnknownVariable(name, "the environment", setting) for name, setting in meant.items() if setting]


if __name__ == "__main__":
    for _unknown in unknown_in_file(variables_in(sys.stdin.read()), ".env"):
        sys.stdout.write(f"{_unknown.sentence}\n")
