"""Compatibility with the replaced service: its files and older variables, and a report of its retired variables."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from config import ROOT, Settings
from uvr.environment.variables_without_effect import log_variables_without_effect, variables_without_effect

FILES = [
    "LOCAL_RUN.md", "MODELS.md", "app.py", "docker-compose.yml", "download_models.py", "env.example", "processor.py",
    "requirements.txt", "uploader.py",
]  # fmt: skip
SCRIPTS = [
    "restart_local.sh", "start.sh", "start_local.sh", "status_local.sh", "stop.sh", "stop_local.sh", "test_api.sh",
]  # fmt: skip


@pytest.fixture(autouse=True)
def no_kafka_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("KAFKA_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ENV_FILE", "")


@pytest.mark.parametrize("name", FILES)
def test_a_file_from_its_readme_exists(name: str) -> None:
    assert (ROOT / name).is_file()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_from_its_readme_is_executable(name: str) -> None:
    assert os.access(ROOT / name, os.X_OK)


@pytest.mark.parametrize("page", ["LOCAL_RUN.md", "MODELS.md"])
def test_its_pages_lead_to_existing_documents(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#]+)", text)
    assert any(target.startswith("docs/") for target in targets)
    assert [target for target in targets if not (ROOT / target).exists()] == []
    named = re.findall(r"\w+\.(?:py|sh)\b", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_the_older_name_of_the_public_domain_is_explained() -> None:
    explained = (ROOT / "env.example").read_text(encoding="utf-8").partition("# S3_PUBLIC_DOMAIN=")[0]
    assert "S3_BASE_URL is an older name of this variable" in explained.rpartition("\n\n")[2]


def test_variables_of_kafka_are_found_in_the_environment_and_in_the_env_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env_file = tmp_path / "old.env"
    env_file.write_text("KAFKA_TOPIC=songs\nKAFKA_GROUP_ID=\nAPI_PORT=8000\n", encoding="utf-8")
    monkeypatch.setenv("ENV_FILE", str(env_file))
    monkeypatch.setenv("kafka_bootstrap_servers", "broker:9092")
    assert variables_without_effect().retired == ["KAFKA_BOOTSTRAP_SERVERS", "KAFKA_TOPIC"]


def test_the_log_names_retired_variables_once_without_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAFKA_SASL_PASSWORD", "hush")
    with capture_logs() as lines:
        log_variables_without_effect()
    assert lines == [
        {
            "event": "settings.no_longer_used",
            "log_level": "warning",
            "variables": ["KAFKA_SASL_PASSWORD"],
            "reason": "the queues are in Redis: REDIS_URL, or REDIS_HOST and REDIS_PORT",
        }
    ]


def test_without_retired_variables_nothing_is_logged() -> None:
    with capture_logs() as lines:
        log_variables_without_effect()
    assert lines == []
    assert not any(name.startswith("kafka") for name in Settings.model_fields)
