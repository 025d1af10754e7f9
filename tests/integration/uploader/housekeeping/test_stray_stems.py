"""Stems that may still arrive after their task was deleted are deleted again, for a day."""

from __future__ import annotations

import pytest
from redis import Redis

from tests.support.leases import begin
from tests.support.workshop import Workshop
from uvr.errors import CancelledError, PermanentError, TransientError
from uvr.storage.availability import StorageAvailability
from uvr.storage.stray_stems import StrayStems
from uvr.storage.uploads import Uploads
from uvr.timestamps import now_ms
from uvr.uploader.handler import StoreHandler
from uvr.uploader.housekeeping import tolerance
from uvr.uploader.housekeeping.clock import ClockReading
from uvr.uploader.housekeeping.stray_stems import delete_stray_stems
from uvr.worker.heartbeat import Heartbeat
from uvr.worker.shutdown import Shutdown

DAY_MS = 86_400_000


def arrives(workshop: Workshop, key: str) -> None:
    """A stem is stored."""
    source = workshop.settings.output_dir / "source.wav"
    source.parent.mkdir(parents=True, exist_ok=True)
    source.write_bytes(b"RIFF")
    workshop.storage.put(source, key, "audio/wav")


def is_stored(workshop: Workshop, key: str) -> bool:
    return (workshop.settings.output_dir / "stems" / key).exists()


def test_a_stray_is_deleted_whenever_it_arrives_within_a_day(workshop: Workshop) -> None:
    workshop.broker.strays.add(["a_vocals.wav", "a_instrumental.wav"])
    for _ in range(2):
        arrives(workshop, "a_vocals.wav")
        delete_stray_stems(workshop.broker, workshop.storage, ClockReading(now_ms()))
        assert not is_stored(workshop, "a_vocals.wav")
    delete_stray_stems(workshop.broker, workshop.storage, ClockReading(now_ms() + DAY_MS))
    assert dict(workshop.broker.strays.all()) == {}


def test_a_stray_that_is_not_deleted_stays_listed_and_keeps_no_other(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = [f"{letter}_vocals.wav" for letter in "abc"]
    workshop.broker.strays.add(keys)
    deleted: list[str] = []

    def delete(key: str) -> None:
        if key == keys[0]:
            raise PermanentError("The object is locked.")
        deleted.append(key)

    monkeypatch.setattr(workshop.storage, "delete", delete)
    delete_stray_stems(workshop.broker, workshop.storage, ClockReading(now_ms() + 2 * DAY_MS))
    assert sorted(deleted) == keys[1:]
    assert list(dict(workshop.broker.strays.all())) == keys[:1]


def test_a_round_ends_when_deletions_have_failed_for_too_long(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.broker.strays.add(f"{number}_vocals.wav" for number in range(5))
    monkeypatch.setattr(tolerance, "_MAX_FAILING_S", 0.0)
    asked: list[str] = []

    def fail(key: str) -> None:
        asked.append(key)
        raise TransientError("The bucket does not answer.")

    monkeypatch.setattr(workshop.storage, "delete", fail)
    delete_stray_stems(workshop.broker, workshop.storage, ClockReading(now_ms()))
    assert len(asked) == 1


def test_nothing_is_stored_if_redis_cannot_note_which_stems(workshop: Workshop, shutdown: Shutdown) -> None:
    workshop.separated("late", {"vocals": b"RIFF"})
    lease = begin(workshop.broker.results)
    availability, uploads = StorageAvailability(workshop.storage), Uploads(workshop.settings, workshop.broker.uploads)
    handler = StoreHandler(workshop.settings, workshop.broker, workshop.storage, availability, uploads)
    assert workshop.broker.results.release(lease)  # as if its lease had expired
    with pytest.raises(CancelledError, match="did not begin"):
        handler.handle(lease, Heartbeat(workshop.broker.results, lease, 15, shutdown))
    assert not is_stored(workshop, "late_vocals.wav")


def test_a_deletion_works_on_a_full_redis(redis_client: Redis) -> None:
    strays = StrayStems(redis_client, "uvr_tasks")
    redis_client.config_set("maxmemory", 1)
    try:
        strays.add(["a_vocals.wav"])
    finally:
        redis_client.config_set("maxmemory", 0)
    assert [key for key, _ in strays.all()] == ["a_vocals.wav"]
