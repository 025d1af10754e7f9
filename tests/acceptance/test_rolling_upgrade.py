"""Old and new processes work side by side on the same tasks, during an upgrade as docs/server.md describes it and back.

The old ones run the code of 65cc1f4, from this repository's own history. The service goes through all mixtures that an
upgrade or a rollback can pass: at each step it gets songs, and the next step begins while they are still worked on.
"""

from __future__ import annotations

import io
import json
import signal
import subprocess
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis

from tests.support.audio import chord, encoded
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.networks import write_model
from tests.support.redis_server import redis_server
from tests.support.service import ROOT, Service
from tests.support.waiting import PATIENCE_S

OLD = "65cc1f4"
SETTINGS = {
    "MODEL_NAME": "half",
    "API_WORKERS": "1",
    "LEASE_SECONDS": "4",
    "HEARTBEAT_SECONDS": "1",
    "RETRY_BASE_SECONDS": "0.1",
    "WEBHOOK_RETRY_SECONDS": "1,1,1",
    "SHUTDOWN_GRACE_SECONDS": "2",
    "JANITOR_SECONDS": "2",
}
QUEUES = ("uvr_tasks", "uvr_results", "uvr_webhooks")

STEPS = {
    "old": ("old", {"old"}),
    "new workers beside old ones": ("old", {"old", "new"}),
    "new workers": ("old", {"new"}),
    "new": ("new", {"new"}),
    "old workers": ("new", {"old"}),
    "old again": ("old", {"old"}),
    "new again": ("new", {"new"}),
}
"""Which API runs in each step, and which workers."""


@dataclass
class Rolling:
    """Two versions of one service, which share Redis and the disk, and the tasks that they got at each step."""

    versions: dict[str, Service]
    web: HttpServer
    redis: Redis
    song: bytes
    tasks: dict[str, str] = field(default_factory=dict)
    cancelled: list[str] = field(default_factory=list)
    passed_over: str = ""
    ended: dict[str, dict[str, Any]] = field(default_factory=dict)

    def go_to(self, step: str, *, kill: bool) -> None:
        """Start what this step needs, then stop everything else."""
        api, workers = STEPS[step]
        for version, service in self.versions.items():
            wanted = ["processor", "uploader"] if version in workers else []
            service.ensure_running(*wanted, *(["app"] if version == api else []))
        self.versions[api].wait_until_up()
        for version, service in self.versions.items():
            unwanted = (["processor", "uploader"] if version not in workers else []) + (
                ["app"] if version != api else []
            )
            for name in filter(service.is_running, unwanted):
                service.kill(name, signal.SIGKILL if kill else signal.SIGTERM)

    def submit(self, step: str) -> None:
        """A song whose host is slow, one that is sent along, one whose receiver is down at first, one to cancel."""
        service = self.versions[STEPS[step][0]]
        name = step.replace(" ", "_")
        hook = self.web.answer(f"/hook/{name}", Answer(503), Answer(204))
        slow = self.web.answer(f"/{name}.wav", Answer(body=self.song, delay_s=1.5))
        self.tasks[f"{step}: slow"] = service.generate(slow, hook_url=hook, priority=5)
        self.tasks[f"{step}: sent"] = service.send(self.song, hook_url=hook, output_format="flac")
        self.tasks[f"{step}: waiting"] = service.generate(self.web.url("/song.wav"), hook_url=hook, priority=1)
        self.cancelled.append(service.generate(self.web.url("/song.wav"), priority=1))
        path = f"{service.url}/tasks/{self.cancelled[-1]}/cancel"
        assert requests.post(path, auth=("tester", "a password for tests"), timeout=PATIENCE_S).status_code == 200
        service.wait_for(self.tasks[f"{step}: slow"], "processing", "uploading", "success")

    def webhooks(self, task_uuid: str) -> list[str]:
        """The status in each webhook of a task that was delivered."""
        bodies = [json.loads(each.body) for each in self.web.requests if each.answer.status == 204]
        return [body["status"] for body in bodies if body["task_uuid"] == task_uuid]


@pytest.fixture(scope="module")
def old_code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The code of the old version."""
    archive = subprocess.run(["git", "archive", OLD], cwd=ROOT, capture_output=True, check=False)
    if archive.returncode:
        pytest.skip(f"needs commit {OLD}, which a shallow clone does not have: {archive.stderr.decode().strip()}")
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder, filter="data")
    return folder


@pytest.fixture(scope="module")
def rolled(tmp_path_factory: pytest.TempPathFactory, old_code: Path) -> Iterator[Rolling]:
    """The service after all steps, when all its tasks have ended."""
    folder = tmp_path_factory.mktemp("rolling")
    for name in ("redis", "models"):
        (folder / name).mkdir()
    write_model(folder / "models" / "half.onnx")
    shared = {**SETTINGS, "TEMP_DIR": str(folder / "temp"), "OUTPUT_DIR": str(folder / "output")}
    with http_server() as web, redis_server(folder / "redis") as server:
        url = f"unix://{server.unix_socket_path}"
        versions = {name: Service(folder / name, url, folder / "models", **shared) for name in ("old", "new")}
        versions["old"].code = old_code
        song = encoded(chord(1, rate=8000, channels=1), ".wav", codec="pcm_s16le", rate=8000)
        web.answer("/song.wav", Answer(body=song))
        with Redis(**server.connection_kwargs, decode_responses=True) as redis:
            rolling = Rolling(versions, web, redis, song)
            try:
                for number, step in enumerate(STEPS):
                    rolling.go_to(step, kill=number % 2 == 0)
                    rolling.submit(step)
                    if step == "old workers":
                        chosen = rolling.versions["new"].generate(web.url("/song.wav"), stems=["vocals"])
                        rolling.passed_over = rolling.versions["new"].wait_for(chosen)["task_uuid"]
                new = versions["new"]
                for name, task_uuid in rolling.tasks.items():
                    new.wait_for(task_uuid)
                    rolling.ended[name] = new.wait_for_delivery(task_uuid)
                yield rolling
            finally:
                for version in versions.values():
                    version.stop()


def test_every_task_succeeds_once(rolled: Rolling) -> None:
    assert {name: task["status"] for name, task in rolled.ended.items()} == dict.fromkeys(rolled.tasks, "success")
    assert len(rolled.tasks) == 3 * len(STEPS)


def test_every_receiver_gets_the_webhook_of_its_task(rolled: Rolling) -> None:
    for name, task_uuid in rolled.tasks.items():
        assert set(rolled.webhooks(task_uuid)) == {"success"}, name


def test_every_link_leads_to_a_stem(rolled: Rolling) -> None:
    for name, task in rolled.ended.items():
        for stem in ("vocals", "instrumental"):
            path = task[stem].replace(rolled.versions["old"].url, rolled.versions["new"].url)
            answer = requests.get(path, timeout=PATIENCE_S)
            assert answer.status_code == 200, name
            assert answer.content[:4] == (b"fLaC" if name.endswith("sent") else b"RIFF"), name


def test_cancelled_tasks_stay_cancelled(rolled: Rolling) -> None:
    statuses = Counter(rolled.versions["new"].task(task_uuid)["status"] for task_uuid in rolled.cancelled)
    assert statuses == {"cancelled": len(STEPS)}


def test_an_old_processor_passes_over_the_choice_of_stems(rolled: Rolling) -> None:
    """Which is why the processors come first in an upgrade."""
    assert set(rolled.versions["new"].task(rolled.passed_over)["stems"]) == {"vocals", "instrumental"}


def test_nothing_is_left_in_the_queues_or_on_the_disk(rolled: Rolling) -> None:
    new = rolled.versions["new"]
    keys = [f"{queue}{part}" for queue in QUEUES for part in ("", ":lease", ":delayed", ":dead")]
    new.eventually(lambda: not any(rolled.redis.zcard(key) for key in keys), "the queues are empty")
    assert not list(rolled.redis.scan_iter("uvr_*:item:*"))
    assert not list(rolled.redis.scan_iter("uvr_*:line:*"))
    left = [
        path for place in ("pending", "uploads") for path in (new.output_dir.parent.parent / "output" / place).glob("*")
    ]
    assert [path.name for path in left if path.is_file()] == []


def test_no_process_met_what_it_did_not_understand(rolled: Rolling) -> None:
    for service in rolled.versions.values():
        for name in service.processes:
            assert "Traceback" not in service.log(name), service.log(name)[-3000:]
