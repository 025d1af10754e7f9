"""The same song again: its stems are copied, each task has its own, and stems that are gone are made again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from tests.support.leases import waiting_ids
from tests.support.s3_server import S3Server
from tests.support.waiting import eventually
from tests.support.workshop import Workshop, open_workshop, working
from uvr.tasks.model import Status, Task, record
from uvr.tasks.result_cache import ResultCache

STEMS = {"vocals": b"RIFF vocals", "instrumental": b"RIFF instrumental"}
SONG = "https://songs.example/a.mp3"


@pytest.fixture(params=["local", "s3"])
def workshop(request: Any, redis_client: Redis, tmp_path: Path) -> Iterator[Workshop]:
    """An uploader with either storage, in which one song has been separated."""
    chosen: dict[str, Any] = {"cache_ttl_hours": 1}
    if request.param == "s3":
        s3: S3Server = request.getfixturevalue("s3")
        chosen |= {name.lower(): value for name, value in s3.settings.items()} | {"s3_key_prefix": f"{tmp_path.name}/"}
    with open_workshop(redis_client, tmp_path, **chosen) as workshop:
        workshop.separated("first", STEMS)
        workshop.broker.tasks.annotate("first", record(fingerprint="print"))
        with working(workshop):
            eventually(lambda: workshop.broker.result_cache.find("print") == "first")
            yield workshop


def repeat(workshop: Workshop) -> None:
    task = Task("again", SONG, 3, 1_700_000_000_000, status=Status.UPLOADING, copy_of="first", fingerprint="print")
    assert workshop.broker.results.enqueue("again", 3, task.to_record()).accepted


def is_at(workshop: Workshop, status: Status) -> bool:
    return workshop.task("again").status == status


def content(workshop: Workshop, key: str, folder: Path) -> bytes:
    path = folder / "content"
    path.unlink(missing_ok=True)
    workshop.storage.get(key, path)
    return path.read_bytes()


def test_the_stems_are_the_same_and_each_task_has_its_own(workshop: Workshop, tmp_path: Path) -> None:
    repeat(workshop)
    eventually(lambda: is_at(workshop, Status.SUCCESS))
    for key in workshop.task("first").stems.values():
        workshop.storage.delete(key)
    keys = workshop.task("again").stems
    assert {name: content(workshop, key, tmp_path) for name, key in keys.items()} == STEMS
    assert all("again_" in key for key in keys.values())
    assert workshop.broker.result_cache.find("print") == "first"


@pytest.mark.parametrize("what", ["task", "stem"])
def test_stems_that_are_gone_are_made_again(workshop: Workshop, what: str) -> None:
    if what == "task":
        workshop.broker.tasks.annotate("first", record(stems={}))
    else:
        workshop.storage.delete(workshop.task("first").stems["vocals"])
    repeat(workshop)
    eventually(lambda: is_at(workshop, Status.QUEUED))
    task = workshop.task("again")
    assert (task.copy_of, task.stems, task.losses) == ("", {}, 0)
    assert waiting_ids(workshop.broker.tasks) == ["again"]
    assert workshop.broker.result_cache.find("print") == ""
    for name in STEMS:
        with pytest.raises(Exception, match="no longer stored"):
            workshop.storage.get(f"{workshop.settings.s3_key_prefix}again_{name}.wav", workshop.settings.temp_dir)


def test_the_results_of_other_tasks_are_left_alone(workshop: Workshop) -> None:
    """A task without a handover folder must not take those of others with it."""
    folder = workshop.settings.output_dir / "pending" / "other.7"
    folder.mkdir(parents=True)
    repeat(workshop)
    eventually(lambda: is_at(workshop, Status.SUCCESS))
    eventually(lambda: workshop.broker.results.sizes().leased == 0)
    assert folder.is_dir()


def test_only_the_same_bytes_and_options_have_one_fingerprint(redis_client: Redis, tmp_path: Path) -> None:
    cache = ResultCache(redis_client, "uvr_tasks", 60)
    songs = [tmp_path / name for name in ("a", "b", "c")]
    for song, text in zip(songs, ("same", "same", "other"), strict=True):
        song.write_text(text)
    a, b, c = (cache.fingerprint(song, "model", "wav") for song in songs)
    assert (a == b, a == c, a == cache.fingerprint(songs[0], "model", "mp3")) == (True, False, False)


def test_the_cache_is_off_by_default(redis_client: Redis, tmp_path: Path) -> None:
    cache = ResultCache(redis_client, "uvr_tasks", 0)
    assert cache.fingerprint(tmp_path / "not even read") == ""
    cache.remember("print", "task")
    assert cache.find("print") == ""
    assert redis_client.keys() == []


def test_cached_results_expire(redis_client: Redis) -> None:
    ResultCache(redis_client, "uvr_tasks", 60).remember("print", "task")
    assert 0 < redis_client.pttl("uvr_tasks:made:print") <= 60_000
