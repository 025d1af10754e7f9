"""What is there afterwards, read past the proxies: records, queues, webhooks, objects, files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from tests.chaos.hosts import Call
from tests.chaos.stack import DOORS, Stack
from tests.support.s3_server import BUCKET

TASKS, RESULTS, WEBHOOKS = "uvr_tasks", "uvr_results", "uvr_webhooks"
"""The names of the queues; the records stand under the first."""

_STATUSES = ("queued", "processing", "uploading", "success", "failed")
_QUEUES = (TASKS, RESULTS, WEBHOOKS)
_LIVE = ("", ":lease", ":delayed", ":foreign")
"""The parts of a queue that hold items which are not at their end."""


@dataclass(frozen=True)
class Evidence:
    """One look at everything.

    `records` are the tasks' hashes by id, `listed` the statuses under which a task is listed. `live` names what is left
    of each queue, `dead` has the dead letters of each. `calls` are the webhooks by the last part of their path, in
    order. `uploads` has what the list of songs that were sent along has beside each key. `files` lie below TEMP_DIR and
    OUTPUT_DIR. `alarms` are lines of the logs that tell of something unforeseen.
    """

    records: Mapping[str, Mapping[str, str]]
    listed: Mapping[str, Sequence[str]]
    live: Mapping[str, Sequence[str]]
    dead: Mapping[str, Sequence[str]]
    calls: Mapping[str, Sequence[Call]]
    objects: frozenset[str]
    uploads: Mapping[str, float]
    files: Sequence[str]
    alarms: Sequence[str]


def look(stack: Stack) -> Evidence:
    """Take it all in; raises what Redis and the S3 server raise while they are not up."""
    with stack.redis() as redis:
        records = {_id(key): redis.hgetall(key) for key in redis.scan_iter(f"{TASKS}:task:*", 1000)}
        return Evidence(
            records=records,
            listed=_listed(redis),
            live=_live(redis),
            dead={queue: redis.zrange(f"{queue}:dead", 0, -1) for queue in _QUEUES},
            calls=_calls(stack),
            objects=frozenset(_objects(stack)),
            uploads=dict(redis.zscan_iter(f"{TASKS}:uploads")),
            files=[*_files(stack.service.temp_dir), *_files(stack.service.output_dir)],
            alarms=sorted(set().union(*(_alarms(stack.service.log_dir / f"{name}.log") for name in DOORS))),
        )


def _listed(redis: Redis) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for status in _STATUSES:
        for member in redis.zrange(f"{TASKS}:tasks:{status}", 0, -1):
            found.setdefault(_id(member), []).append(status)
    return found


def _live(redis: Redis) -> dict[str, list[str]]:
    """What is left of each queue by the part it is in, and under `:item` what is in none, so that nobody finds it."""
    found = {}
    for queue in _QUEUES:
        parts = {queue + part: [_id(member) for member in redis.zrange(queue + part, 0, -1)] for part in _LIVE}
        placed = {*redis.zrange(f"{queue}:dead", 0, -1), *(item for ids in parts.values() for item in ids)}
        items = {_id(key) for key in redis.scan_iter(f"{queue}:item:*", 1000)}
        found |= {**parts, f"{queue}:item": sorted(items - placed)}
    return {name: ids for name, ids in found.items() if ids}


def _id(name: str) -> str:
    return name.rpartition(":")[2]


def _calls(stack: Stack) -> dict[str, list[Call]]:
    found: dict[str, list[Call]] = {}
    for receiver in stack.receivers.values():
        for path, call in receiver.calls():
            found.setdefault(path.lstrip("/"), []).append(call)
    return found


def _objects(stack: Stack) -> Iterator[str]:
    for page in stack.bucket.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
        for entry in page.get("Contents", []):
            yield entry["Key"]


def _files(folder: Path) -> Iterator[str]:
    """All but the folders that stay, and what an API that was killed has received of a song, which stays for a day."""
    stay = {folder / "pending", folder / "uploads", *folder.glob("uploads/.*.part")}
    for path in sorted(folder.rglob("*")):
        if path not in stay:
            yield str(path.relative_to(folder.parent))


def _alarms(log: Path) -> set[str]:
    """Exceptions nobody caught, what is logged as critical, and all that is no log line at all."""
    return {f"{log.name}: {line}" for line in log.read_text(errors="replace").splitlines() if _is_alarm(line)}


_OF_PYTHON = ("resource_tracker", "EOFError: Ran out of input")
"""What Python's own processes say when they are killed like all others, or their parent is while it starts a child."""


def _is_alarm(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        # Of a traceback the last line will do.
        return not line.startswith((" ", "Traceback")) and not any(words in line for words in _OF_PYTHON)
    return "exception" in entry or entry["level"] == "critical"
