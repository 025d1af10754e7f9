"""A user whose receivers never answer, on as many ports as he likes, does not delay the webhooks of another user."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from redis import Redis

from tests.support.api import redis_url
from tests.support.http_server import Answer, http_server
from tests.support.ports import free_ports
from tests.support.service import ROOT
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually
from tests.support.workshop import Workshop, open_workshop


@pytest.fixture
def workshop(redis_client: Redis, tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(redis_client, tmp_path) as workshop:
        yield workshop


@contextmanager
def uploader(redis: Redis, folder: Path) -> Iterator[None]:
    """`python uploader.py` of a service with users, whose webhooks may hang for longer than the test lasts."""
    environment = {
        "PATH": os.environ["PATH"],
        "ENV_FILE": "",
        "REDIS_URL": redis_url(redis.get_connection_kwargs()),
        "BASIC_AUTH_USERS_FILE": str(folder / "users.htpasswd"),
        "OUTPUT_DIR": str(folder / "output"),
        "TEMP_DIR": str(folder / "temp"),
        "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "WEBHOOK_TIMEOUT_SECONDS": str(10 * PATIENCE_S),
        "SHUTDOWN_GRACE_SECONDS": "0",
    }
    with subprocess.Popen([sys.executable, "uploader.py"], cwd=ROOT, env=environment) as process:
        try:
            yield
        finally:
            process.kill()


def no_attempt_has_ended(workshop: Workshop, count: int) -> bool:
    """Whether none of the attacker's webhooks was answered or given up yet."""
    return not any(workshop.task(f"mallory-{number}").webhook_tries for number in range(count))


class HangingReceivers:
    """Ports that accept connections and never answer."""

    def __init__(self, count: int, opened: ExitStack) -> None:
        self.urls: list[str] = []
        self._connections: list[socket.socket] = []
        self._sockets: list[socket.socket] = []
        self._opened = opened
        for port in free_ports(count):
            listening = opened.enter_context(socket.create_server(("127.0.0.1", port), backlog=100))
            listening.setblocking(False)
            self._sockets.append(listening)
            self.urls.append(f"http://127.0.0.1:{port}/hook")

    def accepted(self) -> int:
        """The number of connections so far."""
        for listening in self._sockets:
            try:
                while True:
                    self._connections.append(self._opened.enter_context(listening.accept()[0]))
            except BlockingIOError:
                continue
        return len(self._connections)


def test_thirty_hanging_ports_do_not_delay_the_webhook_of_another_user(workshop: Workshop, tmp_path: Path) -> None:
    with ExitStack() as opened:
        hanging = HangingReceivers(30, opened)
        receiver = opened.enter_context(http_server())
        for number in range(120):
            workshop.queue_webhook(f"mallory-{number}", "mallory", hanging.urls[number % 30])
        opened.enter_context(uploader(workshop.client, tmp_path))
        eventually(hanging.accepted, "the attack is on")
        time.sleep(0.5)
        for number in range(10):
            workshop.queue_webhook(f"anna-{number}", "anna", receiver.answer("/hook", Answer(204)))
        eventually(lambda: len(receiver.requests) == 10, "another user's webhooks arrive", PROMPT_S)
        assert 0 < hanging.accepted() <= workshop.settings.webhook_threads // 4
        assert no_attempt_has_ended(workshop, 120), "they arrived while the attack was on"
        claims = sum(int(workshop.client.hget(f"uvr_webhooks:item:mallory-{n}", "attempt") or 0) for n in range(120))
        assert claims < 2000, "the webhooks in excess came back all the time"


def test_receivers_that_hang_after_a_quick_answer_do_not_delay_others(workshop: Workshop, tmp_path: Path) -> None:
    with ExitStack() as opened:
        turncoats = [opened.enter_context(http_server()) for _ in range(8)]
        receiver = opened.enter_context(http_server())
        hooks = [server.answer("/hook", Answer(204), Answer(delay_s=10 * PATIENCE_S)) for server in turncoats]
        opened.enter_context(uploader(workshop.client, tmp_path))
        for number, hook_url in enumerate(hooks):
            workshop.queue_webhook(f"first-{number}", "mallory", hook_url)
        eventually(lambda: all(server.requests for server in turncoats), "each has answered once")
        eventually(lambda: workshop.broker.webhooks.sizes().leased == 0)
        for number in range(80):
            workshop.queue_webhook(f"mallory-{number}", "mallory", hooks[number % 8])
        eventually(lambda: sum(len(server.requests) for server in turncoats) > 8, "the attack is on")
        time.sleep(0.5)
        for number in range(10):
            workshop.queue_webhook(f"anna-{number}", "anna", receiver.answer("/hook", Answer(204)))
        eventually(lambda: len(receiver.requests) == 10, "another user's webhooks arrive", PROMPT_S)
        assert no_attempt_has_ended(workshop, 80), "they arrived while the attack was on"
