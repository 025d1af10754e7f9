"""The whole service as its users run it: app.py, processor.py and uploader.py as processes, with a real Redis."""

from __future__ import annotations

import json
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
PROCESSES = ("app", "processor", "uploader")
FINAL_STATUSES = ("success", "failed", "cancelled")


class Service:
    """Three processes with one environment, by the names in `PROCESSES`. Each can be killed and started again."""

    def __init__(self, folder: Path, redis_url: str, model_dir: Path, **settings: str) -> None:
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self.output_dir = folder / "output"
        self.temp_dir = folder / "temp"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.log_dir = folder / "logs"
        self.log_dir.mkdir(parents=True)
        self.pythons = dict.fromkeys(PROCESSES, Path(sys.executable))
        """The interpreter of each process, and with it the environment whose packages it has."""
        self.code = ROOT
        """The checkout whose code the processes run."""
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

    def start(self, *names: str) -> None:
        """Start these processes, by default all."""
        for name in names or PROCESSES:
            with (self.log_dir / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [self.pythons[name], f"{name}.py"],
                    cwd=self.code,
                    env=self.environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def is_running(self, name: str) -> bool:
        """Whether this process was started and has not ended."""
        return name in self.processes and self.processes[name].poll() is None

    def ensure_running(self, *names: str) -> None:
        """Start those of these processes that do not run."""
        for name in names:
            if not self.is_running(name):
                self.start(name)

    def wait_until_up(self, *components: str) -> None:
        """Wait until /health reports these components as up, by default all."""
        expected = components or ("redis", "processor", "uploader")
        self.eventually(lambda: all(self.health().get(name) == "up" for name in expected), f"{expected} up")

    def health(self) -> dict[str, str]:
        """The components in /health and their states; empty while the API does not answer."""
        try:
            parts = requests.get(f"{self.url}/health", timeout=PATIENCE_S).json()["components"]
        except (requests.RequestException, KeyError):
            return {}
        return {name: part["status"] if isinstance(part, dict) else part for name, part in parts.items()}

    def ready(self) -> dict[str, Any]:
        """The components in /ready."""
        components: dict[str, Any] = requests.get(f"{self.url}/ready", timeout=PATIENCE_S).json()["components"]
        return components

    def generate(self, audio: str, **body: Any) -> str:
        """POST /generate with the URL of a song; the task's id."""
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
        expected = statuses or FINAL_STATUSES
        self.eventually(lambda: self.task(task_uuid)["status"] in expected, f"task {expected}")
        return self.task(task_uuid)

    def wait_for_delivery(self, task_uuid: str) -> dict[str, Any]:
        """The task once its webhook is delivered."""
        delivered = lambda: self.task(task_uuid)["webhook"]["state"] == "delivered"  # noqa: E731
        self.eventually(delivered, f"the webhook of task {task_uuid} is delivered")
        return self.task(task_uuid)

    def eventually(self, check: Callable[[], object], what: str) -> None:
        """Wait until `check()` is true; a failure shows the end of each process's log."""
        try:
            eventually(check, what, 2 * PATIENCE_S, every_s=0.1)
        except AssertionError as error:
            tails = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.processes)
            raise AssertionError(f"{error}\n{tails}") from None

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> int:
        """Send a signal and wait for the end of the process; its exit status."""
        self.processes[name].send_signal(number)
        return self.processes[name].wait(PATIENCE_S)

    def log(self, name: str) -> str:
        """Everything that a process has written to stdout and stderr."""
        return (self.log_dir / f"{name}.log").read_text(errors="replace")

    def log_lines(self, name: str, text: str = "") -> list[dict[str, Any]]:
        """The entries of its log that contain `text`."""
        return [json.loads(line) for line in self.log(name).splitlines() if text in line]

    def network_pid(self) -> int:
        """The process id of the processor's latest child that runs a network."""
        started = self.log_lines("processor", "child.started")
        pid: int = [line["pid"] for line in started if line["child"] == "network"][-1]
        return pid

    def stop(self) -> None:
        """Send SIGTERM to every process that still runs, and wait for its end."""
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
def running_service(
    folder: Path, redis_url: str, model_dir: Path, *, processor_python: Path | None = None, **settings: str
) -> Iterator[Service]:
    """A service that is up, with its processor in the environment of `processor_python`; stopped at the end."""
    service = Service(folder, redis_url, model_dir, **settings)
    if processor_python:
        service.pythons["processor"] = processor_python
    try:
        service.start()
        service.wait_until_up()
        yield service
    finally:
        service.stop()
