"""Nodes: each sends heartbeats, and the tasks of a node that has fallen silent are separated again by the others.

A node is a processor and an uploader that share a disk. Stems that are not stored yet exist on that disk only, and
their tasks wait in the node's own result queue. Only the node's uploader can store them. When it has sent no heartbeat
for NODE_TIMEOUT_SECONDS, a worker of any other node moves these tasks back to the task queue, each in one step. So
several rescuers do not get in each other's way, and a silent node that returns finds its leases lost and changes
nothing. Workers without a NODE_ID form one node together, named "".

Silence counts only while at least one worker listens. After Redis or all workers were down, the time starts over: an
outage is never mistaken for the death of the other nodes.

The processor sends heartbeats too. While it lives it may still finish stems, so its node is not forgotten, even if its
queue is empty at the moment.

    R:nodes         ZSet   "{kind}:{node}" -> last heartbeat of that node's processor or uploader, ms
    R:nodes:watch   Hash   since, last: from when to when workers listened without a long pause, ms
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import structlog
from redis import RedisError

from config import Settings
from uvr.periodic import repeating
from uvr.redis import scripts
from uvr.tasks.broker import Broker
from uvr.tasks.model import Status, record

log = structlog.get_logger()

_KINDS = ("processor", "uploader")
_NO_UPLOADER = "The uploader of this node is silent while other nodes live: stems made here would not be stored."


@dataclass(frozen=True)
class NodeHeartbeats:
    """The heartbeats at one moment: the last of each "{kind}:{node}", and since when workers have been listening."""

    now_ms: int
    since_ms: int
    last_ms: dict[str, int]

    @property
    def nodes(self) -> set[str]:
        """The nodes that are not forgotten."""
        return {member.partition(":")[2] for member in self.last_ms}

    def silence_ms(self, kind: str, node: str) -> int:
        """How long workers have been listening without a heartbeat of this one."""
        return self.now_ms - max(self.since_ms, self.last_ms.get(f"{kind}:{node}", 0))


class Node:
    """A worker process of `kind` as a part of its node: it sends heartbeats and listens to other nodes."""

    def __init__(self, settings: Settings, broker: Broker, kind: str) -> None:
        self._settings = settings
        self._broker = broker
        self._member = f"{kind}:{settings.node_id}"
        self._timeout_ms = round(settings.node_timeout_seconds * 1000)
        self._listen = scripts.register(broker.client, "nodes/beat")
        self._forget = scripts.register(broker.client, "nodes/forget")
        self._beaten_at = -math.inf
        self._pause_reason = ""

    def beating(self) -> AbstractContextManager[None]:
        """Beat regularly until the block ends."""
        return repeating(self._try_to_beat, self._settings.heartbeat_seconds, name="node", at_once=True)

    def why_paused(self) -> str:
        """A sentence that says why nothing should be separated here for now; "" when there is no reason.

        A processor asks before each claim, so it separates nothing while other nodes may have taken over its tasks.
        """
        if self._is_out_of_touch():
            self._try_to_beat()
        return "Redis does not receive the heartbeats of this node." if self._is_out_of_touch() else self._pause_reason

    def beat(self) -> None:
        """Send one heartbeat, and rescue the tasks of silent nodes. Raises `redis.RedisError`."""
        # Pauses of up to half the time-out go unnoticed; a living node then has the other half for its next heartbeat.
        args = [self._member, str(self._timeout_ms // 2)]
        now_ms, since_ms, found = self._listen(keys=[self._broker.root], args=args)
        last_ms = dict(zip(found[::2], map(int, found[1::2]), strict=True))
        heartbeats = NodeHeartbeats(int(now_ms), int(since_ms), last_ms)
        self._beaten_at = time.monotonic()
        own = self._settings.node_id
        silent = {node for node in heartbeats.nodes if heartbeats.silence_ms("uploader", node) > self._timeout_ms}
        living = heartbeats.nodes - silent
        reason = _NO_UPLOADER if living and own not in living else ""
        if reason != self._pause_reason:
            log.warning("node.paused" if reason else "node.goes_on", reason=reason)
        self._pause_reason = reason
        for node in sorted(silent - {own}):
            self._rescue(node, heartbeats)

    def _try_to_beat(self) -> None:
        try:
            self.beat()
        except RedisError as error:
            log.debug("node.not_heard", error=str(error))
        except Exception:
            # A bug in rescuing other nodes must not stop the heartbeats of this one.
            log.exception("node.broke")

    def _is_out_of_touch(self) -> bool:
        return time.monotonic() - self._beaten_at > self._settings.node_timeout_seconds / 2

    def _rescue(self, node: str, heartbeats: NodeHeartbeats) -> None:
        """Move all results of `node` back to the task queue, and forget the node once nothing is left of it."""
        results = self._broker.result_queue(node)
        while moved := results.evacuate(self._broker.tasks, lost_with(node)):
            for task_uuid in moved:
                log.warning("task.rescued", task_uuid=task_uuid, lost_with=node)
        # A processor that was silent for as long as this holds no lease any more, so it cannot finish any stems.
        silence_ms = self._timeout_ms + results.lease_ms
        left = results.sizes()
        if heartbeats.silence_ms("processor", node) <= silence_ms:
            return
        if left.waiting + left.leased + left.delayed + left.dead:
            return
        last_beat_ms, members = str(heartbeats.now_ms - silence_ms), [f"{kind}:{node}" for kind in _KINDS]
        if self._forget(keys=[self._broker.root], args=[last_beat_ms, *members]):
            log.info("node.forgotten", node=node)


def silences_s(broker: Broker) -> dict[str, dict[str, float]]:
    """For how many seconds the processor and the uploader of each node have sent no heartbeat, until it is forgotten.

    By node ("" for workers without a NODE_ID), then by kind. May raise `redis.RedisError`.
    """
    seconds, microseconds = broker.client.time()
    found: dict[str, dict[str, float]] = {}
    beats: Any = broker.client.zrange(f"{broker.root}:nodes", 0, -1, withscores=True)
    for member, beat_ms in beats:
        kind, _, node = member.partition(":")
        found.setdefault(node, {})[kind] = round(max(0.0, seconds + microseconds / 1e6 - beat_ms / 1000), 1)
    return found


def lost_with(node: str) -> dict[str, str | int | float]:
    """What the record of a task says while its stems, which were lost with `node`, wait to be made again."""
    return record(status=Status.QUEUED, progress=0.0, handover="", node="", facts={}, lost_with=node)
