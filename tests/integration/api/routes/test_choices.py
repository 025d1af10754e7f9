"""POST /generate with `model`, `stems` and `metadata`: what becomes of them in answers and in the task's record."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.api import CREDENTIALS, application, post_generate, services_of, settings_for, task_keys
from uvr.models.announcements import ModelAnnouncements, RunnableModel
from uvr.tasks.model import Task

SONG = "https://songs.example.com/a.mp3"
DEFAULT = "UVR-MDX-NET-Inst_HQ_4"
TWO = ("vocals", "instrumental")


@pytest.fixture
def api_settings() -> dict[str, Any]:
    return {"models_offered": "*", "min_free_bytes": 0}


@pytest.fixture
def announced(redis_client: Redis) -> None:
    """What a processor has told once: the default model, two of the catalogue, and one of its own."""
    models = [RunnableModel(name, TWO) for name in (DEFAULT, "Kim_Vocal_2", "UVR_MDXNET_KARA_2")]
    ModelAnnouncements(redis_client, "uvr_tasks").announce(
        "processor:gone:1", [*models, RunnableModel("four.ckpt", ("drums", "bass", "other", "vocals"))]
    )


def stored(client: FlaskClient, answer: Any) -> Task:
    assert answer.status_code == 202, answer.text
    task = services_of(client.application).store.get(answer.json["task_uuid"])
    assert task is not None
    return task


def shown(client: FlaskClient, answer: Any) -> Any:
    return client.get(answer.headers["Location"], auth=CREDENTIALS).json


def post_form(client: FlaskClient, **texts: str) -> Any:
    form = {"audio": (BytesIO(b"a song"), "song.wav"), **texts}
    return client.post("/generate", data=form, auth=CREDENTIALS)


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize(
    ("model", "models", "preset"),
    [
        ("kim vocal 2.onnx", ["Kim_Vocal_2"], ""),
        ("Four", ["four.ckpt"], ""),
        (DEFAULT, [DEFAULT], ""),
        ("karaoke", ["UVR_MDXNET_KARA_2"], "karaoke"),
        (["Karaoke"], ["UVR_MDXNET_KARA_2"], "karaoke"),
        (["Kim_Vocal_2", "uvr_mdxnet_kara_2"], ["Kim_Vocal_2", "UVR_MDXNET_KARA_2"], ""),
    ],
)
def test_a_model_is_chosen_by_its_name_or_a_preset(
    client: FlaskClient, model: Any, models: list[str], preset: str
) -> None:
    answer = post_generate(client, {"audio": SONG, "model": model})
    task = stored(client, answer)
    assert (task.models, task.preset) == (models, preset)
    became = {"model": models[0] if len(models) == 1 else models} | ({"preset": preset} if preset else {})
    listed = client.get("/tasks", auth=CREDENTIALS).json["tasks"][0]
    for where in (answer.json, shown(client, answer), listed):
        assert {name: where[name] for name in ("model", "preset") if name in where} == became


@pytest.mark.usefixtures("announced")
def test_stems_are_kept_in_their_order_and_shown_as_wanted_stems(client: FlaskClient) -> None:
    answer = post_generate(client, {"audio": SONG, "model": "four", "stems": ["Vocals", "drums", "vocals"]})
    assert stored(client, answer).wanted_stems == ["vocals", "drums"]
    details = shown(client, answer)
    assert (details["wanted_stems"], details["stems"]) == (["vocals", "drums"], {})


@pytest.mark.usefixtures("announced")
def test_metadata_comes_back_unchanged(client: FlaskClient) -> None:
    metadata = {"order": "4711", "": "empty", "Titel": 'Lied "für" Ü\n\u0000🎵', "model": "mine"}
    answer = post_generate(client, {"audio": SONG, "metadata": metadata})
    assert stored(client, answer).metadata == metadata
    assert shown(client, answer)["metadata"] == metadata
    assert client.get("/tasks", auth=CREDENTIALS).json["tasks"][0]["metadata"] == metadata


@pytest.mark.usefixtures("announced")
def test_a_form_has_lists_with_commas_and_metadata_as_json(client: FlaskClient) -> None:
    answer = post_form(
        client, model="Kim_Vocal_2, UVR_MDXNET_KARA_2", stems="vocals,vocals", metadata='{"order": "4711"}'
    )
    task = stored(client, answer)
    assert (task.models, task.wanted_stems) == (["Kim_Vocal_2", "UVR_MDXNET_KARA_2"], ["vocals"])
    assert (task.metadata, task.audio, bool(task.upload)) == ({"order": "4711"}, "song.wav", True)
    assert answer.json["model"] == ["Kim_Vocal_2", "UVR_MDXNET_KARA_2"]


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize(
    ("fields", "field", "part"),
    [
        ({"model": "Kim_Inst"}, "model", 'model: "Kim_Inst" is not offered here. Offered are fast, balanced, best, '),
        ({"model": "models/Kim_Vocal_2"}, "model", 'model: "models/Kim_Vocal_2" is a path; give the name of a model.'),
        ({"model": "drums"}, "model", "model: drums is a preset, and none of its models is here."),
        ({"stems": "drums"}, "stems", f'stems: {DEFAULT} gives vocals and instrumental, not "drums".'),
        ({"model": "four", "stems": "piano"}, "stems", "stems: four.ckpt gives drums, bass, other and vocals, not "),
    ],
)
def test_what_is_not_offered_is_refused_before_anything_is_stored(
    client: FlaskClient, redis_client: Redis, tmp_path: Path, fields: dict[str, str], field: str, part: str
) -> None:
    before = set(task_keys(redis_client))
    body = {name: [value] if name == "stems" else value for name, value in fields.items()}
    for answer in (post_generate(client, {"audio": SONG, **body}), post_form(client, **fields)):
        assert answer.status_code == 400
        assert answer.json["detail"].startswith(part), answer.json["detail"]
        assert [fault["field"] for fault in answer.json["errors"]] == [field]
    assert set(task_keys(redis_client)) == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_before_a_processor_has_announced_its_models_only_the_default_is_certain(client: FlaskClient) -> None:
    assert post_generate(client, {"audio": SONG, "model": DEFAULT, "stems": ["drums"]}).status_code == 202
    for model in ("best", "Kim_Vocal_2", "ours"):
        answer = post_generate(client, {"audio": SONG, "model": model})
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "10")
        assert "no processor has announced its models; try again shortly." in answer.json["detail"]


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"model": None}, "model must be a string or a list of strings."),
        ({"model": 3}, "model must be a string or a list of strings."),
        ({"model": ""}, "model must have at least 1 character."),
        ({"model": []}, "model must have at least 1 item, not 0."),
        ({"model": ["a"] * 5}, "model must have at most 4 items, not 5."),
        ({"model": ["a", None]}, "model.1 must be a valid string."),
        ({"model": "a" * 201}, "model.0 must have at most 200 characters."),
        ({"stems": None}, "stems must be a valid list."),
        ({"stems": "vocals"}, "stems must be a valid list."),
        ({"stems": []}, "stems must have at least 1 item, not 0."),
        ({"stems": ["a"] * 33}, "stems must have at most 32 items, not 33."),
        ({"metadata": None}, "metadata must be a JSON object of strings."),
        ({"metadata": "order"}, "metadata must be a JSON object of strings."),
        ({"metadata": {"order": 4711}}, 'metadata must have only strings as values, which that of "order" is not.'),
        ({"metadata": {"": None}}, 'metadata must have only strings as values, which that of "" is not.'),
        ({"metadata": {"a": "b" * 4089}}, "metadata must have at most 4096 bytes as JSON in UTF-8, not 4097."),
    ],
)
def test_a_wrong_field_is_refused_with_a_sentence(
    client: FlaskClient, redis_client: Redis, body: dict[str, Any], sentence: str
) -> None:
    answer = post_generate(client, {"audio": SONG, **body})
    assert (answer.status_code, answer.json["detail"]) == (400, sentence)
    assert task_keys(redis_client) == []


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ("", "metadata must be a JSON object of strings: EOF while parsing a value at line 1 column 0."),
        ("[]", "metadata must be a JSON object of strings."),
        ('{"a": NaN}', "metadata must be a JSON object of strings: expected value at line 1 column 7."),
        ('{"a": 1}', 'metadata must have only strings as values, which that of "a" is not.'),
    ],
)
def test_metadata_of_a_form_is_json(client: FlaskClient, metadata: str, sentence: str) -> None:
    answer = post_form(client, metadata=metadata)
    assert (answer.status_code, answer.json["detail"]) == (400, sentence)


def test_thousands_of_wrong_values_are_one_error(client: FlaskClient) -> None:
    answer = post_generate(client, {"audio": SONG, "metadata": {str(number): 1 for number in range(5000)}})
    assert (answer.status_code, len(answer.data) < 1000) == (400, True)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=st.dictionaries(st.text(max_size=40), st.text(max_size=1500), max_size=6))
def test_metadata_is_accepted_up_to_4_kilobytes_of_json_and_comes_back(
    client: FlaskClient, metadata: dict[str, str]
) -> None:
    size_bytes = len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
    answer = post_generate(client, {"audio": SONG, "metadata": metadata})
    assert answer.status_code == (202 if size_bytes <= 4096 else 400)
    if answer.status_code == 202:
        assert shown(client, answer).get("metadata", {}) == metadata


def test_metadata_of_exactly_4_kilobytes_is_accepted(client: FlaskClient) -> None:
    assert post_generate(client, {"audio": SONG, "metadata": {"a": "ü" * 2044}}).status_code == 202


@pytest.mark.usefixtures("announced")
@pytest.mark.parametrize(
    "other",
    [
        {"model": "karaoke"},
        {"model": ["Kim_Vocal_2", DEFAULT]},
        {"model": None},
        {"stems": ["vocals"]},
        {"stems": None},
        {"metadata": {"a": "c"}},
        {"metadata": {}},
    ],
)
def test_the_new_fields_belong_to_what_an_idempotency_key_compares(client: FlaskClient, other: dict[str, Any]) -> None:
    first = {"audio": SONG, "model": "Kim_Vocal_2", "stems": ["instrumental"], "metadata": {"a": "b"}}
    key = {"Idempotency-Key": "mine"}
    assert post_generate(client, first, headers=key).status_code == 202
    changed = {name: value for name, value in {**first, **other}.items() if value is not None}
    assert post_generate(client, first, headers=key).status_code == 202
    assert post_generate(client, changed, headers=key).status_code == 409


@pytest.mark.usefixtures("announced")
def test_a_request_that_is_sent_again_gets_the_model_of_the_first(client: FlaskClient, redis_client: Redis) -> None:
    body, key = {"audio": SONG, "model": "karaoke"}, {"Idempotency-Key": "mine"}
    first = post_generate(client, body, headers=key)
    ModelAnnouncements(redis_client, "uvr_tasks").announce(
        "processor:gone:1", [RunnableModel(name, TWO) for name in ("UVR_MDXNET_KARA", DEFAULT)]
    )
    offers = services_of(client.application).model_offers
    offers._cached = None  # as after a few seconds
    assert offers.now().presets_now["karaoke"] == ("UVR_MDXNET_KARA",)
    again = post_generate(client, body, headers=key)
    assert (again.headers["Idempotency-Replayed"], again.text) == ("true", first.text)
    assert again.json["model"] == "UVR_MDXNET_KARA_2"


@pytest.mark.usefixtures("announced")
def test_a_request_that_is_sent_again_is_answered_although_its_model_is_gone(
    client: FlaskClient, redis_client: Redis
) -> None:
    body, key = {"audio": SONG, "model": "four", "stems": ["drums"]}, {"Idempotency-Key": "mine"}
    first = post_generate(client, body, headers=key)
    form = {"audio": (BytesIO(b"a song"), "song.wav"), "model": "four"}
    upload = {"Idempotency-Key": "upload"}
    uploaded = client.post("/generate", data=form, auth=CREDENTIALS, headers=upload)
    ModelAnnouncements(redis_client, "uvr_tasks").announce("processor:gone:1", [RunnableModel(DEFAULT, TWO)])
    services_of(client.application).model_offers._cached = None  # as after a few seconds
    assert post_generate(client, body).status_code == 400
    again = post_generate(client, body, headers=key)
    assert (again.status_code, again.headers.get("Idempotency-Replayed"), again.text) == (202, "true", first.text)
    form = {"audio": (BytesIO(b"a song"), "song.wav"), "model": "four"}
    again = client.post("/generate", data=form, auth=CREDENTIALS, headers=upload)
    assert (again.status_code, again.headers.get("Idempotency-Replayed"), again.text) == (202, "true", uploaded.text)
    assert post_generate(client, {**body, "stems": ["bass"]}, headers=key).status_code == 409


@pytest.mark.usefixtures("announced")
def test_the_offers_are_read_only_when_a_request_needs_them_and_then_kept(client: FlaskClient) -> None:
    with patch.object(ModelAnnouncements, "runnable", autospec=True, side_effect=ModelAnnouncements.runnable) as read:
        for body in ({}, {"metadata": {"a": "b"}}, {"priority": 5, "output_format": "mp3"}):
            assert post_generate(client, {"audio": SONG, **body}).status_code == 202
        assert read.call_count == 0
        for _ in range(5):
            assert post_generate(client, {"audio": SONG, "model": "four"}).status_code == 202
        assert read.call_count == 1


def test_models_are_accepted_as_soon_as_the_first_processor_has_told_them(
    client: FlaskClient, redis_client: Redis
) -> None:
    body = {"audio": SONG, "model": "four"}
    assert post_generate(client, body).status_code == 503
    ModelAnnouncements(redis_client, "uvr_tasks").announce("processor:new:1", [RunnableModel("four", TWO)])
    assert post_generate(client, body).status_code == 202


@pytest.mark.parametrize("name", ["models", "modle", "Model", "stemms", "meta_data"])
def test_a_near_miss_of_a_new_field_is_refused(client: FlaskClient, name: str) -> None:
    answer = post_generate(client, {"audio": SONG, name: "x"})
    assert (answer.status_code, "did you mean" in answer.json["detail"]) == (400, True)


@pytest.mark.parametrize("name", ["mode", "stem", "meta", "model_name", "data", "preset"])
def test_words_of_old_clients_are_no_near_misses(client: FlaskClient, name: str) -> None:
    answer = post_generate(client, {"audio": SONG, name: "x"})
    assert (answer.status_code, answer.json["warnings"][0]["field"]) == (202, name)


def test_only_listed_models_and_presets_are_offered(redis_client: Redis, tmp_path: Path) -> None:
    file = tmp_path / "presets.json"
    file.write_text('{"choir": {"models": ["ours"]}, "best": {"models": []}}')
    listed = {"models_offered": "choir, Kim Inst, best", "presets_file": file}
    ModelAnnouncements(redis_client, "uvr_tasks").announce("p", [RunnableModel(name) for name in (DEFAULT, "ours")])
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path, **listed)) as app:
        client = app.test_client()
        for model, became in {"choir": "ours", "kim_inst": "Kim_Inst", DEFAULT: DEFAULT, "ours.onnx": "ours"}.items():
            assert post_generate(client, {"audio": SONG, "model": model}).json["model"] == became
        for model in ("fast", "best", "Kim_Vocal_2"):
            assert post_generate(client, {"audio": SONG, "model": model}).status_code == 400
