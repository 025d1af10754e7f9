"""Stems are reused only if the same model made them: a file with the same name is not the same model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis import Redis

import processor
from tests.support.audio import noise, write_audio
from tests.support.http_server import Answer, HttpServer
from tests.support.networks import PARAMETERS, write_model, write_network
from tests.support.waiting import eventually
from tests.support.workers import at_work, wake_workers
from tests.support.workshop import Workshop, open_workshop, working
from uvr.processor.handler import SeparationHandler
from uvr.processor.scheduler import InferenceScheduler
from uvr.separation.engine_factory import MdxEngineFactory
from uvr.separation.model_library import ModelLibrary
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
    library = ModelLibrary(model.parent, threads=1)
    separator = Separator(MdxEngineFactory(model, PARAMETERS, threads=1), name=model.name, library=library)
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


def separated(workshop: Workshop, task_uuid: str, song: str, **choices: Any) -> tuple[bool, bytes]:
    """Whether the stems of a new task are copies, and one of them."""
    workshop.broker.store.submit(Task(task_uuid, song, 3, created_ms=0, **choices))
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


def test_stems_are_reused_for_the_same_models_and_the_same_wanted_stems_only(
    workshop: Workshop, song: str, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    half, quarter = (
        write_model(folder / "half.onnx", factor=0.5).name,
        write_model(folder / "quarter.onnx", factor=0.25).name,
    )
    choices: dict[str, dict[str, Any]] = {
        "default": {},
        "by its name": {"models": [half]},
        "another": {"models": [quarter]},
        "both": {"models": [half, quarter]},
        "vocals": {"wanted_stems": ["vocals"]},
        "vocals again": {"models": [half], "wanted_stems": ["vocals"]},
        "both again": {"models": [half, quarter]},
    }
    with separating(workshop, folder / half):
        reused = [name for name, choice in choices.items() if separated(workshop, name, song, **choice)[0]]
    assert reused == ["by its name", "vocals again", "both again"]
    assert workshop.task("vocals again").stems.keys() == {"vocals"}


def test_what_is_reused_has_the_name_of_its_own_model_and_took_no_loading(
    workshop: Workshop, song: str, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    for name in ("default.onnx", "one.onnx", "the same.onnx"):
        write_model(folder / name, factor=0.25 if name == "default.onnx" else 0.5)
    with separating(workshop, folder / "default.onnx"):
        made = [separated(workshop, name, song, models=[name])[0] for name in ("one.onnx", "the same.onnx")]
        assert (made, workshop.task("the same.onnx").facts["load_s"] > 0) == ([False, False], True)
        assert separated(workshop, "again", song, models=["one.onnx"])[0]
    facts = workshop.task("again").facts
    assert (facts["model"], facts.get("load_s")) == ("one.onnx", None)
