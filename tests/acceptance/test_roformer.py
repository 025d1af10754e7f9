"""RoFormers without torch, through the API: the default model, a task's own one, one of the catalogue, faulty ones."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.audio import encoded, noise, read_audio, snr_db
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.redis_server import redis_server
from tests.support.roformers import GEOMETRIES, write_model
from tests.support.service import AUTH, Service, running_service
from tests.support.waiting import PATIENCE_S, eventually

pytestmark = pytest.mark.usefixtures("kernels")

MODEL = "tiny-bs-roformer.ckpt"
TORCHS_SDR_DB = {"vocals": 3.5671, "instrumental": 19.6631}
"""README of ../shared/data/roformer, for the song rubidium."""
IN_CATALOGUE, ITS_DESCRIPTION = "bs_roformer_vocals_gabox.ckpt", "config_bs_roformer_vocals_gabox.yaml"
SIX = ["bass", "drums", "other", "vocals", "guitar", "piano"]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Path:
    """MODEL_FILE_DIR: a trained RoFormer, some with random weights, and some that lack something."""
    folder = tmp_path_factory.mktemp("models")
    for file in (shared_data / "roformer").glob("tiny-bs-roformer.*"):
        shutil.copyfile(file, folder / file.name)
    six_stems = {**GEOMETRIES["bands_of_bs_roformer"], "num_stems": 6}
    write_model(folder, "six.safetensors", six_stems, SIX)
    write_model(folder, "drums.ckpt", GEOMETRIES["kims_hop"], ["vocals", "drums", "bass"], target="drums")
    write_model(folder, "dry.ckpt", GEOMETRIES["kims_hop"], ["dry", "other"], target="dry")
    write_model(folder, "gone.ckpt", GEOMETRIES["mono"], ["vocals"])
    wrong = write_model(folder, "wrong.ckpt", GEOMETRIES["mono"], ["vocals"], target="vocals").with_suffix(".yaml")
    wrong.write_text(wrong.read_text().replace("model:\n", "model:\n  new_trick: 3\n"))
    write_model(folder, "alone.ckpt", GEOMETRIES["mono"], ["vocals"]).with_suffix(".yaml").unlink()
    return folder


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HttpServer]:
    """A host of model files that has one model of the catalogue."""
    model = write_model(tmp_path_factory.mktemp("mirror"), IN_CATALOGUE, GEOMETRIES["kims_hop"], ["Vocals", "Other"])
    with http_server() as server:
        description = write_model(model.parent, "described.ckpt", GEOMETRIES["kims_hop"], ["Vocals"]).with_suffix(
            ".yaml"
        )
        server.answer(f"/{IN_CATALOGUE}", Answer(body=model.read_bytes()))
        server.answer(f"/{ITS_DESCRIPTION}", Answer(body=description.read_bytes()))
        yield server


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, models: Path, mirror: HttpServer) -> Iterator[Service]:
    """A service without torch whose default model is a RoFormer."""
    folder = tmp_path_factory.mktemp("roformer")
    (folder / "redis").mkdir()
    settings = {"MODEL_NAME": MODEL, "MODELS_OFFERED": f"*,{IN_CATALOGUE}", "MODEL_BASE_URL": mirror.url("")}
    with (
        redis_server(folder / "redis") as redis,
        running_service(folder, f"unix://{redis.unix_socket_path}", models, **settings) as running,
    ):
        program = "import importlib.util, sys; sys.exit(importlib.util.find_spec('torch') is not None)"
        subprocess.run([running.pythons["processor"], "-c", program], check=True)
        running.eventually(lambda: "six.safetensors" in offered(running), "the RoFormers are announced")
        yield running


def listed(service: Service) -> dict[str, Any]:
    answer: dict[str, Any] = requests.get(f"{service.url}/models", auth=AUTH, timeout=PATIENCE_S).json()
    return answer


def offered(service: Service) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in listed(service)["models"] if entry["offered"]}


def separated(service: Service, **body: str) -> dict[str, Any]:
    """The task that separates two seconds of noise."""
    return service.wait_for(service.send(encoded(noise(2.0), ".wav", codec="pcm_s16le"), **body))


@pytest.mark.parametrize("choice", [{"model": "tiny-bs-roformer"}, {}], ids=["by name", "as MODEL_NAME"])
def test_a_song_becomes_the_stems_that_torch_gives(
    service: Service, shared_data: Path, web: HttpServer, choice: dict[str, str]
) -> None:
    music = shared_data / "music" / "rubidium"
    url = web.answer("/song.flac", Answer(body=(music / "mixture.flac").read_bytes()))
    task = service.generate(url, hook_url=web.url("/hook"), **choice)
    eventually(lambda: hooks(web), "the webhook arrives", 4 * PATIENCE_S, every_s=0.1)
    (payload,) = hooks(web)
    assert (payload["task_uuid"], payload["status"]) == (task, "success"), payload
    facts = service.task(task)["facts"]
    assert (facts["model"], facts["backend"], facts["provider"]) == (MODEL, "native", "cpu")
    (loaded,) = service.log_lines("processor", "network.loaded")[:1]
    is_fast = loaded["instruction_set"] in ("AMX", "AVX512_BF16")
    assert facts["precision"] == loaded["precision"] == ("bfloat16" if is_fast else "float32")
    assert [line["precision"] for line in service.log_lines("uploader", "task.ended") if line["task_uuid"] == task] == [
        facts["precision"]
    ]
    assert "sum_error_db" not in facts
    for stem, file in {"vocals": "vocals", "instrumental": "accompaniment"}.items():
        sound = read_audio(requests.get(payload[stem], timeout=PATIENCE_S).content) / facts["gain"]
        assert snr_db(read_audio(music / f"{file}.flac"), sound) == pytest.approx(TORCHS_SDR_DB[stem], abs=0.02)


def hooks(web: HttpServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in web.requests if request.path == "/hook"]


def test_the_default_model_is_listed_with_what_runs_it(service: Service) -> None:
    separated(service)
    entry = offered(service)[MODEL]
    assert (entry["engine"], entry["stems"]) == ("roformer", ["vocals", "instrumental"])
    assert (listed(service)["default"], entry["in_use"], entry["device"]) == (MODEL, True, "cpu")
    service.eventually(lambda: offered(service)[MODEL]["seconds_per_audio_second"], "its speed is known")


@pytest.mark.parametrize(
    ("model", "stems", "parts"),
    [
        ("six.safetensors", [*SIX, "instrumental"], SIX),
        ("drums.ckpt", ["drums", "no_drums"], ["drums", "no_drums"]),
        ("dry.ckpt", ["dry", "other"], ["dry", "other"]),
    ],
)
def test_every_stem_that_is_announced_can_be_asked_for(
    service: Service, model: str, stems: list[str], parts: list[str]
) -> None:
    assert offered(service)[model]["stems"] == stems
    task = separated(service, model=model)
    assert task["status"] == "success", task
    assert set(task["stems"]) == set(stems)
    sounds = {name: read_audio(requests.get(url, timeout=PATIENCE_S).content) for name, url in task["stems"].items()}
    error_db = -snr_db(
        read_audio(encoded(noise(2.0), ".wav", codec="pcm_s16le")),
        sum(sounds[part] for part in parts[1:]) + sounds[parts[0]],
    )
    if "sum_error_db" in task["facts"]:  # six independent estimates with random weights
        assert task["facts"]["notes"]
    else:
        assert error_db < -60
    one = separated(service, model=model, stems=stems[-1])
    assert list(one["stems"]) == [stems[-1]], one


def test_a_model_of_the_catalogue_is_downloaded_with_its_yaml_file(service: Service, models: Path) -> None:
    before = offered(service)[IN_CATALOGUE]
    assert (before["is_here"], before["engine"], before["license"]) == (False, "roformer", "none found")
    task = separated(service, model="BS Roformer | Vocals by Gabox")
    assert (task["status"], task["facts"]["model"]) == ("success", IN_CATALOGUE), task
    assert set(task["stems"]) == {"vocals", "instrumental"}
    assert (models / ITS_DESCRIPTION).is_file()
    service.eventually(lambda: offered(service)[IN_CATALOGUE]["is_here"], "the model is announced as being here")


def test_a_wrong_yaml_file_ends_the_task_with_its_name_and_the_key(service: Service) -> None:
    task = separated(service, model="wrong.ckpt")
    assert task["status"] == "failed"
    assert task["error_message"] == "wrong.yaml cannot be used: the service does not know the key model.new_trick."
    assert task["attempt"] == 1, "no retry can help"


def test_a_checkpoint_without_its_yaml_file_is_not_offered_and_the_log_says_why(service: Service) -> None:
    body = {"audio": "http://127.0.0.1/song.wav", "model": "alone.ckpt"}
    answer = requests.post(f"{service.url}/generate", json=body, auth=AUTH, timeout=PATIENCE_S)
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith('model: "alone.ckpt" is not offered here')
    (line,) = [each for each in service.log_lines("processor", "model.passed_over") if each["model"] == "alone.ckpt"]
    assert "put it beside the model, as alone.yaml" in line["reason"]


def test_the_packed_file_goes_soon_after_its_model(service: Service, models: Path) -> None:
    assert separated(service, model="gone.ckpt")["status"] == "success"
    assert [*models.glob(".gone.ckpt.*.packed")]
    (models / "gone.ckpt").unlink()
    service.eventually(lambda: not [*models.glob(".gone.ckpt.*.packed")], "the packed file is removed")
    assert [*models.glob(f".{MODEL}.*.packed")]
