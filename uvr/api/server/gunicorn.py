"""Gunicorn around the application, set up from our settings instead of a file of its own.

GUNICORN_CMD_ARGS and command line options are still honoured, for whoever needs what no setting of ours covers.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import Application
from gunicorn.glogging import Logger

from config import Settings
from uvr.api.server.slow_clients import slow_client_worker
from uvr.api.services import services_of

log = structlog.get_logger()

_MEMORY_DIR = Path("/dev/shm")  # noqa: S108  # the heartbeat files of gunicorn's workers, not secrets


class GunicornLog(Logger):
    """Gunicorn's messages through the log of this process; requests have a line of their own there already."""

    def setup(self, cfg: Any) -> None:
        """Leave the handlers to the root logger, and every worker's start and stop untold."""
        self.cfg = cfg
        self.error_log.propagate = True
        self.error_log.setLevel(logging.WARNING)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Nothing: `request.answered` tells it."""


class Server(Application):
    """One master process and API_WORKERS workers of API_THREADS threads, each worker with an application of its own."""

    def __init__(self, settings: Settings, make_app: Callable[[], Flask]) -> None:
        self._settings = settings
        self._make_app = make_app
        super().__init__(prog="app.py")

    def init(self, _parser: Any, _opts: Any, _args: Any) -> dict[str, Any]:
        """Our settings in gunicorn's words."""
        return {
            "bind": [_address(self._settings.api_host, self._settings.api_port)],
            "workers": self._settings.api_workers,
            "worker_class": slow_client_worker(self._settings.client_timeout_seconds),
            "threads": self._settings.api_threads,
            # A heartbeat file on a slow disk makes workers look dead.
            "worker_tmp_dir": str(_MEMORY_DIR) if os.access(_MEMORY_DIR, os.W_OK) else None,
            "graceful_timeout": max(1, round(self._settings.shutdown_grace_seconds)),
            # It would be written into the home directory, which a service need not have.
            "control_socket_disable": True,
            "logger_class": GunicornLog,
            # Headers of proxies are our own business, by TRUSTED_PROXIES.
            "forwarded_allow_ips": "",
            "when_ready": _tell,
            "post_worker_init": _let_streams_end,
        }

    def load(self) -> Any:
        """The application of one worker, made after the fork."""
        return self._make_app()


def port_faults(settings: Settings) -> list[str]:
    """Why nothing can listen at API_HOST:API_PORT; gunicorn itself would try for five seconds before it says so."""
    host, port = settings.api_host, settings.api_port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return [f"API_HOST: {host} is no address of this machine"]
    except OSError as error:
        return [f"API_PORT: port {port} on {host} cannot be used: {(error.strerror or str(error)).lower()}"]
    return []


def _let_streams_end(worker: Any) -> None:
    """A worker that stops waits for what it serves; a stream would keep it waiting until it is killed."""
    services_of(worker.wsgi).event_streams.end_unless(lambda: worker.alive)


def _tell(arbiter: Any) -> None:
    log.info("api.ready", address=" ".join(map(str, arbiter.LISTENERS)), workers=arbiter.num_workers)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
