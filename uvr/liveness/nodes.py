"""Several nodes: each gives signs of life, and what was lost with the disk of one that fell silent is made again.

A node is a processor and an uploader that share a disk. Stems that are made but not saved yet exist on that disk alone,
and their tasks stand in the node's own result queue. When its uploader, the one who could save them, was not heard for
NODE_TIMEOUT_SECONDS, a worker of any other node moves these tasks back to the task queue, each in one step: whoever
comes first, the others find nothing left; and a silent node that comes back finds its leases void, so that it changes
nothing. Workers without a NODE_ID are one node too, "" by name.

Silence counts only while somebody listens. After Redis was away for all, or all workers were, the time starts anew:
an outage is never taken for the death of everybody else.

The processor gives signs as well. While it does, it may still hand over stems, so its node is not forgotten, however
empty the node's queue is at the moment.

    R:nodes         ZSet   "{kind}:{node}" -> last sign of life of that node's processor or uploader, ms
    R:nodes:watch   Hash   since, last: from when to when somebody listened without a long pause, ms
"""

from __future__ import annotations

import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import structlog
from redis import RedisError

from config import Settings
from redis_queue import RedisQueue
from uvr.periodic import repeating
from uvr.redis.clients import RedisClients
from uvr.redis.lua import allow_oom
from uvr.tasks.model import Status, record
from uvr.tasks.queues import open_result_queue

log = structlog.get_logger()

# A full Redis must not look like the death of all nodes, hence allow-oom.
# KEYS: records. ARGV: own member, longest pause ms. Gives {now, since, {member, sign, …}}.
_LISTEN = allow_oom("""
local nodes, watch = KEYS[1] .. ':nodes', KEYS[1] .. ':nodes:watch'
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', nodes, now, ARGV[1])
local heard = redis.call('HMGET', watch, 'since', 'last')
local since, last = tonumber(heard[1]), tonumber(heard[2])
if not last or now - last > tonumber(ARGV[2]) then since = now end
redis.call('HSET', watch, 'since', since, 'last', now)
return {now, since, redis.call('ZRANGE', nodes, 0, -1, 'WITHSCORES')}
""")

# KEYS: records. ARGV: latest sign of a node that is to be forgotten ms, its members…
_FORGET = allow_oom("""
for i = 2, #ARGV do
  local sign = redis.call('ZSCORE', KEYS[1] .. ':nodes', ARGV[i])
  if sign and tonumber(sign) > tonumber(ARGV[1]) then return 0 end
end
return redis.call('ZREM', KEYS[1] .. ':nodes', unpack(ARGV, 2))
""")

_KINDS = ("processor", "uploader")
_NOBODY_SAVES = "The uploader of this node is silent, and other nodes live: nobody would save what is made here."


@dataclass(frozen=True)
class NodeHeartbeats:
    """What was heard by one moment: the last sign of each "{kind}:{node}", and since when somebody listens."""

    now_ms: int
    since_ms: int
    last_ms: dict[str, int]

    @property
    def nodes(self) -> set[str]:
        """The nodes that are not forgotten."""
        return {_node_of(member) for member in self.last_ms}

    def silence_ms(self, kind: str, node: str) -> int:
        """How long this worker of the node was listened for in vain."""
        return self.now_ms - max(self.since_ms, self.last_ms.get(f"{kind}:{node}", 0))


class Node:
    """A worker process of `kind` as a part of its node: heard by the other nodes, and listening for them."""

    def __init__(self, settings: Settings, clients: RedisClients, tasks: RedisQueue, kind: str) -> None:
        self._settings = settings
        self._clients = clients
        self._tasks = tasks
        self._member = f"{kind}:{settings.node_id}"
        self._timeout_ms = round(settings.node_timeout_seconds * 1000)
        self._listen = clients.commands.register_script(_LISTEN)
        self._forget = clients.commands.register_script(_FORGET)
        self._heard_at = -math.inf
        self._paused = ""

    def beating(self) -> AbstractContextManager[None]:
        """Give signs of life, and look after silent nodes, until the block ends."""
        return repeating(self._try, self._settings.heartbeat_seconds, name="node", at_once=True)

    def why_paused(self) -> str:
        """Why nothing is to be made here for now, a sentence; "" when nothing is in the way.

        Whoever asks before each claim makes nothing while the others may have forgotten this node.
        """
        if self._is_out_of_touch():
            self._try()
        return "Redis does not hear this node." if self._is_out_of_touch() else self._paused

    def beat(self) -> None:
        """Give one sign of life, and make again what silent nodes left. Raises `redis.RedisError`."""
        signs = self._hear()
        self._heard_at = time.monotonic()
        self._pause(_NOBODY_SAVES if self._is_without_uploader(signs) else "")
        for node in sorted(signs.nodes - {self._settings.node_id}):
            if self._is_silent(node, signs):
                self._look_after(node, signs)

    def _try(self) -> None:
        try:
            self.beat()
        except RedisError as error:
            log.debug("node.not_heard", error=str(error))
        except Exception:
            # Whatever goes wrong with the others, this node must go on to be heard.
            log.exception("node.broke")

    def _hear(self) -> NodeHeartbeats:
        # Half the time-out: after a pause that goes unnoticed a living node has the other half left to be heard again.
        args = [self._member, str(self._timeout_ms // 2)]
        now_ms, since_ms, found = self._listen(keys=[self._settings.redis_task_queue], args=args)
        return NodeHeartbeats(int(now_ms), int(since_ms), dict(zip(found[::2], map(int, found[1::2]), strict=True)))

    def _is_out_of_touch(self) -> bool:
        return time.monotonic() - self._heard_at > self._settings.node_timeout_seconds / 2

    def _is_without_uploader(self, signs: NodeHeartbeats) -> bool:
        """Whether others would make again what is made here: this node cannot save it, and another one lives."""
        saving = {node for node in signs.nodes if not self._is_silent(node, signs)}
        return bool(saving) and self._settings.node_id not in saving

    def _pause(self, reason: str) -> None:
        if reason != self._paused:
            log.warning("node.paused" if reason else "node.goes_on", reason=reason)
        self._paused = reason

    def _is_silent(self, node: str, signs: NodeHeartbeats) -> bool:
        return signs.silence_ms("uploader", node) > self._timeout_ms

    def _look_after(self, node: str, signs: NodeHeartbeats) -> None:
        results = open_result_queue(self._settings, self._clients, node)
        while moved := results.evacuate(self._tasks, lost_with(node)):
            for task_uuid in moved:
                log.warning("task.rescued", task_uuid=task_uuid, lost_with=node)
        self._forget_if_empty(node, results, signs)

    def _forget_if_empty(self, node: str, results: RedisQueue, signs: NodeHeartbeats) -> None:
        # A processor that was silent for that long holds no lease any more, so it cannot hand over anything.
        silence_ms = self._timeout_ms + results.lease_ms
        left = results.sizes()
        if signs.silence_ms("processor", node) <= silence_ms or left.waiting + left.leased + left.delayed + left.dead:
            return
        heard_until_ms, members = str(signs.now_ms - silence_ms), [f"{kind}:{node}" for kind in _KINDS]
        if self._forget(keys=[self._settings.redis_task_queue], args=[heard_until_ms, *members]):
            log.info("node.forgotten", node=node)


def lost_with(node: str) -> dict[str, str | int | float]:
    """What a task's record says while the stems that were lost with `node` wait to be made again."""
    return record(status=Status.QUEUED, progress=0.0, handover="", node="", facts={}, lost_with=node)


def _node_of(member: str) -> str:
    return member.partition(":")[2]
