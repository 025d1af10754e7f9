"""Webhooks to real receivers: what is sent, what follows from each answer, and when the next attempt is due."""

import json
import re
import shutil
import subprocess
import time
from datetime import UTC, datetime, timedelta
from http.client import responses
from ipaddress import ip_address, ip_network

import pytest
from standardwebhooks import Webhook, WebhookVerificationError
from structlog.testing import capture_logs

from config import ROOT, read_settings
from tests.support.contract import assert_contract_time
from tests.support.http_server import Answer, http_server
from uploader import check_webhook_secret
from uvr.errors import PermanentError
from uvr.net.url_guard import UrlGuard
from uvr.tasks.model import Task
from uvr.webhooks import delivery

GUARD = UrlGuard([ip_network("127.0.0.0/8")])
BODY = json.dumps({"task_uuid": "1", "song": "Lied für Ü"}, ensure_ascii=False).encode()


WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def task(**fields):
    return Task("id", "https://songs.example/a.mp3", 3, 1_700_000_000_000, **fields)


def deliver(url, *, timeout_s=5.0, guard=GUARD, **more):
    return delivery.deliver(url, BODY, webhook_id="msg_1", guard=guard, timeout_s=timeout_s, **more)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_a_delivery(receiver, status):
    attempt = deliver(receiver.answer("/hook", Answer(status)))
    assert (attempt.outcome, attempt.status_code, attempt.error) == ("delivered", status, "")
    assert receiver.requests[0].method == "POST"
    assert receiver.requests[0].body == BODY
    assert receiver.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_a_refusal_is_final(receiver, status):
    assert deliver(receiver.answer("/hook", Answer(status))).outcome == "final"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_a_transient_failure_is_retried(receiver, status):
    attempt = deliver(receiver.answer("/hook", Answer(status, headers={"Retry-After": "9"})))
    assert (attempt.outcome, attempt.status_code, attempt.retry_after_s) == ("retry", status, 9)
    assert attempt.error.startswith(f"The receiver answered {status} ")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(receiver, status):
    receiver.answer("/elsewhere", Answer())
    attempt = deliver(receiver.answer("/hook", Answer(status, headers={"Location": "/elsewhere"})))
    assert attempt.outcome == "retry"
    assert [request.path for request in receiver.requests] == ["/hook"]


@pytest.mark.parametrize(
    ("status", "location", "sentence"),
    [
        (301, "https://new.example/hook", "It has moved to https://new.example/hook and"),
        (
            308,
            "https://me:secret@new.example/my hook?t=secret#secret",
            "It has moved to https://…@new.example/my%20hook?… and",
        ),
        (302, "//login.example/", "It redirects to http://login.example/ and"),
    ],
)
def test_the_target_of_a_redirect_is_shown_without_its_secrets(receiver, status, location, sentence):
    attempt = deliver(receiver.answer("/hook", Answer(status, headers={"Location": location})))
    assert sentence in attempt.error
    assert "redirects are not followed" in attempt.error
    assert "secret" not in attempt.error


@pytest.mark.parametrize(("status", "location"), [(301, "http://["), (304, "https://new.example/")])
def test_a_redirect_to_no_valid_url_shows_no_target(receiver, status, location):
    attempt = deliver(receiver.answer("/hook", Answer(status, headers={"Location": location})))
    assert attempt.error == f"The receiver answered {status} {responses[status]}."


def test_the_target_of_a_redirect_is_shown_up_to_a_maximum_length(receiver):
    attempt = deliver(receiver.answer("/hook", Answer(301, headers={"Location": "/" + "a" * 5000})))
    assert len(attempt.error) < 500


def receivers(setting):
    """WEBHOOK_HEADERS, parsed."""
    return read_settings(webhook_headers=json.dumps(setting)).webhook_headers


def test_headers_of_a_receiver_are_sent_to_it_and_replace_the_user_agent_only(receiver):
    url = receiver.answer("/hook", Answer())
    own = receivers({f"http://127.0.0.1:{receiver.port}": {"Authorization": "Bearer key", "user-agent": "stems"}})
    assert deliver(url, receiver_headers=own).outcome == "delivered"
    headers = receiver.requests[0].headers
    assert (headers["Authorization"], headers.get_all("User-Agent")) == ("Bearer key", ["stems"])
    assert (headers["Content-Type"], headers["webhook-id"]) == ("application/json", "msg_1")


@pytest.mark.parametrize(
    "named", ["127.0.0.1:{port}", "http://127.0.0.1", "http://127.0.0.2:{port}", "http://0.0.0.1:{port}"]
)
def test_headers_of_a_receiver_go_to_no_other_scheme_port_or_host(receiver, named):
    own = receivers({named.format(port=receiver.port): {"Authorization": "Bearer key"}})
    assert deliver(receiver.answer("/hook", Answer()), receiver_headers=own).outcome == "delivered"
    assert "Authorization" not in receiver.requests[0].headers


def test_headers_of_a_receiver_do_not_follow_its_redirect(receiver):
    own = receivers({f"http://127.0.0.1:{receiver.port}": {"Authorization": "Bearer key"}})
    with http_server() as other:
        other.answer("/", Answer())
        url = receiver.answer("/hook", Answer(308, headers={"Location": other.url("/")}))
        attempt = deliver(url, receiver_headers=own)
    assert other.requests == []
    assert "key" not in attempt.error


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("http://HOOKS.example:{port}/hook", "http://hooks.example:{port}"),
        ("http://bücher.example:{port}/hook", "http://xn--bcher-kva.example:{port}"),
    ],
)
def test_headers_of_a_receiver_are_sent_in_every_spelling_of_its_name(receiver, url, named):
    receiver.answer("/hook", Answer())
    own = receivers({named.format(port=receiver.port): {"Authorization": "Bearer key"}})
    guard = UrlGuard([ip_network("127.0.0.0/8")], resolver=lambda _host: [ip_address("127.0.0.1")])
    deliver(url.format(port=receiver.port), guard=guard, receiver_headers=own)
    assert receiver.requests[0].headers["Authorization"] == "Bearer key"


def test_a_whsec_secret_verifies_with_the_standard_library(receiver):
    deliver(receiver.answer("/hook", Answer()), secrets=[WHSEC])
    request = receiver.requests[0]
    assert Webhook(WHSEC).verify(request.body, dict(request.headers)) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        Webhook(WHSEC).verify(request.body + b" ", dict(request.headers))
    assert not delivery.is_plain(WHSEC)


@pytest.mark.parametrize("secret", ["any words at all", "5f2c0a8e9b7d4c31", "schlüssel"])
def test_a_plain_secret_verifies_with_the_standard_library_only_as_bytes(receiver, secret):
    deliver(receiver.answer("/hook", Answer()), secrets=[secret])
    request = receiver.requests[0]
    assert Webhook(secret.encode()).verify(request.body, dict(request.headers)) == json.loads(BODY)
    with pytest.raises((WebhookVerificationError, ValueError)):
        Webhook(secret).verify(request.body, dict(request.headers))
    assert delivery.is_plain(secret)


def test_without_a_secret_there_is_an_id_but_no_signature(receiver):
    before = int(time.time())
    deliver(receiver.answer("/hook", Answer()))
    headers = receiver.requests[0].headers
    assert headers["webhook-id"] == "msg_1"
    assert before <= int(headers["webhook-timestamp"]) <= time.time()
    assert "webhook-signature" not in headers


def test_the_command_in_env_example_makes_a_secret_that_the_standard_library_accepts(receiver):
    if not shutil.which("openssl"):
        pytest.skip("needs openssl to run the command that env.example gives")
    [command] = re.findall(r"`(echo whsec_.+)`", (ROOT / "env.example").read_text(encoding="utf-8"))
    made = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=30)
    secret = made.stdout.strip()
    deliver(receiver.answer("/hook", Answer()), secrets=[secret])
    request = receiver.requests[0]
    assert Webhook(secret).verify(request.body, dict(request.headers)) == json.loads(BODY)
    assert len(delivery.signing_key(secret)) == 24


@pytest.mark.parametrize("secret", ["whsec_no base64!", "whsec_", "whsec_a"])
def test_a_malformed_whsec_secret_is_refused(secret):
    with pytest.raises(PermanentError, match="begins with whsec_, but what follows is not base64"):
        delivery.signing_key(secret)


@pytest.mark.parametrize(("secret", "warnings"), [("", []), (WHSEC, []), ("any words", ["webhook.secret_is_plain"])])
def test_the_uploader_warns_of_a_plain_secret_at_its_start(secret, warnings):
    with capture_logs() as logs:
        check_webhook_secret(secret)
    assert [line["event"] for line in logs] == warnings
    assert "any words" not in str(logs)


def test_a_silent_receiver_holds_the_worker_no_longer_than_the_time_out(receiver):
    attempt = deliver(receiver.answer("/hook", Answer(delay_s=30)), timeout_s=0.5)
    assert (attempt.outcome, attempt.status_code) == ("retry", None)
    assert attempt.error == "The receiver did not answer within 0.5 s."
    assert 400 < attempt.duration_ms < 5000


def test_a_receiver_dripping_its_header_holds_the_worker_no_longer_than_the_time_out(receiver):
    attempt = deliver(receiver.answer("/hook", Answer(drip_s=0.1, drip_head=True, body=bytes(999))), timeout_s=1)
    assert (attempt.outcome, attempt.error) == ("retry", "The receiver did not answer within 1 s.")
    assert attempt.duration_ms < 5000


def test_a_receiver_that_sends_its_body_slowly_counts_as_reached(receiver):
    attempt = deliver(receiver.answer("/hook", Answer(drip_s=0.1, body=bytes(999))), timeout_s=1)
    assert attempt.outcome == "delivered"
    assert attempt.duration_ms < 5000


def test_an_endless_answer_is_not_read_to_its_end(receiver):
    answer = Answer(body=bytes(2**20), piece_bytes=4096, drip_s=0.1)
    attempt = deliver(receiver.answer("/hook", answer), timeout_s=20)
    assert attempt.outcome == "delivered"
    assert attempt.duration_ms < 5000


def test_a_receiver_that_closes_the_connection_is_retried(receiver):
    receiver.answer("/hook", Answer(drip_s=9, drip_head=True))
    receiver.stopping.set()
    attempt = deliver(receiver.url("/hook"))
    assert (attempt.outcome, attempt.status_code) == ("retry", None)
    assert "broke off" in attempt.error


def test_an_unreachable_receiver_is_retried():
    with http_server() as gone:
        url = gone.url("/hook")
    attempt = deliver(url)
    assert (attempt.outcome, attempt.status_code) == ("retry", None)


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "ftp://example.com/", "http://", "http://a:b@example.com/"])
def test_a_forbidden_url_is_final(url):
    attempt = deliver(url, guard=UrlGuard([]))
    assert (attempt.outcome, attempt.status_code) == ("final", None)
    assert attempt.error


def test_attempt_tells_when_it_was_made(receiver):
    before = datetime.now(UTC) - timedelta(milliseconds=1)  # as `at` is in whole milliseconds
    attempt = deliver(receiver.answer("/hook", Answer()))
    assert before <= datetime.fromisoformat(attempt.at) <= datetime.now(UTC) + timedelta(milliseconds=1)
    assert attempt.at.endswith("Z")


def test_each_attempt_is_followed_by_its_delay_until_the_schedule_ends():
    assert [delivery.next_delay_s((5, 300), made, None) for made in (1, 2, 3)] == [5, 300, None]


def test_retry_after_lengthens_a_delay_up_to_a_maximum():
    assert delivery.next_delay_s((5, 300), 1, 60) == 60
    assert delivery.next_delay_s((5, 300), 2, 60) == 300
    assert delivery.next_delay_s((5, 300), 1, 1e9) == 36000
    assert delivery.next_delay_s((5, 300), 3, 60) is None


def test_success_payload_keeps_the_contract():
    payload = delivery.success_payload(task(), {"vocals": "https://v", "instrumental": "https://i"})
    assert_contract_time(payload)
    assert payload == {
        "task_uuid": "id",
        "status": "success",
        "vocals": "https://v",
        "instrumental": "https://i",
    }


def test_no_stem_replaces_a_key_of_the_contract():
    links = {"status": "https://s", "time": "https://t", "metadata": "https://m", "vocals": "https://v"}
    payload = delivery.success_payload(task(), links)
    assert_contract_time(payload)
    assert payload == {"task_uuid": "id", "status": "success", "vocals": "https://v", "stems": links}


def test_failure_payload_keeps_the_contract():
    payload = delivery.failure_payload(task(error_message="It was not audio."))
    assert_contract_time(payload)
    assert payload == {"task_uuid": "id", "status": "failed", "error_message": "It was not audio."}


@pytest.mark.parametrize("event", ["started", "progress"])
def test_progress_payload_has_the_time_as_the_contract_has_it(event: str):
    payload = delivery.progress_payload(task(progress=0.42), event)
    assert_contract_time(payload)
    assert payload == {"task_uuid": "id", "status": event, "progress": 0.42}


@pytest.mark.parametrize("name", sorted(delivery.PAYLOAD_KEYS))
def test_a_stem_that_is_called_like_a_key_is_only_in_stems(name):
    links = {name: "https://s", "vocals": "https://v"}
    plain = delivery.success_payload(task(), {"vocals": "https://v"})
    payload = delivery.success_payload(task(), links)
    assert payload.pop("stems") == links
    assert {**payload, "timestamp": 0, "time": ""} == {**plain, "timestamp": 0, "time": ""}


CHOICES = {"models": ["Kim_Vocal_2"], "preset": "balanced", "metadata": {"order": "4711", "Titel": "Lied für Ü"}}
REPEATED = {"model": "Kim_Vocal_2", "preset": "balanced", "metadata": {"order": "4711", "Titel": "Lied für Ü"}}


def test_webhooks_repeat_what_the_client_chose():
    links = {"vocals": "https://v", "status": "https://s"}
    success = delivery.success_payload(task(**CHOICES), links)
    failure = delivery.failure_payload(task(**CHOICES, error_message="It was not audio."))
    progress = delivery.progress_payload(task(**CHOICES, progress=0.42), "progress")
    for payload in (success, failure, progress):
        assert_contract_time(payload)
    head = {"task_uuid": "id"}
    assert success == {**head, "status": "success", "vocals": "https://v", "stems": links, **REPEATED}
    assert failure == {**head, "status": "failed", "error_message": "It was not audio.", **REPEATED}
    assert progress == {**head, "status": "progress", "progress": 0.42, **REPEATED}


def test_an_ensemble_is_a_list_of_models():
    assert delivery.failure_payload(task(models=["A", "B"]))["model"] == ["A", "B"]


def test_each_choice_alone_brings_the_map_of_stems():
    for choice in ({"wanted_stems": ["vocals"]}, {"metadata": {"a": "b"}}, {"models": ["A"]}):
        assert delivery.success_payload(task(**choice), {"vocals": "https://v"})["stems"] == {"vocals": "https://v"}


@pytest.mark.parametrize(
    ("make", "body"),
    [
        pytest.param(
            lambda: delivery.success_payload(task(), {"vocals": "https://v", "instrumental": "https://i"}),
            b'{"task_uuid": "id", "status": "success", "timestamp": 1759034893, "time": "2025-09-28T04:48:13.000Z", '
            b'"vocals": "https://v", "instrumental": "https://i"}',
            id="success",
        ),
        pytest.param(
            lambda: delivery.failure_payload(task(error_message="It was not audio.")),
            b'{"task_uuid": "id", "status": "failed", "timestamp": 1759034893, "time": "2025-09-28T04:48:13.000Z", '
            b'"error_message": "It was not audio."}',
            id="failure",
        ),
        pytest.param(
            lambda: delivery.progress_payload(task(progress=0.5), "progress"),
            b'{"task_uuid": "id", "status": "progress", "timestamp": 1759034893, "time": "2025-09-28T04:48:13.000Z", '
            b'"progress": 0.5}',
            id="progress",
        ),
    ],
)
def test_webhooks_of_old_requests_are_the_same_bytes_as_ever(monkeypatch, make, body):
    time_fields = {"timestamp": 1759034893, "time": "2025-09-28T04:48:13.000Z"}
    monkeypatch.setattr(delivery, "timestamp_fields", lambda: time_fields)
    assert json.dumps(make(), ensure_ascii=False).encode() == body
