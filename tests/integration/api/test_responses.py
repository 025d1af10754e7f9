"""What all responses have in common: security headers, a request id, one log line, problems instead of stack traces."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from flask.testing import FlaskClient
from redis import Redis

from config import VERSION
from tests.support.api import CREDENTIALS, application, settings_for

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("path", ["/health", "/tasks", "/nowhere", "/generate", "/files/x.wav"])
def test_every_response_has_the_security_headers(client: FlaskClient, path: str) -> None:
    headers = client.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Cache-Control"] == "no-store"


def test_request_id_is_kept_when_it_is_well_formed(client: FlaskClient) -> None:
    assert client.get("/health", headers={"X-Request-ID": "abc-1.2_3"}).headers["X-Request-ID"] == "abc-1.2_3"


@pytest.mark.parametrize("given", ["", "a" * 65, "a b", "é", "a;b"])
def test_malformed_request_id_is_replaced(client: FlaskClient, given: str) -> None:
    made = client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert made != given
    assert len(made) == 32


def test_request_is_logged_in_one_line_without_its_query_string(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as lines, caplog.at_level(logging.INFO):
        client.get("/tasks?cursor=hidden", auth=CREDENTIALS, headers={"X-Request-ID": "r1"})
    [line] = [line for line in lines if line["event"] == "request.answered"]
    assert (line["method"], line["path"], line["status"], line["user"]) == ("GET", "/tasks", 400, CREDENTIALS[0])
    assert line["elapsed_ms"] >= 0
    assert "hidden" not in str(lines)


def test_unknown_address_is_a_problem(client: FlaskClient) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert answer.json["error"] == answer.json["detail"] == "There is nothing at this address."


def test_a_problem_names_its_request(client: FlaskClient) -> None:
    assert client.get("/nowhere", headers={"X-Request-ID": "r1"}).json["request_id"] == "r1"
    answer = client.get("/tasks")
    assert answer.status_code == 401
    assert answer.json["request_id"] == answer.headers["X-Request-ID"]


@pytest.mark.parametrize("path", ["/health", "/nowhere"])
def test_successful_probes_are_logged_at_debug_level(client: FlaskClient, path: str) -> None:
    with structlog.testing.capture_logs() as lines:
        client.get(path)
    assert [line["log_level"] for line in lines] == ["debug" if path == "/health" else "info"]


def test_a_bug_is_a_500_that_reveals_nothing(redis_client: Redis, tmp_path: Path) -> None:
    with application(settings_for(redis_client.get_connection_kwargs(), tmp_path)) as app:

        @app.get("/broken")
        def broken() -> str:
            raise RuntimeError("a secret detail")

        answer = app.test_client().get("/broken")
    assert answer.status_code == 500
    assert answer.content_type == "application/problem+json"
    assert "secret" not in answer.text


def test_schemas_describe_every_endpoint(client: FlaskClient) -> None:
    described = client.application.api_doc  # type: ignore[attr-defined]
    assert described["info"]["version"] == VERSION
    pages = ("docs.", "console.")
    rules = [str(rule) for rule in client.application.url_map.iter_rules() if not rule.endpoint.startswith(pages)]
    assert set(described["paths"]) == {re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule) for rule in rules}


def test_starting_needs_no_redis_and_imports_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys, app; app.create_app(); "
        "print([name for name in ('onnxruntime', 'av', 'numpy', 'boto3', 'botocore', 'torch') if name in sys.modules])"
    )
    environment = {
        "PATH": "",
        "ENV_FILE": "",
        "REDIS_URL": f"unix://{tmp_path}/nobody.sock",
        "S3_BUCKET_NAME": "stems",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr
