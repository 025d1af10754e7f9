"""How a worker process starts and what it does besides its work: the same for processor.py and uploader.py."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from config import SettingsError, load_settings, refuse_to_start
from uvr import logs
from uvr.environment.variables_without_effect import log_variables_without_effect
from uvr.liveness.nodes import Node
from uvr.liveness.workers import WorkerPresence
from uvr.metrics.aggregation import Totals
from uvr.metrics.definitions import WORKER_STARTS
from uvr.privacy import keep_private
from uvr.redis.clients import connect
from uvr.redis.durability import durability_logged
from uvr.redis.requirements import check_redis_at_start
from uvr.tasks.broker import Broker
from uvr.worker.shutdown import end_on_sigterm


class WorkerProcess:
    """A process whose workers are of one `kind`: its settings, its connections to Redis, its broker and its node.

    Exits with status 2 and an explanation when a setting is wrong, or when this Redis cannot be used. While Redis is
    down the process starts all the same, and its workers wait.
    """

    def __init__(self, kind: str) -> None:
        end_on_sigterm()
        self._kind = kind
        self.settings = load_settings()
        keep_private(self.settings.umask)
        logs.configure(self.settings.log_level, self.settings.log_format, process=kind)
        log_variables_without_effect()
        try:
            self.clients = connect(self.settings)
            check_redis_at_start(self.clients, self.settings)
        except SettingsError as error:
            refuse_to_start(error.faults)
        self.broker = Broker(self.settings, self.clients)
        WORKER_STARTS.add(kind=kind)
        Totals(self.broker.client, self.broker.root).try_to_send()  # now: it may end before `announced`, and again
        self.node = Node(self.settings, self.broker, kind)

    def presence(self, facts: Mapping[str, str], **changing: Callable[[], str]) -> WorkerPresence:
        """The announcements of this process: its `facts`, and those that change, each asked for every time.

        `paused` gives the reason for a pause and `idle` why there is nothing to do in spite of claimed tasks, "" when
        there is none; `disks` describes the disks (`uvr.liveness.disks`).
        """

        def current_facts() -> dict[str, str]:
            return {**facts, **{name: fact() for name, fact in changing.items()}}

        return WorkerPresence(self.broker.client, self.broker.root, self._kind, current_facts)

    @contextmanager
    def announced(self, presence: WorkerPresence) -> Iterator[None]:
        """Until the block ends: announce the process and its node, log Redis's durability once, send metrics."""
        with (
            presence.announced(),
            self.node.beating(),
            durability_logged(self.clients, self.broker.root),
            Totals(self.broker.client, self.broker.root).sending(),
        ):
            yield
