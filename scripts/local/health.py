"""Whether each of the local processes works: the API is asked over HTTP, workers announce themselves in Redis."""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener

from redis import RedisError

from config import Settings
from scripts.local import redis_server
from scripts.local.errors import StartError
from uvr.liveness.workers import live_workers
from uvr.redis.clients import connect


def components_up(settings: Settings, pids: Mapping[str, int | None]) -> set[str]:
    """The names of those that are up among "redis" and the processes in `pids`.

    A worker is up when a worker with its pid has announced itself. /health would also count workers of other machines,
    and for some seconds those that died.
    """
    up = _workers_up(settings, pids)
    if _redis_answers(settings):
        up.add("redis")
    if pids.get("api") and _api_answers(settings):
        up.add("api")
    return up


def why_not_ready(settings: Settings) -> list[str]:
    """Why a running service does not process tasks, such as a bucket that refuses files; one sentence per reason."""
    opener = build_opener(ProxyHandler({}))
    try:
        opener.open(f"{settings.local_url}/ready", timeout=5).close()
    except HTTPError as answer:
        with suppress(ValueError, KeyError):
            parts = json.load(answer)["components"].values()
            return list(dict.fromkeys(part["message"] for part in parts if part["status"] != "up"))
    except OSError:
        return []  # it was up a moment ago; `./status_local.sh` shows its state
    return []


def _redis_answers(settings: Settings) -> bool:
    try:
        return redis_server.answers(settings)
    except StartError:
        return False


def _api_answers(settings: Settings) -> bool:
    opener = build_opener(ProxyHandler({}))  # never ask a proxy for a loopback address
    try:
        with opener.open(f"{settings.local_url}/health", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except OSError:  # including a 503
        return False


def _workers_up(settings: Settings, pids: Mapping[str, int | None]) -> set[str]:
    clients = connect(settings)
    try:
        seen = live_workers(clients.commands, settings.redis_task_queue)
    except RedisError:
        return set()
    finally:
        clients.close()
    names = {worker["name"] for workers in seen.values() for worker in workers}
    return {kind for kind, pid in pids.items() if f"{kind}:{socket.gethostname()}:{pid}" in names}
