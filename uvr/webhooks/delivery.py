"""Webhooks on the wire: their payloads, their signature, one delivery attempt, and the retry schedule.

Deliveries follow Standard Webhooks (https://www.standardwebhooks.com): every attempt has the same webhook-id, by which
a receiver recognizes repeats, and an HMAC signature for each secret. `deliver` never raises because of what a
receiver does, follows no redirect, and ends after `timeout_s` however slowly the receiver answers. Headers that the
operator sets for one receiver (WEBHOOK_HEADERS) are sent to that origin only, and are never recorded.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, NamedTuple

import requests
from pydantic import SecretStr
from requests.structures import CaseInsensitiveDict
from standardwebhooks import Webhook
from urllib3.exceptions import HTTPError

from uvr.errors import PermanentError, TransientError
from uvr.logs import without_secrets
from uvr.net.http_status import described, is_transient, redirect_target, retry_after_s
from uvr.net.receiver_headers import origin_of
from uvr.net.url_guard import UrlGuard
from uvr.tasks.model import Task
from uvr.timestamps import iso_now, timestamp_fields

ReceiverHeaders = Mapping[str, Mapping[str, SecretStr]]
"""Additional headers, by the origin of the receiver that gets them, such as https://hooks.example.com:443."""

PAYLOAD_KEYS = frozenset(
    {
        *("task_uuid", "status", "timestamp", "time", "progress", "error_message"),
        *("stems", "model", "preset", "metadata", "batch"),
    }
)
"""The keys of payloads, which no stem's name can replace."""

Outcome = Literal["delivered", "retry", "final"]

_MAX_RESPONSE_BYTES = 4096
_MAX_SHOWN_URL_LENGTH = 300
_MAX_RETRY_AFTER_S = 36_000.0
_SECRET_PREFIX = "whsec_"  # noqa: S105  # how Standard Webhooks marks secrets in base64


@dataclass(frozen=True)
class DeliveryAttempt:
    """One attempt, as it is recorded: `at` in ISO 8601 (UTC), and the receiver's status code, None without an answer.

    `error` is a sentence, "" once delivered. `retry_after_s` is the delay that the receiver asked for, if it did.
    """

    at: str
    status_code: int | None
    duration_ms: int
    error: str
    outcome: Outcome
    retry_after_s: float | None = None


def success_payload(task: Task, links: Mapping[str, str]) -> dict[str, object]:
    """The payload for a task whose stems are stored; `links` maps each stem's name, such as "vocals", to its URL.

    Every stem is a key of the payload, except one with the name of another key. Then, and for a task with choices
    (`Task.has_choices`), `stems` has all of them.
    """
    at_the_top = {name: link for name, link in links.items() if name not in PAYLOAD_KEYS}
    has_stems = task.has_choices or len(at_the_top) < len(links)
    return {
        "task_uuid": task.task_uuid,
        "status": "success",
        **timestamp_fields(),
        **at_the_top,
        **({"stems": dict(links)} if has_stems else {}),
        **_choices(task),
    }


def failure_payload(task: Task) -> dict[str, object]:
    """The payload for a task that has failed."""
    payload = {"task_uuid": task.task_uuid, "status": "failed", **timestamp_fields()}
    return {**payload, "error_message": task.error_message, **_choices(task)}


def progress_payload(task: Task, event: str) -> dict[str, object]:
    """The payload of a progress event; `event` is "started" or "progress"."""
    payload = {"task_uuid": task.task_uuid, "status": event, **timestamp_fields()}
    return {**payload, "progress": task.progress, **_choices(task)}


def _choices(task: Task) -> dict[str, object]:
    """What the client chose, as far as it did; the payloads of other tasks have none of these keys."""
    chosen = {"model": task.chosen_model, "preset": task.preset, "metadata": task.metadata}
    return {name: value for name, value in chosen.items() if value}


def next_delay_s(delays_s: Sequence[float], attempts: int, retry_after_s: float | None) -> float | None:
    """Seconds to wait after so many `attempts`, at least `retry_after_s`; None when all `delays_s` are used up."""
    if attempts > len(delays_s):
        return None
    # Limited, so that no receiver can keep a webhook in the queue for a year.
    return max(delays_s[attempts - 1], min(retry_after_s or 0, _MAX_RETRY_AFTER_S))


def signing_key(secret: str) -> bytes:
    """The key in WEBHOOK_SECRET: the base64 after whsec_, or the bytes of any other text.

    Raises `PermanentError` if what follows whsec_ is not base64.
    """
    if not secret.startswith(_SECRET_PREFIX):
        return secret.encode()
    encoded = secret.removeprefix(_SECRET_PREFIX)
    try:
        key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise PermanentError("The webhook secret begins with whsec_, but what follows is not base64.")
    return key


def is_plain(secret: str) -> bool:
    """Whether the bytes of `secret` are the key itself; most libraries for receivers decode it as base64 instead."""
    return bool(secret) and not secret.startswith(_SECRET_PREFIX)


def deliver(
    url: str,
    body: bytes,
    *,
    webhook_id: str,
    guard: UrlGuard,
    timeout_s: float,
    secrets: Sequence[str] = (),
    request_id: str = "",
    receiver_headers: ReceiverHeaders = MappingProxyType({}),
) -> DeliveryAttempt:
    """POST `body`, JSON in UTF-8, to `url` once, with a signature for each of `secrets`.

    `request_id`, unless empty, is sent as a header and names the request by which the client submitted the task.
    """
    now = datetime.now(UTC)
    headers = {
        "User-Agent": "uvr-api",
        "Content-Type": "application/json",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
    }
    if secrets:
        signatures = [Webhook(signing_key(secret)).sign(webhook_id, now, body.decode()) for secret in secrets]
        headers["webhook-signature"] = " ".join(signatures)
    if request_id:
        headers["X-Request-ID"] = request_id
    at, started = iso_now(), time.monotonic()
    result = _post(url, body, headers, receiver_headers, guard, timeout_s)
    duration_ms = round((time.monotonic() - started) * 1000)
    return DeliveryAttempt(at=at, duration_ms=duration_ms, **result._asdict())


class _Result(NamedTuple):
    """What follows from one POST; fields as in `DeliveryAttempt`."""

    outcome: Outcome
    error: str = ""
    status_code: int | None = None
    retry_after_s: float | None = None


def _post(
    url: str,
    body: bytes,
    headers: dict[str, str],
    receiver_headers: ReceiverHeaders,
    guard: UrlGuard,
    timeout_s: float,
) -> _Result:
    with guard.session(timeout_s) as session:
        try:
            guard.check(url, "hook_url")
            own = {name: value.get_secret_value() for name, value in receiver_headers.get(origin_of(url), {}).items()}
            # Regardless of case, so that a receiver's own User-Agent replaces ours.
            merged = CaseInsensitiveDict(headers | own)
            with session.post(url, data=body, headers=merged, timeout=timeout_s, stream=True) as response:
                return _judge(response)
        except PermanentError as error:
            return _Result("final", error.message)
        except TransientError as error:
            return _Result("retry", error.message)
        except (requests.exceptions.InvalidURL, UnicodeError):
            return _Result("final", "hook_url is not a valid URL.")
        except (requests.RequestException, HTTPError) as error:
            if session.expired or isinstance(error, requests.Timeout):
                return _Result("retry", f"The receiver did not answer within {timeout_s:g} s.")
            if isinstance(error, requests.exceptions.SSLError):
                return _Result("retry", "No encrypted connection to the receiver could be made; check its certificate.")
            return _Result("retry", "The connection to the receiver broke off before it answered.")


def _judge(response: requests.Response) -> _Result:
    # The status is known already; this lets an ordinary receiver finish its answer before the connection closes.
    size = 0
    with suppress(HTTPError):
        while size < _MAX_RESPONSE_BYTES and (chunk := response.raw.read1(_MAX_RESPONSE_BYTES)):
            size += len(chunk)
    status = response.status_code
    if 200 <= status < 300:
        return _Result("delivered", status_code=status)
    error = f"The receiver answered {described(status)}.{_redirect_hint(response)}"
    if 400 <= status < 500 and not is_transient(status):
        return _Result("final", error, status)
    return _Result("retry", error, status, retry_after_s(response))


def _redirect_hint(response: requests.Response) -> str:
    """Where the receiver redirects to, if it does: its client must change the URL, because webhooks do not follow."""
    if not response.is_redirect:
        return ""
    try:
        target = without_secrets(redirect_target(response))
    except ValueError:
        return ""
    shown = "".join(filter(str.isprintable, target))[:_MAX_SHOWN_URL_LENGTH]
    if response.is_permanent_redirect:
        return f" It has moved to {shown} and redirects are not followed: use that URL as hook_url."
    return f" It redirects to {shown} and redirects are not followed."
