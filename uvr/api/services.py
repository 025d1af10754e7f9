"""The services that endpoints use: one set for each application, created without any network access.

Gunicorn forks its workers before each creates its own application, so processes never share a connection.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import Flask, current_app

from config import Settings
from uvr.api.auth.rate_limits import LocalAllowance, LoginLimits, RequestRate
from uvr.api.auth.sessions import Sessions
from uvr.api.auth.users import Users
from uvr.api.eta import EtaEstimator
from uvr.api.model_offers import ModelOffers
from uvr.api.request_slots import EventStreams, LongRequests, OpenStreams, Slots
from uvr.api.task_feed import TaskFeeds
from uvr.api.task_watch import TaskWatch
from uvr.liveness.workers import live_workers
from uvr.metrics.aggregation import Totals
from uvr.models.presets import read_presets
from uvr.net.url_guard import UrlGuard
from uvr.redis.clients import RedisClients, connect
from uvr.storage.base import Storage
from uvr.storage.factory import open_storage
from uvr.storage.link_key import LinkKey
from uvr.storage.uploads import Uploads
from uvr.tasks.actions import TaskActions
from uvr.tasks.broker import Broker
from uvr.tasks.dead_letters import DeadLetters
from uvr.tasks.store import TaskStore
from uvr.webhooks.user_secrets import UserSecrets

_EXTENSION = "uvr"
_PROBE_TIMEOUT_S = 0.8
"""How long /health and /ready wait for Redis. Whoever asks them waits for a second."""


@dataclass(frozen=True)
class Services:
    """Everything that an endpoint may need. Connections are opened on first use.

    `impatient_clients` and `impatient_store` are for what must be answered within a second, even if Redis does not.
    """

    settings: Settings
    clients: RedisClients
    impatient_clients: RedisClients
    impatient_store: TaskStore
    broker: Broker
    storage: Storage
    uploads: Uploads
    guard: UrlGuard
    users: Users
    sessions: Sessions
    login_limits: LoginLimits
    uncounted_tokens: LocalAllowance
    request_rate: RequestRate
    totals: Totals
    actions: TaskActions
    dead_letters: DeadLetters
    eta: EtaEstimator
    upload_slots: Slots
    event_streams: EventStreams
    archive_slots: Slots
    download_slots: Slots
    feeds: TaskFeeds
    watch: TaskWatch
    user_secrets: UserSecrets
    model_offers: ModelOffers

    @property
    def store(self) -> TaskStore:
        """The tasks."""
        return self.broker.store

    def workers(self) -> dict[str, list[dict[str, str]]]:
        """The workers that are alive, by kind; see `live_workers`. Raises `redis.RedisError` within a second."""
        return live_workers(self.impatient_clients.commands, self.broker.root)

    def close(self) -> None:
        """Close all connections."""
        self.clients.close()
        self.impatient_clients.close()


def open_services(settings: Settings) -> Services:
    """Create the services that `settings` describe.

    Raises `SettingsError` for an invalid REDIS_URL, users file or file of presets.
    """
    users = Users(settings)
    clients = connect(settings)
    broker = Broker(settings, clients)
    storage = open_storage(settings, LinkKey(broker.client, broker.root))
    uploads = Uploads(settings, broker.uploads)
    eta = EtaEstimator(broker)
    dead_letters = DeadLetters(broker)
    long_requests = LongRequests(settings.api_threads, has_users=settings.has_users)
    impatient_clients = connect(settings, command_timeout_s=_PROBE_TIMEOUT_S)
    return Services(
        settings=settings,
        clients=clients,
        impatient_clients=impatient_clients,
        impatient_store=TaskStore(impatient_clients.commands, broker.tasks),
        broker=broker,
        storage=storage,
        uploads=uploads,
        guard=UrlGuard(
            settings.allowed_private_networks, denied=settings.denied_hosts, allowed_ports=settings.allowed_ports
        ),
        users=users,
        sessions=Sessions(broker.client, broker.root, ttl_s=max(1, round(settings.session_hours * 3600))),
        login_limits=LoginLimits(broker.client, broker.root),
        uncounted_tokens=LocalAllowance(),
        request_rate=RequestRate(broker.client, broker.root, settings.requests_per_minute),
        totals=Totals(broker.client, broker.root),
        actions=TaskActions(broker, dead_letters, storage, uploads),
        dead_letters=dead_letters,
        eta=eta,
        upload_slots=Slots(long_requests, "upload", instead=""),
        event_streams=EventStreams(OpenStreams(settings.max_event_streams, has_users=settings.has_users)),
        # Of one kind, so that a user's share of all threads does not grow.
        archive_slots=Slots(long_requests, "download", instead="download the stems one by one instead, or "),
        download_slots=Slots(long_requests, "download", instead=""),
        feeds=TaskFeeds(broker.store, eta),
        watch=TaskWatch(broker.store, eta),
        user_secrets=UserSecrets(broker.client, broker.root),
        model_offers=ModelOffers(settings, broker, read_presets(settings.presets_file)),
    )


def attach(app: Flask, services: Services) -> None:
    """Attach `services` to `app`, for `services_of` and `services`."""
    app.extensions[_EXTENSION] = services


def services_of(app: Flask) -> Services:
    """The services of `app`."""
    attached: Services = app.extensions[_EXTENSION]
    return attached


def services() -> Services:
    """The services of the application that answers the current request."""
    return services_of(current_app)
