"""Webhooks to real receivers: what they get, what follows from what they answer, and when to try again."""

import json
import time
from datetime import UTC, datetime
from ipaddress import ip_network

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from tests.support.http_server import Answer, http_server
from uvr import webhooks
from uvr.errors import PermanentError
from uvr.url_guard import UrlGuard

GUARD = UrlGuard([ip_network("127.0.0.0/8")])
BODY = json.dumps({"task_uuid": "1", "song": "Lied für Ü"}, ensure_ascii=False).encode()


def deliver(url, *, secret="", timeout_s=5.0, guard=GUARD):
    return webhooks.deliver(url, BODY, webhook_id="msg_1", secret=secret, guard=guard, timeout_s=timeout_s)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_any_2xx_is_a_delivery(receiver, status):
    attempt = deliver(receiver.answer("/hook", Answer(status)))
    assert (attempt.outcome, attempt.status_code, attempt.error) == ("delivered", status, "")
    assert receiver.requests[0].method == "POST"
    assert receiver.requests[0].body == BODY
    assert receiver.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_refusal_is_final(receiver, status):
    assert deliver(receiver.answer("/hook", Answer(status))).outcome == "final"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_passing_trouble_is_tried_again(receiver, status):
    attempt = deliver(receiver.answer("/hook", Answer(status, headers={"Retry-After": "9"})))
    assert (attempt.outcome, attempt.status_code, attempt.retry_after_s) == ("retry", status, 9)
    assert attempt.error.startswith(f"The receiver answered {status} ")


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirect_is_not_followed(receiver, status):
    receiver.answer("/elsewhere", Answer())
    attempt = deliver(receiver.answer("/hook", Answer(status, headers={"Location": "/elsewhere"})))
    assert attempt.outcome == "retry"
    assert [request.path for request in receiver.requests] == ["/hook"]


@pytest.mark.parametrize("secret", ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "any words at all", "schlüssel"])
def test_signature_satisfies_the_standard_verifier(receiver, secret):
    deliver(receiver.answer("/hook", Answer()), secret=secret)
    request = receiver.requests[0]
    verifier = Webhook(secret if secret.startswith("whsec_") else secret.encode())
    assert verifier.verify(request.body, dict(request.headers)) == json.loads(BODY)
    with pytest.raises(WebhookVerificationError):
        verifier.verify(request.body + b" ", dict(request.headers))


def test_without_a_secret_there_is_an_id_but_no_signature(receiver):
    deliver(receiver.answer("/hook", Answer()))
    headers = receiver.requests[0].headers
    assert headers["webhook-id"] == "msg_1"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert "webhook-signature" not in headers


def test_malformed_whsec_secret_is_named(receiver):
    with pytest.raises(PermanentError, match="whsec_"):
        deliver(receiver.answer("/hook", Answer()), secret="whsec_no base64!")


def test_silent_receiver_holds_the_worker_no_longer_than_the_time_out(receiver):
    attempt = deliver(receiver.answer("/hook", Answer(delay_s=30)), timeout_s=0.5)
    assert (attempt.outcome, attempt.status_code) == ("retry", None)
    assert attempt.error == "The receiver did not answer within 0.5 s."
    assert 400 < attempt.duration_ms < 5000


def test_receiver_dripping_its_header_holds_the_worker_no_longer_than_the_time_out(receiver):
    attempt = deliver(receiver.answer("/hook", Answer(drip_s=0.1, drip_head=True, body=bytes(999))), timeout_s=1)
    assert (attempt.outcome, attempt.error) == ("retry", "The receiver did not answer within 1 s.")
    assert attempt.duration_ms < 5000


def test_receiver_dripping_its_body_has_received(receiver):
    attempt = deliver(receiver.answer("/hook", Answer(drip_s=0.1, body=bytes(999))), timeout_s=1)
    assert attempt.outcome == "delivered"
    assert attempt.duration_ms < 5000


def test_endless_answer_is_not_read_to_its_end(receiver):
    answer = Answer(body=bytes(2**20), piece_bytes=4096, drip_s=0.1)
    attempt = deliver(receiver.answer("/hook", answer), timeout_s=20)
    assert attempt.outcome == "delivered"
    assert attempt.duration_ms < 5000


def test_receiver_that_hangs_up_is_tried_again(receiver):
    receiver.answer("/hook", Answer(drip_s=9, drip_head=True))
    receiver.stopping.set()
    attempt = deliver(receiver.url("/hook"))
    assert (attempt.outcome, attempt.status_code) == ("retry", None)
    assert "broke off" in attempt.error


def test_absent_receiver_is_tried_again():
    with http_server() as gone:
        url = gone.url("/hook")
    attempt = deliver(url)
    assert (attempt.outcome, attempt.status_code) == ("retry", None)


@pytest.mark.parametrize("url", ["http://169.254.169.254/", "ftp://example.com/", "http://", "http://a:b@example.com/"])
def test_hook_that_may_not_be_reached_is_final(url):
    attempt = deliver(url, guard=UrlGuard([]))
    assert (attempt.outcome, attempt.status_code) == ("final", None)
    assert attempt.error


def test_attempt_tells_when_it_was_made(receiver):
    attempt = deliver(receiver.answer("/hook", Answer()))
    assert abs((datetime.now(UTC) - datetime.fromisoformat(attempt.at)).total_seconds()) < 60
    assert attempt.at.endswith("Z")


def test_a_pause_follows_each_try_until_they_are_spent():
    assert [webhooks.next_delay_s((5, 300), made, None) for made in (1, 2, 3)] == [5, 300, None]


def test_wish_of_the_receiver_lengthens_a_delay_within_reason():
    assert webhooks.next_delay_s((5, 300), 1, 60) == 60
    assert webhooks.next_delay_s((5, 300), 2, 60) == 300
    assert webhooks.next_delay_s((5, 300), 1, 1e9) == 36000
    assert webhooks.next_delay_s((5, 300), 3, 60) is None


def test_success_payload_keeps_the_contract():
    payload = webhooks.success_payload("id", {"vocals": "https://v", "instrumental": "https://i"}, model="M")
    assert list(payload) == ["task_uuid", "status", "timestamp", "vocals", "instrumental", "model"]
    assert (payload["status"], payload["vocals"], payload["instrumental"]) == ("success", "https://v", "https://i")
    assert datetime.fromisoformat(str(payload["timestamp"])).utcoffset().total_seconds() == 0


def test_failure_payload_keeps_the_contract():
    payload = webhooks.failure_payload("id", "It was not audio.")
    assert list(payload) == ["task_uuid", "status", "timestamp", "error_message"]
    assert (payload["status"], payload["error_message"]) == ("failed", "It was not audio.")
