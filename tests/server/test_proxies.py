"""What passes through Caddy and nginx with the files in deploy/proxy: songs, events, links, addresses, sessions."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.server.reverse_proxy import HOST, Browser, Place, reverse_proxy
from tests.support.audio import encoded, noise
from tests.support.networks import write_model
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service, running_service
from tests.support.waiting import PATIENCE_S, PROMPT_S, eventually

URL = f"https://{HOST}"
LARGE_BYTES = 110 * 10**6
MAX_PROXY_BYTES = 100 * 10**6
"""Less than the song. Caddy takes about half of that when it does nothing."""


@dataclass(frozen=True)
class Proxied:
    """A service behind a proxy on the same machine."""

    service: Service
    place: Place
    proxy: subprocess.Popen[bytes]

    def browser(self, address: str = "127.0.0.2") -> Browser:
        return Browser(self.place, address)

    def submit(self) -> str:
        song = encoded(noise(0.3), ".wav", codec="pcm_s16le")
        answer = self.browser().post(f"{URL}/generate", files={"audio": ("a.wav", song)}, auth=AUTH, timeout=PATIENCE_S)
        assert answer.status_code == 202, answer.text
        task_uuid: str = answer.json()["task_uuid"]
        return task_uuid


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with the settings that docs/server.md gives for a proxy on the same machine."""
    folder = tmp_path_factory.mktemp("service")
    for name in ("redis", "models"):
        (folder / name).mkdir()
    write_model(folder / "models" / "half.onnx")
    settings = {"PUBLIC_BASE_URL": URL, "TRUSTED_PROXIES": "127.0.0.1", "MODEL_NAME": "half"}
    with (
        redis_server(folder / "redis", tcp=True) as redis,
        running_service(folder, f"redis://127.0.0.1:{redis.port}", folder / "models", **settings) as service,
    ):
        yield service


@pytest.fixture(scope="module", params=["caddy", "nginx"])
def proxied(
    service: Service, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    api_port = int(service.environment["API_PORT"])
    with reverse_proxy(request.param, tmp_path_factory.mktemp(request.param), api_port) as (place, proxy):
        yield Proxied(service, place, proxy)


class LargeSong:
    """The body of a request with a WAV file of 110 MB, which calls back when half of it is sent."""

    boundary = "boundary-of-a-test"

    def __init__(self, at_half: Any) -> None:
        self._at_half = at_half
        self._head = (
            f'--{self.boundary}\r\nContent-Disposition: form-data; name="audio"; filename="long.wav"\r\n\r\n'
        ).encode() + b"RIFF\xff\xff\xff\x7fWAVEfmt "
        self._tail = f"\r\n--{self.boundary}--\r\n".encode()

    def __len__(self) -> int:
        return len(self._head) + LARGE_BYTES + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        for piece in range(110):
            yield bytes(10**6)
            if piece == 55:
                self._at_half()
        yield self._tail


def test_a_song_of_110_mb_reaches_the_api_while_it_is_sent(proxied: Proxied) -> None:
    arrived = proxied.service.output_dir / "uploads"

    def half_has_arrived() -> bool:
        return any(part.stat().st_blocks * 512 > LARGE_BYTES * 0.4 for part in arrived.glob(".*.part"))

    song = LargeSong(lambda: eventually(half_has_arrived, "the first half is on the disk of the API", PROMPT_S))
    headers = {"Content-Type": f"multipart/form-data; boundary={song.boundary}"}
    answer = proxied.browser().post(f"{URL}/generate", data=song, headers=headers, auth=AUTH, timeout=PATIENCE_S)
    assert answer.status_code == 202, answer.text
    path = f"{URL}/tasks/{answer.json()['task_uuid']}"
    assert proxied.browser().delete(path, auth=AUTH, timeout=PATIENCE_S).status_code == 204
    assert highest_memory_bytes(proxied.proxy.pid) < MAX_PROXY_BYTES


def highest_memory_bytes(pid: int) -> int:
    """The sum of the highest memory of a process and its children, each at its own time."""
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False).stdout.split()
    lines = [line for each in (pid, *children) for line in Path(f"/proc/{each}/status").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize("size_mib", [502, 600])
def test_a_song_that_is_too_large_is_refused(proxied: Proxied, tmp_path: Path, size_mib: int) -> None:
    if not shutil.which("curl"):
        pytest.skip("needs curl, which reads the answer while it still sends")
    song = tmp_path / "long.wav"
    with song.open("wb") as file:
        file.truncate(size_mib * 2**20)
    target = f"{HOST}:443:127.0.0.1:{proxied.place.https_port}"
    curl = ["curl", "-sS", "--noproxy", "*", "--cacert", proxied.place.authority, "--connect-to", target]
    command = [*curl, "-u", ":".join(AUTH), "-F", f"audio=@{song}", "-w", "\n%{http_code}", f"{URL}/generate"]
    # The proxy lets 502 MiB pass, so that the API says what is wrong.
    wanted = "500 MiB" if size_mib == 502 else ""

    def is_refused() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
        body, _, status = done.stdout.rpartition("\n")
        assert status == "413", done.stdout + done.stderr
        return wanted in body

    # A proxy closes the connection while the client still sends. On a busy machine the sentence may get lost with it.
    eventually(is_refused, "the API says how large a song may be", every_s=1)


@pytest.mark.parametrize("path", ["/events", "/tasks/{task_uuid}/events"])
def test_an_event_arrives_at_once_and_is_not_compressed(proxied: Proxied, path: str) -> None:
    task_uuid = proxied.submit()
    proxied.service.wait_for(task_uuid)
    headers = {"Accept-Encoding": "gzip, br"}
    where = f"{URL}{path.format(task_uuid=task_uuid)}"
    with proxied.browser().get(where, auth=AUTH, headers=headers, stream=True, timeout=PROMPT_S) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        assert "Content-Encoding" not in answer.headers
        lines = answer.iter_lines(chunk_size=1)
        assert any(task_uuid.encode() in line for line in lines)
        if path == "/events":  # this stream goes on for minutes, so what comes now was not held back
            another = proxied.submit()
            assert any(another.encode() in line for line in lines)


def test_links_and_redirects_carry_the_public_name(proxied: Proxied) -> None:
    task_uuid = proxied.submit()
    proxied.service.wait_for(task_uuid)
    browser = proxied.browser()
    task = browser.get(f"{URL}/tasks/{task_uuid}", auth=AUTH, timeout=PATIENCE_S).json()
    assert task["vocals"].startswith(f"{URL}/files/{task_uuid}_vocals.wav?expires=")
    whole = browser.get(task["vocals"], timeout=PATIENCE_S)
    part = browser.get(task["vocals"], headers={"Range": "bytes=4-99"}, timeout=PATIENCE_S)
    assert (whole.status_code, part.status_code) == (200, 206)
    assert part.content == whole.content[4:100]
    assert part.headers["Content-Range"] == f"bytes 4-99/{len(whole.content)}"
    signature = task["vocals"].rpartition("=")[2]
    assert not any(signature in log.read_text(errors="replace") for log in proxied.place.folder.glob("*log*"))


def test_http_leads_to_https_and_https_says_so_for_a_year(proxied: Proxied) -> None:
    browser = proxied.browser()
    answer = browser.get(f"http://{HOST}/docs?x=1", allow_redirects=False, timeout=PATIENCE_S)
    assert (answer.status_code, answer.headers["Location"]) == (308, f"{URL}/docs?x=1")
    secure = browser.get(f"{URL}/health", timeout=PATIENCE_S)
    assert secure.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_wrong_passwords_are_counted_for_the_client_and_not_for_what_it_claims(proxied: Proxied) -> None:
    browser = proxied.browser("127.0.0.77")
    headers = {"X-Forwarded-For": "203.0.113.9"}
    answer = browser.get(f"{URL}/tasks", auth=("tester", "wrong"), headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 401
    failed = proxied.service.log_lines("app", "auth.failed")[-1]
    assert failed["address"] == "127.0.0.77"


def test_the_page_signs_in_with_a_cookie_for_this_host_over_https(proxied: Proxied) -> None:
    browser = proxied.browser()
    browser.headers.update({"Origin": URL, "Sec-Fetch-Site": "same-origin", "X-Requested-With": "fetch"})
    page = browser.get(f"{URL}/", headers={"Accept": "text/html"}, timeout=PATIENCE_S)
    assert (page.status_code, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    credentials = json.dumps({"username": AUTH[0], "password": AUTH[1]})
    headers = {"Content-Type": "application/json"}
    answer = browser.post(f"{URL}/session", data=credentials, headers=headers, timeout=PATIENCE_S)
    assert answer.status_code == 200, answer.text
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("__Host-uvr_session=")
    assert {"Secure", "HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))
    assert browser.get(f"{URL}/tasks", timeout=PATIENCE_S).status_code == 200


def test_no_file_of_the_proxy_held_a_song(proxied: Proxied) -> None:
    kept = [path for path in proxied.place.folder.rglob("*") if path.is_file()]
    assert max(path.stat().st_size for path in kept) < 10**6
