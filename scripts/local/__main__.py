"""`python -m scripts.local start|stop|restart|status`, which the scripts `*_local.sh` call."""

from __future__ import annotations

import os
import signal
import sys

from config import ROOT, Settings, SettingsError, read_settings, refuse_to_start
from scripts.local import redis_server
from scripts.local.env_file import make_env_file
from scripts.local.errors import StartError
from scripts.local.health import why_not_ready
from scripts.local.process import Process
from scripts.local.stack import Stack, say
from uvr import logs
from uvr.environment.variables_without_effect import RETIRED_REASON, variables_without_effect

_ENV_FILE = ROOT / ".env"


def start() -> int:
    """Start the service. The exit status is 1 if it does not start, 2 if settings are invalid."""
    is_first_start = _make_env_file_if_missing()
    settings = read_settings()
    _report_unknown_variables()
    stack = Stack(settings)
    if stack.start():
        say(f"\nThe service is running: {settings.local_url}")
    elif changes := stack.changes():
        say(f"The service is already running, with the settings it was started with.\n{changes}")
        return 0
    else:
        say(f"The service is already running: {settings.local_url}")
    # A terminal keeps no logs; what reads the output of a script may.
    say(directions(settings, shows_password=is_first_start and sys.stdout.isatty()))
    _warn(settings)
    return 0


def restart() -> int:
    """Stop the service and start it again. If the configuration has errors, the service keeps running (1 or 2)."""
    try:
        _make_env_file_if_missing()
        settings = read_settings()
        _report_unknown_variables()
        stack = Stack(settings)
        stack.check()
    except (StartError, SettingsError):
        sys.stderr.write("Nothing was stopped.\n")
        raise
    if any(service.pid() for service in stack.services):
        say("Stopping the service")
    _report_killed(stack.restart())
    say(f"\nThe service is running: {settings.local_url}\n{directions(settings)}")
    _warn(settings)
    return 0


def stop() -> int:
    """Stop the service. It is not an error if it is not running."""
    _report_killed(Stack(_settings_or_defaults()).stop())
    say("The service is stopped.")
    return 0


def status() -> int:
    """Show each process with its pid, uptime and health, and which settings have changed; 1 unless all are up."""
    stack = Stack(read_settings())
    processes = [stack.redis, *stack.services, stack.log_rotation]
    up = stack.up()
    say(f"{'process':<12}{'pid':>8}  {'uptime':>10}  health")
    for process in processes:
        say(_row(process, up=process.name in up))
    if changes := stack.changes():
        say(changes)
    return 0 if up.issuperset(process.name for process in processes) else 1


def _make_env_file_if_missing() -> bool:
    """Whether there was none, so that the password in it is new to the user."""
    if _ENV_FILE.exists() or "ENV_FILE" in os.environ or os.environ.get("BASIC_AUTH_PASSWORD"):
        return False
    names = ["BASIC_AUTH_PASSWORD"]
    settings = read_settings()
    if not redis_server.listens(settings.redis_host, settings.redis_port):
        names.append("REDIS_PASSWORD")  # for the embedded Redis; one that is already running has its own, or none
    make_env_file(ROOT / "env.example", _ENV_FILE, names)
    say(f"Wrote .env with a random {' and '.join(names)}")
    return True


def _report_unknown_variables() -> None:
    found = variables_without_effect()
    for unknown in found.unknown:
        say(unknown.sentence)
    if found.retired:
        say(f"No longer used: {', '.join(found.retired)}; {RETIRED_REASON}.")


def _warn(settings: Settings) -> None:
    if settings.link_warning:
        say(f"\nWarning: {settings.link_warning}")
    for sentence in why_not_ready(settings):
        say(f"\nWarning: tasks are accepted, but not processed at the moment. {sentence}")


def _report_killed(names: list[str]) -> None:
    for name in names:
        say(f"{name} did not stop in time and was killed; its unfinished work is repeated after the next start.")


def _settings_or_defaults() -> Settings:
    """The settings, or their defaults if they have errors: stopping must work in any case."""
    try:
        return read_settings()
    except SettingsError:
        return Settings.model_construct()


def _row(process: Process, *, up: bool) -> str:
    pid = process.pid()
    if pid is None:
        return f"{process.name:<12}{'-':>8}  {'-':>10}  {'up, but not started by this script' if up else 'not running'}"
    return f"{process.name:<12}{pid:>8}  {_duration(process.uptime_s()):>10}  {'up' if up else 'not ready'}"


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes == 0:
        return f"{int(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def directions(settings: Settings, *, shows_password: bool = False) -> str:
    """Where the service is, how to sign in, and what to do next; the password only where no log keeps it."""
    password = settings.basic_auth_password.get_secret_value()
    page = f"  page      {settings.local_url}/  (open it in a browser, sign in, and drop a song)"
    return "\n".join(
        [
            *([page] if settings.console else []),
            f"  user      {settings.basic_auth_username}",
            f"  password  {password if shows_password else 'BASIC_AUTH_PASSWORD in .env'}",
            f"  docs      {settings.local_url}/docs",
            "  a song    ./test_api.sh song.mp3",
            "  logs      logs/*.log",
            "  status    ./status_local.sh",
            "  stop      ./stop_local.sh",
        ]
    )


def main() -> int:
    """Run the command in the first argument."""
    os.umask(0o077)  # for logs, the data of Redis and models
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    logs.configure("error", "auto", process="local")
    commands = {"start": start, "stop": stop, "restart": restart, "status": status}
    try:
        return commands[sys.argv[1]]()
    except StartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except SettingsError as error:
        refuse_to_start(error.faults)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
