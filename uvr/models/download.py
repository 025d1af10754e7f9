"""The transfer of a model file: streamed, resumed where it broke off, tried again when a fault may pass.

Unlike uvr.processor.fetch, which guards against URLs that clients give, this reads an address that the operator or the
catalogue names: redirects (GitHub answers with one to its CDN) and the proxies of the environment are followed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import requests
import structlog
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from uvr.errors import PermanentError, TransientError
from uvr.logs import without_secrets
from uvr.models.files import DownloadProgress, ProgressCallback
from uvr.net.http_status import described, is_transient

log = structlog.get_logger()

# Small, because a block that the connection cuts short is lost.
_BLOCK_BYTES = 1 << 16
_TIMEOUT_S = (10, 60)
_PASSING_FAULTS = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
_Arrived = Callable[[int, int | None], None]  # bytes that are here, and of the whole file
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+)")


def download(url: str, part: Path, on_progress: ProgressCallback, *, size_bytes: int | None = None) -> None:
    """Fetch `url` into `part`; what an earlier call left there is continued if the server still has the same file.

    `on_progress` is called before the server is asked, with `size_bytes`, the size as far as it is known by then.

    Raises `PermanentError` when the server refuses, and `TransientError` when five tries in about ten seconds failed;
    the messages are reasons, to be put into a sentence. `OSError` when the disk refuses.
    """
    tries = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(5),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        before_sleep=_log_retry,
        reraise=True,
    )
    source = without_secrets(url)
    on_progress(DownloadProgress(source, 0, size_bytes))
    with requests.Session() as session:
        tries(_continue, session, url, part, lambda done, total: on_progress(DownloadProgress(source, done, total)))
    _etag_file(part).unlink(missing_ok=True)


def _continue(session: requests.Session, url: str, part: Path, arrived: _Arrived) -> None:
    headers = {"Accept-Encoding": "identity", **_resume_headers(part)}
    try:
        with session.get(url, headers=headers, stream=True, timeout=_TIMEOUT_S) as response:
            _raise_for_status(response, part)
            _store(response, part, arrived)
    except _PASSING_FAULTS as error:
        raise TransientError(_reason(error)) from error
    except requests.RequestException as error:
        raise PermanentError(_reason(error)) from error


def _resume_headers(part: Path) -> dict[str, str]:
    """Ask for the rest, on condition that the file is still the one whose beginning is here (RFC 9110 §13.1.5)."""
    etag = _etag_file(part)
    if not (part.is_file() and etag.is_file()):
        return {}
    return {"Range": f"bytes={part.stat().st_size}-", "If-Range": etag.read_text(encoding="ascii")}


def _raise_for_status(response: requests.Response, part: Path) -> None:
    if response.status_code == requests.codes.requested_range_not_satisfiable:
        part.unlink(missing_ok=True)
        raise TransientError("the server does not continue where the transfer broke off")
    if response.ok:
        return
    reason = f"the server answered {described(response.status_code)}"
    raise TransientError(reason) if is_transient(response.status_code) else PermanentError(reason)


def _store(response: requests.Response, part: Path, arrived: _Arrived) -> None:
    done, total = _extent(response, part)
    _remember_etag(response, part)
    with part.open("ab" if done else "wb") as file:
        arrived(done, total)
        for block in response.iter_content(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            arrived(done, total)
    if total is not None and done != total:
        raise TransientError(f"the transfer ended after {done} of {total} bytes")


def _extent(response: requests.Response, part: Path) -> tuple[int, int | None]:
    """How many bytes are here already, and how many the whole file has."""
    if response.status_code != requests.codes.partial_content:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    content_range = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    here = part.stat().st_size if part.is_file() else 0
    if content_range is None or int(content_range["start"]) != here:
        part.unlink(missing_ok=True)
        raise TransientError("the server continued at another place than was asked for")
    return here, int(content_range["total"])


def _remember_etag(response: requests.Response, part: Path) -> None:
    etag = response.headers.get("ETag", "")
    # A weak one ("W/…") vouches for the meaning, not for the bytes, and may not be used to resume.
    if etag.startswith('"') and etag.isascii():
        _etag_file(part).write_text(etag, encoding="ascii")
    else:
        _etag_file(part).unlink(missing_ok=True)


def _etag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _reason(error: requests.RequestException) -> str:
    """Why, in words; the exception's own text is a chain of Python class names around the address."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not answer"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return "the address is not one that can be downloaded from"


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("model.download_interrupted", attempt=state.attempt_number, error=str(error))
