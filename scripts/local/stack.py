"""The local service as a whole: Redis, API, processor and uploader, started in this order and stopped in reverse.

A start that fails stops everything that it started. Processes that run already are left alone, so a second start brings
back those that died. A restart checks the configuration before it stops anything.
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
from scripts.local.errors import StartError
from scripts.local.failure import explain
from scripts.local.process import Process, stop
from scripts.local.saved_settings import REDIS_SETTINGS, SERVICE_SETTINGS, changed_settings, save_hashes
from uvr.api.auth.basic import password_faults
from uvr.api.server.gunicorn import port_faults
from uvr.api.services import open_services
from uvr.cli.progress_bar import ProgressLine
from uvr.errors import UvrError
from uvr.separation.engine_factory import choose_engine

SERVICES = ("api", "processor", "uploader")
START_TIMEOUT_S = 120
REDIS_STOP_S = 30

_SCRIPTS = {"api": "app.py", "processor": "processor.py", "uploader": "uploader.py"}


def say(message: str) -> None:
    """Print a message for the person at the terminal at once."""
    print(message, flush=True)


@dataclass(frozen=True)
class Folders:
    """Where the stack keeps its pid files, its logs and the data of its Redis."""

    run: Path
    logs: Path
    redis: Path


LOCAL_FOLDERS = Folders(ROOT / "run", ROOT / "logs", ROOT / "data" / "redis")


class Stack:
    """The service with one configuration. Its processes read `settings` from the environment of this process."""

    def __init__(self, settings: Settings, folders: Folders = LOCAL_FOLDERS) -> None:
        self._settings = settings
        self._folders = folders
        self.redis = Process("redis", folders.run, folders.logs)
        self.services = [Process(name, folders.run, folders.logs) for name in SERVICES]
        self.log_rotation = Process("log-rotation", folders.run, folders.logs)

    def start(self) -> bool:
        """Start what is not running and wait until everything is up; False if everything was running already.

        Raises `SettingsError`, and `StartError`, also if the running processes were started with other settings.
        """
        with self._locked():
            missing = [service for service in self.services if not service.pid()]
            if not missing and self.log_rotation.pid():
                return False
            if missing and (changes := self.changes()):
                names = ", ".join(service.name for service in missing)
                raise StartError(
                    f"Not running: {names}. The other processes run with the settings that they were started with.\n"
                    f"{changes}"
                )
            self._check(missing)
            self._start(missing)
            return True

    def check(self) -> None:
        """Check what a restart needs, and download the model, while everything continues to run.

        Raises `StartError` and `SettingsError`.
        """
        with self._locked():
            self._check(self.services)

    def restart(self) -> list[str]:
        """Stop what runs and start everything; returns the names of the processes that had to be killed."""
        with self._locked():
            killed = self._stop()
            self._start(self.services)
            return killed

    def stop(self) -> list[str]:
        """Stop all processes, Redis last; returns the names of those that had to be killed."""
        with self._locked():
            return self._stop()

    def up(self) -> set[str]:
        """The names of the processes that are ready for work."""
        up = health.components_up(self._settings, {service.name: service.pid() for service in self.services})
        return up | {self.log_rotation.name} if self.log_rotation.pid() else up

    def changes(self) -> str:
        """A message that names the settings which have changed since running processes were started, or ""."""
        names = set().union(*(self._changed_settings(process) for process in [self.redis, *self.services]))
        if not names:
            return ""
        listed = ", ".join(name.upper() for name in Settings.model_fields if name in names)
        return f"Changed since the start: {listed}.\n./restart_local.sh applies the changes."

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one script at a time starts or stops this stack."""
        self._folders.run.mkdir(parents=True, exist_ok=True)
        with (self._folders.run / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _check(self, services: list[Process]) -> None:
        """Raise if `services` cannot be started: password, configuration, port, Redis, model."""
        if faults := password_faults(self._settings):
            raise SettingsError(faults)
        open_services(self._settings).close()
        names = [service.name for service in services]
        keeps_port = "api" in names and self._runs_unchanged(services[names.index("api")], "api_host", "api_port")
        if "api" in names and not keeps_port and (faults := port_faults(self._settings)):
            advice = "Stop the program that uses it, or set API_PORT in .env to a free port."
            raise StartError("\n".join([*faults, advice]))
        if redis_server.answers(self._settings):
            redis_server.check_suitable(self._settings)  # before the model, whose download may take long
        elif not self._runs_unchanged(self.redis, "redis_host", "redis_port"):
            redis_server.check_can_start_here(self._settings)
        if "processor" in names:
            self._download_model()

    def _download_model(self) -> None:
        settings = self._settings
        with closing(ProgressLine(settings.model_name, sys.stderr)) as line:
            try:
                choose_engine(
                    settings.model_name,
                    settings.model_file_dir,
                    engine=settings.separation_engine,
                    sources=settings.sources_of_models,
                    on_progress=line.downloaded,
                )
            except UvrError as error:
                raise StartError(error.message) from None

    def _start(self, services: list[Process]) -> None:
        """Start `services`, and Redis and the log rotation if needed, and wait until everything is up."""
        with self._stopped_on_failure() as started:
            if not self.log_rotation.pid():
                started(self.log_rotation)
                command = [sys.executable, "-m", "scripts.local.log_rotation", str(self._folders.logs)]
                self.log_rotation.start(command, cwd=ROOT)
            if not redis_server.answers(self._settings):
                started(self.redis)
                self._start_redis()
            for service in services:
                started(service)
                service.start([sys.executable, ROOT / _SCRIPTS[service.name]], cwd=ROOT)
                save_hashes(_hash_file(service), self._settings, SERVICE_SETTINGS)
            self._wait_until_up()

    @contextmanager
    def _stopped_on_failure(self) -> Iterator[Callable[[Process], None]]:
        """Stop the processes that the block has reported as started, if it raises."""
        started: list[Process] = []
        try:
            yield started.append
        except BaseException:  # Ctrl-C as well
            stop([process for process in started if process is not self.redis], 10)
            stop([process for process in started if process is self.redis], REDIS_STOP_S)
            raise

    def _start_redis(self) -> None:
        self._folders.redis.mkdir(parents=True, exist_ok=True, mode=0o700)
        configuration = redis_server.configuration(self._settings, self._folders.redis)
        say(f"Starting a Redis at {self._settings.redis_host}:{self._settings.redis_port}")
        self.redis.start([redis_server.program(), "-"], cwd=self._folders.redis, stdin=configuration)
        save_hashes(_hash_file(self.redis), self._settings, REDIS_SETTINGS)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not redis_server.answers(self._settings):
            _check_alive([self.redis])
            _check_time(deadline, self.redis)
            time.sleep(0.05)
        redis_server.check_suitable(self._settings)

    def _wait_until_up(self) -> None:
        say("Starting the API, the processor and the uploader")
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            up = self.up()
            waiting = [service for service in self.services if service.name not in up]
            if not waiting:
                return
            _check_alive(self.services)
            _check_time(deadline, waiting[0])
            time.sleep(0.2)

    def _stop(self) -> list[str]:
        killed = stop(self.services, self._settings.shutdown_grace_seconds + 10)
        return killed + stop([self.redis, self.log_rotation], REDIS_STOP_S)

    def _runs_unchanged(self, process: Process, *names: str) -> bool:
        """Whether `process` is running and was started with the current values of the settings `names`."""
        return bool(process.pid()) and not self._changed_settings(process) & set(names)

    def _changed_settings(self, process: Process) -> set[str]:
        return changed_settings(_hash_file(process), self._settings) if process.pid() else set()


def _hash_file(process: Process) -> Path:
    """The file with the hashes of the settings that `process` was started with."""
    return process.run_dir / f"{process.name}.settings"


def _check_alive(processes: list[Process]) -> None:
    for process in processes:
        if not process.pid():
            raise StartError(explain(process, f"{process.name} did not start"))


def _check_time(deadline: float, waiting: Process) -> None:
    if time.monotonic() > deadline:
        raise StartError(explain(waiting, f"{waiting.name} is not ready after {START_TIMEOUT_S} s"))
