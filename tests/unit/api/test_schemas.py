"""Requests: what is strict, what is optional. Responses: what is masked, and that every field is there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from uvr.api.problems import validation_problem
from uvr.api.schemas.requests import GenerateRequest, TaskListQuery
from uvr.api.schemas.responses import Accepted, WorkerHealth, task_details, task_summary
from uvr.tasks.model import Status, Task

SONG = "https://songs.example.com/a.mp3"


def task(**fields: Any) -> Task:
    return Task(**{"task_uuid": "one", "audio": SONG, "priority": 3, "created_ms": 1_700_000_000_000, **fields})


def refusal(**body: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        GenerateRequest.model_validate(body)
    answer: Any = validation_problem(caught.value).json
    return str(answer["detail"])


def test_absent_fields_have_placeholders_that_are_not_valid_values() -> None:
    request = GenerateRequest.model_validate({"audio": SONG})
    assert (request.hook_url, request.priority) == ("", 0)
    assert refusal(audio=SONG, hook_url="").startswith("hook_url must have at least 1 character")
    assert refusal(audio=SONG, priority=0) == "priority must be greater than or equal to 1."


def test_placeholders_are_not_part_of_the_documented_schema() -> None:
    schema = GenerateRequest.model_json_schema()
    assert schema["required"] == ["audio"]
    defaults = {name: field["default"] for name, field in schema["properties"].items() if "default" in field}
    assert defaults == {"callback_events": ["completed"], "output_format": "wav"}


@pytest.mark.parametrize("output_format", ["wav", "flac", "mp3", "m4a", "ogg", "opus"])
def test_formats_are_accepted_by_their_names(output_format: str) -> None:
    request = GenerateRequest.model_validate({"audio": SONG, "output_format": output_format})
    assert request.output_format == output_format


@pytest.mark.parametrize("output_format", ["", "aac", "WAV", ".wav", None, 1, ["wav"]])
def test_an_unknown_format_is_refused_and_the_message_lists_the_formats(output_format: Any) -> None:
    sentence = "output_format must be 'wav', 'flac', 'mp3', 'm4a', 'ogg' or 'opus'."
    assert refusal(audio=SONG, output_format=output_format) == sentence


@pytest.mark.parametrize("priority", [0, 6, 2.5, 3.0, "3", True, None, [3], {}])
def test_only_whole_numbers_from_1_to_5_are_priorities(priority: Any) -> None:
    assert refusal(audio=SONG, priority=priority).startswith("priority must be ")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "audio is required."),
        ({"audio": ""}, "audio must have at least 1 character."),
        ({"audio": None}, "audio must be a valid string."),
        ({"audio": "h" * 8193}, "audio must have at most 8192 characters."),
        ({"audio": SONG, "priority": "3"}, "priority must be a valid integer."),
    ],
)
def test_errors_are_sentences(body: dict[str, Any], sentence: str) -> None:
    assert refusal(**body) == sentence


def test_response_to_an_accepted_task_is_as_specified() -> None:
    assert Accepted(task_uuid="one", priority=4).model_dump() == {
        "message": "Task has been queued for processing",
        "status": "queued",
        "task_uuid": "one",
        "priority": 4,
    }


def test_query_accepts_numbers_as_text() -> None:
    assert TaskListQuery.model_validate({"limit": "200", "status": "failed"}).limit == 200


@pytest.mark.parametrize("offset", ["+02:00", " 02:00", " 0200", "+0200"])
def test_a_time_keeps_its_offset_although_the_query_turns_plus_into_a_space(offset: str) -> None:
    query = TaskListQuery.model_validate({"created_since": f"2026-11-22T16:46:01{offset}"})
    assert query.created_since == datetime(2026, 11, 22, 14, 46, 1, tzinfo=UTC)


def test_every_status_that_a_task_can_have_is_a_filter() -> None:
    for status in set(Status) - {Status.UNKNOWN}:
        assert TaskListQuery.model_validate({"status": status.value}).to_filter().status is status
    with pytest.raises(ValidationError, match=r"'queued', 'processing', .* or 'cancelled'"):
        TaskListQuery.model_validate({"status": "unknown"})


def test_cursor_of_the_store_is_a_valid_cursor() -> None:
    cursor = "1700000000000:9a0c5a86-0a51-4b73-9d4a-1b0d1a6c1f52"
    assert TaskListQuery.model_validate({"cursor": cursor}).cursor == cursor


def test_summary_and_details_mask_urls() -> None:
    secretive = task(audio=f"{SONG}?sig=1", hook_url="http://me:word@hooks.example.com/?token=1")
    assert task_summary(secretive).audio == f"{SONG}?…"
    assert task_details(secretive, position=0, eta_s=None, links={}).hook_url == "http://…@hooks.example.com/?…"


def test_times_that_have_not_come_yet_are_null() -> None:
    shown = task_summary(task(status=Status.PROCESSING, started_ms=1_700_000_001_000))
    assert (shown.started_at, shown.finished_at) == ("2023-11-14T22:13:21.000Z", None)


def test_details_have_the_two_stems_at_the_top_level_as_webhooks_do() -> None:
    links = {"vocals": "http://v", "instrumental": "http://i"}
    shown = task_details(task(status=Status.SUCCESS), position=None, eta_s=None, links=links)
    assert (shown.vocals, shown.instrumental, shown.stems) == ("http://v", "http://i", links)


def test_delivery_attempts_of_other_versions_are_shown() -> None:
    shown = task_details(
        task(webhook_tries=[{"status_code": 200, "newer_field": 1}, {}]), position=None, eta_s=None, links={}
    )
    assert [attempt.status_code for attempt in shown.webhook.tries] == [200, None]


def test_worker_health_has_the_facts_of_the_workers() -> None:
    health = WorkerHealth.model_validate({"status": "up", "workers": 2, "model": "Spleeter-2stems"})
    assert health.model_dump() == {"status": "up", "workers": 2, "model": "Spleeter-2stems"}
