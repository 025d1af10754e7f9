"""No request gets a 5xx or a response that the OpenAPI document does not describe: thousands of cases by schemathesis.

The cases go through the whole application and a real Redis, but not through a socket: that would take most of the time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import structlog
from flask import Flask
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from redis import Redis
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from schemathesis.generation import GenerationMode

from tests.support.api import CREDENTIALS, application, services_of, settings_for
from uvr.liveness.workers import WorkerPresence
from uvr.models.announcements import ModelAnnouncements, RunnableModel
from uvr.tasks.model import Status, Task

CASES = 2_000
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
MODELS = ("UVR-MDX-NET-Inst_HQ_4", "Kim_Vocal_2")
OFFERED = {
    "model": cycle(["fast", "kim vocal 2", list(MODELS)]),
    "stems": cycle([["vocals"], ["Instrumental", "vocals"]]),
}
EXISTING = {"waits": Status.QUEUED, "done": Status.SUCCESS, "broken": Status.FAILED}


@pytest.fixture
def app(redis_client: Redis, tmp_path: Path) -> Iterator[Flask]:
    with (
        application(settings_for(redis_client.get_connection_kwargs(), tmp_path, min_free_bytes=0)) as app,
        workers(redis_client),
        structlog.testing.capture_logs(),
    ):
        app.wsgi_app = read_at_once(app.wsgi_app)  # type: ignore[method-assign]
        yield app


def read_at_once(application: Any) -> Any:
    """Reads each response and closes it, as a server does and schemathesis does not.

    Of the stream of all tasks, which goes on for minutes, it reads the beginning.
    """

    def respond(environ: Any, start_response: Any) -> list[bytes]:
        max_pieces = 2 if environ["PATH_INFO"] == "/events" else None
        with closing(application(environ, start_response)) as pieces:
            return [b"".join(islice(pieces, max_pieces))]

    return respond


@contextmanager
def workers(redis_client: Redis) -> Iterator[None]:
    with ExitStack() as stack:
        models = [RunnableModel(name, ("vocals", "instrumental")) for name in MODELS]
        ModelAnnouncements(redis_client, "uvr_tasks").announce("processor:gone:1", models)
        for kind in ("processor", "uploader"):
            stack.enter_context(WorkerPresence(redis_client, "uvr_tasks", kind, dict).announced())
        yield


@pytest.mark.timeout(1200)
def test_every_response_matches_the_document(app: Flask) -> None:
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    operations = [result.ok() for result in schema.get_all_operations()]
    with_input = [operation for operation in operations if has_input(operation)]
    each = -(-CASES // (2 * len(with_input)))
    tried: Counter[str] = Counter()
    for operation in operations:
        for mode in GenerationMode if operation in with_input else [GenerationMode.POSITIVE]:
            tried[operation.label] += sent(app, operation, mode, each)
    assert tried.total() >= CASES, tried
    assert all(tried[operation.label] for operation in operations), tried


def has_input(operation: Any) -> bool:
    return bool(operation.path_parameters or operation.query or operation.body)


def sent(app: Flask, operation: Any, mode: GenerationMode, count: int) -> int:
    """Send `count` cases, every other one to an existing task, and with a model that is offered.

    Returns how many were sent.
    """
    sent_so_far = 0
    # There are no workers, so the event stream of a queued task would not end.
    names = cycle(["done", "broken"] if operation.path.endswith("/events") else EXISTING)

    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def send(case: Any) -> None:
        nonlocal sent_so_far
        sent_so_far += 1
        if sent_so_far % 2 and "task_uuid" in (case.path_parameters or {}):
            case.path_parameters["task_uuid"] = stored(app, next(names))
            if "name" in case.path_parameters:
                case.path_parameters["name"] = "vocals"
        if sent_so_far % 2 and isinstance(case.body, dict) and mode is GenerationMode.POSITIVE:
            case.body |= {name: next(OFFERED[name]) for name in OFFERED.keys() & case.body.keys()}
        answer = case.call(auth=CREDENTIALS)
        case.validate_response(answer, checks=CHECKS)

    try:
        send()
    except Unsatisfiable:
        return 0
    return sent_so_far


def stored(app: Flask, task_uuid: str) -> str:
    """Store the task of this name again if an earlier case has deleted it."""
    status, stems = EXISTING[task_uuid], {"vocals": f"{task_uuid}_vocals.wav"}
    task = Task(task_uuid, "https://songs.example.com/a.mp3", 3, 1_700_000_000_000, status=status, stems=stems)
    if services_of(app).store.submit(task):
        services_of(app).storage.put(Path(__file__), stems["vocals"], "audio/wav")
    return task_uuid
