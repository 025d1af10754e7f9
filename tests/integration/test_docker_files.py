"""The Docker files keep their promises; checked without Docker by the tools that know the formats.

`make test-docker` proves the same files on a real engine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from config import Settings
from tests.support.used_settings import settings_used_by

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SHELL_SCRIPTS = sorted([*ROOT.glob("*.sh"), *(ROOT / "scripts").glob("*.sh")])


def complaints(tool: str, *arguments: str | Path) -> str:
    """What a checker says against a file, "" when it passes."""
    run = subprocess.run([TOOLS / tool, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if run.returncode == 0 else run.stdout + run.stderr + f"exit status {run.returncode}"


def seconds(duration: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([smh])", duration).groups()
    return float(number) * {"s": 1, "m": 60, "h": 3600}[unit]


def test_compose_file_follows_the_compose_specification():
    assert complaints("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml") == ""


def test_dockerfile_passes_hadolint():
    assert complaints("hadolint", "Dockerfile") == ""


@pytest.mark.parametrize("script", SHELL_SCRIPTS, ids=lambda path: path.name)
def test_shell_script_passes_shellcheck(script: Path):
    assert complaints("shellcheck", "--external-sources", script) == ""


def test_only_the_api_is_published_and_on_loopback_by_default():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert published == {"api": ["${API_BIND:-127.0.0.1}:${API_PORT:-8000}:8000"]}


@pytest.mark.parametrize("name", SERVICES)
def test_container_comes_back_and_says_how_it_is(name: str):
    assert SERVICES[name]["restart"] == "unless-stopped"
    assert SERVICES[name]["healthcheck"]["test"]


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_no_rights_and_a_read_only_root(name: str):
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.get("privileged")


@pytest.mark.parametrize("name", SERVICES)
def test_container_can_be_scaled(name: str):
    assert "container_name" not in SERVICES[name]


def test_redis_asks_for_a_password_and_syncs_every_write_to_disk():
    configuration = SERVICES["redis"]["command"][-1]
    assert "requirepass $$REDISCLI_AUTH" in configuration
    assert "appendonly yes" in configuration
    assert "appendfsync always" in configuration


@pytest.mark.parametrize("name", sorted(SERVICES.keys() - {"redis"}))
def test_process_starts_after_redis_and_has_time_to_stop(name: str):
    service = SERVICES[name]
    assert service["depends_on"] == {"redis": {"condition": "service_healthy"}}
    assert seconds(service["stop_grace_period"]) > Settings.model_fields["shutdown_grace_seconds"].default


NOT_SETTINGS = {"S3_BASE_URL", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"}
"""The older name of a setting, and what pip reads."""

SECRETS = {
    "api": {"REDIS_PASSWORD", "AWS_SECRET_ACCESS_KEY", "BASIC_AUTH_PASSWORD", "METRICS_TOKEN"},
    "processor": {"REDIS_PASSWORD", "AWS_SECRET_ACCESS_KEY", "FETCH_PROXY"},
    "uploader": {"REDIS_PASSWORD", "AWS_SECRET_ACCESS_KEY", "WEBHOOK_SECRET", "WEBHOOK_HEADERS", "WEBHOOK_PROXY"},
}


def given(name: str) -> set[str]:
    """The variables that a container gets."""
    assert "env_file" not in SERVICES[name], "it would pass on every variable of .env"
    return set(SERVICES[name]["environment"])


@pytest.mark.parametrize("name", SECRETS)
def test_container_gets_the_secrets_that_it_uses_and_no_others(name: str):
    secret = {field.upper() for field, info in Settings.model_fields.items() if "SecretStr" in str(info.annotation)}
    # REDIS_URL is a secret too, but only fixed to be empty here.
    assert given(name) & secret - {"REDIS_URL"} == SECRETS[name]
    assert SERVICES[name]["environment"]["REDIS_URL"] == ""


@pytest.mark.parametrize(("name", "door"), [("api", "app"), ("processor", "processor"), ("uploader", "uploader")])
def test_container_gets_every_setting_that_its_code_reads(name: str, door: str):
    used = {field.upper() for field in settings_used_by(door)}
    # API_PUBLISHED takes their place where links are made.
    missing = used - given(name) - {"API_HOST", "API_PORT"}
    assert not missing, f"add {sorted(missing)} to the environment of {name} in docker-compose.yml"


@pytest.mark.parametrize("name", SECRETS)
def test_compose_gives_settings_that_exist(name: str):
    known = {field.upper() for field in Settings.model_fields}
    assert given(name) <= known | NOT_SETTINGS


def test_every_setting_reaches_a_container():
    everywhere = set().union(*map(given, SECRETS))
    own = {"UVR_URL", "UVR_USERNAME", "UVR_PASSWORD", "UVR_TOKEN"}  # for the command line on another machine
    assert {field.upper() for field in Settings.model_fields} - everywhere == own


@pytest.mark.parametrize("name", SERVICES)
def test_container_has_limits_that_can_be_changed(name: str):
    service = SERVICES[name]
    prefix = name.upper()
    assert re.fullmatch(rf"\$\{{{prefix}_MEMORY:-[0-9]+[mg]\}}", service["mem_limit"])
    assert re.fullmatch(rf"\$\{{{prefix}_CPUS:-[01]\}}", service["cpus"])  # with more, it would not start on one core
    assert re.fullmatch(rf"\$\{{{prefix}_PIDS:-[0-9]+\}}", service["pids_limit"])
    assert not service.get("privileged")


def test_limits_are_in_env_example_with_their_defaults():
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    limits = dict(re.findall(r"\$\{([A-Z]+_(?:MEMORY|MAXMEMORY|CPUS|PIDS)):-(\w+)\}", text))
    example = (ROOT / "env.example").read_text(encoding="utf-8")
    assert len(limits) == 13
    assert [name for name, value in limits.items() if f"# {name}={value}\n" not in example] == []


def test_a_full_redis_refuses_writes_and_has_memory_for_rewriting_its_file():
    configuration = SERVICES["redis"]["command"][-1]
    assert "maxmemory-policy noeviction" in configuration
    data_mb = int(re.search(r"maxmemory \$\{REDIS_MAXMEMORY:-(\d+)mb\}", configuration)[1])
    container_mb = int(re.search(r"(\d+)m\}", SERVICES["redis"]["mem_limit"])[1])
    assert container_mb >= 2 * data_mb


def test_processor_and_uploader_share_the_handover_folder():
    assert "data:/srv/uvr/data" in SERVICES["processor"]["volumes"]
    assert "data:/srv/uvr/data" in SERVICES["uploader"]["volumes"]
    for name in ("processor", "uploader"):
        assert SERVICES[name]["environment"]["OUTPUT_DIR"].startswith("/srv/uvr/data/")


def test_no_secret_and_no_model_enters_an_image():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    assert kept.isdisjoint({".env", "data", "models", "logs", ".git", "tests"})
