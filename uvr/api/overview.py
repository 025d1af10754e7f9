"""The whole service at one moment, for its operator: what waits, who works, what is full or fails.

Everything is read when it is asked for. Workers say themselves how they are (`uvr.liveness`), so a storage or a disk
that only they can reach is described as they find it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from uvr.api.schemas.admin import (
    DiskSpace,
    LiveWorker,
    NodeSilence,
    Overview,
    PrioritySize,
    QueueSize,
    RedisState,
    StorageState,
)
from uvr.api.services import services
from uvr.liveness.disks import FACT as DISKS
from uvr.liveness.disks import announced_spaces, folder_spaces
from uvr.liveness.nodes import silences_s
from uvr.logs import without_secrets
from uvr.redis.durability import durability_from, shown_config
from uvr.redis.requirements import info_of, server_name
from uvr.storage.local import LocalStorage

Workers = Mapping[str, Sequence[Mapping[str, str]]]
"""The facts of each worker, by kind, as `live_workers` finds them."""

_MAX_COUNTED_FILES = 10_000


def overview() -> Overview:
    """The state of the service of the current request. May raise `redis.RedisError`."""
    workers = services().workers()
    return Overview(
        tasks={status.value: count for status, count in services().store.counts().items()},
        queues=_queues(),
        workers=_live_workers(workers),
        nodes=_nodes(),
        disks=_disks(workers),
        storage=_storage(workers.get("uploader", ())),
        redis=_redis(),
    )


def _nodes() -> list[NodeSilence]:
    return [
        NodeSilence(node=node or None, processor_s=silent.get("processor"), uploader_s=silent.get("uploader"))
        for node, silent in sorted(silences_s(services().broker).items())
    ]


def _queues() -> list[QueueSize]:
    found = []
    for kind, node, queue in services().broker.all_queues():
        sizes = queue.sizes()
        priorities = [
            PrioritySize(priority=priority, waiting=waiting, oldest_s=sizes.oldest_s[priority])
            for priority, waiting in sorted(sizes.by_priority.items(), reverse=True)
        ]
        found.append(
            QueueSize(
                queue=kind,
                node=node or None,
                waiting=sizes.waiting,
                leased=sizes.leased,
                delayed=sizes.delayed,
                dead=sizes.dead,
                priorities=priorities,
            )
        )
    return found


def _live_workers(workers: Workers) -> list[LiveWorker]:
    return [
        LiveWorker(**{**facts, "kind": kind, "name": facts["name"].removeprefix(f"{kind}:")})
        for kind, found in sorted(workers.items())
        for facts in ({name: fact for name, fact in facts.items() if name != DISKS} for facts in found)
    ]


def _disks(workers: Workers) -> list[DiskSpace]:
    """The disks that workers have announced, then those of this process, which receives uploads."""
    found = [
        DiskSpace(kind=kind, name=facts["name"].removeprefix(f"{kind}:"), node=facts.get("node"), **asdict(space))
        for kind, of_kind in sorted(workers.items())
        for facts in of_kind
        for space in announced_spaces(facts)
    ]
    settings, name = services().settings, f"{socket.gethostname()}:{os.getpid()}"
    own = folder_spaces(settings, ("TEMP_DIR", "OUTPUT_DIR"))
    return found + [DiskSpace(kind="api", name=name, node=settings.node_id or None, **asdict(space)) for space in own]


def _storage(uploaders: Sequence[Mapping[str, str]]) -> StorageState:
    """The storage as the uploaders find it: the API itself stores songs only, when they are sent."""
    settings, storage = services().settings, services().storage
    problems = {facts.get("paused", "") for facts in uploaders}
    return StorageState(
        kind=storage.kind,
        bucket=settings.s3_bucket_name or None,
        endpoint=without_secrets(settings.s3_endpoint_url) or None,
        folder=str(storage.root) if isinstance(storage, LocalStorage) else None,
        usable="" in problems if uploaders else None,
        problem=" ".join(sorted(filter(None, problems))) or None,
        stored_bytes=storage.stored_bytes(_MAX_COUNTED_FILES) if isinstance(storage, LocalStorage) else None,
    )


def _redis() -> RedisState:
    server = services().clients.server_of(services().broker.root)
    info = info_of(server)
    durability = durability_from(info, shown_config(server))
    return RedisState(
        server=server_name(info) or None,
        used_bytes=info.get("used_memory"),
        max_bytes=info.get("maxmemory") or None,
        clients=info.get("connected_clients"),
        up_s=info.get("uptime_in_seconds"),
        appendfsync=durability.appendfsync,
        saved_s=durability.saved_s,
        writes_fail=durability.writes_fail,
        risks=durability.risks(),
    )
