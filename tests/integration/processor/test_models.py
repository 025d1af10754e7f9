"""Tasks with models of their own: what becomes of them, and what the processor tells about its models."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from redis import Redis

import processor
from tests.support.audio import noise, write_audio
from tests.support.http_server import Answer, HttpServer
from tests.support.networks import PARAMETERS, write_model
from tests.support.waiting import eventually
from tests.support.workers import at_work, wake_workers
from tests.support.workshop import Workshop, open_workshop
from uvr.metrics.definitions import UNSENT
from uvr.models.announcements import ModelAnnouncements, RunnableModel
from uvr.net.model_sources import ModelSources
from uvr.processor.handler import SeparationHandler
from uvr.processor.model_announcer import ModelAnnouncer
from uvr.processor.scheduler import InferenceScheduler
from uvr.separation.engine import Engine
from uvr.separation.engine_factory import MdxEngineFactory
from uvr.separation.model_library import ModelLibrary
from uvr.separation.separator import Separator
from uvr.tasks.model import Status, Task

LOAD_S = 1.5


@dataclass(frozen=True)
class SlowToLoad:
    """A factory of a network that takes `LOAD_S` seconds to load."""

    factory: MdxEngineFactory
    files: tuple[Path, ...] = field(default=())

    def __call__(self) -> Engine:
        time.sleep(LOAD_S)
        return self.factory()


@pytest.fixture
def workshop(redis_client: Redis, tmp_path: Path) -> Iterator[Workshop]:
    with open_workshop(redis_client, tmp_path, lease_seconds=1, heartbeat_seconds=0.2, max_attempts=1) as workshop:
        yield workshop


@pytest.fixture
def song(server: HttpServer, tmp_path: Path) -> str:
    """The URL of a song of half a second."""
    path = write_audio(tmp_path / "song.wav", noise(0.5), codec="pcm_s16le")
    return server.answer("/song.wav", Answer(body=path.read_bytes()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    for name, factor in {"half.onnx": 0.5, "quarter.onnx": 0.25}.items():
        write_model(folder / name, factor=factor)
    write_model(folder / "broken.onnx").write_bytes(b"no network")
    (folder / "unknown.onnx").write_bytes(b"no parameters are known")
    return folder


@contextmanager
def processing(workshop: Workshop, separator: Separator) -> Iterator[None]:
    """A processor at work, whose networks are loaded when they are needed."""
    settings, broker = workshop.settings, workshop.broker
    scheduler = InferenceScheduler(broker.tasks, "test", lambda: "", 2)
    handler = SeparationHandler(settings, broker, separator, scheduler)
    workers = processor.build_workers(settings, broker, handler, scheduler)
    try:
        with at_work(workers, wake=lambda: wake_workers(workshop.client, broker.tasks, len(workers))):
            yield
    finally:
        separator.close()


def submit(workshop: Workshop, task_uuid: str, song: str, models: Sequence[str] = ()) -> None:
    workshop.broker.store.submit(Task(task_uuid, song, 3, created_ms=0, models=list(models)))


@pytest.mark.usefixtures("nothing_counted")
def test_a_task_gets_its_model_and_a_broken_one_fails_its_own_task_only(
    workshop: Workshop, song: str, folder: Path
) -> None:
    library = ModelLibrary(folder, threads=1)
    separator = Separator(library.default_engine("half"), name="half.onnx", library=library)
    models = {"a": [], "b": ["broken.onnx"], "c": ["quarter.onnx"], "d": ["half.onnx", "quarter.onnx"]}
    with processing(workshop, separator):
        for task_uuid, chosen in models.items():
            submit(workshop, task_uuid, song, chosen)
        eventually(lambda: all(workshop.task(one).status in (Status.UPLOADING, Status.FAILED) for one in models))
        tasks = {one: workshop.task(one) for one in models}
        assert processor.record_texts(separator) == [], "all networks fit"
    assert [task.status for task in tasks.values()] == ["uploading", "failed", "uploading", "uploading"]
    assert "broken" in tasks["b"].error_message
    shown = [tasks[one].facts["model"] for one in "acd"]
    assert shown == [workshop.settings.shown_model_name, "quarter.onnx", "half.onnx, quarter.onnx"]
    speeds = workshop.broker.durations.speeds()
    assert speeds.keys() == {"", "half.onnx", "quarter.onnx"}
    assert speeds[""] == speeds["half.onnx"] > 0
    loads = {series[2] for series in UNSENT.take() if series[0] == "uvr_model_load_seconds"}
    assert loads == {"half.onnx", "quarter.onnx"}


def test_heartbeats_go_on_while_a_network_is_loaded(workshop: Workshop, song: str, folder: Path) -> None:
    network = MdxEngineFactory(folder / "half.onnx", PARAMETERS, threads=1)
    with processing(workshop, Separator(SlowToLoad(network))):
        submit(workshop, "slow", song)
        leased_until = set()
        while (task := workshop.task("slow")).status not in (Status.UPLOADING, Status.FAILED):
            # The song's length is told as soon as it is decoded: from then on its network is being loaded.
            if task.facts.get("audio_s") == 0.5 and (until_ms := workshop.client.zscore("uvr_tasks:lease", "slow")):
                leased_until.add(until_ms)
            time.sleep(0.05)
    assert (task.status, task.losses) == (Status.UPLOADING, 0), task.error_message
    assert task.facts["load_s"] > LOAD_S
    assert len(leased_until) >= 3


def test_songs_of_a_model_that_is_being_downloaded_do_not_keep_others_waiting(
    workshop: Workshop, song: str, folder: Path, server: HttpServer
) -> None:
    name = "UVR-MDX-NET-Inst_HQ_3"
    server.answer(f"/{name}.onnx", Answer(body=b"x" * 10_000, drip_s=0.05))
    library = ModelLibrary(folder, (name,), sources=ModelSources((server.url(""),)), threads=1)
    separator = Separator(library.default_engine("half"), name="half.onnx", library=library)
    with processing(workshop, separator):
        submit(workshop, "missing", song, [name])
        eventually(
            lambda: f"The model {name} is being downloaded" in workshop.task("missing").facts.get("waits_for", "")
        )
        for number in range(4):
            submit(workshop, f"also missing {number}", song, [name])
        submit(workshop, "other", song)
        eventually(lambda: workshop.task("other").status is Status.UPLOADING)
        assert {workshop.task(f"also missing {number}").status for number in range(4)} == {Status.QUEUED}
        assert workshop.task("missing").status is Status.PROCESSING


@pytest.fixture
def separator(folder: Path) -> Iterator[Separator]:
    library = ModelLibrary(folder, ("UVR-MDX-NET-Inst_HQ_3", "UVR-DeNoise-Lite"), engine="mdx", threads=1)
    opened = Separator(library.default_engine("half"), name="half.onnx", library=library)
    yield opened
    opened.close()


def test_a_processor_announces_what_it_can_run(redis_client: Redis, separator: Separator, folder: Path) -> None:
    announcements = ModelAnnouncements(redis_client, "tasks")
    library = separator._library
    assert library
    announcer = ModelAnnouncer(announcements, "processor:host:1", library, separator, folder / "half.onnx")

    def announced() -> dict[str, RunnableModel]:
        return dict(announcements.runnable(["processor:host:1"]))

    stems = ("vocals", "instrumental")
    with announcer.announcing():
        eventually(lambda: announced().keys() == {"half.onnx", "quarter.onnx", "broken.onnx", "UVR-MDX-NET-Inst_HQ_3"})
        assert announced()["half.onnx"] == RunnableModel("half.onnx", stems, "mdx")
        assert announced()["UVR-MDX-NET-Inst_HQ_3"].is_here is False
        separator.start()
        write_model(folder / "new.onnx")
        (folder / "quarter.onnx").unlink()
        announcer.look()
        assert announced().keys() == {"half.onnx", "broken.onnx", "new.onnx", "UVR-MDX-NET-Inst_HQ_3"}
        half = announced()["half.onnx"]
        assert (half.device, half.is_here) == ("cpu", True)
        assert half.memory_bytes
        assert half.load_s
    assert redis_client.exists("tasks:models:processor:host:1") == 0
    assert announced().keys() == {"half.onnx", "broken.onnx", "new.onnx", "UVR-MDX-NET-Inst_HQ_3"}, "told last"


def test_the_loaded_networks_are_named_for_the_queue_once_switching_costs_time(separator: Separator) -> None:
    separator.start()
    assert processor.record_texts(separator) == []
    ended = separator._networks._networks["half.onnx"]
    slow = separator._networks._networks["slow.onnx"] = type(ended)("slow.onnx", ended.build, ended.child, 0)
    slow.facts = type(ended.facts)(load_s=1.5)
    assert processor.record_texts(separator) == ["", '["half.onnx"]']
