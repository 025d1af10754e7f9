"""A backup of a busy service, restored on an empty machine, goes on with every task."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from redis import Redis

from tests.support.api import htpasswd
from tests.support.audio import encoded, noise
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.networks import write_model
from tests.support.ports import free_port
from tests.support.s3_server import S3Server
from tests.support.service import AUTH, ROOT, Service
from tests.support.waiting import PATIENCE_S, eventually

PASSWORD = "the password of a Redis"
ANNA = ("anna", "anna"[::-1])
CONFIGURATION = ROOT / "deploy" / "redis" / "uvr.conf"


@pytest.fixture(autouse=True, scope="module")
def _programs() -> None:
    for program in ("redis-server", "redis-cli"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}: make test-server installs it where it may")


@contextmanager
def redis(folder: Path, port: int, program: str | Path = "redis-server") -> Iterator[Redis]:
    """A Redis with deploy/redis/uvr.conf and its data in `folder`, killed at the end."""
    folder.mkdir(exist_ok=True)
    more = f'\nport {port}\nbind 127.0.0.1\ndir {folder}\nrequirepass "{PASSWORD}"\n'
    file = folder.with_suffix(".conf")
    file.write_text(CONFIGURATION.read_text(encoding="utf-8") + more, encoding="utf-8")
    with folder.with_suffix(".log").open("ab") as log:
        process = subprocess.Popen([program, file], stdout=log, stderr=log)
    try:
        with Redis(port=port, password=PASSWORD, decode_responses=True) as client:
            eventually(lambda: answers(client), "Redis answers", every_s=0.05)
            yield client
    finally:
        process.kill()
        process.wait()


def answers(client: Redis) -> bool:
    try:
        return bool(client.ping())
    except Exception:  # it is starting or loading
        return False


def run(script: str, environment: dict[str, str], *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ROOT / "scripts" / script, *arguments],
        env=environment | {"VENV": sys.prefix},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


@dataclass
class Machine:
    """A machine with a Redis of its own and a service."""

    folder: Path
    redis_port: int
    service: Service

    @property
    def redis_dir(self) -> Path:
        return self.folder / "redis"

    @property
    def users(self) -> Path:
        return self.folder / "users.htpasswd"


def new_machine(folder: Path, **settings: str) -> Machine:
    folder.mkdir()
    (folder / "models").mkdir()
    write_model(folder / "models" / "half.onnx")
    port = free_port()
    own = {
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(port),
        "REDIS_PASSWORD": PASSWORD,
        "MODEL_NAME": "half",
        "BASIC_AUTH_USERS_FILE": str(folder / "users.htpasswd"),
        "LEASE_SECONDS": "4",
        "HEARTBEAT_SECONDS": "1",
        "RETRY_BASE_SECONDS": "0.1",
        "WEBHOOK_RETRY_SECONDS": ",".join(["1"] * 100),
        "WEBHOOK_THREADS": "16",
    }
    return Machine(folder, port, Service(folder, "", folder / "models", **own, **settings))


@dataclass
class Restored:
    """The service on the second machine, and the tasks of the first one, as they were when the backup was made."""

    machine: Machine
    web: HttpServer
    tasks: dict[str, str]
    before: dict[str, Any]
    stems: bytes


@pytest.fixture(scope="module", params=["local storage", "S3"])
def restored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Restored]:
    folder = tmp_path_factory.mktemp("backup")
    storage: dict[str, str] = {}
    if request.param == "S3":
        server: S3Server = request.getfixturevalue("s3")
        storage = {**server.settings, "S3_KEY_PREFIX": "backup/"}
    first = new_machine(folder / "first", **storage)
    second = new_machine(folder / "second", **storage)
    first.users.write_text(htpasswd("anna"))
    with http_server() as web:
        try:
            with redis(first.redis_dir, first.redis_port):
                tasks, before, stems = make_tasks(first.service, web)
                done = run("backup.sh", first.service.environment, folder / "backups")
                assert done.returncode == 0, done.stderr
                first.service.send(b"a song that comes too late")
                first.service.kill("app")
            shutil.rmtree(first.folder)
            backup = Path(done.stdout.strip())
            assert backup.stat().st_mode & 0o077 == 0
            second.redis_dir.mkdir()
            restoring = run("restore.sh", second.service.environment, backup, second.redis_dir)
            assert restoring.returncode == 0, restoring.stderr
            web.answer("/hook/later", Answer(204))
            with redis(second.redis_dir, second.redis_port):
                second.service.start()
                second.service.wait_until_up()
                yield Restored(second, web, tasks, before, stems)
                second.service.stop()
        finally:
            for machine in (first, second):
                machine.service.stop()


def make_tasks(service: Service, web: HttpServer) -> tuple[dict[str, str], dict[str, Any], bytes]:
    """Tasks in every state, which no worker works on any more. Returns ids, answers and a stem by its link."""
    song = encoded(noise(0.5), ".wav", codec="pcm_s16le")
    audio = web.answer("/song.wav", Answer(body=song))
    slow = web.answer("/slow.wav", Answer(delay_s=100), Answer(body=song))
    hook, later = web.answer("/hook", Answer(204)), web.answer("/hook/later", Answer(503))
    service.start()
    service.wait_until_up()
    tasks = {
        "done": service.generate(audio, hook_url=hook),
        "notified later": service.generate(audio, hook_url=later),
        "dead": service.generate(web.url("/gone.wav"), hook_url=hook),
    }
    sent = requests.post(f"{service.url}/generate", json={"audio": audio}, auth=ANNA, timeout=PATIENCE_S)
    tasks["of anna"] = sent.json()["task_uuid"]
    for name in tasks:
        service.wait_for(tasks[name])
    service.wait_for_delivery(tasks["done"])
    tasks["leased"] = service.generate(slow, hook_url=hook)
    service.wait_for(tasks["leased"], "processing")
    service.kill("processor")
    tasks["waiting"] = service.generate(audio, hook_url=hook)
    tasks["sent along"] = service.send(song, hook_url=hook)
    service.kill("uploader", signal.SIGTERM)
    before = {name: service.task(task_uuid) for name, task_uuid in tasks.items()}
    return tasks, before, requests.get(before["done"]["vocals"], timeout=PATIENCE_S).content


def test_ended_tasks_are_shown_as_before(restored: Restored) -> None:
    for name in ("done", "dead", "of anna"):
        now, then = restored.machine.service.task(restored.tasks[name]), restored.before[name]
        for key in ("status", "created_at", "finished_at", "error_message", "attempt", "audio"):
            assert now[key] == then[key], (name, key)


def test_a_link_from_before_the_backup_still_works(restored: Restored) -> None:
    link = restored.before["done"]["vocals"]
    if "/files/" in link:  # the machine has another address, as PUBLIC_BASE_URL does not change in practice
        old = urlsplit(link)
        link = f"{restored.machine.service.url}{old.path}?{old.query}"
    answer = requests.get(link, timeout=PATIENCE_S)
    assert (answer.status_code, answer.content) == (200, restored.stems)


@pytest.mark.parametrize("name", ["leased", "waiting", "sent along"])
def test_a_task_that_had_not_ended_is_worked_on(restored: Restored, name: str) -> None:
    assert restored.before[name]["status"] in ("queued", "processing")
    task = restored.machine.service.wait_for(restored.tasks[name])
    assert task["status"] == "success", task
    restored.machine.service.wait_for_delivery(restored.tasks[name])


def test_a_webhook_that_was_not_delivered_is_delivered(restored: Restored) -> None:
    assert restored.before["notified later"]["webhook"]["state"] == "pending"
    restored.machine.service.wait_for_delivery(restored.tasks["notified later"])


def test_a_dead_letter_can_be_retried(restored: Restored) -> None:
    command = [sys.executable, "-m", "uvr", "dead", "list", "--json"]
    environment = restored.machine.service.environment
    listed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
    assert restored.tasks["dead"] in [json.loads(line)["task_uuid"] for line in listed.splitlines()]


def test_users_are_restored_with_their_tasks(restored: Restored) -> None:
    listed = requests.get(f"{restored.machine.service.url}/tasks", auth=ANNA, timeout=PATIENCE_S).json()["tasks"]
    assert [task["task_uuid"] for task in listed] == [restored.tasks["of anna"]]


def test_what_came_after_the_backup_is_not_there(restored: Restored) -> None:
    listed = requests.get(f"{restored.machine.service.url}/tasks", auth=AUTH, timeout=PATIENCE_S).json()["tasks"]
    assert {task["task_uuid"] for task in listed} == set(restored.tasks.values())


def test_a_restore_overwrites_nothing(restored: Restored, tmp_path: Path) -> None:
    machine = restored.machine
    done = run("backup.sh", machine.service.environment, tmp_path)
    assert done.returncode == 0, done.stderr
    refused = run("restore.sh", machine.service.environment, done.stdout.strip(), machine.redis_dir)
    assert refused.returncode == 1
    assert "move" in refused.stderr
    refused = run("restore.sh", machine.service.environment, machine.users, machine.redis_dir)
    assert "is not a backup" in refused.stderr


def test_workers_that_still_run_are_reported(restored: Restored, tmp_path: Path) -> None:
    done = run("backup.sh", restored.machine.service.environment, tmp_path)
    assert "Warning: processor and uploader still ran here" in done.stderr
    assert done.returncode == 0


def test_a_redis_that_refuses_is_named_and_leaves_no_backup(restored: Restored, tmp_path: Path) -> None:
    environment = restored.machine.service.environment | {"REDIS_PASSWORD": "wrong"}
    done = run("backup.sh", environment, tmp_path)
    assert done.returncode == 1
    assert "could not be saved" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_half_a_snapshot_is_no_backup(tmp_path: Path) -> None:
    """As when the connection breaks: redis-cli leaves what it has and says so with its exit status."""
    programs, folder = tmp_path / "programs", tmp_path / "backups"
    programs.mkdir()
    (programs / "redis-cli").write_text('#!/bin/sh\nprintf REDIS0009 > "$7"\necho broken >&2\nexit 1\n')
    (programs / "redis-cli").chmod(0o755)
    environment = new_machine(tmp_path / "machine").service.environment
    done = run("backup.sh", environment | {"PATH": f"{programs}:{environment['PATH']}"}, folder)
    assert done.returncode == 1
    assert "could not be saved: broken" in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("version", ["6.0", "6.2", "7.0", "Valkey 9"])
def test_every_redis_reads_its_own_snapshot(version: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from scripts.local.redis_server import program as newest

    program = newest() if version == "Valkey 9" else request.getfixturevalue("older_redis")(version)
    environment = {**new_machine(tmp_path / "machine").service.environment, "BASIC_AUTH_USERS_FILE": ""}
    port = int(environment["REDIS_PORT"])
    with redis(tmp_path / "redis", port, program) as client:
        client.zadd("uvr_tasks", {f"{number:016d}:id": number for number in range(1000)})
        done = run("backup.sh", environment, tmp_path / "backups")
        assert done.returncode == 0, done.stderr
    (tmp_path / "restored").mkdir()
    restoring = run("restore.sh", environment, done.stdout.strip(), tmp_path / "restored")
    assert restoring.returncode == 0, restoring.stderr
    for _ in range(2):  # the second time from the files that it has written itself
        with redis(tmp_path / "restored", port, program) as client:
            assert client.zcard("uvr_tasks") == 1000
            assert client.config_get("appendonly")["appendonly"] == "yes"
            time.sleep(0.1)
