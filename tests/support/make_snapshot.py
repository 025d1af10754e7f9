"""Runs the service of this checkout until it has tasks in every state, and keeps its Redis and its folders.

    python -m tests.support.make_snapshot FOLDER

API, processor and uploader are real processes on a real Redis; what cannot be caught in a process (a worker that dies
between two commands) is done by their own classes in this one. FOLDER gets

    redis.json       all keys (tests/support/snapshot.py)
    output/          OUTPUT_DIR
    users.htpasswd   BASIC_AUTH_USERS_FILE
    answers.json     GET /tasks/{id} for each task, by the name that it has below, while no worker was alive
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any

import requests
from redis import Redis

import uploader
from config import read_settings
from tests.support import snapshot
from tests.support.api import htpasswd
from tests.support.audio import chord, encoded
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.networks import write_model
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service
from uvr.redis.clients import connect
from uvr.storage.availability import StorageAvailability
from uvr.storage.factory import open_storage
from uvr.storage.uploads import Uploads
from uvr.tasks.broker import Broker
from uvr.tasks.dead_letters import KINDS, DeadLetters
from uvr.tasks.model import record
from uvr.worker.shutdown import Shutdown

ANNA = ("anna", "anna"[::-1])
SETTINGS = {
    "MODEL_NAME": "half",
    "CACHE_TTL_HOURS": "48",
    "WEBHOOK_RETRY_SECONDS": "600,600",
    "WEBHOOK_SECRET": "whsec_dGVzdGtleQ==",
    "SHUTDOWN_GRACE_SECONDS": "5",
}
LONG_S = 600


class Making:
    """A running service and the tasks submitted to it so far."""

    def __init__(self, folder: Path, redis: Redis, redis_url: str, web: HttpServer) -> None:
        self.tasks: dict[str, str] = {}
        self.redis = redis
        self.web = web
        self.users = folder / "users.htpasswd"
        self.users.write_text(htpasswd("anna"))
        (folder / "models").mkdir()
        write_model(folder / "models" / "half.onnx")
        self.service = Service(folder, redis_url, folder / "models", BASIC_AUTH_USERS_FILE=str(self.users), **SETTINGS)
        environment = self.service.environment
        fields = ("redis_url", "output_dir", "temp_dir", "cache_ttl_hours", "allowed_private_networks")
        self.settings = read_settings(**{name: environment[name.upper()] for name in fields})
        self.clients = connect(self.settings)
        self.broker = Broker(self.settings, self.clients)

    def song(self, name: str) -> str:
        """The URL of a song of its own."""
        return self.web.answer(f"/{name}.wav", Answer(body=song(len(self.tasks))))

    def submit(self, name: str, *, auth: tuple[str, str] = AUTH, audio: str = "", **body: Any) -> str:
        """A task whose song the service fetches."""
        sent = {"audio": audio or self.song(name), **body}
        answer = requests.post(f"{self.service.url}/generate", json=sent, auth=auth, timeout=10)
        return self._accepted(name, answer)

    def send(self, name: str, content: bytes, *, key: str = "", **fields: str) -> str:
        """A task whose song is uploaded."""
        answer = requests.post(
            f"{self.service.url}/generate",
            files={"audio": (f"{name}.wav", content)},
            data=fields,
            headers={"Idempotency-Key": key} if key else {},
            auth=AUTH,
            timeout=10,
        )
        return self._accepted(name, answer)

    def _accepted(self, name: str, answer: requests.Response) -> str:
        assert answer.status_code == 202, answer.text
        self.tasks[name] = answer.json()["task_uuid"]
        return self.tasks[name]

    def hook(self, name: str, *answers: Answer) -> str:
        """The receiver of one task."""
        return self.web.answer(f"/hooks/{name}", *(answers or [Answer(204)]))

    def wait_for_webhook(self, name: str, state: str, tries: int = 1) -> None:
        """Wait until the webhook has this state after so many delivery attempts."""

        def has_state() -> bool:
            webhook = self.service.task(self.tasks[name])["webhook"]
            return webhook["state"] == state and len(webhook["tries"]) == tries

        self.service.eventually(has_state, f"the webhook of {name}")

    def uploading(self, name: str, **body: Any) -> None:
        """A task that is separated and not yet stored."""
        self.service.ensure_running("processor")
        self.submit(name, **body)
        self.service.wait_for(self.tasks[name], "uploading")

    def stop(self, *names: str) -> None:
        """Stop these processes with SIGTERM."""
        for name in names:
            if self.service.is_running(name):
                self.service.kill(name, signal.SIGTERM)

    def call(self, name: str, method: str, path: str = "") -> None:
        """Call the API for one task."""
        answer = requests.request(method, f"{self.service.url}/tasks/{self.tasks[name]}{path}", auth=AUTH, timeout=10)
        assert answer.ok, answer.text


def song(number: int) -> bytes:
    """A quarter of a second of sound, different for each number."""
    return encoded(chord(0.25, rate=8000, channels=1) / (1 + number / 10), ".wav", codec="pcm_s16le", rate=8000)


def make_ended(made: Making) -> None:
    """Tasks that have ended, and one whose audio host sent Retry-After; all three processes run."""
    made.service.start()
    made.service.wait_until_up()
    made.submit("delivered", hook_url=made.hook("delivered"))
    made.submit("without_hook", auth=ANNA, output_format="flac", priority=2)
    made.submit("hook_gone", hook_url=made.hook("hook_gone", Answer(410)))
    made.submit("hook_busy", hook_url=made.hook("hook_busy", Answer(503)))
    made.submit("not_found", audio=made.web.answer("/gone.wav", Answer(404)), hook_url=made.hook("not_found"))
    made.send("not_audio", b"This is a letter, and not a song. " * 9, hook_url=made.hook("not_audio", Answer(503)))
    busy = made.web.answer("/host_busy.wav", Answer(503, headers={"Retry-After": "250"}))
    made.submit("host_busy", audio=busy, hook_url=made.hook("host_busy"))
    made.submit("deleted")
    for name in ("delivered", "not_found"):
        made.wait_for_webhook(name, "delivered")
    made.wait_for_webhook("hook_gone", "failed")
    for name in ("hook_busy", "not_audio"):
        made.wait_for_webhook(name, "pending")
    for name in ("without_hook", "deleted"):
        made.service.wait_for(made.tasks[name])
    made.call("deleted", "DELETE")
    delayed = made.broker.tasks.name + ":delayed"
    made.service.eventually(lambda: made.redis.zscore(delayed, made.tasks["host_busy"]), "the task is delayed")


def make_lost_stems(made: Making) -> None:
    """A dead letter of the results: its stems were gone from the disk twice."""
    made.stop("uploader")
    made.uploading("stems_lost", hook_url=made.hook("stems_lost"))
    made.stop("processor")
    shutil.rmtree(made.service.output_dir / "pending")
    made.service.start("uploader")
    made.service.wait_for(made.tasks["stems_lost"], "queued")
    made.stop("uploader")
    made.service.start("processor")
    made.service.wait_for(made.tasks["stems_lost"], "uploading")
    shutil.rmtree(made.service.output_dir / "pending")
    made.service.environment["MAX_ATTEMPTS"] = "1"
    made.service.start("uploader")
    made.wait_for_webhook("stems_lost", "delivered")
    made.stop("uploader")
    del made.service.environment["MAX_ATTEMPTS"]


def store(made: Making, name: str) -> None:
    """Store the one waiting result and leave its webhook waiting."""
    storage = open_storage(made.settings, lambda: b"")
    [worker, *_] = uploader.build_workers(
        made.settings, made.broker, storage, StorageAvailability(storage), Uploads(made.settings, made.broker.uploads)
    )
    lease = made.broker.results.claim()
    assert lease is not None
    assert lease.id == made.tasks[name]
    worker.work_on(lease, Shutdown())


def make_webhooks(made: Making) -> None:
    """A webhook that is a dead letter, one whose uploader was killed during the attempt, and one that waits untried."""
    made.uploading("hook_buried", hook_url=made.hook("hook_buried"))
    store(made, "hook_buried")
    lease = made.broker.webhooks.claim()
    assert lease is not None
    assert lease.id == made.tasks["hook_buried"]
    assert made.broker.webhooks.bury(lease, record=record(webhook="failed"))  # as WebhookHandler.give_up asks for
    made.uploading("hook_leased", hook_url=made.hook("hook_leased", Answer(204, delay_s=60)))
    made.service.start("uploader")
    made.service.eventually(
        lambda: any(request.path == "/hooks/hook_leased" for request in made.web.requests), "a delivery attempt begins"
    )
    made.service.kill("uploader")
    made.uploading("hook_waiting", hook_url=made.hook("hook_waiting"))
    store(made, "hook_waiting")


def make_results(made: Making) -> None:
    """Stems that wait to be stored, stems whose uploader was killed, and a song that was separated before."""
    made.uploading("storing", priority=5, hook_url=made.hook("storing"))
    lease = made.broker.results.claim()
    assert lease is not None
    assert lease.id == made.tasks["storing"]
    stems = {name: f"{lease.id}_{name}.wav" for name in ("vocals", "instrumental")}
    assert made.broker.results.extend(lease, record(stems=stems))  # as StoreHandler records before it stores
    made.uploading("made", hook_url=made.hook("made"))
    made.uploading("copied", audio=made.web.url("/delivered.wav"), hook_url=made.hook("copied"))


def make_processing(made: Making) -> None:
    """A song in the network and one ahead of it when the processor is killed."""
    long_song = encoded(chord(LONG_S, channels=1), ".wav", codec="pcm_s16le")
    events = {"callback_events": ["started", "progress", "completed"]}
    for name in ("separating", "ahead"):
        audio = made.web.answer(f"/{name}.wav", Answer(body=long_song))
        made.submit(name, audio=audio, hook_url=made.hook(name), **events)
    for name in ("separating", "ahead"):
        made.service.wait_for(made.tasks[name], "processing")
    separating = made.tasks["separating"]
    made.service.eventually(lambda: made.service.task(separating)["progress"] > 0, "the task makes progress")
    made.service.kill("processor")


def make_queued(made: Making) -> None:
    """Tasks that wait for a processor, and one that was cancelled while it waited."""
    made.submit("queued_low", priority=1, output_format="flac", auth=ANNA)
    made.submit("queued", hook_url=made.hook("queued"), callback_events=["started"])
    made.submit("queued_high", priority=5, hook_url=made.hook("queued_high"))
    made.send("sent_along", song(99), key="one song, once", priority="2")
    made.submit("cancelled", hook_url=made.hook("cancelled"))
    made.call("cancelled", "POST", "/cancel")


def answers(made: Making) -> dict[str, Any]:
    """How the API shows each task once the workers are reported as down."""
    made.service.eventually(lambda: made.service.health().get("processor") == "down", "the processor is down")
    ids = {name: task_uuid for name, task_uuid in made.tasks.items() if name != "deleted"}
    return {name: made.service.task(task_uuid) for name, task_uuid in ids.items()}


def check(made: Making) -> None:
    """Check that nothing is missing: the snapshot is kept for years."""
    letters = [letter.queue for letter in DeadLetters(made.broker).all(KINDS)]
    assert sorted(letters) == ["results", "tasks", "tasks", "webhooks"], letters
    expected = {"uvr_tasks": (4, 2, 1), "uvr_results": (2, 1, 0), "uvr_webhooks": (3, 1, 2)}
    for queue, sizes in expected.items():
        found = tuple(made.redis.zcard(name) for name in (queue, f"{queue}:lease", f"{queue}:delayed"))
        assert found == sizes, (queue, found)


def main(target: Path) -> None:
    """Make the snapshot in `target`."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch, http_server() as web:
        folder = Path(scratch)
        (folder / "redis").mkdir()
        with (
            redis_server(folder / "redis") as server,
            Redis(**server.connection_kwargs, decode_responses=True) as redis,
        ):
            made = Making(folder, redis, f"unix://{server.unix_socket_path}", web)
            try:
                for step in (
                    make_ended, make_lost_stems, make_webhooks, make_results, make_processing, make_queued, check,
                ):  # fmt: skip
                    print(step.__name__, flush=True)  # noqa: T201
                    step(made)
                shown = json.dumps(answers(made), ensure_ascii=False, indent=1)
                snapshot.write(redis, target / "redis.json", port=web.port, host=socket.gethostname())
            finally:
                made.service.stop()
        shutil.copytree(made.service.output_dir, target / "output", ignore=shutil.ignore_patterns("*.part"))
        shutil.copy(made.users, target)
        host = made.service.url.removeprefix("http://")
        shown = shown.replace(f"127.0.0.1:{web.port}", snapshot.HOST).replace(host, "127.0.0.1:8000")
        (target / "answers.json").write_text(shown + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
