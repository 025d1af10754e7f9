"""GET /models: the catalogue, and the models that processors have loaded."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import CREDENTIALS
from uvr.liveness.workers import WorkerPresence


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


def test_credentials_are_required(client: FlaskClient) -> None:
    assert client.get("/models").status_code == 401
