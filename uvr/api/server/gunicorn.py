"""Gunicorn with the application, configured by the service's settings instead of a file of its own.

GUNICORN_CMD_ARGS and command line options still work, for what no setting of the service covers.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

import structlog
from flask import Flask
from gunicorn.app.base import Application
from gunicorn.glogging import Logger

from config import Settings
from uvr.api.server.limits import ClientLimits
from uvr.api.server.worker import PatientWorker, patient_worker
from uvr.api.services import services_of

log = structlog.get_logger()

_PORT_PATIENCE_S = 2.0
_MEMORY_DIR = Path("/dev/shm")  # noqa: S108  # the heartbeat files of gunicorn's workers, not secrets


class GunicornLog(Logger):
    """Gunicorn's warnings and errors in the log of this process. The API logs requests itself."""

    def setup(self, cfg: Any) -> None:
        """Use the handlers of the root logger, without the start and stop of every worker."""
        self.cfg = cfg
        self.error_log.propagate = True
        self.error_log.setLevel(logging.WARNING)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Log nothing: the application logs `request.answered`."""


class Server(Application):
    """One master process and API_WORKERS workers with API_THREADS threads. Each worker creates its own application."""

    def __init__(self, settings: Settings, make_app: Callable[[], Flask]) -> None:
        self._settings = settings
        self._make_app = make_app
        super().__init__(prog="app.py")

    def init(self, _parser: Any, _opts: Any, _args: Any) -> dict[str, Any]:
        """The settings in gunicorn's terms."""
        host, port = self._settings.api_host, self._settings.api_port

        def log_address(arbiter: Any) -> None:
            log.info("api.ready", address=" ".join(map(str, arbiter.LISTENERS)), workers=arbiter.num_workers)

        def serve_event_streams(worker: Any) -> None:
            # A worker that stops waits for its open requests; an event stream would keep it until it is killed.
            # Streams leave half of the connections to others; in gunicorn's own worker each would hold a thread.
            is_ours = isinstance(worker, PatientWorker)
            max_streams = max(1, worker.max_connections // 2 if is_ours else self._settings.api_threads // 4)
            services_of(worker.wsgi).event_streams.serve(max_streams=max_streams, is_serving=lambda: worker.alive)

        return {
            "bind": [f"[{host}]:{port}" if ":" in host else f"{host}:{port}"],
            "workers": self._settings.api_workers,
            "worker_class": patient_worker(ClientLimits.of(self._settings)),
            "threads": self._settings.api_threads,
            # If the heartbeat file is on a slow disk, a healthy worker looks dead.
            "worker_tmp_dir": str(_MEMORY_DIR) if os.access(_MEMORY_DIR, os.W_OK) else None,
            "graceful_timeout": max(1, round(self._settings.shutdown_grace_seconds)),
            # The control socket would be created in the home directory, which a service need not have.
            "control_socket_disable": True,
            "logger_class": GunicornLog,
            # The application evaluates proxy headers itself, by TRUSTED_PROXIES.
            "forwarded_allow_ips": "",
            "when_ready": log_address,
            "post_fork": _stop_new_worker_too,
            "post_worker_init": serve_event_streams,
        }

    def load_config(self) -> None:
        """Read gunicorn's own options too. With TLS, gunicorn's own worker serves, which slow clients can block."""
        super().load_config()
        if self.cfg.is_ssl:
            log.warning("server.tls_in_gunicorn", advice="put a proxy with HTTPS in front of the API instead")
            self.cfg.set("worker_class", "gthread")

    def load(self) -> Any:
        """The application of one worker, created after the fork."""
        return self._make_app()


def _stop_new_worker_too(arbiter: Any, worker: Any) -> None:
    """Let SIGTERM stop a worker that was forked at this moment.

    Until a worker sets up its own signals, it has those of the master: it would put SIGTERM into its copy of the
    master's queue, and the master would wait until the time is up, and kill it.
    """
    signal.signal(signal.SIGTERM, worker.handle_exit)
    while True:
        try:
            received = arbiter.SIG_QUEUE.get_nowait()
        except Empty:
            return
        if received == signal.SIGTERM:
            worker.alive = False


def port_faults(settings: Settings) -> list[str]:
    """Why the API cannot listen on API_HOST:API_PORT, else empty.

    Workers of an API that was killed give up its port within a moment, so a port in use is tried again for a while.
    """
    host, port = settings.api_host, settings.api_port
    tries_end = time.monotonic() + _PORT_PATIENCE_S
    while (faults := _bind_faults(host, port)) and faults[0].startswith("API_PORT") and time.monotonic() < tries_end:
        time.sleep(0.1)
    return faults


def _bind_faults(host: str, port: int) -> list[str]:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except socket.gaierror:
        return [f"API_HOST: {host} is not an address of this machine"]
    except OSError as error:
        return [f"API_PORT: port {port} on {host} cannot be used: {(error.strerror or str(error)).lower()}"]
    return []
