"""The checks find faults: here each promise is broken once, and the fault is reported with the id of its task."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.chaos.checks import STEMS, Fault, Kind, Promises, faults, faults_of_stems, repeated
from tests.chaos.evidence import Evidence
from tests.chaos.hosts import Call
from tests.chaos.plan import Song
from tests.chaos.songs import wav
from tests.support.audio import encoded, read_audio

SEED = 3
COMPENSATE = 1.05
GOOD = Song(0, 3, 0.0, "success", 1.2, 22_050, 2, (), 0.0, False, "hooks-1", (), 0.0, "half")
GONE = replace(GOOD, number=1, end="gone")
UNANSWERED = replace(GOOD, number=2)

PROMISES = Promises({"0.0": GOOD, "1.0": GONE, "2.0": UNANSWERED}, {"good": "0.0", "gone": "1.0"})


def record(name: str, status: str, **fields: str) -> dict[str, str]:
    return {"status": status, "hook_url": f"http://hooks/{name}", "webhook": "delivered", **fields}


def success(task_uuid: str, name: str) -> dict[str, str]:
    keys = {stem: f"{task_uuid}_{stem}.wav" for stem in STEMS}
    return record(name, "success", stems=json.dumps(keys), peaks=json.dumps(peaks_of(task_uuid)))


def peaks_of(task_uuid: str) -> dict[str, str]:
    sizes = [f"{stem}.{resolution}" for stem in STEMS for resolution in ("fine", "coarse")]
    return {size: f"{task_uuid}_{size}.peaks.dat" for size in sizes}


def call(task_uuid: str, status: str, *, taken: bool = True) -> Call:
    links = {"vocals": "http://s3/vocals", "instrumental": "http://s3/instrumental"} if status == "success" else {}
    return Call(f"{task_uuid}.{status}", {"task_uuid": task_uuid, "status": status, **links}, taken)


RIGHT = Evidence(
    records={
        "good": success("good", "0.0"),
        "gone": record("1.0", "failed", error_message="The audio could not be fetched."),
        "ghost": success("ghost", "2.0"),
    },
    listed={"good": ["success"], "gone": ["failed"], "ghost": ["success"]},
    live={},
    dead={"uvr_tasks": ["gone"], "uvr_results": [], "uvr_webhooks": []},
    calls={
        "0.0": [call("good", "success", taken=False), call("good", "success")],
        "1.0": [call("gone", "failed")],
        "2.0": [call("ghost", "success")],
    },
    objects=frozenset(
        key
        for task in ("good", "ghost")
        for key in (*(f"{task}_{stem}.wav" for stem in STEMS), *peaks_of(task).values())
    ),
    uploads={},
    files=[],
    alarms=[],
)


def changed(part: str, **entries: Any) -> Evidence:
    """The right evidence with other entries in one of its parts; None takes one out."""
    merged = {**getattr(RIGHT, part), **entries}
    return replace(RIGHT, **{part: {name: entry for name, entry in merged.items() if entry is not None}})


def calls_of_good(*calls: Call) -> Evidence:
    return replace(RIGHT, calls={**RIGHT.calls, "0.0": calls})


def judged(evidence: Evidence) -> set[tuple[Kind, str]]:
    return {(fault.kind, fault.what) for fault in faults(PROMISES, evidence)}


def test_nothing_is_wrong_where_everything_is_right() -> None:
    assert faults(PROMISES, RIGHT) == []


def test_a_task_without_a_record_is_lost() -> None:
    assert (Kind.LOST, "good") in judged(changed("records", good=None))


def test_a_post_that_was_never_answered_may_have_made_a_task_or_not() -> None:
    without = replace(changed("records", ghost=None), objects=frozenset(n for n in RIGHT.objects if "good" in n))
    assert judged(without) == set()


def test_a_webhook_that_never_arrived_is_lost() -> None:
    assert judged(calls_of_good()) == {(Kind.LOST, "good")}


def test_a_stem_that_is_not_in_the_bucket_is_lost() -> None:
    evidence = replace(RIGHT, objects=RIGHT.objects - {"good_vocals.wav"})
    assert judged(evidence) == {(Kind.LOST, "good")}


@pytest.mark.parametrize("status", ["queued", "processing", "uploading"])
def test_a_task_without_an_end_is_stuck(status: str) -> None:
    assert (Kind.STUCK, "good") in judged(changed("records", good={**RIGHT.records["good"], "status": status}))


KEY = "uploads/gone.0123"


def with_upload(record: str, waiting_since_ms: float, *objects: str) -> Evidence:
    """The right evidence, in which this record has an uploaded song."""
    evidence = changed("records", **{record: {**RIGHT.records[record], "upload": KEY}})
    return replace(evidence, uploads={KEY: waiting_since_ms}, objects=RIGHT.objects | {*objects})


def test_the_song_of_a_task_that_failed_is_kept() -> None:
    assert judged(with_upload("gone", 0, KEY)) == set()
    assert judged(with_upload("gone", 0)) == {(Kind.LOST, "gone")}


def test_the_song_of_a_task_that_succeeded_is_left_over() -> None:
    assert judged(with_upload("good", 0, KEY)) == {(Kind.LEFT_OVER, KEY)}
    assert judged(with_upload("good", 0)) == {(Kind.LEFT_OVER, KEY)}


def test_an_upload_may_wait_for_its_task_but_not_once_the_task_exists() -> None:
    evidence = replace(RIGHT, objects=RIGHT.objects | {"uploads/new.0123"})
    assert judged(replace(evidence, uploads={"uploads/new.0123": 1_700_000_000_000})) == set()
    assert judged(evidence) == {(Kind.LEFT_OVER, "uploads/new.0123")}
    assert judged(with_upload("good", 1_700_000_000_000, KEY)) == {(Kind.LEFT_OVER, KEY)}


@pytest.mark.parametrize("state", ["pending", "failed", "none"])
def test_a_webhook_that_is_not_delivered_is_stuck(state: str) -> None:
    evidence = changed("records", gone={**RIGHT.records["gone"], "webhook": state})
    assert judged(evidence) == {(Kind.STUCK, "gone")}


@pytest.mark.parametrize("part", ["uvr_tasks", "uvr_tasks:lease", "uvr_webhooks:delayed", "uvr_results:item"])
def test_an_item_left_in_a_queue_is_stuck(part: str) -> None:
    assert judged(replace(RIGHT, live={part: ["good"]})) == {(Kind.STUCK, "good")}


def test_a_song_that_failed_is_wrong() -> None:
    evidence = changed("records", good=record("0.0", "failed", error_message="The separation failed."))
    assert (Kind.WRONG, "good") in judged(evidence)


def test_a_song_that_is_not_there_must_not_succeed() -> None:
    assert (Kind.WRONG, "gone") in judged(changed("records", gone=success("gone", "1.0")))


@pytest.mark.parametrize("listed", [["success", "failed"], ["failed"], None])
def test_a_task_is_listed_under_its_status_alone(listed: list[str] | None) -> None:
    assert judged(changed("listed", good=listed)) == {(Kind.WRONG, "good")}


@pytest.mark.parametrize(
    "second",
    [
        replace(call("good", "success"), webhook_id="another"),
        call("good", "failed"),
        replace(call("good", "success"), payload=call("another", "success").payload),
        replace(call("good", "success"), payload={"task_uuid": "good", "status": "success"}),
    ],
    ids=["another webhook-id", "another end", "another task", "no links"],
)
def test_all_webhooks_of_a_task_say_the_same(second: Call) -> None:
    assert judged(calls_of_good(call("good", "success"), second)) == {(Kind.WRONG, "good")}


def test_a_dead_letter_of_a_task_that_did_not_fail_is_wrong() -> None:
    assert judged(changed("dead", uvr_webhooks=["good"])) == {(Kind.WRONG, "good")}
    assert judged(changed("dead", uvr_tasks=["good"])) == {(Kind.WRONG, "good")}


def test_an_object_that_no_task_has_is_left_over() -> None:
    evidence = replace(RIGHT, objects=RIGHT.objects | {"gone_vocals.wav"})
    assert judged(evidence) == {(Kind.LEFT_OVER, "gone_vocals.wav")}


def test_a_file_that_no_task_needs_is_left_over() -> None:
    assert judged(replace(RIGHT, files=["temp/good.7.abc"])) == {(Kind.LEFT_OVER, "temp/good.7.abc")}


def test_an_unexpected_log_line_is_wrong() -> None:
    assert judged(replace(RIGHT, alarms=["api.log: Traceback"])) == {(Kind.WRONG, "log")}


def test_webhooks_are_counted_as_repeated_if_an_earlier_one_was_taken() -> None:
    assert repeated(RIGHT) == 0
    assert repeated(calls_of_good(*[call("good", "success")] * 3)) == 2


def stems(*, vocals: float = 0.5, offset: int = 0, samples: int | None = None, song: Song = GOOD) -> dict[str, bytes]:
    """Stems of a song as the service makes them, or with a defect."""
    whole = read_audio(wav(song, SEED))
    voice = np.float32(vocals) * whole
    rest = whole - np.float32(COMPENSATE) * voice + np.float32(offset / 2**15)
    made = {"vocals": voice, "instrumental": rest}
    return {
        name: encoded(sound[:, :samples], ".wav", codec="pcm_s16le", rate=song.rate_hz) for name, sound in made.items()
    }


def stem_faults(made: Mapping[str, bytes]) -> Iterable[Fault]:
    only_good = replace(RIGHT, records={"good": RIGHT.records["good"]})
    return list(faults_of_stems(PROMISES, only_good, lambda url: made[url.rpartition("/")[2]], SEED, COMPENSATE))


def test_stems_that_add_up_to_their_song_are_right() -> None:
    assert stem_faults(stems()) == []


@pytest.mark.parametrize(
    "made",
    [
        stems(offset=3),
        stems(samples=26_000),
        stems(vocals=0.0),
        stems(vocals=0.25),
        stems(song=UNANSWERED),
        {**stems(), "vocals": b"not audio"},
        {**stems(), "vocals": stems()["instrumental"]},
    ],
    ids=["off by three steps", "too short", "silent", "another model's", "another song's", "damaged", "twice the same"],
)
def test_defective_stems_are_found(made: dict[str, bytes]) -> None:
    (fault,) = stem_faults(made)
    assert (fault.kind, fault.what) == (Kind.WRONG, "good")
