"""Which promises the evidence breaks: a list of faults, each with the id of its task and a message."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.chaos.evidence import TASKS, Evidence
from tests.chaos.hosts import Call
from tests.chaos.plan import MODELS, Song
from tests.chaos.songs import fault_of, wav
from uvr.storage.uploads import task_uuid_of

STEMS = {"vocals", "instrumental"}


class Kind(StrEnum):
    """LOST: something promised is missing. STUCK: it has not ended. WRONG: it is there, but not as promised.

    LEFT_OVER: something that is not needed any more.
    """

    LOST = "lost"
    STUCK = "stuck"
    WRONG = "wrong"
    LEFT_OVER = "left over"


@dataclass(frozen=True)
class Fault:
    """One broken promise; `what` is a task's id, or the name of what is left over."""

    kind: Kind
    what: str
    message: str


@dataclass(frozen=True)
class Promises:
    """The song of every POST by the POST's name, and the names of the accepted ones by task id."""

    asked: Mapping[str, Song]
    accepted: Mapping[str, str]


def faults(promises: Promises, evidence: Evidence) -> list[Fault]:
    """All faults but those of the stems' sound, whose check takes longer."""
    return [*_lost(promises, evidence), *_of_tasks(promises, evidence), *_of_the_rest(evidence)]


def faults_of_stems(
    promises: Promises, evidence: Evidence, fetch: Callable[[str], bytes], seed: int, compensate: float
) -> Iterator[Fault]:
    """Success webhooks whose links do not lead to the two stems of the song. `fetch` returns the bytes at a URL."""
    for task_uuid, record in evidence.records.items():
        name = _name(record)
        links = [call.payload for call in evidence.calls.get(name, []) if call.payload.keys() >= STEMS]
        if record["status"] == "success" and links:
            stems = {stem: fetch(links[-1][stem]) for stem in STEMS}
            song = promises.asked[name]
            if message := fault_of(stems, wav(song, seed), MODELS[song.model], compensate):
                yield Fault(Kind.WRONG, task_uuid, message)


def repeated(evidence: Evidence) -> int:
    """The number of webhooks that were sent again although an earlier attempt had been answered with success."""
    return sum(max(0, sum(call.taken for call in calls) - 1) for calls in evidence.calls.values())


def _lost(promises: Promises, evidence: Evidence) -> Iterator[Fault]:
    for task_uuid, name in promises.accepted.items():
        if task_uuid not in evidence.records:
            yield Fault(Kind.LOST, task_uuid, "it was accepted, and there is no record of it")
        elif not evidence.calls.get(name):
            yield Fault(Kind.LOST, task_uuid, "its webhook never arrived")


def _of_tasks(promises: Promises, evidence: Evidence) -> Iterator[Fault]:
    """Faults of all tasks, also of those whose POST got no answer: they are not promised, but must not be wrong."""
    for task_uuid, record in evidence.records.items():
        name = _name(record)
        calls = evidence.calls.get(name, [])
        for kind, message in [
            *_of_state(promises.asked[name], record, evidence.listed.get(task_uuid, [])),
            *_of_objects(record, evidence.objects),
            *_of_calls(task_uuid, record, calls),
        ]:
            yield Fault(kind, task_uuid, message)


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
        yield Kind.LOST, "the uploaded song is not in the bucket, so the task cannot be retried"
    if record["status"] != "success":
        return
    keys = _keys(record)
    if set(keys) != STEMS:
        yield Kind.WRONG, f"its stems are {sorted(keys)}"
    peaks = _peaks(record)
    if set(peaks) != {f"{stem}.{resolution}" for stem in STEMS for resolution in ("fine", "coarse")}:
        yield Kind.WRONG, f"its peaks are {sorted(peaks)}"
    for key in {*keys.values(), *peaks.values()} - objects:
        yield Kind.LOST, f"{key} is not in the bucket"


def _of_calls(task_uuid: str, record: Mapping[str, str], calls: Sequence[Call]) -> Iterator[tuple[Kind, str]]:
    if record["webhook"] != "delivered":
        yield Kind.STUCK, f"its webhook is {record['webhook']}"
    if ids := {call.webhook_id for call in calls} - {f"{task_uuid}.{record['status']}"}:
        yield Kind.WRONG, f"it is {record['status']}, and webhooks arrived with the ids {sorted(ids)}"
    for call in calls:
        reported = (call.payload.get("task_uuid"), call.payload.get("status"))
        if reported != (task_uuid, record["status"]):
            yield Kind.WRONG, f"it is {record['status']}, and a webhook says {reported}"
        elif reported[1] == "success" and not call.payload.keys() >= STEMS:
            yield Kind.WRONG, "a success webhook has no links"


def _of_the_rest(evidence: Evidence) -> Iterator[Fault]:
    for part, ids in evidence.live.items():
        yield from (Fault(Kind.STUCK, task_uuid, f"it is in {part}") for task_uuid in ids)
    for queue, ids in evidence.dead.items():
        for task_uuid in ids:
            if queue != TASKS or evidence.records.get(task_uuid, {}).get("status") != "failed":
                yield Fault(Kind.WRONG, task_uuid, f"it is a dead letter of {queue}")
    made = {key for record in evidence.records.values() for key in (*_keys(record).values(), *_peaks(record).values())}
    owned = made | _kept_uploads(evidence)
    there = evidence.objects | evidence.uploads.keys()
    yield from (Fault(Kind.LEFT_OVER, key, "an object that belongs to no task") for key in sorted(there - owned))
    yield from (Fault(Kind.LEFT_OVER, name, "a file that no task needs") for name in evidence.files)
    yield from (Fault(Kind.WRONG, "log", line) for line in evidence.alarms)


def _kept_uploads(evidence: Evidence) -> set[str]:
    """Uploaded songs of failed tasks, and of tasks that may still be created because an API process was killed."""
    failed = {record.get("upload", "") for record in evidence.records.values() if record["status"] == "failed"}
    return failed | {
        key
        for key, waiting_since_ms in evidence.uploads.items()
        if waiting_since_ms > 0 and task_uuid_of(key) not in evidence.records
    }


def _keys(record: Mapping[str, str]) -> dict[str, str]:
    """The objects of a task that succeeded, by the names of their stems."""
    keys: dict[str, str] = json.loads(record.get("stems", "{}")) if record["status"] == "success" else {}
    return keys


def _peaks(record: Mapping[str, str]) -> dict[str, str]:
    """The objects with the waveforms of its stems, by stem and resolution."""
    keys: dict[str, str] = json.loads(record.get("peaks", "{}")) if record["status"] == "success" else {}
    return keys


def _name(record: Mapping[str, str]) -> str:
    """The name that the POST gave to its paths."""
    return record["hook_url"].rpartition("/")[2]
