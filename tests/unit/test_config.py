"""Settings: defaults, sources, and errors that are reported together."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest

from config import ROOT, VERSION, EnvFileError, SettingsError, env_file, load_settings, read_settings

pytestmark = pytest.mark.usefixtures("bare_environment")


def test_every_variable_has_a_default() -> None:
    settings = read_settings()
    assert settings.redis_task_queue == "uvr_tasks"
    assert settings.redis_result_queue == "uvr_results"
    assert settings.default_priority == 3
    assert settings.model_name == "UVR-MDX-NET-Inst_HQ_4"
    assert settings.aws_region == "auto"
    assert (settings.api_host, settings.api_port) == ("127.0.0.1", 8000)


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env_file = tmp_path / "settings.env"
    env_file.write_text("API_PORT=9001\nDEFAULT_PRIORITY=5\n")
    monkeypatch.setenv("ENV_FILE", str(env_file))
    monkeypatch.setenv("API_PORT", "9002")
    settings = read_settings()
    assert (settings.api_port, settings.default_priority) == (9002, 5)


def test_an_empty_variable_means_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_PORT", "")
    assert read_settings().api_port == 8000


def test_all_faults_are_reported_together_each_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    faulty = {
        "API_PORT": "99999",
        "DEFAULT_PRIORITY": "high",
        "ALLOWED_PRIVATE_NETWORKS": "10.0.0.0/8,nowhere",
        "HEARTBEAT_SECONDS": "50",
        "FETCH_TOTAL_SECONDS": "inf",
        "REDIS_RESULT_QUEUE": "uvr_tasks",
        "AWS_SECRET_ACCESS_KEY": "only the half of a pair",
        "S3_ENDPOINT_URL": "minio:9000",
        "NODE_ID": "a/b",
    }
    for name, value in faulty.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert {fault.partition(":")[0] for fault in caught.value.faults} == set(faulty)
    assert "only the half" not in str(caught.value), "messages do not contain the values of secrets"


def test_an_endpoint_that_names_another_bucket_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BUCKET_NAME", "songs")
    monkeypatch.setenv("S3_ENDPOINT_URL", "https://stems.oss-cn-hangzhou.aliyuncs.com")
    with pytest.raises(SettingsError, match="S3_ENDPOINT_URL: names the bucket stems, but S3_BUCKET_NAME is songs"):
        read_settings()
    monkeypatch.setenv("S3_BUCKET_NAME", "stems")
    assert read_settings().s3_addressing_style == "auto"


def test_a_named_node_needs_a_bucket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_ID", "node-1.example")
    with pytest.raises(SettingsError, match=r"NODE_ID: needs S3_BUCKET_NAME, because"):
        read_settings()
    monkeypatch.setenv("S3_BUCKET_NAME", "stems")
    assert read_settings().node_id == "node-1.example"


def test_a_node_is_not_lost_after_a_missed_heartbeat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_TIMEOUT_SECONDS", "59")
    with pytest.raises(SettingsError, match="NODE_TIMEOUT_SECONDS: must be at least four times HEARTBEAT_SECONDS"):
        read_settings()


def test_a_process_with_faulty_settings_exits_with_2_and_names_them() -> None:
    environment = {**os.environ, "ENV_FILE": "", "API_PORT": "zero", "DEFAULT_PRIORITY": "9"}
    command = [sys.executable, "-c", "import config; config.load_settings()"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "API_PORT" in done.stderr
    assert "DEFAULT_PRIORITY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.mkdir(), "it is not a file"),
        (lambda path: path.write_bytes(b"API_HOST=\xe9\n"), "it is not UTF-8"),
        (os.mkfifo, "it is not a file"),
    ],
)
def test_an_env_file_that_cannot_be_read_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    make(tmp_path / "mine.env")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "mine.env"))
    with pytest.raises(EnvFileError) as caught:
        read_settings()
    assert caught.value.faults == [f"ENV_FILE: {tmp_path / 'mine.env'} cannot be read: {reason}"]


def test_a_process_whose_env_file_is_missing_exits_with_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "gone.env"))
    with pytest.raises(SystemExit) as ended:
        load_settings()
    assert ended.value.code == 2
    assert f"ENV_FILE: {tmp_path}/gone.env does not exist\n" in capsys.readouterr().err


@pytest.mark.parametrize("nothing", ["", os.devnull])
def test_an_empty_env_file_means_that_no_file_is_read(monkeypatch: pytest.MonkeyPatch, nothing: str) -> None:
    monkeypatch.setenv("ENV_FILE", nothing)
    assert env_file() is None
    assert read_settings().api_port == 8000


def test_a_byte_order_mark_is_not_part_of_a_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "mine.env").write_text("API_PORT=9001\n", encoding="utf-8-sig")
    monkeypatch.setenv("ENV_FILE", str(tmp_path / "mine.env"))
    assert read_settings().api_port == 9001


def test_the_version_is_written_in_one_place() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert (project["dynamic"], "version" in project) == (["version"], False)
    assert re.fullmatch(r"\d+\.\d+\.\d+", VERSION)


def test_importing_the_module_reads_nothing() -> None:
    environment = {**os.environ, "ENV_FILE": "/does/not/exist", "API_PORT": "zero"}
    done = subprocess.run([sys.executable, "-c", "import config"], cwd=ROOT, env=environment, timeout=60, check=False)
    assert done.returncode == 0


def test_the_older_name_of_the_public_domain_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("S3_BASE_URL", "https://cdn.example.org/")
    assert read_settings().s3_public_domain == "https://cdn.example.org"
    monkeypatch.setenv("S3_PUBLIC_DOMAIN", "https://new.example.org")
    assert read_settings().s3_public_domain == "https://new.example.org"


def test_networks_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_PRIVATE_NETWORKS", "10.1.0.0/16, fd00::/8")
    assert read_settings().allowed_private_networks == (ip_network("10.1.0.0/16"), ip_network("fd00::/8"))


def test_denied_hosts_are_names_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DENIED_HOSTS", "Own.example, 203.0.113.7, 2001:db8::/32")
    denied = read_settings().denied_hosts
    assert (denied.names, denied.networks) == (
        ("own.example",),
        (ip_network("203.0.113.7"), ip_network("2001:db8::/32")),
    )


@pytest.mark.parametrize("text", ["10.0.0.1/8", "own.example:80", "http://own.example", "*.own.example"])
def test_what_is_no_denied_host_is_a_fault(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("DENIED_HOSTS", text)
    with pytest.raises(SettingsError, match=r"DENIED_HOSTS: .* is neither a host name"):
        read_settings()


def test_ports_are_single_ones_and_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_PORTS", "80, 443,1024-65535")
    assert read_settings().allowed_ports == ((80, 80), (443, 443), (1024, 65535))


@pytest.mark.parametrize("text", ["0", "65536", "90-80", "http", "80-", "1-2-3"])
def test_what_is_no_port_is_a_fault(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ALLOWED_PORTS", text)
    with pytest.raises(SettingsError, match=r"ALLOWED_PORTS: .* write them as 80,443,1024-65535"):
        read_settings()


def test_relative_paths_start_at_the_checkout(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TEMP_DIR", "elsewhere/temp")
    assert read_settings().temp_dir == ROOT / "elsewhere/temp"
    assert read_settings().model_file_dir == ROOT / "models"


@pytest.mark.parametrize(
    ("host", "url"),
    [("127.0.0.1", "http://127.0.0.1:8000"), ("0.0.0.0", "http://127.0.0.1:8000"), ("::1", "http://[::1]:8000")],
)
def test_links_lead_to_the_api_unless_a_public_url_is_set(monkeypatch: pytest.MonkeyPatch, host: str, url: str) -> None:
    monkeypatch.setenv("API_HOST", host)
    assert read_settings().base_url == url
    monkeypatch.setenv("PUBLIC_BASE_URL", "https://stems.example.org/")
    assert read_settings().base_url == "https://stems.example.org"


LOCAL_STORAGE = {"S3_PUBLIC_ENDPOINT_URL": "http://127.0.0.1:9000"}


@pytest.mark.parametrize(
    ("variables", "lead_here"),
    [
        ({}, ""),
        ({"API_HOST": "0.0.0.0"}, "http://127.0.0.1:8000"),
        ({"API_HOST": "192.168.1.5"}, ""),
        ({"API_HOST": "0.0.0.0", "PUBLIC_BASE_URL": "https://stems.example.org"}, ""),
        ({"API_HOST": "0.0.0.0", "S3_BUCKET_NAME": "stems"}, ""),
        ({"API_HOST": "0.0.0.0", "S3_BUCKET_NAME": "stems", **LOCAL_STORAGE}, "http://127.0.0.1:9000"),
        (
            {"PUBLIC_BASE_URL": "https://stems.example.org", "S3_BUCKET_NAME": "stems", **LOCAL_STORAGE},
            "http://127.0.0.1:9000",
        ),
        ({"S3_BUCKET_NAME": "stems", **LOCAL_STORAGE}, ""),
        ({"API_HOST": "0.0.0.0", "API_PUBLISHED": "127.0.0.1:9000"}, ""),
        ({"API_HOST": "0.0.0.0", "API_PUBLISHED": "0.0.0.0:9000"}, "http://127.0.0.1:9000"),
        ({"API_HOST": "0.0.0.0", "API_PUBLISHED": "[fd00::5]:9000"}, ""),
        ({"ALLOWED_HOSTS": "stems.example.org"}, "http://127.0.0.1:8000"),
    ],
)
def test_webhook_links_that_other_machines_cannot_open_give_a_warning(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], lead_here: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert read_settings().link_warning.partition(",")[0] == (
        f"Links in webhooks lead to {lead_here}" if lead_here else ""
    )


def test_hosts_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_HOSTS", "Stems.example.org, [::1]:8000")
    assert read_settings().allowed_hosts == ("stems.example.org", "[::1]:8000")
    monkeypatch.setenv("ALLOWED_HOSTS", "https://stems.example.org")
    with pytest.raises(SettingsError, match=r"ALLOWED_HOSTS: https://stems\.example\.org is not a host"):
        read_settings()


def test_secrets_do_not_show_in_the_settings_text(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BASIC_AUTH_PASSWORD", "REDIS_PASSWORD", "WEBHOOK_SECRET"):
        monkeypatch.setenv(name, "do-not-show")
    assert "do-not-show" not in repr(read_settings())


def test_pauses_between_delivery_attempts_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_RETRY_SECONDS", "0.5, 5,300")
    assert read_settings().webhook_retry_seconds == (0.5, 5, 300)
    monkeypatch.setenv("WEBHOOK_RETRY_SECONDS", "5,soon,0")
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert [fault.partition(":")[0] for fault in caught.value.faults] == ["WEBHOOK_RETRY_SECONDS"] * 2
