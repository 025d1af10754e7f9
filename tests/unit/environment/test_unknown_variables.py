"""Variables that are no settings are reported with what may be meant, and those of others are left alone."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from config import ROOT
from uvr.environment.unknown_variables import UnknownVariable, log_unknown_variables, unknown_variables


def unknown(tmp_path: Path, text: str, **environment: str) -> dict[str, str]:
    """Names of variables and what may be meant by them."""
    file = tmp_path / ".env"
    file.write_text(text)
    return {variable.name: variable.meant for variable in unknown_variables(file, environment)}


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
def test_what_the_file_names_and_nothing_reads_is_reported(tmp_path: Path, name: str, meant: str) -> None:
    assert unknown(tmp_path, f"DEFAULT_PRIORITY=4\n{name}=x\n") == {name: meant}


@pytest.mark.parametrize(
    "name",
    ["api_port", "S3_BASE_URL", "API_BIND", "PIP_INDEX_URL", "COMPOSE_PROJECT_NAME", "AWS_PROFILE", "KAFKA_TOPIC"],
)
def test_what_something_reads_is_not_reported(tmp_path: Path, name: str) -> None:
    assert unknown(tmp_path, f"{name}=x\n") == {}


def test_a_setting_that_is_there_is_not_meant(tmp_path: Path) -> None:
    assert unknown(tmp_path, "API_PROT=9\nAPI_PORT=9\n")["API_PROT"] == ""
    assert unknown(tmp_path, "API_PORT=9\n", API_PROT="9") == {}


def test_of_the_environment_only_slips_are_reported(tmp_path: Path) -> None:
    environment = {"HOME": "/root", "PATH": "/bin", "TRAEFIK_HOST": "x", "LOGLEVEL": "x", "MODEL_NAM": "x"}
    assert unknown(tmp_path, "", **environment) == {"MODEL_NAM": "MODEL_NAME"}


def test_every_variable_of_the_example_and_of_compose_is_known(tmp_path: Path) -> None:
    example = re.findall(r"^(?:# )?([A-Z][A-Z0-9_]*)=", (ROOT / "env.example").read_text(), re.MULTILINE)
    compose = re.findall(r"(?<!\$)\$\{(\w+)", (ROOT / "docker-compose.yml").read_text())
    assert len(example) > 50
    assert "API_BIND" in compose
    assert unknown(tmp_path, "".join(f"{name}=\n" for name in [*example, *compose])) == {}


def test_the_sentence_has_the_name_and_never_the_value() -> None:
    assert UnknownVariable("API_PROT", ".env", "API_PORT").sentence == (
        "API_PROT in .env is not a setting of this service; did you mean API_PORT?"
    )
    assert UnknownVariable("TZ", ".env", "").sentence == "TZ in .env is not a setting of this service"


def test_a_start_logs_near_misses_as_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.env").write_text("REDIS_PASSWRD=hush\nTZ=UTC\n")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "mine.env"))
    with structlog.testing.capture_logs() as lines:
        log_unknown_variables()
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


def test_a_file_that_only_docker_reads_is_looked_through_from_stdin() -> None:
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
