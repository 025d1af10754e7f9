"""A task that is deleted while its stems are being stored leaves none of them, even if the uploader dies then."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from redis import Redis

from config import ROOT
from tests.support.api import CREDENTIALS, application
from tests.support.service import Service
from tests.support.waiting import PROMPT_S, eventually
from tests.support.workshop import open_workshop
from uvr.storage.uploads import Uploads
from uvr.uploader.housekeeping.runner import Housekeeping

TASK = "00000000-0000-4000-8000-00000000000a"

# An uploader that stores its stem when told to, and is killed where it would delete it again.
DYING_UPLOADER = """
import os, signal, sys
from uvr.storage.local import LocalStorage

put = LocalStorage.put

def put_when_told(*arguments):
    print("about to store", flush=True)
    sys.stdin.readline()
    put(*arguments)

LocalStorage.put = put_when_told
LocalStorage.delete = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
import uploader
uploader.main()
"""


@contextmanager
def dying_uploader(environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """See DYING_UPLOADER."""
    command = [sys.executable, "-c", DYING_UPLOADER]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as uploader:
        try:
            yield uploader
        finally:
            uploader.kill()


def test_an_uploader_that_dies_before_it_clears_a_deleted_task_leaves_no_stem(
    redis_client: Redis, tmp_path: Path
) -> None:
    service = Service(tmp_path, f"unix://{redis_client.get_connection_kwargs()['path']}", tmp_path)
    with open_workshop(redis_client, tmp_path) as workshop, dying_uploader(service.environment) as uploader:
        assert uploader.stdin
        assert uploader.stdout
        workshop.separated(TASK, {"vocals": b"RIFF vocals"})
        stem = workshop.settings.output_dir / "stems" / f"{TASK}_vocals.wav"
        assert uploader.stdout.readline() == b"about to store\n"
        with application(workshop.settings) as app, app.test_client() as client:
            assert client.delete(f"/tasks/{TASK}", auth=CREDENTIALS).status_code == 204
        uploader.stdin.write(b"store\n")
        uploader.stdin.flush()
        eventually(lambda: uploader.poll() == -signal.SIGKILL, timeout_s=PROMPT_S)
        assert stem.exists(), "it died too early"
        uploads = Uploads(workshop.settings, workshop.broker.uploads)
        Housekeeping(workshop.settings, workshop.broker, workshop.storage, uploads).round()
        assert not stem.exists()
