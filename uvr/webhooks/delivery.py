"""What a client's hook hears about its task: the payloads, their signature, one delivery, and when to try again.

Deliveries follow Standard Webhooks (https://www.standardwebhooks.com): the same webhook-id on every try, so that a
receiver can drop repeats, and an HMAC signature when there is a secret. `deliver` never raises for what a receiver
does, never follows it elsewhere, and is over after `timeout_s` however slowly it answers. What the operator sets for
one receiver (WEBHOOK_HEADERS) goes to its origin only, and into no record.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal

import requests
from pydantic import SecretStr
from requests.structures import CaseInsensitiveDict
from standardwebhooks import Webhook
from urllib3.exceptions import HTTPError
from urllib3.util import parse_url

from uvr.errors import PermanentError, TransientError
from uvr.logs import without_secrets
from uvr.net.http_status import described, is_transient, redirect_target, retry_after_s
from uvr.net.receiver_headers import DEFAULT_PORTS
from uvr.net.url_guard import GuardedSession, UrlGuard
from uvr.timestamps import iso_now, timestamp_fields

ReceiverHeaders = Mapping[str, Mapping[str, SecretStr]]
Outcome = Literal["delivered", "retry", "final"]

_MAX_ANSWER_BYTES = 4096
_MAX_SHOWN_URL = 300
_MAX_RETRY_AFTER_S = 36_000.0
_SECRET_PREFIX = "whsec_"  # noqa: S105  # how Standard Webhooks marks secrets in base64


@dataclass(frozen=True)
class DeliveryAttempt:
    """One try: when (ISO 8601, UTC), what the receiver answered (None: nothing), and what follows from it.

    `error` is a sentence, "" once delivered. `retry_after_s` is the receiver's wish, if it had one.
    """

    at: str
    status_code: int | None
    duration_ms: int
    error: str
    outcome: Outcome
    retry_after_s: float | None = None


def success_payload(task_uuid: str, links: Mapping[str, str], **more: object) -> dict[str, object]:
    """What a hook gets when the stems are stored: `links` are theirs by name, `vocals` and `instrumental` mostly.

    A stem that has the name of one of the other keys is left out.
    """
    facts = {"task_uuid": task_uuid, "status": "success", **timestamp_fields(), **more}
    return {**facts, **{name: link for name, link in links.items() if name not in facts}}


def failure_payload(task_uuid: str, error_message: str, **more: object) -> dict[str, object]:
    """What a hook gets when its task has failed for good."""
    facts = {"task_uuid": task_uuid, "status": "failed", **timestamp_fields(), "error_message": error_message}
    return {**facts, **more}


def progress_payload(task_uuid: str, event: str, progress: float) -> dict[str, object]:
    """What a hook gets before its task has ended, if it was asked for: `event` is "started" or "progress"."""
    return {"task_uuid": task_uuid, "status": event, **timestamp_fields(), "progress": progress}


def next_delay_s(pauses_s: Sequence[float], attempts_made: int, retry_after_s: float | None) -> float | None:
    """Seconds until the next try, or longer if the receiver asked for it; None when all `pauses_s` are spent."""
    if attempts_made > len(pauses_s):
        return None
    # A wish for next year must not keep the delivery in the queue for a year.
    return max(pauses_s[attempts_made - 1], min(retry_after_s or 0, _MAX_RETRY_AFTER_S))


def signing_key(secret: str) -> bytes:
    """The key in WEBHOOK_SECRET: what follows whsec_ as base64, or any other string as it is.

    Raises `PermanentError` for a whsec_ secret that does not go on in base64.
    """
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(_SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise PermanentError("The webhook secret begins with whsec_ but does not go on in base64.")
    return key


def is_plain(secret: str) -> bool:
    """Whether a secret is text whose bytes are the key: most libraries on the receivers' side decode it as base64."""
    return bool(secret) and not secret.startswith(_SECRET_PREFIX)


def deliver(
    url: str,
    body: bytes,
    *,
    webhook_id: str,
    secret: str,
    guard: UrlGuard,
    timeout_s: float,
    request_id: str = "",
    receiver_headers: ReceiverHeaders = MappingProxyType({}),
) -> DeliveryAttempt:
    """Post `body`, JSON in UTF-8, to `url` once, signed if `secret` is not empty.

    `request_id` names the client's request that it is about, in a header, if not empty. `receiver_headers` has further
    headers by the origin of the receivers that get them, such as https://hooks.example.com:443.
    """
    headers = _headers(body, webhook_id, secret) | ({"X-Request-ID": request_id} if request_id else {})
    at, started = iso_now(), time.monotonic()
    status_code, error, outcome, wish = _post(url, body, headers, receiver_headers, guard, timeout_s)
    duration_ms = round((time.monotonic() - started) * 1000)
    return DeliveryAttempt(at, status_code, duration_ms, error, outcome, wish)


def _post(
    url: str,
    body: bytes,
    headers: dict[str, str],
    receiver_headers: ReceiverHeaders,
    guard: UrlGuard,
    timeout_s: float,
) -> tuple[int | None, str, Outcome, float | None]:
    with guard.session(timeout_s) as session:
        try:
            guard.check(url, "hook_url")
            own = {name: value.get_secret_value() for name, value in receiver_headers.get(_origin(url), {}).items()}
            # In any case of letters, so that a receiver's own User-Agent takes the place of ours.
            together = CaseInsensitiveDict(headers | own)
            with session.post(url, data=body, headers=together, timeout=timeout_s, stream=True) as response:
                _read_a_little(response)
                return _judged(response)
        except PermanentError as error:
            return None, error.message, "final", None
        except TransientError as error:
            return None, error.message, "retry", None
        except (requests.exceptions.InvalidURL, UnicodeError):
            return None, "hook_url is not a valid URL.", "final", None
        except (requests.RequestException, HTTPError) as error:
            return None, _explanation(error, session, timeout_s), "retry", None


def _judged(response: requests.Response) -> tuple[int, str, Outcome, float | None]:
    status = response.status_code
    if 200 <= status < 300:
        return status, "", "delivered", None
    sentence = f"The receiver answered {described(status)}.{_elsewhere(response)}"
    if 400 <= status < 500 and not is_transient(status):
        return status, sentence, "final", None
    return status, sentence, "retry", retry_after_s(response)


def _elsewhere(response: requests.Response) -> str:
    """Where a receiver redirects to: its client has to know, because webhooks do not follow."""
    if not response.is_redirect:
        return ""
    try:
        target = without_secrets(redirect_target(response))
    except ValueError:
        return ""
    shown = "".join(filter(str.isprintable, target))[:_MAX_SHOWN_URL]
    if response.is_permanent_redirect:
        return f" It has moved to {shown} and redirects are not followed: give that URL as hook_url."
    return f" It redirects to {shown} and redirects are not followed."


def _origin(url: str) -> str:
    parts = parse_url(url)
    port = DEFAULT_PORTS[parts.scheme or "https"] if parts.port is None else parts.port
    return f"{parts.scheme}://{parts.host}:{port}"


def _read_a_little(response: requests.Response) -> None:
    """Let an ordinary receiver finish its answer before the connection closes; the status is known already."""
    size = 0
    with suppress(HTTPError):
        while size < _MAX_ANSWER_BYTES and (chunk := response.raw.read1(_MAX_ANSWER_BYTES)):
            size += len(chunk)


def _explanation(error: Exception, session: GuardedSession, timeout_s: float) -> str:
    if session.expired or isinstance(error, requests.Timeout):
        return f"The receiver did not answer within {timeout_s:g} s."
    if isinstance(error, requests.exceptions.SSLError):
        return "No encrypted connection to the receiver could be made; check its certificate."
    return "The connection to the receiver broke off before it answered."


def _headers(body: bytes, webhook_id: str, secret: str) -> dict[str, str]:
    now = datetime.now(UTC)
    headers = {
        "User-Agent": "uvr-api",
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if secret:
        headers["webhook-signature"] = Webhook(signing_key(secret)).sign(webhook_id, now, body.decode())
    return headers
