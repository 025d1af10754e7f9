"""The local service as a whole: Redis, API, processor and uploader, started in order and stopped in the reverse one.

A start that fails leaves nothing running that it started. What runs already is left alone, so a second start brings
back what died. A restart checks the configuration before it stops anything.
"""

from __future__ import annotations

import fcntl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from config import ROOT, Settings, SettingsError
from scripts.local import health, redis_server
from scripts.local.failure import explain
from scripts.local.problem import CannotStart
from scripts.local.process import Process, stop
from scripts.local.started_with import DOOR_SETTINGS, REDIS_SETTINGS, changed, remember
from uvr.api.auth.basic import password_faults
from uvr.api.server.gunicorn import port_faults
from uvr.api.services import open_services
from uvr.cli.progress_bar import ProgressLine
from uvr.errors import UvrError
from uvr.separation.engine_factory import choose_engine

DOORS = ("api", "processor", "uploader")
START_TIMEOUT_S = 120
REDIS_STOP_S = 30

_SCRIPTS = {"api": "app.py", "processor": "processor.py", "uploader": "uploader.py"}


def say(sentence: str) -> None:
    """Print a sentence for the person at the terminal, at once."""
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
        """Start what does not run and wait until all of it is up; False when all ran already.

        Raises `CannotStart`, also when what runs was started with another configuration, and `SettingsError`.
        """
        with self._alone():
            missing = [door for door in self.doors if not door.pid()]
            if not missing and self.log_rotation.pid():
                return False
            if missing and (changed := self.changed()):
                absent = ", ".join(door.name for door in missing)
                raise CannotStart(
                    f"Not running: {absent}. The rest runs, with the settings it was started with.\n{changed}"
                )
            self._check(missing)
            self._start(missing)
            return True

    def check(self) -> None:
        """Find what would keep a restart from succeeding, and fetch the model, while everything runs as it did.

        Raises `CannotStart` and `SettingsError`.
        """
        with self._alone():
            self._check(self.doors)

    def restart(self) -> list[str]:
        """Stop what runs and start all of it; the names of the processes that had to be killed."""
        with self._alone():
            killed = self._stop()
            self._start(self.doors)
            return killed

    def stop(self) -> list[str]:
        """Stop all processes, Redis last; the names of those that had to be killed."""
        with self._alone():
            return self._stop()

    def up(self) -> set[str]:
        """The names of the processes that are ready for work."""
        up = health.components_up(self._settings, {door.name: door.pid() for door in self.doors})
        return up | {self.log_rotation.name} if self.log_rotation.pid() else up

    def changed(self) -> str:
        """A sentence that names the settings which running processes have other values of; "" when there are none."""
        names = set().union(*(self._changed_of(process) for process in [self.redis, *self.doors]))
        if not names:
            return ""
        listed = ", ".join(name.upper() for name in Settings.model_fields if name in names)
        return f"Changed since the start: {listed}.\n./restart_local.sh applies it."

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Only one script at a time starts or stops this stack."""
        self._folders.run.mkdir(parents=True, exist_ok=True)
        with (self._folders.run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _check(self, doors: list[Process]) -> None:
        if faults := password_faults(self._settings):
            raise SettingsError(faults)
        open_services(self._settings).clients.close()
        names = [door.name for door in doors]
        if "api" in names and not self._keeps(doors[names.index("api")], "api_host", "api_port"):
            self._check_port()
        if redis_server.answers(self._settings):
            redis_server.check_suitable(self._settings)  # before the model, which may take long to fetch
        elif not self._keeps(self.redis, "redis_host", "redis_port"):
            redis_server.check_ours_may_start(self._settings)
        if "processor" in names:
            self._fetch_model()

    def _check_port(self) -> None:
        if faults := port_faults(self._settings):
            advice = "Stop the program that uses it, or set API_PORT in .env to a free port."
            raise CannotStart("\n".join([*faults, advice]))

    def _fetch_model(self) -> None:
        settings = self._settings
        with closing(ProgressLine(settings.model_name, sys.stderr)) as line:
            try:
                choose_engine(
                    settings.model_name,
                    settings.model_file_dir,
                    engine=settings.separation_engine,
                    base_url=settings.model_base_url,
                    on_progress=line.downloaded,
                )
            except UvrError as error:
                raise CannotStart(error.message) from None

    def _start(self, doors: list[Process]) -> None:
        with self._nothing_left_behind() as started:
            if not self.log_rotation.pid():
                started(self.log_rotation)
                self._start_log_rotation()
            if not redis_server.answers(self._settings):
                started(self.redis)
                self._start_redis()
            for door in doors:
                started(door)
                door.start([sys.executable, ROOT / _SCRIPTS[door.name]], cwd=ROOT)
                remember(_memory(door), self._settings, DOOR_SETTINGS)
            self._wait_until_up()

    @contextmanager
    def _nothing_left_behind(self) -> Iterator[Callable[[Process], None]]:
        started: list[Process] = []
        try:
            yield started.append
        except BaseException:  # Ctrl-C as well
            stop([process for process in started if process is not self.redis], 10)
            stop([process for process in started if process is self.redis], REDIS_STOP_S)
            raise

    def _start_log_rotation(self) -> None:
        command = [sys.executable, "-m", "scripts.local.log_rotation", str(self._folders.logs)]
        self.log_rotation.start(command, cwd=ROOT)

    def _start_redis(self) -> None:
        self._folders.redis.mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = redis_server.configuration(self._settings, self._folders.redis)
        say(f"Starting a Redis at {self._settings.redis_host}:{self._settings.redis_port}")
        self.redis.start([redis_server.program(), "-"], cwd=self._folders.redis, stdin=configuration)
        remember(_memory(self.redis), self._settings, REDIS_SETTINGS)
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

    def _stop(self) -> list[str]:
        killed = stop(self.doors, self._settings.shutdown_grace_seconds + 10)
        return killed + stop([self.redis, self.log_rotation], REDIS_STOP_S)

    def _keeps(self, process: Process, *names: str) -> bool:
        """Whether `process` runs and these settings of it, its address, are still the same."""
        return bool(process.pid()) and not self._changed_of(process) & set(names)

    def _changed_of(self, process: Process) -> set[str]:
        return changed(_memory(process), self._settings) if process.pid() else set()


def _memory(process: Process) -> Path:
    """Where the settings stand that a process was started with."""
    return process.run_dir / f"{process.name}.settings"


def _check_alive(processes: list[Process]) -> None:
    for process in processes:
        if not process.pid():
            raise CannotStart(explain(process, f"{process.name} did not start"))


def _check_time(deadline: float, waiting: Process) -> None:
    if time.monotonic() > deadline:
        raise CannotStart(explain(waiting, f"{waiting.name} is not ready after {START_TIMEOUT_S} s"))
