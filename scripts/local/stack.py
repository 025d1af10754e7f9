"""The local service as a whole: Redis, API, processor and uploader, started in order and stopped in the reverse one.

A start that fails leaves nothing running that it started. What runs already is left alone, so a second start brings
back what died.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from config import ROOT, Settings
from scripts.local import health, redis_server
from scripts.local.problem import CannotStart
from scripts.local.process import Process, stop
from uvr.api.server import port_faults

DOORS = ("api", "processor", "uploader")
START_TIMEOUT_S = 120
REDIS_STOP_S = 30

_SCRIPTS = {"api": "app.py", "processor": "processor.py", "uploader": "uploader.py"}


def say(sentence: str) -> None:
    """Tell the person at the terminal, at once."""
    print(sentence, flush=True)


@dataclass(frozen=True)
class Folders:
    """Where the stack keeps its pid files, its logs and its Redis' data."""

    run: Path
    logs: Path
    redis: Path


LOCAL_FOLDERS = Folders(ROOT / "run", ROOT / "logs", ROOT / "data" / "redis")


class Stack:
    """The service with one configuration. Its processes read the same environment as this one did for `settings`."""

    def __init__(self, settings: Settings, folders: Folders = LOCAL_FOLDERS) -> None:
        self._settings = settings
        self._folders = folders
        self.redis = Process("redis", folders.run, folders.logs)
        self.doors = [Process(name, folders.run, folders.logs) for name in DOORS]
        self.log_rotation = Process("log-rotation", folders.run, folders.logs)

    def start(self) -> bool:
        """Start what does not run and wait until all of it is up; False when all ran already. Raises `CannotStart`."""
        with self._alone():
            missing = [door for door in self.doors if not door.pid()]
            if not missing and self.log_rotation.pid():
                return False
            self._check_port(missing)
            if redis_server.answers(self._settings):
                redis_server.check_suitable(self._settings)  # before the model, which may take long to fetch
            self._fetch_model(missing)
            with self._nothing_left_behind() as started:
                if not self.log_rotation.pid():
                    started(self.log_rotation)
                    self._start_log_rotation()
                if not redis_server.answers(self._settings):
                    started(self.redis)
                    self._start_redis()
                for door in missing:
                    started(door)
                    door.start([sys.executable, ROOT / _SCRIPTS[door.name]], cwd=ROOT)
                self._wait_until_up()
            return True

    def stop(self) -> list[str]:
        """Stop all processes, Redis last; the names of those that had to be killed."""
        with self._alone():
            late = stop(self.doors, self._settings.shutdown_grace_seconds + 10)
            return late + stop([self.redis, self.log_rotation], REDIS_STOP_S)

    def up(self) -> set[str]:
        """The names of the processes that are ready for work."""
        up = health.components_up(self._settings, {door.name: door.pid() for door in self.doors})
        return up | {self.log_rotation.name} if self.log_rotation.pid() else up

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one script at a time starts or stops this stack."""
        self._folders.run.mkdir(parents=True, exist_ok=True)
        with (self._folders.run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _nothing_left_behind(self) -> Iterator[Callable[[Process], None]]:
        started: list[Process] = []
        try:
            yield started.append
        except BaseException:  # Ctrl-C as well
            stop([process for process in started if process is not self.redis], 10)
            stop([process for process in started if process is self.redis], REDIS_STOP_S)
            raise

    def _check_port(self, missing: list[Process]) -> None:
        if any(door.name == "api" for door in missing) and (faults := port_faults(self._settings)):
            advice = "Stop the program that uses it, or set API_PORT in .env to a free port."
            raise CannotStart("\n".join([*faults, advice]))

    def _fetch_model(self, missing: list[Process]) -> None:
        if not any(door.name == "processor" for door in missing):
            return
        command = [sys.executable, str(ROOT / "download_models.py"), self._settings.model_name]
        if subprocess.run(command, cwd=ROOT, check=False).returncode != 0:
            raise CannotStart(f"The service cannot start without the model {self._settings.model_name}.")

    def _start_log_rotation(self) -> None:
        command = [sys.executable, "-m", "scripts.local.log_rotation", str(self._folders.logs)]
        self.log_rotation.start(command, cwd=ROOT)

    def _start_redis(self) -> None:
        redis_server.check_ours_may_start(self._settings)
        self._folders.redis.mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = redis_server.configuration(self._settings, self._folders.redis)
        say(f"Starting a Redis at {self._settings.redis_host}:{self._settings.redis_port}")
        self.redis.start([redis_server.program(), "-"], cwd=self._folders.redis, stdin=configuration)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not redis_server.answers(self._settings):
            _check_alive([self.redis])
            _check_time(deadline, self.redis)
            time.sleep(0.05)
        redis_server.check_suitable(self._settings)

    def _wait_until_up(self) -> None:
        say("Starting the API, the processor and the uploader")
        deadline = time.monotonic() + START_TIMEOUT_S
        while waiting := self._not_up():
            _check_alive(self.doors)
            _check_time(deadline, waiting[0])
            time.sleep(0.2)

    def _not_up(self) -> list[Process]:
        up = self.up()
        return [door for door in self.doors if door.name not in up]


def _check_alive(processes: list[Process]) -> None:
    for process in processes:
        if not process.pid():
            raise CannotStart(f"{process.name} did not start.\n{_end_of_log(process)}")


def _check_time(deadline: float, waiting: Process) -> None:
    if time.monotonic() > deadline:
        raise CannotStart(f"{waiting.name} is not ready after {START_TIMEOUT_S} s.\n{_end_of_log(waiting)}")


def _end_of_log(process: Process) -> str:
    return f"The end of {process.log_file}:\n{process.log_tail()}"
