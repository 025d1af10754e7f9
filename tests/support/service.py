"""The whole service as its users run it: app.py, processor.py and uploader.py as processes, with a real Redis."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.support.ports import free_port
from tests.support.waiting import PATIENCE_S, eventually

ROOT = Path(__file__).resolve().parent.parent.parent
AUTH = ("tester", "a password for tests")
DOORS = ("app", "processor", "uploader")
FINAL = ("success", "failed")


class Service:
    """Three processes with one environment; each may be killed and started again."""

    def __init__(self, folder: Path, redis_url: str, model_dir: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.output_dir = folder / "output"
        self.temp_dir = folder / "temp"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.log_dir = folder / "logs"
        self.log_dir.mkdir(parents=True)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("S3_", "AWS_", "REDIS_"))},
            "ENV_FILE": "",
            "BASIC_AUTH_USERNAME": AUTH[0],
            "BASIC_AUTH_PASSWORD": AUTH[1],
            "API_PORT": str(port),
            "REDIS_URL": redis_url,
            "MODEL_NAME": "Spleeter-2stems",
            "MODEL_FILE_DIR": str(model_dir),
            "TEMP_DIR": str(self.temp_dir),
            "OUTPUT_DIR": str(self.output_dir),
            "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
            "LOG_FORMAT": "json",
            "NO_PROXY": "127.0.0.1",
            **settings,
        }

    def start(self, *doors: str) -> None:
        """Start these doors, by default all."""
        for door in doors or DOORS:
            with (self.log_dir / f"{door}.log").open("ab") as log:
                self.processes[door] = subprocess.Popen(
                    [sys.executable, f"{door}.py"],
                    cwd=ROOT,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def is_running(self, door: str) -> bool:
        """Whether this door was started and has not ended."""
        return door in self.processes and self.processes[door].poll() is None

    def have(self, *doors: str) -> None:
        """Start those of these doors that do not run."""
        for door in doors:
            if not self.is_running(door):
                self.start(door)

    def wait_until_up(self, *kinds: str) -> None:
        """Wait until /health calls these components up."""
        wanted = kinds or ("redis", "processor", "uploader")
        self.eventually(lambda: all(self.health().get(kind) == "up" for kind in wanted), f"{wanted} up")

    def health(self) -> dict[str, str]:
        """Components and their states; empty while the API does not answer."""
        try:
            parts = requests.get(f"{self.url}/health", timeout=PATIENCE_S).json()["components"]
        except (requests.RequestException, KeyError):
            return {}
        return {name: part["status"] if isinstance(part, dict) else part for name, part in parts.items()}

    def generate(self, audio: str, **body: Any) -> str:
        """POST /generate; the task's id."""
        answer = requests.post(f"{self.url}/generate", json={"audio": audio, **body}, auth=AUTH, timeout=PATIENCE_S)
        assert answer.status_code == 202, answer.text
        task_uuid: str = answer.json()["task_uuid"]
        return task_uuid

    def send(self, song: bytes, name: str = "song.wav", **fields: str) -> str:
        """POST /generate with the song itself; the task's id."""
        files = {"audio": (name, song)}
        answer = requests.post(f"{self.url}/generate", files=files, data=fields, auth=AUTH, timeout=PATIENCE_S)
        assert answer.status_code == 202, answer.text
        task_uuid: str = answer.json()["task_uuid"]
        return task_uuid

    def task(self, task_uuid: str) -> dict[str, Any]:
        """GET /tasks/{id}."""
        answer = requests.get(f"{self.url}/tasks/{task_uuid}", auth=AUTH, timeout=PATIENCE_S)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def wait_for(self, task_uuid: str, *statuses: str) -> dict[str, Any]:
        """The task once it has one of these statuses, by default a final one."""
        wanted = statuses or FINAL
        self.eventually(lambda: self.task(task_uuid)["status"] in wanted, f"task {wanted}")
        return self.task(task_uuid)

    def eventually(self, check: Callable[[], object], what: str) -> None:
        """Wait until `check()` is true; a failure shows the end of each process's log."""
        try:
            eventually(check, what, 2 * PATIENCE_S, every_s=0.1)
        except AssertionError as error:
            tails = "\n".join(f"--- {door}\n{self.logs(door)[-3000:]}" for door in self.processes)
            raise AssertionError(f"{error}\n{tails}") from None

    def kill(self, door: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end of the process; its exit status."""
        self.processes[door].send_signal(number)
        return self.processes[door].wait(60)

    def logs(self, door: str) -> str:
        """All that a door has written."""
        return (self.log_dir / f"{door}.log").read_text(errors="replace")

    def stop(self) -> None:
        """SIGTERM to all that still run."""
        running = [process for process in self.processes.values() if process.poll() is None]
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def running_service(folder: Path, redis_url: str, model_dir: Path, **settings: str) -> Iterator[Service]:
    """A service that is up; stopped at the end."""
    service = Service(folder, redis_url, model_dir, **settings)
    try:
        service.start()
        service.wait_until_up()
        yield service
    finally:
        service.stop()
