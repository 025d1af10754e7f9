"""What ./start.sh writes into .env, and what it asks of Docker; a program that only notes its calls stands in for it.

`make test-docker` starts the real containers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from config import ROOT, Settings

DOCKER = """#!/bin/sh
echo "$*" >>"$CALLS"
case "$*" in
  *"config --services") echo "api" ;;
  "compose ps "*) echo 1 ;;
  "inspect "*) echo "uvr-api-1 running healthy 0 0" ;;
  *printenv*) echo https://localhost ;;
esac
"""


class Start:
    """A checkout with nothing but the script, env.example and a `docker`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("start.sh", "env.example"):
            shutil.copy(ROOT / name, folder)
        docker = folder / "bin" / "docker"
        docker.parent.mkdir()
        docker.write_text(DOCKER)
        docker.chmod(0o755)

    def run(self, lines: str = "", *arguments: str, **environment: str) -> str:
        """Start with these lines at the end of env.example; what was printed."""
        example = (ROOT / "env.example").read_text(encoding="utf-8")
        (self.folder / "env.example").write_text(f"{example}\n{lines}\n")
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        run = subprocess.run(
            ["./start.sh", *arguments],
            cwd=self.folder,
            env={"PATH": path, "CALLS": str(self.folder / "calls"), **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert run.returncode == 0, run.stderr
        return run.stdout + run.stderr

    @property
    def env(self) -> dict[str, str]:
        text = (self.folder / ".env").read_text(encoding="utf-8")
        return dict(re.findall(r"^([A-Z0-9_]+)=(.+)$", text, re.MULTILINE))

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()


@pytest.fixture
def start(tmp_path: Path) -> Start:
    return Start(tmp_path)


RANDOM = re.compile(r"[0-9a-f]{32}")


def test_without_profiles_it_writes_two_passwords_and_builds(start: Start):
    start.run()
    assert start.env.keys() == {"BASIC_AUTH_PASSWORD", "REDIS_PASSWORD"}
    assert all(map(RANDOM.fullmatch, start.env.values()))
    assert "compose up --detach --build" in start.calls


def test_minio_gets_a_key_and_links_that_this_machine_can_open(start: Start):
    start.run("COMPOSE_PROFILES=minio")
    assert start.env["S3_BUCKET_NAME"] == "uvr-stems"
    assert start.env["S3_ENDPOINT_URL"] == "http://minio:9000"
    assert start.env["S3_PUBLIC_ENDPOINT_URL"] == "http://127.0.0.1:9000"
    assert RANDOM.fullmatch(start.env["AWS_SECRET_ACCESS_KEY"])
    Settings(_env_file=start.folder / ".env")


@pytest.mark.parametrize(
    ("lines", "links"),
    [
        ("MINIO_BIND=192.168.1.5\nMINIO_PORT=9100", "http://192.168.1.5:9100"),
        ("MINIO_BIND=0.0.0.0", "http://127.0.0.1:9000"),
        ("S3_PUBLIC_ENDPOINT_URL=https://s3.example.com", "https://s3.example.com"),
    ],
)
def test_links_lead_where_minio_is_published(start: Start, lines: str, links: str):
    start.run(f"COMPOSE_PROFILES=minio\n{lines}")
    assert start.env["S3_PUBLIC_ENDPOINT_URL"] == links


@pytest.mark.parametrize(
    ("lines", "links"),
    [
        ("", "https://localhost"),
        ("DOMAIN=stems.example.com", "https://stems.example.com"),
        ("DOMAIN=stems.example.com\nHTTPS_PORT=8443", "https://stems.example.com:8443"),
    ],
)
def test_links_lead_through_the_proxy_if_there_is_one(start: Start, lines: str, links: str):
    start.run(f"COMPOSE_PROFILES=minio, proxy\n{lines}")
    assert start.env["S3_PUBLIC_ENDPOINT_URL"] == links
    assert start.env["DOMAIN"] in links


def test_a_card_gets_all_songs_unless_processors_are_asked_for(start: Start):
    start.run("COMPOSE_PROFILES=gpu")
    assert start.env["PROCESSORS"] == "0"


def test_processors_beside_a_card_stay(start: Start):
    start.run("COMPOSE_PROFILES=gpu\nPROCESSORS=2")
    assert start.env["PROCESSORS"] == "2"


def test_monitoring_gets_random_passwords(start: Start):
    printed = start.run("COMPOSE_PROFILES=monitoring")
    assert RANDOM.fullmatch(start.env["METRICS_TOKEN"])
    assert RANDOM.fullmatch(start.env["GRAFANA_PASSWORD"])
    assert start.env["METRICS_TOKEN"] not in printed


def test_a_second_start_changes_nothing(start: Start):
    start.run("COMPOSE_PROFILES=minio,proxy,gpu,monitoring")
    first = (start.folder / ".env").read_text()
    start.run()
    assert (start.folder / ".env").read_text() == first


def test_profiles_of_the_environment_count_as_docker_compose_counts_them(start: Start):
    start.run("COMPOSE_PROFILES=minio", COMPOSE_PROFILES="monitoring")
    assert "GRAFANA_PASSWORD" in start.env
    assert "S3_ENDPOINT_URL" not in start.env


def test_published_images_are_not_built(start: Start):
    start.run("IMAGE=registry.example.com/uvr-api:0.2.0", "--scale", "processor=2")
    download = "compose pull --policy missing api processor"
    assert start.calls.index(download) < start.calls.index("compose up --detach --no-build --scale processor=2")
    assert not any("compose build" in call or " --build" in call for call in start.calls)


def test_the_image_for_a_card_is_always_built(start: Start):
    start.run("IMAGE=registry.example.com/uvr-api:0.2.0\nCOMPOSE_PROFILES=gpu")
    assert start.calls.index("compose build processor-gpu") < start.calls.index("compose up --detach --no-build")


@pytest.mark.parametrize(
    ("lines", "warning"),
    [
        ("PROCESSORS=0", "Warning: PROCESSORS is 0"),
        ("PROCESSORS=0\nCOMPOSE_PROFILES=gpu", ""),
        ("DOMAIN=stems.example.com\nAPI_BIND=0.0.0.0", "Warning: with DOMAIN"),
        ("DOMAIN=stems.example.com\nAPI_BIND=127.0.0.1", ""),
        ("API_BIND=0.0.0.0", ""),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(start: Start, lines: str, warning: str):
    printed = start.run(lines)
    assert warning in printed
    assert ("Warning" in printed) == bool(warning)
