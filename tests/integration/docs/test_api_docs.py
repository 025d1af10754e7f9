"""docs/api.md keeps its promises: its examples accept what the service signs, and every endpoint is described."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from standardwebhooks import WebhookVerificationError

from app import create_app
from tests.support.api import services_of, settings_for
from tests.support.http_server import Answer, http_server
from uvr.net.url_guard import UrlGuard
from uvr.webhooks.delivery import deliver

DOCS = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
SIGNATURES = DOCS.partition("### Checking the signature")[2]
BODY = '{"task_uuid": "one", "status": "success", "note": "Grüße 🎵"}'.encode()
SECRETS = ["a plain secret", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ"]


def example(language: str, word: str) -> str:
    """The example in this language that has the word in it."""
    [found] = [code for code in re.findall(rf"```{language}\n(.+?)```", DOCS, re.DOTALL) if word in code]
    return str(found)


def signed(secret: str) -> dict[str, str]:
    """The headers of a real delivery, as a receiver sees them."""
    guard = UrlGuard([ip_network("127.0.0.0/8")])
    with http_server() as receiver:
        hook_url = receiver.answer("/hook", Answer(204))
        attempt = deliver(hook_url, BODY, webhook_id="one.success", secrets=[secret], guard=guard, timeout_s=5)
        assert attempt.outcome == "delivered"
        [request] = receiver.requests
    assert request.body == BODY
    return {name.lower(): value for name, value in request.headers.items()}


@pytest.mark.parametrize("secret", SECRETS)
def test_python_example_tells_genuine_deliveries_from_others(secret: str) -> None:
    names: dict[str, Any] = {}
    exec(example("python", "def is_genuine"), names)
    is_genuine = names["is_genuine"]
    headers = signed(secret)
    assert is_genuine(headers, BODY, secret)
    assert not is_genuine(headers, BODY + b" ", secret)
    assert not is_genuine(headers, BODY, "another secret")
    assert not is_genuine({**headers, "webhook-timestamp": "1700000000"}, BODY, secret)
    assert not is_genuine({**headers, "webhook-id": "two.success"}, BODY, secret)
    assert not is_genuine({name: headers[name] for name in ("webhook-id", "webhook-timestamp")}, BODY, secret)


@pytest.mark.parametrize("secret", [secret for secret in SECRETS if secret.startswith("whsec_")])
def test_library_takes_the_secret_as_it_is(secret: str) -> None:
    names: dict[str, Any] = {"secret": secret, "body": BODY, "headers": signed(secret)}
    exec(example("python", "import Webhook"), names)
    assert names["payload"] == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        exec(example("python", "import Webhook"), {**names, "body": BODY + b" "})


@pytest.mark.parametrize("secret", SECRETS)
def test_node_example_tells_genuine_deliveries_from_others(secret: str) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("needs Node.js to run the documented example")
    headers, body = json.dumps(signed(secret)), json.dumps(BODY.decode())
    checks = [
        f"isGenuine({headers}, Buffer.from({body}), {json.dumps(secret)})",
        f"isGenuine({headers}, Buffer.from({body} + ' '), {json.dumps(secret)})",
        f"isGenuine({headers}, Buffer.from({body}), 'another secret')",
        f"isGenuine({{...{headers}, 'webhook-timestamp': '1700000000'}}, Buffer.from({body}), {json.dumps(secret)})",
    ]
    script = example("js", "function isGenuine") + f"\nconsole.log(JSON.stringify([{', '.join(checks)}]));"
    done = subprocess.run([node, "-e", script], capture_output=True, text=True, check=True, timeout=30)
    assert json.loads(done.stdout) == [True, False, False, False]


def test_every_endpoint_is_described(redis_client: Redis, tmp_path: Path) -> None:
    app: Any = create_app(settings_for(redis_client.get_connection_kwargs(), tmp_path))
    services_of(app).close()
    for path, methods in app.api_doc["paths"].items():
        for method in methods:
            assert f"\n## `{method.upper()} {path}`\n" in DOCS
