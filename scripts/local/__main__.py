"""`python -m scripts.local start|stop|restart|status`: what start_local.sh and its companions call."""

from __future__ import annotations

import os
import signal
import sys

from config import ROOT, Settings, SettingsError, read_settings, refuse_to_start
from scripts.local import redis_server
from scripts.local.env_file import make_env_file
from scripts.local.health import why_not_ready
from scripts.local.problem import CannotStart
from scripts.local.process import Process
from scripts.local.stack import Stack, say
from uvr import logs
from uvr.environment.variables_without_effect import RETIRED_REASON, variables_without_effect

_ENV_FILE = ROOT / ".env"


def start() -> int:
    """Start the service; 1 with the reason when it does not come up, 2 for faulty settings."""
    _make_env_file_once()
    settings = read_settings()
    _name_variables_without_effect()
    stack = Stack(settings)
    if stack.start():
        say(f"\nThe service runs: {settings.local_url}")
    elif changed := stack.changed():
        say(f"The service runs already, with the settings it was started with.\n{changed}")
        return 0
    else:
        say(f"The service runs already: {settings.local_url}")
    say(_directions(settings))
    _warn(settings)
    return 0


def restart() -> int:
    """Stop the service and start it; a configuration that is found faulty before leaves it running (1 or 2)."""
    try:
        _make_env_file_once()
        settings = read_settings()
        _name_variables_without_effect()
        stack = Stack(settings)
        stack.check()
    except (CannotStart, SettingsError):
        sys.stderr.write("Nothing was stopped.\n")
        raise
    if any(door.pid() for door in stack.doors):
        say("Stopping the service")
    _name_killed(stack.restart())
    say(f"\nThe service runs: {settings.local_url}\n{_directions(settings)}")
    _warn(settings)
    return 0


def stop() -> int:
    """Stop the service; it is no error when it does not run."""
    _name_killed(Stack(_settings_or_defaults()).stop())
    say("The service is stopped.")
    return 0


def status() -> int:
    """Show each process with its pid, up time and health, and which settings have changed; 1 unless all are up."""
    stack = Stack(read_settings())
    processes = [stack.redis, *stack.doors, stack.log_rotation]
    up = stack.up()
    say(f"{'process':<12}{'pid':>8}  {'up time':>10}  health")
    for process in processes:
        say(_row(process, up=process.name in up))
    if changed := stack.changed():
        say(changed)
    return 0 if up.issuperset(process.name for process in processes) else 1


def _make_env_file_once() -> None:
    if _ENV_FILE.exists() or "ENV_FILE" in os.environ or os.environ.get("BASIC_AUTH_PASSWORD"):
        return
    names = ["BASIC_AUTH_PASSWORD"]
    settings = read_settings()
    if not redis_server.listens(settings.redis_host, settings.redis_port):
        names.append("REDIS_PASSWORD")  # for the Redis of our own; one that runs already has its password or none
    make_env_file(ROOT / "env.example", _ENV_FILE, names)
    say(f"Wrote .env with a random {' and '.join(names)}")


def _name_variables_without_effect() -> None:
    found = variables_without_effect()
    for unknown in found.unknown:
        say(unknown.sentence)
    if found.retired:
        say(f"No longer used: {', '.join(found.retired)}; {RETIRED_REASON}.")


def _warn(settings: Settings) -> None:
    if settings.link_warning:
        say(f"\nWarning: {settings.link_warning}")
    for sentence in why_not_ready(settings):
        say(f"\nWarning: tasks are accepted, but not worked on for now. {sentence}")


def _name_killed(names: list[str]) -> None:
    for name in names:
        say(f"{name} did not stop in time and was killed; its unfinished work is done again after the next start.")


def _settings_or_defaults() -> Settings:
    """Stopping must not depend on a configuration without faults."""
    try:
        return read_settings()
    except SettingsError:
        return Settings.model_construct()


def _row(process: Process, *, up: bool) -> str:
    pid = process.pid()
    if pid is None:
        return f"{process.name:<12}{'-':>8}  {'-':>10}  {'up, not started from here' if up else 'not running'}"
    return f"{process.name:<12}{pid:>8}  {_duration(process.uptime_s()):>10}  {'up' if up else 'not ready'}"


def _duration(seconds: float) -> str:
    minutes = int(seconds) // 60
    if minutes == 0:
        return f"{int(seconds)} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _directions(settings: Settings) -> str:
    return "\n".join(
        [
            f"  docs      {settings.local_url}/docs",
            f"  user      {settings.basic_auth_username}",
            "  password  BASIC_AUTH_PASSWORD in .env",
            "  a song    ./test_api.sh song.mp3",
            "  logs      logs/*.log",
            "  status    ./status_local.sh",
            "  stop      ./stop_local.sh",
        ]
    )


def main() -> int:
    """Run the command that the first argument names."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    logs.configure("error", "auto", process="local")
    commands = {"start": start, "stop": stop, "restart": restart, "status": status}
    try:
        return commands[sys.argv[1]]()
    except CannotStart as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    except SettingsError as error:
        refuse_to_start(error.faults)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
