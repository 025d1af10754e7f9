"""What the endpoints work with: one set per application, opened without touching the network.

Gunicorn forks its workers before each makes its own application, so no connection is ever shared between processes.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from flask import Flask, current_app

from config import Settings
from uvr.link_key import link_key
from uvr.queues import Queues, open_queues
from uvr.redis.clients import RedisClients, connect
from uvr.storage.base import Storage
from uvr.storage.factory import open_storage
from uvr.tasks import TaskStore
from uvr.url_guard import UrlGuard

_EXTENSION = "uvr"


@dataclass(frozen=True)
class Services:
    """Everything an endpoint may need; nothing in it is connected before its first use."""

    settings: Settings
    clients: RedisClients
    queues: Queues
    storage: Storage
    guard: UrlGuard

    @property
    def store(self) -> TaskStore:
        """The tasks."""
        return self.queues.store


def open_services(settings: Settings) -> Services:
    """The services of this configuration. Raises `SettingsError` for a faulty REDIS_URL."""
    clients = connect(settings)
    key = cache(lambda: link_key(clients.commands, settings.redis_task_queue))
    return Services(
        settings=settings,
        clients=clients,
        queues=open_queues(settings, clients),
        storage=open_storage(settings, key),
        guard=UrlGuard(settings.allowed_private_networks),
    )


def attach(app: Flask, services: Services) -> None:
    """Make `services` those of `app`."""
    app.extensions[_EXTENSION] = services


def services() -> Services:
    """The services of the application that answers the current request."""
    attached: Services = current_app.extensions[_EXTENSION]
    return attached
