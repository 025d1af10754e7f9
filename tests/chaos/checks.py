"""What of the evidence breaks a promise: each fault by the id of its task, and in a sentence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.evidence import TASKS, Evidence
from tests.chaos.hosts import Call
from tests.chaos.plan import Song
from tests.chaos.songs import fault_of, wav
from uvr.storage.uploads import task_uuid_of

STEMS = {"vocals", "instrumental"}


class Kind(StrEnum):
    """LOST: what was promised is not there. STUCK: not at its end yet. WRONG: it is there, but not as it must be.

    LEFT_OVER: something that nobody needs any more.
    """

    LOST = "lost"
    STUCK = "stuck"
    WRONG = "wrong"
    LEFT_OVER = "left over"


@dataclass(frozen=True)
class Fault:
    """`what` is a task's id, or the name of what is left over."""

    kind: Kind
    what: str
    sentence: str


@dataclass(frozen=True)
class Promises:
    """What was asked, every POST by its name, and the names of those that were accepted, by task id."""

    asked: Mapping[str, Song]
    accepted: Mapping[str, str]


def faults(promises: Promises, evidence: Evidence) -> list[Fault]:
    """Everything that is wrong but for the sound of stems, which takes longer to hear."""
    return [*_lost(promises, evidence), *_of_tasks(promises, evidence), *_of_the_rest(evidence)]


def faults_of_stems(
    promises: Promises, evidence: Evidence, fetch: Callable[[str], bytes], seed: int, compensate: float
) -> Iterator[Fault]:
    """Whether the links in each webhook of success lead to the two stems of the song; `fetch` gives a URL's bytes."""
    for task_uuid, record in evidence.records.items():
        name = _name(record)
        links = [call.payload for call in evidence.calls.get(name, []) if call.payload.keys() >= STEMS]
        if record["status"] == "success" and links:
            stems = {stem: fetch(links[-1][stem]) for stem in STEMS}
            if sentence := fault_of(stems, wav(promises.asked[name], seed), compensate):
                yield Fault(Kind.WRONG, task_uuid, sentence)


def repeated(evidence: Evidence) -> int:
    """How many webhooks came again although an earlier try had been answered with success."""
    return sum(max(0, sum(call.taken for call in calls) - 1) for calls in evidence.calls.values())


def _lost(promises: Promises, evidence: Evidence) -> Iterator[Fault]:
    for task_uuid, name in promises.accepted.items():
        if task_uuid not in evidence.records:
            yield Fault(Kind.LOST, task_uuid, "it was accepted, and there is no record of it")
        elif not evidence.calls.get(name):
            yield Fault(Kind.LOST, task_uuid, "its webhook never arrived")


def _of_tasks(promises: Promises, evidence: Evidence) -> Iterator[Fault]:
    """Those whose POST was never answered as well: they were not promised, but what is there of them must be right."""
    for task_uuid, record in evidence.records.items():
        name = _name(record)
        calls = evidence.calls.get(name, [])
        for kind, sentence in [
            *_of_state(promises.asked[name], record, evidence.listed.get(task_uuid, [])),
            *_of_objects(record, evidence.objects),
            *_of_calls(task_uuid, record, calls),
        ]:
            yield Fault(kind, task_uuid, sentence)


def _of_state(song: Song, record: Mapping[str, str], listed: Sequence[str]) -> Iterator[tuple[Kind, str]]:
    status, expected = record["status"], "success" if song.succeeds else "failed"
    if status not in ("success", "failed"):
        yield Kind.STUCK, f"it is still {status}"
    elif status != expected:
        yield Kind.WRONG, f"it is a {status}: {record.get('error_message')}"
    if list(listed) != [status]:
        yield Kind.WRONG, f"it is {status}, and listed under {', '.join(listed) or 'nothing'}"


def _of_objects(record: Mapping[str, str], objects: frozenset[str]) -> Iterator[tuple[Kind, str]]:
    if record["status"] == "failed" and record.get("upload", "") not in {"", *objects}:
        yield Kind.LOST, "the song that was sent along is not in the bucket, so it cannot be tried again"
    if record["status"] != "success":
        return
    keys = _keys(record)
    if set(keys) != STEMS:
        yield Kind.WRONG, f"its stems are {sorted(keys)}"
    for key in set(keys.values()) - objects:
        yield Kind.LOST, f"{key} is not in the bucket"


def _of_calls(task_uuid: str, record: Mapping[str, str], calls: Sequence[Call]) -> Iterator[tuple[Kind, str]]:
    if record["webhook"] != "delivered":
        yield Kind.STUCK, f"its webhook is {record['webhook']}"
    if ids := {call.webhook_id for call in calls} - {f"{task_uuid}.{record['status']}"}:
        yield Kind.WRONG, f"it is {record['status']}, and webhooks came with the ids {sorted(ids)}"
    for call in calls:
        told = (call.payload.get("task_uuid"), call.payload.get("status"))
        if told != (task_uuid, record["status"]):
            yield Kind.WRONG, f"it is {record['status']}, and a webhook says {told}"
        elif told[1] == "success" and not call.payload.keys() >= STEMS:
            yield Kind.WRONG, "a webhook of success comes without links"


def _of_the_rest(evidence: Evidence) -> Iterator[Fault]:
    for part, ids in evidence.live.items():
        yield from (Fault(Kind.STUCK, task_uuid, f"it is in {part}") for task_uuid in ids)
    for queue, ids in evidence.dead.items():
        for task_uuid in ids:
            if queue != TASKS or evidence.records.get(task_uuid, {}).get("status") != "failed":
                yield Fault(Kind.WRONG, task_uuid, f"it is a dead letter of {queue}")
    owned = {key for record in evidence.records.values() for key in _keys(record).values()} | _kept_uploads(evidence)
    there = evidence.objects | evidence.uploads.keys()
    yield from (Fault(Kind.LEFT_OVER, key, "an object that no task has") for key in sorted(there - owned))
    yield from (Fault(Kind.LEFT_OVER, name, "a file that no task needs") for name in evidence.files)
    yield from (Fault(Kind.WRONG, "log", line) for line in evidence.alarms)


def _kept_uploads(evidence: Evidence) -> set[str]:
    """Songs that were sent along: of tasks that failed, and those whose task may come, after an API was killed."""
    failed = {record.get("upload", "") for record in evidence.records.values() if record["status"] == "failed"}
    return failed | {
        key for key, beside in evidence.uploads.items() if beside > 0 and task_uuid_of(key) not in evidence.records
    }


def _keys(record: Mapping[str, str]) -> dict[str, str]:
    """The objects of a task that succeeded, by the names of their stems."""
    keys: dict[str, str] = json.loads(record.get("stems", "{}")) if record["status"] == "success" else {}
    return keys


def _name(record: Mapping[str, str]) -> str:
    """The name that the POST gave to its paths."""
    return record["hook_url"].rpartition("/")[2]
