"""A song sent to the service with a RoFormer in MODEL_FILE_DIR comes back as the stems of torch, without torch."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.audio import read_audio, snr_db
from tests.support.http_server import Answer, HttpServer
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, Service, running_service
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.usefixtures("kernels")

MODEL = "tiny-bs-roformer.ckpt"
TORCHS_SDR_DB = {"vocals": 3.5671, "instrumental": 19.6631}
"""README of ../shared/data/roformer, for the song rubidium."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, shared_data: Path, trained_models: Path) -> Iterator[Service]:
    folder, models = tmp_path_factory.mktemp("roformer"), tmp_path_factory.mktemp("models")
    shutil.copy(trained_models / "Spleeter-2stems.onnx", models)
    for file in (shared_data / "roformer").glob("tiny-bs-roformer.*"):
        shutil.copyfile(file, models / file.name)
    (folder / "redis").mkdir()
    with (
        redis_server(folder / "redis") as redis,
        running_service(folder, f"unix://{redis.unix_socket_path}", models, MODELS_OFFERED="*") as running,
    ):
        running.eventually(lambda: MODEL in offered(running), "the RoFormer is announced")
        yield running


def offered(service: Service) -> dict[str, dict[str, Any]]:
    answer = requests.get(f"{service.url}/models", auth=AUTH, timeout=PATIENCE_S).json()
    return {entry["name"]: entry for entry in answer["models"] if entry["offered"]}


def test_a_song_becomes_the_stems_that_torch_gives(service: Service, shared_data: Path, web: HttpServer) -> None:
    program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
    subprocess.run([service.pythons["processor"], "-c", program], check=True)
    assert (offered(service)[MODEL]["engine"], offered(service)[MODEL]["stems"]) == (
        "roformer",
        ["vocals", "instrumental"],
    )
    music = shared_data / "music" / "rubidium"
    url = web.answer("/song.flac", Answer(body=(music / "mixture.flac").read_bytes()))
    task = service.generate(url, model="tiny-bs-roformer", hook_url=web.url("/hook"))
    eventually(lambda: hooks(web), "the webhook arrives", 4 * PATIENCE_S, every_s=0.1)
    (payload,) = hooks(web)
    assert (payload["task_uuid"], payload["status"], payload["model"]) == (task, "success", MODEL), payload
    facts = service.task(task)["facts"]
    assert (facts["backend"], facts["provider"]) == ("native", "cpu")
    for stem, file in {"vocals": "vocals", "instrumental": "accompaniment"}.items():
        sound = read_audio(requests.get(payload["stems"][stem], timeout=PATIENCE_S).content) / facts["gain"]
        assert snr_db(read_audio(music / f"{file}.flac"), sound) == pytest.approx(TORCHS_SDR_DB[stem], abs=0.02)


def hooks(web: HttpServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in web.requests if request.path == "/hook"]
