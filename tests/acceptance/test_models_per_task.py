"""Several songs at once, each with a model of its own: one service on a small machine gives each its right stems."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests

from tests.support.audio import Samples, encoded, noise, read_audio, snr_db
from tests.support.contract import assert_contract_time
from tests.support.http_server import Answer, HttpServer
from tests.support.networks import PARAMETERS as WITH_COMPENSATION
from tests.support.networks import write_model
from tests.support.redis_server import redis_server
from tests.support.service import AUTH, ROOT, Service, running_service
from tests.support.waiting import PATIENCE_S, eventually

SECONDS = 2.5
PARAMETERS = replace(WITH_COMPENSATION, compensate=1.0)
FACTORS = {"own_half.onnx": 0.5, "own_quarter.onnx": 0.25, "own_tenth.onnx": 0.1}
"""By which these networks multiply a song to get its vocals."""
STEMS = {
    "Spleeter-2stems": {"vocals", "instrumental"},
    "own_half.onnx": {"vocals", "instrumental"},
    "UVR-DeNoise-Lite": {"noise", "no_noise"},
    "own_mdx23c.ckpt": {"vocals", "instrumental"},
    "own_demucs.yaml": {"drums", "bass", "other", "vocals", "instrumental"},
}
ENGINES = dict.fromkeys(STEMS, "audio-separator") | {"Spleeter-2stems": "mdx", "own_half.onnx": "mdx"}
SMALL_MACHINE = {"MODELS_OFFERED": "*", "MAX_MODEL_MEMORY_BYTES": str(2 * 2**30)}
"""What docs/operations.md advises for 4 GB."""


@pytest.fixture(scope="module")
def onnx_models(tmp_path_factory: pytest.TempPathFactory, trained_models: Path) -> Path:
    """MODEL_FILE_DIR with Spleeter-2stems and the networks of `FACTORS`."""
    folder = tmp_path_factory.mktemp("onnx-models")
    shutil.copy(trained_models / "Spleeter-2stems.onnx", folder)
    for name, factor in FACTORS.items():
        write_model(folder / name, factor=factor, parameters=PARAMETERS)
    return folder


@pytest.fixture(scope="module")
def onnx_service(tmp_path_factory: pytest.TempPathFactory, onnx_models: Path) -> Iterator[Service]:
    """A service in whose memory only one network has room at a time."""
    settings = {"MODELS_OFFERED": "*", "MAX_MODEL_MEMORY_BYTES": "1"}
    with started(tmp_path_factory.mktemp("onnx"), onnx_models, **settings) as service:
        yield service


@pytest.fixture(scope="module")
def every_architecture(
    tmp_path_factory: pytest.TempPathFactory,
    audio_separator_python: Path,
    denoise_model: str,
    model_dir: Path,
    trained_models: Path,
) -> Iterator[Service]:
    """A service with one model of each of five architectures, whose processor has audio-separator."""
    made, folder = tmp_path_factory.mktemp("made"), tmp_path_factory.mktemp("models")
    program = [audio_separator_python, "-m", "tests.support.random_checkpoints", made]
    subprocess.run(program, cwd=ROOT, check=True, capture_output=True)
    for name in ("own_mdx23c.ckpt", "own_mdx23c.yaml", "own_demucs.yaml", "owndemucs.th"):
        shutil.copy(made / name, folder)
    write_model(folder / "own_half.onnx", factor=FACTORS["own_half.onnx"], parameters=PARAMETERS)
    for path in (trained_models / "Spleeter-2stems.onnx", model_dir / f"{denoise_model}.pth"):
        shutil.copy(path, folder)
    settings = {"processor_python": audio_separator_python, **SMALL_MACHINE}
    with started(tmp_path_factory.mktemp("every-architecture"), folder, **settings) as service:
        yield service


@contextmanager
def started(folder: Path, model_dir: Path, **settings: Any) -> Iterator[Service]:
    (folder / "redis").mkdir()
    # Compiling kernels for AVX-512 takes torch longer at each start than all songs together.
    quick = {"ONEDNN_MAX_CPU_ISA": "AVX2", "INFERENCE_THREADS": "2"}
    with (
        redis_server(folder / "redis") as redis,
        running_service(folder, f"unix://{redis.unix_socket_path}", model_dir, **quick, **settings) as service,
    ):
        service.eventually(lambda: len(offered(service)) > 1, "the models are announced")
        yield service


def models(service: Service) -> dict[str, dict[str, Any]]:
    """GET /models, by name."""
    answer = requests.get(f"{service.url}/models", auth=AUTH, timeout=PATIENCE_S).json()
    return {entry["name"]: entry for entry in answer["models"]}


def offered(service: Service) -> set[str]:
    return {name for name, entry in models(service).items() if entry["offered"]}


def song(web: HttpServer, seed: int) -> tuple[str, Samples]:
    """The URL of a song of its own, and its sound."""
    body = encoded(noise(SECONDS, seed=seed), ".wav", codec="pcm_s16le")
    return web.answer(f"/song-{seed}.wav", Answer(body=body)), read_audio(body)


def payloads(web: HttpServer, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The webhooks of these tasks, once all have arrived."""

    def arrived() -> dict[str, dict[str, Any]]:
        found = [json.loads(request.body) for request in web.requests if request.path == "/hook"]
        return {payload["task_uuid"]: payload for payload in found}

    eventually(lambda: arrived().keys() >= set(ids), "all webhooks arrive", 4 * PATIENCE_S, every_s=0.1)
    return [arrived()[task_uuid] for task_uuid in ids]


def sounds(payload: dict[str, Any]) -> dict[str, Samples]:
    """The stems of a webhook, downloaded."""
    assert payload["status"] == "success", payload
    return {name: read_audio(requests.get(url, timeout=60).content) for name, url in payload["stems"].items()}


def assert_parts_of(whole: Samples, stems: dict[str, Samples], facts: dict[str, Any]) -> None:
    """The stems have the song's length, and add up to it, or its facts say how far they do not."""
    assert {stem.shape for stem in stems.values()} == {whole.shape}
    counted = [stem for name, stem in stems.items() if len(stems) == 2 or name != "instrumental"]
    missing_db = -snr_db(whole, sum(counted[1:], counted[0]) / facts["gain"])
    if "sum_error_db" in facts:
        assert missing_db == pytest.approx(facts["sum_error_db"], abs=0.5)
    else:
        assert missing_db < -50


def level(stem: Samples, whole: Samples, gain: float = 1.0) -> float:
    """The factor by which the song became this stem, before all stems were scaled by `gain`."""
    return float(np.vdot(stem, whole) / np.vdot(whole, whole)) / gain


@pytest.mark.timeout(300)
def test_songs_with_five_models_each_get_the_stems_of_theirs(every_architecture: Service, web: HttpServer) -> None:
    service, hook = every_architecture, web.url("/hook")
    assert offered(service) == set(STEMS)
    songs = {model: song(web, seed) for seed, model in enumerate(STEMS)}
    ids = [service.generate(url, model=model, hook_url=hook) for model, (url, _) in songs.items()]
    url, whole = songs["own_mdx23c.ckpt"]
    both, order = ["own_mdx23c.ckpt", "own_half.onnx"], {"order": "4711"}
    ids.append(service.generate(url, model=both, hook_url=hook))
    ids.append(service.generate(url, model="own_mdx23c", stems=["Instrumental"], metadata=order, hook_url=hook))
    *of_one_model, ensemble, wanted = payloads(web, ids)
    vocals = {}
    for (model, (_, heard)), payload in zip(songs.items(), of_one_model, strict=True):
        task = service.task(payload["task_uuid"])
        assert (payload["model"], task["model"], task["facts"]["model"]) == (model, model, model)
        assert set(payload["stems"]) == set(task["stems"]) == STEMS[model]
        stems = sounds(payload)
        assert_parts_of(heard, stems, task["facts"])
        vocals[model] = stems.get("vocals", heard) / task["facts"]["gain"]
    assert level(vocals["own_half.onnx"], songs["own_half.onnx"][1]) == pytest.approx(0.5, abs=0.01)
    gain = service.task(ensemble["task_uuid"])["facts"]["gain"]
    assert ensemble["model"] == both
    mean = (vocals["own_mdx23c.ckpt"] + whole / 2) / 2  # but an MDX-Net model leaves out the lowest bins
    assert snr_db(mean, sounds(ensemble)["vocals"] / gain) > 18
    assert (set(wanted["stems"]), wanted["metadata"]) == ({"instrumental"}, order)
    assert_known(service)


def assert_known(service: Service) -> None:
    """GET /models has what was learned about the models while they worked."""

    def entries() -> dict[str, dict[str, Any]]:
        return {name: entry for name, entry in models(service).items() if name in STEMS}

    eventually(lambda: all(entry["memory_bytes"] for entry in entries().values()), "memory of all models is shown")
    for name, entry in entries().items():
        assert (entry["engine"], set(entry["stems"])) == (ENGINES[name], STEMS[name])
        assert (entry["is_here"], entry["offered"], entry["device"]) == (True, True, "cpu")
        assert 50e6 < entry["memory_bytes"] < 2 * 2**30
        assert entry["load_s"] > 0
        assert entry["seconds_per_audio_second"] > 0


def test_songs_with_several_networks_each_get_the_stems_of_theirs(onnx_service: Service, web: HttpServer) -> None:
    service, names = onnx_service, [*FACTORS, *FACTORS, ""]
    assert offered(service) == {"Spleeter-2stems", *FACTORS}
    songs = [song(web, seed) for seed in range(len(names))]
    ids = [
        service.generate(url, hook_url=web.url("/hook"), **({"model": name.upper()} if name else {}))
        for name, (url, _) in zip(names, songs, strict=True)
    ]
    *payloads_with_model, default = payloads(web, ids)
    for name, (_, whole), payload in zip(names, songs, payloads_with_model, strict=False):
        facts, stems = service.task(payload["task_uuid"])["facts"], sounds(payload)
        assert (payload["model"], set(stems)) == (name, {"vocals", "instrumental"})
        assert_parts_of(whole, stems, facts)
        assert level(stems["vocals"], whole, facts["gain"]) == pytest.approx(FACTORS[name], abs=0.01)
    assert_contract_time(default)
    assert set(default) == {"task_uuid", "status", "vocals", "instrumental"}


def test_an_ensemble_a_preset_one_stem_and_metadata(onnx_service: Service, web: HttpServer) -> None:
    service, (url, whole) = onnx_service, song(web, 20)
    hook = web.url("/hook")
    ids = [
        service.generate(url, hook_url=hook, model=["own_half", "own_tenth"]),
        service.generate(url, hook_url=hook, model="fast"),
        service.generate(url, hook_url=hook, model="own_quarter", stems=["Instrumental"], metadata={"order": "4711"}),
    ]
    mean, fast, karaoke = payloads(web, ids)
    assert mean["model"] == ["own_half.onnx", "own_tenth.onnx"]
    stems, facts = sounds(mean), service.task(ids[0])["facts"]
    assert_parts_of(whole, stems, facts)
    assert level(stems["vocals"], whole, facts["gain"]) == pytest.approx(0.3, abs=0.01)
    assert (fast["preset"], fast["model"], set(fast["stems"])) == (
        "fast",
        "Spleeter-2stems",
        {"vocals", "instrumental"},
    )
    assert (set(karaoke["stems"]), karaoke["metadata"]) == ({"instrumental"}, {"order": "4711"})
    assert "vocals" not in karaoke
    rest = 1 - 0.25
    gain = service.task(ids[2])["facts"]["gain"]
    assert level(sounds(karaoke)["instrumental"], whole, gain) == pytest.approx(rest, abs=0.01)


def test_what_no_processor_can_give_is_refused_by_name(onnx_service: Service, web: HttpServer) -> None:
    url, _ = song(web, 30)
    for body, named in (
        ({"model": "own_haf"}, "own_half.onnx"),
        ({"model": "own_half", "stems": ["drums"]}, "vocals"),
        ({"model": "karaoke"}, "karaoke"),
    ):
        answer = requests.post(f"{onnx_service.url}/generate", json={"audio": url, **body}, auth=AUTH, timeout=60)
        assert answer.status_code == 400, (body, answer.text)
        assert named in answer.text
