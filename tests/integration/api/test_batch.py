"""POST /generate with a list: all songs are accepted or none, and GET /tasks finds them by their batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis

from tests.support.api import (
    CREDENTIALS,
    application,
    credentials,
    htpasswd,
    post_generate,
    services_of,
    settings_for,
    task_keys,
)
from tests.support.leases import claim
from uvr.models.announcements import ModelAnnouncements, RunnableModel

SONG = "https://songs.example.com/{}.mp3"
KEY = {"Idempotency-Key": "my order 17"}


def songs(count: int = 3, **fields: Any) -> list[dict[str, Any]]:
    return [{"audio": SONG.format(number), **fields} for number in range(count)]


def listed(client: FlaskClient, query: str, auth: tuple[str, str] = CREDENTIALS) -> list[str]:
    return [task["task_uuid"] for task in client.get(f"/tasks?{query}", auth=auth).json["tasks"]]


def ids(answer: Any) -> list[str]:
    return [task["task_uuid"] for task in answer.json["tasks"]]


def test_all_songs_are_queued_in_their_order(client: FlaskClient) -> None:
    answer = post_generate(client, [*songs(2), {"audio": SONG.format("last"), "priority": 5, "output_format": "flac"}])
    batch = answer.json["batch"]
    assert (answer.status_code, answer.headers["Location"]) == (202, f"/tasks?batch={batch}")
    assert answer.json.keys() == {"message", "status", "batch", "tasks"}
    assert (answer.json["message"], answer.json["status"]) == ("Tasks have been queued for processing", "queued")
    assert [task["priority"] for task in answer.json["tasks"]] == [3, 3, 5]
    assert listed(client, answer.headers["Location"].partition("?")[2]) == ids(answer)[::-1]
    queue, order = services_of(client.application).broker.tasks, ids(answer)
    assert [claim(queue).id for _ in range(3)] == [order[2], order[0], order[1]]
    last = client.get(f"/tasks/{order[2]}", auth=CREDENTIALS).json
    assert (last["batch"], last["output_format"], last["audio"]) == (batch, "flac", SONG.format("last"))


def test_a_song_alone_has_no_batch(client: FlaskClient) -> None:
    answer = post_generate(client, songs(1)[0])
    assert answer.json.keys() == {"message", "status", "task_uuid", "priority"}
    shown = client.get(answer.headers["Location"], auth=CREDENTIALS)
    assert "batch" not in shown.json
    assert "batch" not in client.get("/tasks", auth=CREDENTIALS).json["tasks"][0]


def test_one_wrong_song_refuses_all_and_every_error_names_its_place(client: FlaskClient, redis_client: Redis) -> None:
    wrong = [
        {"audio": SONG.format(0)},
        {"hook_url": "https://example.com/hook"},
        {"audio": "http://127.0.0.1/a.mp3", "priority": 3},
        {"audio": SONG.format(3), "priority": 9, "output_format": "aiff"},
        {"audio": SONG.format(4), "hookurl": "https://example.com/hook"},
        "https://songs.example.com/5.mp3",
    ]
    answer = post_generate(client, wrong)
    assert (answer.status_code, answer.content_type) == (400, "application/problem+json")
    found = {error["field"]: error["message"] for error in answer.json["errors"]}
    assert list(found) == ["[1].audio", "[2].audio", "[3].priority", "[3].output_format", "[4].hookurl", "[5]"]
    assert found["[1].audio"] == "[1].audio is required."
    assert found["[2].audio"].startswith("[2].audio ")
    assert found["[4].hookurl"] == "[4].hookurl is not known; did you mean hook_url?"
    assert found["[5]"] == "[5] must be a JSON object, not a string."
    assert task_keys(redis_client) == []


@pytest.mark.parametrize("count", [0, 101])
def test_a_list_has_one_to_a_hundred_songs(client: FlaskClient, count: int) -> None:
    answer = post_generate(client, songs(count))
    assert answer.status_code == 400
    assert answer.json["detail"] == f"body must be a list of 1 to 100 songs, not {count}; send more in several lists."
    assert answer.json["errors"][0]["field"] == "body"


def test_a_hundred_songs_with_long_urls_fit_into_a_list(client: FlaskClient) -> None:
    answer = post_generate(client, [{"audio": f"{SONG.format(number)}?{'x' * 4000}"} for number in range(100)])
    assert (answer.status_code, len(set(ids(answer)))) == (202, 100)


@pytest.mark.parametrize(
    "body", [{"audio": SONG.format(1), "x": "x" * 65_536}, [{"audio": SONG.format(1), "x": "x" * 2**20}]]
)
def test_larger_bodies_are_a_413(client: FlaskClient, body: Any) -> None:
    assert post_generate(client, body).status_code == 413


def test_a_large_list_needs_the_slot_of_an_upload(client: FlaskClient) -> None:
    slots = services_of(client.application).upload_slots
    held = [slots.take("somebody") for _ in range(4)]
    large = [{"audio": f"{SONG.format(number)}?{'x' * 1000}"} for number in range(70)]
    assert post_generate(client, large).status_code == 503
    assert post_generate(client, songs(2)).status_code == 202
    held[0].release()
    assert post_generate(client, large).status_code == 202


def test_ignored_fields_are_named_with_their_place(client: FlaskClient) -> None:
    answer = post_generate(client, [songs(1)[0], {**songs(1)[0], "colour": "red"}])
    assert answer.json["warnings"] == [{"field": "[1].colour", "message": "[1].colour is not known and was ignored."}]
    assert len(post_generate(client, songs(30, colour="red")).json["warnings"]) == 20


def test_a_repeated_list_gets_the_same_ids_and_another_one_a_409(client: FlaskClient, redis_client: Redis) -> None:
    first = post_generate(client, songs(3, priority=4), headers=KEY)
    again = post_generate(client, songs(3, priority=4), headers=KEY)
    assert (again.status_code, again.json, again.headers["Location"]) == (202, first.json, first.headers["Location"])
    assert again.headers["Idempotency-Replayed"] == "true"
    assert redis_client.zcard("uvr_tasks") == 3
    for other in (songs(2, priority=4), songs(3), songs(3, priority=4)[::-1], songs(1)[0]):
        refused = post_generate(client, other, headers=KEY)
        assert refused.status_code == 409
        assert "Idempotency-Key" in refused.json["detail"]
    assert redis_client.zcard("uvr_tasks") == 3


def test_a_repeated_list_gets_its_ids_although_its_models_are_gone(client: FlaskClient, redis_client: Redis) -> None:
    announcements = ModelAnnouncements(redis_client, "uvr_tasks")
    announcements.announce("gone", [RunnableModel("UVR_MDXNET_KARA_2", ("vocals", "instrumental"))])
    body = [*songs(2, model="karaoke", stems=["vocals"]), songs(1)[0]]
    first = post_generate(client, body, headers=KEY)
    chosen = {"model": "UVR_MDXNET_KARA_2", "preset": "karaoke"}
    assert [task.items() >= chosen.items() for task in first.json["tasks"]] == [True, True, False]
    assert first.json["tasks"][2].keys() == {"task_uuid", "priority"}
    announcements.announce("gone", [RunnableModel("other", ("drums",))])
    services_of(client.application).model_offers._cached = None  # as after a few seconds
    again = post_generate(client, body, headers=KEY)
    assert (again.status_code, again.json, again.headers["Idempotency-Replayed"]) == (202, first.json, "true")
    refused = post_generate(client, [*body, {"audio": 1}], headers=KEY)
    places = [error["field"] for error in refused.json["errors"]]
    assert (refused.status_code, places) == (400, ["[0].model", "[1].model", "[3].audio"])


def test_the_key_of_one_song_is_not_free_for_a_list(client: FlaskClient) -> None:
    assert post_generate(client, songs(1)[0], headers=KEY).status_code == 202
    assert post_generate(client, songs(1), headers=KEY).status_code == 409


def test_a_deleted_list_leaves_nothing(client: FlaskClient, redis_client: Redis) -> None:
    answer = post_generate(client, songs())
    for task_uuid in ids(answer):
        assert client.delete(f"/tasks/{task_uuid}", auth=CREDENTIALS).status_code == 204
    assert list(redis_client.scan_iter("*batch*")) == []
    assert listed(client, f"batch={answer.json['batch']}") == []


def test_the_filter_goes_with_others_and_with_pages(client: FlaskClient) -> None:
    answer, other = post_generate(client, songs(5)), post_generate(client, songs(1)[0])
    batch, order = answer.json["batch"], ids(answer)
    client.post(f"/tasks/{order[1]}/cancel", auth=CREDENTIALS)
    assert listed(client, f"batch={batch}&status=cancelled") == [order[1]]
    assert listed(client, f"batch={batch}&status=success") == []
    assert listed(client, f"batch={batch}&priority=5") == []
    page = client.get(f"/tasks?batch={batch}&limit=2", auth=CREDENTIALS).json
    rest = client.get(f"/tasks?batch={batch}&cursor={page['next_cursor']}", auth=CREDENTIALS).json
    assert [task["task_uuid"] for task in page["tasks"] + rest["tasks"]] == order[::-1]
    assert other.json["task_uuid"] not in listed(client, f"batch={batch}")
    assert set(listed(client, "batch=")) == {other.json["task_uuid"], *order}


def test_the_limit_of_waiting_tasks_counts_the_whole_list(redis_client: Redis, tmp_path: Path) -> None:
    where = redis_client.get_connection_kwargs()
    with application(settings_for(where, tmp_path, max_waiting_tasks_per_user=4)) as app, app.test_client() as client:
        assert post_generate(client, songs(3)).status_code == 202
        refused = post_generate(client, songs(2))
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "30")
        assert refused.json["detail"].startswith("With these 2 songs, more than 4 would wait;")
        assert post_generate(client, songs(5)).status_code == 400  # it never would be accepted
        assert post_generate(client, songs(1)).status_code == 202
        assert redis_client.zcard("uvr_tasks") == 4


def test_other_users_do_not_see_it(redis_client: Redis, tmp_path: Path) -> None:
    (tmp_path / "users").write_text(htpasswd("anna", "bert"))
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, basic_auth_users_file=tmp_path / "users")
    with application(settings) as app, app.test_client() as client:
        answer = client.post("/generate", json=songs(2), auth=credentials("anna"), headers=KEY)
        query = f"batch={answer.json['batch']}"
        assert listed(client, query, credentials("anna")) == ids(answer)[::-1]
        assert listed(client, query, credentials("bert")) == []
        assert listed(client, query) == ids(answer)[::-1]
        other = client.post("/generate", json=songs(2), auth=credentials("bert"), headers=KEY)
        assert other.json["batch"] != answer.json["batch"]


def test_the_document_describes_both_forms(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    [body] = [
        media["schema"]
        for kind, media in document["paths"]["/generate"]["post"]["requestBody"]["content"].items()
        if kind == "application/json"
    ]
    schemas = document["components"]["schemas"]
    one, many = schemas[body["$ref"].rpartition("/")[2]]["anyOf"]
    assert one == many["items"] == {"$ref": "#/components/schemas/GenerateRequest"}
    assert (many["minItems"], many["maxItems"]) == (1, 100)
    assert "#/components/schemas/AcceptedBatch" in json.dumps(schemas["AcceptedOneOrMany"])
