"""Collects what is there after a run, bypassing the proxies: records, queues, webhooks, objects, files, log lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from tests.chaos.hosts import Call
from tests.chaos.stack import SERVICE_PROCESSES, Stack
from tests.support.s3_server import BUCKET

TASKS, RESULTS, WEBHOOKS = "uvr_tasks", "uvr_results", "uvr_webhooks"
"""The names of the queues; the records of all tasks have keys with the first one."""

_STATUSES = ("queued", "processing", "uploading", "success", "failed")
_QUEUES = (TASKS, RESULTS, WEBHOOKS)
_LIVE = ("", ":lease", ":delayed", ":foreign")
"""The suffixes of the keys that hold unfinished items of a queue."""


@dataclass(frozen=True)
class Evidence:
    """A snapshot of everything.

    `records` has the hash of each task by id, `listed` the statuses under which each task is listed. `live` has the
    unfinished items of each queue, `dead` its dead letters. `calls` has the webhooks by the last part of their path, in
    order of arrival. `uploads` has the score of each song in the index of uploads. `files` are those below
    TEMP_DIR and OUTPUT_DIR. `alarms` are log lines that must not occur.
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


def collect(stack: Stack) -> Evidence:
    """Collect everything. Raises what the clients of Redis and S3 raise while their servers are not up."""
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
            alarms=sorted(set().union(*(_alarms(stack.service.log_dir / f"{name}.log") for name in SERVICE_PROCESSES))),
        )


def _listed(redis: Redis) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for status in _STATUSES:
        for member in redis.zrange(f"{TASKS}:tasks:{status}", 0, -1):
            found.setdefault(_id(member), []).append(status)
    return found


def _live(redis: Redis) -> dict[str, list[str]]:
    """The unfinished items of each queue by key, and under `:item` those in no key at all, which no worker finds."""
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
    """All files but permanent folders and partial uploads, which a killed API leaves for a day."""
    stay = {folder / "pending", folder / "uploads", *folder.glob("uploads/.*.part")}
    for path in sorted(folder.rglob("*")):
        if path not in stay:
            yield str(path.relative_to(folder.parent))


def _alarms(log: Path) -> set[str]:
    """Uncaught exceptions, critical entries, and every line that is not a log entry."""
    return {f"{log.name}: {line}" for line in log.read_text(errors="replace").splitlines() if _is_alarm(line)}


_OF_PYTHON = ("resource_tracker", "EOFError: Ran out of input")
"""What Python's helper processes print if they or their parents are killed, for example while a child starts."""


def _is_alarm(line: str) -> bool:
    try:
        entry = json.loads(line)
    except ValueError:
        # The last line of a traceback is enough.
        return not line.startswith((" ", "Traceback")) and not any(words in line for words in _OF_PYTHON)
    return "exception" in entry or entry["level"] == "critical"
