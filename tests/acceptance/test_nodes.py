"""Two nodes share only Redis and the bucket; a task that is lost with one of them is done again by the other."""

from __future__ import annotations

import json
import shutil
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.support.audio import encoded, noise, read_audio, snr_db
from tests.support.http_server import Answer, HttpServer
from tests.support.redis_server import redis_server
from tests.support.s3_server import BUCKET, S3Server
from tests.support.service import Service

QUICK = {
    "LEASE_SECONDS": "3",
    "HEARTBEAT_SECONDS": "0.5",
    "NODE_TIMEOUT_SECONDS": "2",
    "JANITOR_SECONDS": "1",
    "SHUTDOWN_GRACE_SECONDS": "0",
}
SONG = noise(1)


class Site:
    """Redis, the bucket and an API; `node` adds a processor and an uploader with a disk of their own."""

    def __init__(self, folder: Path, redis_url: str, models: Path, settings: dict[str, str]) -> None:
        self._folder = folder
        self._redis_url = redis_url
        self._models = models
        self._settings = {**QUICK, **settings}
        self.api = Service(folder / "api", redis_url, models, **self._settings)

    @contextmanager
    def node(self, name: str, **settings: str) -> Iterator[Service]:
        settings = {**self._settings, "NODE_ID": name, **settings}
        node = Service(self._folder / name, self._redis_url, self._models, **settings)
        try:
            node.start("processor", "uploader")
            yield node
        finally:
            thaw(node)
            node.stop()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, trained_models: Path, s3: S3Server) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    (folder / "redis").mkdir()
    with redis_server(folder / "redis") as redis:
        site = Site(folder, f"unix://{redis.unix_socket_path}", trained_models, s3.settings)
        try:
            site.api.start("app")
            site.api.wait_until_up("redis")
            yield site
        finally:
            site.api.stop()


def test_tasks_on_the_disk_of_a_killed_node_are_done_again(site: Site, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=encoded(SONG, ".wav", codec="pcm_s16le")))

    def generate(count: int) -> list[str]:
        return [site.api.generate(audio, hook_url=web.url("/hook")) for _ in range(count)]

    with site.node("one") as one:
        site.api.wait_until_up()
        freeze(one, "uploader")
        handed_over = generate(2)
        for task_uuid in handed_over:
            assert site.api.wait_for(task_uuid, "uploading")["node"] == "one"
        others = generate(2)
        for name in ("processor", "uploader"):
            one.kill(name)
        shutil.rmtree(one.output_dir)

    with site.node("two"):
        for task_uuid in [*handed_over, *others]:
            task = site.api.wait_for(task_uuid)
            assert (task["status"], task["node"]) == ("success", "two"), task
            assert_stems_are_whole(task)
        assert {site.api.task(task_uuid)["lost_with"] for task_uuid in handed_over} == {"one"}
        assert_each_has_a_webhook(site, web, [*handed_over, *others])


def test_a_frozen_node_changes_nothing_when_it_continues(site: Site, web: HttpServer) -> None:
    audio = web.answer("/song.wav", Answer(body=encoded(SONG, ".wav", codec="pcm_s16le")))
    web.answer(f"/{BUCKET}/.uvr-write-check", Answer())
    with site.node("three", S3_ENDPOINT_URL=web.url("").rstrip("/")) as three:
        task_uuid = site.api.generate(audio, hook_url=web.url("/hook"))
        for stem, delay_s in {"vocals": 2, "instrumental": 0}.items():
            web.answer(f"/{BUCKET}/{task_uuid}_{stem}.wav", Answer(delay_s=delay_s, headers={"ETag": '"0"'}))
        three.eventually(
            lambda: any(task_uuid in request.path for request in web.requests), "node three begins to store"
        )
        freeze(three)

        with site.node("four"):
            task = site.api.wait_for(task_uuid)
            assert (task["status"], task["node"]) == ("success", "four")
            assert_stems_are_whole(task)
            assert_each_has_a_webhook(site, web, [task_uuid])
            before = final_fields(site.api.task(task_uuid))
            thaw(three)
            three.eventually(lambda: settled_claims(three, task_uuid), "node three continues")
            assert [line["kept"] for line in settled_claims(three, task_uuid)] == [False]
            pending = three.output_dir / "pending"
            three.eventually(lambda: not list(pending.iterdir()), "node three removes its stems")
        assert final_fields(site.api.task(task_uuid)) == before
        assert webhook_ids_by_task(web).keys() == {task_uuid}


def freeze(node: Service, *names: str) -> None:
    """Stop these processes of the node, by default all, as if its machine hung."""
    for name in names or node.processes:
        node.processes[name].send_signal(signal.SIGSTOP)


def thaw(node: Service) -> None:
    """Let all frozen processes continue."""
    for process in node.processes.values():
        process.send_signal(signal.SIGCONT)


def assert_stems_are_whole(task: dict[str, Any]) -> None:
    """Both stems are as long as the song and add up to it."""
    stems = [read_audio(requests.get(task["stems"][name], timeout=60).content) for name in ("vocals", "instrumental")]
    assert [stem.shape for stem in stems] == [SONG.shape, SONG.shape]
    assert snr_db(SONG, np.sum(stems, axis=0)) > 60


def assert_each_has_a_webhook(site: Site, web: HttpServer, ids: list[str]) -> None:
    """Each task has a webhook, with the same id on all its delivery attempts."""
    site.api.eventually(lambda: webhook_ids_by_task(web).keys() == set(ids), "all webhooks arrive")
    assert all(len(webhook_ids) == 1 for webhook_ids in webhook_ids_by_task(web).values())


def webhook_ids_by_task(web: HttpServer) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for request in web.requests:
        if request.path == "/hook":
            payload = json.loads(request.body)
            assert payload["status"] == "success", payload
            found[payload["task_uuid"]].add(request.headers["webhook-id"])
    return found


def final_fields(task: dict[str, Any]) -> dict[str, Any]:
    """What must not change any more once a task has ended."""
    return {name: task[name] for name in ("status", "node", "attempt", "finished_at", "facts")}


def settled_claims(node: Service, task_uuid: str) -> list[dict[str, Any]]:
    """How the node's claims of this result ended, by the log of its uploader."""
    return [line for line in node.log_lines("uploader", "claim.settled") if line["task_uuid"] == task_uuid]
