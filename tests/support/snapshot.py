"""All keys of a Redis as text: their types, values and the time they have left, in a file that every server can load.

An RDB file or the answer to DUMP belongs to the version of the server that made it, and a newer format is refused by
every older server. Plain values are not, and a person can read them.

    snapshot.write(client, path, port=web.port, host=socket.gethostname())
    snapshot.load(client, path, port=web.port)
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from redis import Redis

STOPPED_MS = 3_600_000
"""A snapshot is loaded as if the service had been stopped for an hour."""

HOST = "127.0.0.1:4567"
"""The host of songs and receivers as written in a snapshot."""

_WORKER_HOST = "worker-host"
_CLOCK_BOUND = (":lease", ":delayed")


def write(client: Redis, path: Path, *, port: int, host: str) -> None:
    """Write all keys; `port` is that of the songs and receivers on loopback, `host` the name of this machine."""
    keys = {name: _read(client, name) for name in sorted(client.scan_iter(count=1000))}
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(key, ensure_ascii=False)}" for name, key in keys.items())
    text = f'{{\n "taken_ms": {_now_ms()},\n "keys": {{\n{lines}\n }}\n}}\n'
    path.write_text(text.replace(f"127.0.0.1:{port}", HOST).replace(f":{host}:", f":{_WORKER_HOST}:"), encoding="utf-8")


def load(client: Redis, path: Path, *, port: int) -> None:
    """Write all keys of a snapshot into an empty Redis, with songs and receivers at `port`.

    Whatever this machine's clock says, ends of leases and times of next attempts are set as if an hour had passed since
    the snapshot, and keys that expire have an hour less. Nothing else is changed.
    """
    stored = json.loads(path.read_text(encoding="utf-8").replace(HOST, f"127.0.0.1:{port}"))
    moved_ms = _now_ms() - STOPPED_MS - stored["taken_ms"]
    for name, key in stored["keys"].items():
        left_ms = key.get("ttl_ms", STOPPED_MS + 1) - STOPPED_MS
        if left_ms <= 0:
            continue
        _write(client, name, key["type"], key["value"], moved_ms if name.endswith(_CLOCK_BOUND) else 0)
        if "ttl_ms" in key:
            client.pexpire(name, left_ms)


def _read(client: Redis, name: str) -> dict[str, Any]:
    kind: Any = client.type(name)
    reads = {
        "string": lambda: client.get(name),
        "hash": lambda: dict(sorted(client.hgetall(name).items())),
        "list": lambda: client.lrange(name, 0, -1),
        "set": lambda: sorted(client.smembers(name)),
        "zset": lambda: [[member, score] for member, score in client.zrange(name, 0, -1, withscores=True)],
    }
    left_ms: Any = client.pttl(name)
    return {"type": kind, "value": reads[kind]()} | ({"ttl_ms": left_ms} if left_ms > 0 else {})


def _write(client: Redis, name: str, kind: str, value: Any, moved_ms: int) -> None:
    writes = {
        "string": lambda: client.set(name, value),
        "hash": lambda: client.hset(name, mapping=value),
        "list": lambda: client.rpush(name, *value),
        "set": lambda: client.sadd(name, *value),
        "zset": lambda: client.zadd(name, {member: score + moved_ms for member, score in value}),
    }
    writes[kind]()


def _now_ms() -> int:
    return round(time.time() * 1000)
