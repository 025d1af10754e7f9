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
from uvr.environment.unknown_variables import SCRIPT_VARIABLES

ROOT = Path(__file__).resolve().parent.parent.parent
TOOLS = Path(sys.executable).parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
STAYING = sorted(SERVICES.keys() - {"bucket"})
"""The services whose containers stay; the other one creates the bucket and ends."""
OWN = ["api", "uploader", "processor", "processor-gpu", "bucket"]
"""The services that run images of this checkout."""
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


def test_only_the_proxy_is_published_beyond_this_machine_by_default():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    proxy = published.pop("proxy")
    assert [port.partition(":-")[2].partition("}")[0] for port in proxy] == ["0.0.0.0", "0.0.0.0"]
    assert published == {
        "api": ["${API_BIND:-127.0.0.1}:${API_PORT:-8000}:8000"],
        "minio": ["${MINIO_BIND:-127.0.0.1}:${MINIO_PORT:-9000}:9000"],
        "prometheus": ["127.0.0.1:${PROMETHEUS_PORT:-9090}:9090"],
        "grafana": ["127.0.0.1:${GRAFANA_PORT:-3000}:3000"],
    }


def test_profiles_add_parts_and_take_none_away():
    profiles = {name: service.get("profiles", []) for name, service in SERVICES.items()}
    assert [name for name, chosen in profiles.items() if not chosen] == ["redis", "api", "uploader", "processor"]
    added = {
        profile: [name for name in profiles if profile in profiles[name]]
        for [profile] in filter(None, profiles.values())
    }
    assert added == {
        "gpu": ["processor-gpu"],
        "minio": ["minio", "bucket"],
        "proxy": ["proxy"],
        "monitoring": ["prometheus", "grafana"],
    }


def test_the_processor_on_a_card_is_the_same_except_for_its_image_and_card():
    cpu, gpu = SERVICES["processor"], SERVICES["processor-gpu"]
    assert {key for key in gpu if gpu[key] != cpu.get(key)} == {"profiles", "image", "build", "environment", "deploy"}
    assert gpu["environment"] | {"DEVICE": None} == cpu["environment"] | {"DEVICE": None}
    [device] = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert gpu["build"]["target"] == "processor-gpu"


def test_images_are_built_unless_one_is_named():
    assert SERVICES["api"]["image"] == SERVICES["uploader"]["image"] == "${IMAGE:-${COMPOSE_PROJECT_NAME}-service}"
    derived = "${PROCESSOR_IMAGE:-${IMAGE:-${COMPOSE_PROJECT_NAME}}-processor}"
    assert SERVICES["processor"]["image"] == derived
    assert SERVICES["processor"]["deploy"] == {"replicas": "${PROCESSORS:-1}"}


@pytest.mark.parametrize("name", OWN)
def test_own_images_run_as_any_user(name: str):
    assert SERVICES[name]["user"] == "${CONTAINER_USER:-10001:0}"


def test_images_run_as_a_user_of_group_0_that_has_no_rights():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert re.findall(r"^USER (.*)$", dockerfile, re.MULTILINE) == ["10001:0"] * 3
    assert "--owner=10001 --group=0 --mode=0775 data models" in dockerfile


def test_images_say_what_they_contain():
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    labels = dict(re.findall(r'org\.opencontainers\.image\.(\w+)="(.*)"', dockerfile))
    assert labels.keys() == {"title", "description", "licenses", "source", "version", "revision"}
    assert [labels[name] for name in ("source", "version", "revision")] == ["${SOURCE}", "${VERSION}", "${REVISION}"]
    license_text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert labels["licenses"] == "MIT"
    assert license_text.startswith("MIT License")


@pytest.mark.parametrize(
    ("name", "variables"),
    [
        ("minio", {"MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD"}),
        ("prometheus", {"METRICS_TOKEN"}),
        ("grafana", {"GF_SECURITY_ADMIN_PASSWORD"}),
    ],
)
def test_nothing_starts_with_a_well_known_password(name: str, variables: set[str]):
    """Compose checks `:?` in all profiles, so these containers check their passwords themselves."""
    [script] = SERVICES[name]["command"]
    assert set(re.findall(r"\$\$\{(\w+):\?", script)) == variables <= SERVICES[name]["environment"].keys()
    tools = f"{script.replace('$$', '$')}".replace("exec ", "echo started: ")
    run = subprocess.run(
        ["sh", "-ec", tools], capture_output=True, text=True, check=False, env={"PATH": "/usr/bin:/bin"}
    )
    assert run.returncode != 0
    assert "in .env" in run.stderr
    assert "started" not in run.stdout


def test_mounted_files_are_in_the_checkout():
    mounts = [volume for service in SERVICES.values() for volume in service.get("volumes", []) if volume[:2] == "./"]
    paths = [ROOT / mount.partition(":")[0] for mount in mounts]
    assert [path for path in paths if path.parent.is_dir() and not path.exists()] == []
    assert all(mount.endswith(":ro") for mount in mounts)


def test_every_variable_is_explained_with_its_default_and_known():
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    own = text.replace("$$", "")
    example = (ROOT / "env.example").read_text(encoding="utf-8")
    settings = {field.upper() for field in Settings.model_fields}
    for name, default in set(re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)(?::-([^${}]*)\})?", own)):
        if name in settings | {"COMPOSE_PROJECT_NAME"}:
            continue
        assert re.search(rf"^# {name}=", example, re.MULTILINE), f"{name} is not in env.example"
        assert name in SCRIPT_VARIABLES, name
        if default:
            assert f"# {name}={default}\n" in example, f"{name} has another default in env.example than {default}"


@pytest.mark.parametrize("name", STAYING)
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


@pytest.mark.parametrize("name", ["api", "uploader", "processor"])
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


@pytest.mark.parametrize("name", STAYING)
def test_container_has_limits_that_can_be_changed(name: str):
    service = SERVICES[name]
    prefix = name.removesuffix("-gpu").upper()
    assert re.fullmatch(rf"\$\{{{prefix}_MEMORY:-[0-9]+[mg]\}}", service["mem_limit"])
    assert re.fullmatch(rf"\$\{{{prefix}_CPUS:-[01]\}}", service["cpus"])  # with more, it would not start on one core
    assert re.fullmatch(rf"\$\{{{prefix}_PIDS:-[0-9]+\}}", service["pids_limit"])
    assert not service.get("privileged")


def test_limits_are_in_env_example_with_their_defaults():
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    limits = dict(re.findall(r"\$\{([A-Z]+_(?:MEMORY|MAXMEMORY|CPUS|PIDS)):-(\w+)\}", text))
    example = (ROOT / "env.example").read_text(encoding="utf-8")
    assert len(limits) == 25
    assert [name for name, value in limits.items() if f"# {name}={value}\n" not in example] == []


def test_a_full_redis_refuses_writes_and_has_memory_for_rewriting_its_file():
    configuration = SERVICES["redis"]["command"][-1]
    assert "maxmemory-policy noeviction" in configuration
    data_mb = int(re.search(r"maxmemory \$\{REDIS_MAXMEMORY:-(\d+)mb\}", configuration)[1])
    container_mb = int(re.search(r"(\d+)m\}", SERVICES["redis"]["mem_limit"])[1])
    assert container_mb >= 2 * data_mb


def test_processor_and_uploader_share_the_handover_folder():
    assert "${DATA_FOLDER:-data}:/srv/uvr/data" in SERVICES["processor"]["volumes"]
    assert "${DATA_FOLDER:-data}:/srv/uvr/data" in SERVICES["uploader"]["volumes"]
    for name in ("processor", "uploader"):
        assert SERVICES[name]["environment"]["OUTPUT_DIR"].startswith("/srv/uvr/data/")


def test_no_secret_and_no_model_enters_an_image():
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*"
    kept = {rule.removeprefix("!").rstrip("/") for rule in rules if rule.startswith("!")}
    assert kept.isdisjoint({".env", "data", "models", "logs", ".git", "tests"})
