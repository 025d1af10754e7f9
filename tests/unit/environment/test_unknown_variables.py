"""Variables that are no settings are reported with the setting they mean; those of other programs are not."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from config import ROOT
from uvr.environment.unknown_variables import (
    UnknownVariable,
    unknown_in_environment,
    unknown_in_file,
    variables_in,
)
from uvr.environment.variables_without_effect import log_variables_without_effect


def unknown(text: str, **environment: str) -> dict[str, str]:
    """The unknown variables of a .env file with this text and of an environment, each with the setting it means."""
    names = variables_in(text)
    found = [*unknown_in_file(names, ".env"), *unknown_in_environment(environment, names)]
    return {variable.name: variable.meant for variable in found}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MODEL_NAM", "MODEL_NAME"),
        ("API_PROT", "API_PORT"),
        ("REDIS_URI", "REDIS_URL"),
        ("S3_BUCKET", "S3_BUCKET_NAME"),
        ("LOGLEVEL", "LOG_LEVEL"),
        ("BASIC_AUTH_PASSWD", "BASIC_AUTH_PASSWORD"),
        ("CLIENT_TIMEOUT", "CLIENT_TIMEOUT_SECONDS"),
        ("AWS_ACCESS_KEY", "AWS_ACCESS_KEY_ID"),
        ("PYTHON_IMGE", "PYTHON_IMAGE"),
        ("TRAEFIK_HOST", ""),
        ("TZ", ""),
    ],
)
def test_an_unknown_variable_in_the_file_is_reported(name: str, meant: str) -> None:
    assert unknown(f"DEFAULT_PRIORITY=4\n{name}=x\n") == {name: meant}


@pytest.mark.parametrize(
    "name",
    ["api_port", "S3_BASE_URL", "API_BIND", "PIP_INDEX_URL", "COMPOSE_PROJECT_NAME", "AWS_PROFILE", "KAFKA_TOPIC"],
)
def test_a_variable_that_a_program_reads_is_not_reported(name: str) -> None:
    assert unknown(f"{name}=x\n") == {}


def test_a_setting_that_is_set_is_not_suggested() -> None:
    assert unknown("API_PROT=9\nAPI_PORT=9\n")["API_PROT"] == ""
    assert unknown("API_PORT=9\n", API_PROT="9") == {}


def test_in_the_environment_only_near_misses_are_reported() -> None:
    environment = {"HOME": "/root", "PATH": "/bin", "TRAEFIK_HOST": "x", "LOGLEVEL": "x", "MODEL_NAM": "x"}
    assert unknown("", **environment) == {"MODEL_NAM": "MODEL_NAME"}


def test_every_variable_of_the_example_and_of_compose_is_known() -> None:
    example = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", (ROOT / "env.example").read_text(), re.MULTILINE)
    compose = re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    assert len(example) > 50
    assert "API_BIND" in compose
    assert unknown("".join(f"{name}=\n" for name in [*example, *compose])) == {}


def test_the_sentence_has_the_name_and_never_the_value() -> None:
    assert UnknownVariable("API_PROT", ".env", "API_PORT").sentence == (
        "API_PROT in .env is not a setting of this service; did you mean API_PORT?"
    )
    assert UnknownVariable("TZ", ".env", "").sentence == "TZ in .env is not a setting of this service"


def test_a_start_logs_near_misses_as_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.env").write_text("REDIS_PASSWRD=hush\nTZ=UTC\n")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "mine.env"))
    with structlog.testing.capture_logs() as lines:
        log_variables_without_effect()
    assert lines == [
        {
            "event": "settings.unknown_variable",
            "log_level": level,
            "variable": name,
            "place": "mine.env",
            "did_you_mean": meant,
        }
        for level, name, meant in [("warning", "REDIS_PASSWRD", "REDIS_PASSWORD"), ("info", "TZ", "")]
    ]


def test_a_file_that_only_docker_reads_is_checked_from_stdin() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uvr.environment.unknown_variables"],
        cwd=ROOT,
        input="API_PORT=8000\nMODEL_NAM=x\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "MODEL_NAM in .env is not a setting of this service; did you mean MODEL_NAME?\n"
