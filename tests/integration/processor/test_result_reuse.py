"""Stems are reused only if the same model made them: a file with the same name is not the same model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from redis import Redis

import processor
from tests.support.audio import noise, write_audio
from tests.support.http_server import Answer, HttpServer
from tests.support.networks import PARAMETERS, write_network
from tests.support.waiting import eventually
from tests.support.workers import at_work, wake_workers
from tests.support.workshop import Workshop, open_workshop, working
from uvr.processor.handler import SeparationHandler
from uvr.processor.scheduler import InferenceScheduler
from uvr.separation.engine_factory import MdxEngineFactory
from uvr.separation.separator import Separator
from uvr.tasks.model import Status, Task


@pytest.fixture
def workshop(redis_client: Redis, tmp_path: Path) -> Iterator[Workshop]:
    """An uploader at work, on a service that reuses stems."""
    with open_workshop(redis_client, tmp_path, cache_ttl_hours=1) as workshop, working(workshop):
        yield workshop


@pytest.fixture
def song(server: HttpServer, tmp_path: Path) -> str:
    """The URL of a song."""
    path = tmp_path / "song.wav"
    write_audio(path, noise(0.5), codec="pcm_s16le")
    return server.answer("/song.wav", Answer(body=path.read_bytes()))


@contextmanager
def separating(workshop: Workshop, model: Path) -> Iterator[Separator]:
    """A processor with this model, started as a new process would be."""
    separator = Separator(MdxEngineFactory(model, PARAMETERS, threads=1))
    separator.start()
    settings, broker = workshop.settings, workshop.broker
    scheduler = InferenceScheduler(broker.tasks, "test", lambda: "", 1)
    handler = SeparationHandler(settings, broker, separator, scheduler)
    workers = processor.build_workers(settings, broker, handler, scheduler)
    try:
        with at_work(workers, wake=lambda: wake_workers(workshop.client, broker.tasks, len(workers))):
            yield separator
    finally:
        separator.close()


def separated(workshop: Workshop, task_uuid: str, song: str) -> tuple[bool, bytes]:
    """Whether the stems of a new task are copies, and one of them."""
    workshop.broker.store.submit(Task(task_uuid, song, 3, created_ms=0))
    eventually(lambda: workshop.task(task_uuid).status.is_final)
    task = workshop.task(task_uuid)
    assert task.status is Status.SUCCESS, task.error_message
    eventually(lambda: workshop.broker.results.sizes().leased == 0)  # it remembers the stems last
    stem = workshop.settings.output_dir / "stems" / task.stems["vocals"]
    return task.facts.get("repeated", False), stem.read_bytes()


def test_another_model_in_the_file_of_the_same_name_makes_its_own_stems(
    workshop: Workshop, song: str, tmp_path: Path
) -> None:
    model = write_network(tmp_path / "model.onnx", factor=0.5)
    with separating(workshop, model):
        first = separated(workshop, "first", song)
    write_network(model, factor=0.25)
    with separating(workshop, model):
        other, again = separated(workshop, "other", song), separated(workshop, "again", song)
    assert [repeated for repeated, _ in (first, other, again)] == [False, False, True]
    samples = [np.frombuffer(stem[-4000:], np.int16) for _, stem in (first, other, again)]
    assert not np.array_equal(samples[0], samples[1])
    assert np.array_equal(samples[1], samples[2])


def test_stems_are_remembered_as_those_of_the_model_that_made_them(
    workshop: Workshop, song: str, tmp_path: Path
) -> None:
    model = write_network(tmp_path / "model.onnx", factor=0.5)
    with separating(workshop, model) as separator:
        write_network(model, factor=0.25)
        separator._networks.close()  # as if it had crashed; the next song starts it again
        first, again = separated(workshop, "first", song), separated(workshop, "again", song)
    with separating(workshop, model):
        third = separated(workshop, "third", song)
    assert [repeated for repeated, _ in (first, again, third)] == [False, True, True]
    assert first == (False, again[1])
