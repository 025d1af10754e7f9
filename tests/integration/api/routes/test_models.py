"""GET /models: the catalogue, the presets, and what the processors have told of their models."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS
from uvr.liveness.workers import WorkerPresence
from uvr.models.announcements import ModelAnnouncements, RunnableModel


def listed(client: FlaskClient) -> Any:
    answer = client.get("/models", auth=CREDENTIALS)
    assert answer.status_code == 200
    return answer.json


def test_every_model_is_listed_once(client: FlaskClient) -> None:
    models = {model["name"]: model for model in listed(client)["models"]}
    assert len(models) == len(listed(client)["models"])
    default = models["UVR-MDX-NET-Inst_HQ_4"]
    assert (default["architecture"], default["engine"], default["in_use"]) == ("MDX-Net", "mdx", False)
    assert (default["primary_stem"], default["size_bytes"], default["downloadable"]) == ("Instrumental", 59074342, True)
    assert models["1_HP-UVR"]["engine"] == "audio-separator"
    assert models["Spleeter-2stems"]["primary_stem"] == "Vocals"


@pytest.mark.parametrize("spelling", ["UVR-MDX-NET-Inst_HQ_4", "UVR-MDX-NET Inst HQ 4"])
def test_what_a_processor_has_loaded_is_in_use(client: FlaskClient, redis_client: Redis, spelling: str) -> None:
    with WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: {"model": spelling}).announced():
        found = listed(client)
    assert found["in_use"] == ["UVR-MDX-NET-Inst_HQ_4"]
    assert [model["name"] for model in found["models"] if model["in_use"]] == found["in_use"]


def test_a_model_of_the_operator_is_named(client: FlaskClient, redis_client: Redis) -> None:
    with WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: {"model": "ours"}).announced():
        assert listed(client)["in_use"] == ["ours"]


def test_all_models_that_a_processor_has_loaded_are_in_use(client: FlaskClient, redis_client: Redis) -> None:
    facts = {"model": "UVR-MDX-NET-Inst_HQ_4", "loaded": "Kim_Vocal_2, UVR-MDX-NET-Inst_HQ_4"}
    with WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: facts).announced():
        shown = listed(client)
    names = ["Kim_Vocal_2", "UVR-MDX-NET-Inst_HQ_4"]
    assert shown["in_use"] == names == sorted(model["name"] for model in shown["models"] if model["in_use"])


def test_a_default_model_of_the_operator_is_in_use_once(client: FlaskClient, redis_client: Redis) -> None:
    announce(redis_client, RunnableModel("ours.onnx"))
    facts = {"model": "ours", "loaded": "ours.onnx"}
    with WorkerPresence(redis_client, "uvr_tasks", "processor", lambda: facts).announced():
        shown = listed(client)
    assert shown["in_use"] == ["ours"]
    assert [model["name"] for model in shown["models"] if model["in_use"]] == ["ours.onnx"]


def test_credentials_are_required(client: FlaskClient) -> None:
    assert client.get("/models").status_code == 401


def announce(redis_client: Redis, *models: RunnableModel) -> None:
    """Announce `models` as those of a processor that has ended since."""
    ModelAnnouncements(redis_client, "uvr_tasks").announce("processor:gone:1", models)


def test_a_model_is_shown_with_what_the_processors_have_told(client: FlaskClient, redis_client: Redis) -> None:
    told = {"device": "cuda", "memory_bytes": 10**9, "load_s": 2.5}
    kim = RunnableModel("Kim_Vocal_2", ("vocals", "instrumental"), engine="mdx", **told)
    announce(redis_client, kim, RunnableModel("Kim_Inst", is_here=False))
    models = {model["name"]: model for model in listed(client)["models"]}
    shown = models["Kim_Vocal_2"]
    assert {name: shown[name] for name in told} == told
    assert (shown["stems"], shown["is_here"], shown["offered"]) == (["vocals", "instrumental"], True, True)
    assert (models["Kim_Inst"]["is_here"], models["Kim_Inst"]["offered"]) == (False, False)
    assert (models["Kim_Vocal_1"]["is_here"], models["Kim_Vocal_1"]["device"]) == (False, None)
    assert {model["commercial_use"] for model in models.values()} <= {"allowed", "not allowed", "unknown"}


@pytest.mark.parametrize("with_file", ["first", "second"])
def test_a_model_is_here_if_one_of_several_processors_has_it(redis_client: Redis, with_file: str) -> None:
    announcements = ModelAnnouncements(redis_client, "uvr_tasks")
    for worker in ("first", "second"):
        announcements.announce(worker, [RunnableModel("Kim_Inst", is_here=worker == with_file)])
    assert announcements.runnable(["first", "second"])["Kim_Inst"].is_here


def test_models_of_the_operator_are_listed_too(client: FlaskClient, redis_client: Redis) -> None:
    announce(redis_client, RunnableModel("ours.ckpt", ("drums",), engine="audio-separator"))
    [ours] = [model for model in listed(client)["models"] if model["name"] == "ours.ckpt"]
    assert (ours["engine"], ours["stems"], ours["is_here"]) == ("audio-separator", ["drums"], True)
    assert (ours["offered"], ours["downloadable"], ours["license"], ours["size_bytes"]) == (False, False, "", None)


def test_presets_are_shown_with_what_each_would_be_now(client: FlaskClient, redis_client: Redis) -> None:
    announce(redis_client, RunnableModel("Kim_Vocal_2"), RunnableModel("Spleeter-2stems"))
    presets = {preset["name"]: preset for preset in listed(client)["presets"]}
    assert (presets["best"]["model"], presets["best"]["offered"]) == ("Kim_Vocal_2", True)
    assert presets["fast"]["model"] == "Spleeter-2stems"
    assert (presets["karaoke"]["model"], presets["karaoke"]["offered"]) == (None, False)
    assert ["UVR_MDXNET_KARA_2"] in presets["karaoke"]["options"]
    assert all(preset["purpose"] for preset in presets.values())


def test_before_anything_is_announced_the_default_model_is_offered(client: FlaskClient) -> None:
    found = listed(client)
    assert found["default"] == "UVR-MDX-NET-Inst_HQ_4"
    assert [model["name"] for model in found["models"] if model["offered"]] == [found["default"]]
    assert not any(preset["offered"] for preset in found["presets"])
