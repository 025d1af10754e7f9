"""The download of a model file: streamed, resumed after an interruption, from the first of several sources that works.

A source that does not answer within ten seconds, or sends nothing for half a minute, is left for the next one; after
other transient faults it is asked again. The last one is left after these times, too: the caller may try again later.

uvr.processor.fetch protects against the URLs of clients; the URLs here come from the operator or the catalogue. So
redirects are followed (GitHub redirects to its CDN), and the proxies of the environment are used.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import requests
import structlog
from requests.adapters import HTTPAdapter
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3 import HTTPConnectionPool, HTTPResponse, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ReadTimeoutError

from uvr.errors import PermanentError, TransientError
from uvr.logs import without_secrets
from uvr.models.files import DownloadProgress, ProgressCallback
from uvr.net.http_status import described, is_transient

log = structlog.get_logger()

# Small, because an incomplete block is lost when the connection breaks.
_BLOCK_BYTES = 1 << 16
_ANSWER_S = 10
"""How long a source may take to accept the connection, and then to answer."""
_PAUSE_S = 30
"""How long it may send nothing while it sends the file."""
_TRANSIENT_FAULTS = (requests.ConnectionError, requests.exceptions.ChunkedEncodingError)
_ReportBytes = Callable[[int, int | None], None]  # bytes received so far, and bytes of the whole file if known
_CONTENT_RANGE = re.compile(r"bytes (?P<start>\d+)-\d+/(?P<total>\d+)")


class NoSourceError(PermanentError):
    """No source gave the file. The message completes a sentence: "from URL: reason; from URL: reason"."""


class _SilentError(PermanentError):
    """The source does not answer, so it is not asked again."""


def download_from_first_that_works(
    urls: list[str],
    part: Path,
    on_progress: ProgressCallback,
    *,
    size_bytes: int | None = None,
    check: Callable[[Path], None] = lambda _: None,
) -> None:
    """Download the file into `part` from the first of `urls` that has it and whose file passes `check`.

    A partial file of an earlier call is resumed if the server still has the same file. `on_progress` is called once
    before the first request to each source, with the expected `size_bytes`, and then for every block. `check` raises
    `PermanentError` for a wrong file, which is then deleted.

    Raises `NoSourceError` if no source works, and `OSError` if the file cannot be written.
    """
    faults = []
    for url in urls:
        try:
            _download(url, part, on_progress, size_bytes)
            _check_or_delete(part, check)
        except (PermanentError, TransientError) as error:
            faults.append(f"from {without_secrets(url)}: {error.message}")
            log.warning("model.source_failed", source=without_secrets(url), error=error.message)
        else:
            return
    raise NoSourceError("; ".join(faults))


def _check_or_delete(part: Path, check: Callable[[Path], None]) -> None:
    try:
        check(part)
    except PermanentError:
        part.unlink()
        raise


def _download(url: str, part: Path, on_progress: ProgressCallback, size_bytes: int | None) -> None:
    """Download from one source; asks up to five times within about ten seconds after transient faults."""
    attempts = Retrying(
        retry=retry_if_exception_type(TransientError),
        stop=stop_after_attempt(5),
        wait=wait_random_exponential(multiplier=0.5, max=10),
        before_sleep=_log_retry,
        reraise=True,
    )
    source = without_secrets(url)
    on_progress(DownloadProgress(source, 0, size_bytes))
    with requests.Session() as session:
        session.mount("http://", _LongerPauses())
        session.mount("https://", _LongerPauses())
        attempts(_attempt, session, url, part, lambda done, total: on_progress(DownloadProgress(source, done, total)))
    _etag_file(part).unlink(missing_ok=True)


class _PausingConnection(HTTPConnection):
    """Waits up to _PAUSE_S for each further byte, once the answer has begun within the time-out of the request."""

    def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as in urllib3 itself
        """Called by urllib3 when the request is sent."""
        sock = self.sock
        answer = super().getresponse()
        sock.settimeout(_PAUSE_S)
        return answer


class _PausingTlsConnection(_PausingConnection, HTTPSConnection):
    """The same with TLS."""


class _PausingPool(HTTPConnectionPool):
    ConnectionCls = _PausingConnection


class _PausingTlsPool(HTTPSConnectionPool):
    ConnectionCls = _PausingTlsConnection


class _LongerPauses(HTTPAdapter):
    """Opens connections on which a body may pause longer than its beginning may take, also through a proxy."""

    _POOLS: ClassVar = {"http": _PausingPool, "https": _PausingTlsPool}

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Called by requests for direct connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Called by requests for connections through `proxy`."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._POOLS
        return manager


def _attempt(session: requests.Session, url: str, part: Path, report_bytes: _ReportBytes) -> None:
    headers = {"Accept-Encoding": "identity"}
    etag_file = _etag_file(part)
    if part.is_file() and etag_file.is_file():
        # Ask for the rest, provided that the server's file is still the same (RFC 9110, section 13.1.5).
        headers["Range"] = f"bytes={part.stat().st_size}-"
        headers["If-Range"] = etag_file.read_text(encoding="ascii")
    try:
        with session.get(url, headers=headers, stream=True, timeout=_ANSWER_S) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                part.unlink(missing_ok=True)
                raise TransientError("the server cannot resume the download")
            if not response.ok:
                reason = f"the server answered {described(response.status_code)}"
                raise TransientError(reason) if is_transient(response.status_code) else PermanentError(reason)
            _save(response, part, report_bytes)
    except requests.RequestException as error:
        if isinstance(error, requests.Timeout) or _has_paused(error):
            raise _SilentError(_reason(error)) from error
        if isinstance(error, _TRANSIENT_FAULTS):
            raise TransientError(_reason(error)) from error
        raise PermanentError(_reason(error)) from error


def _has_paused(error: requests.RequestException) -> bool:
    """Whether the server has begun to send the file, and then sent nothing for too long."""
    return isinstance(error, requests.ConnectionError) and isinstance(next(iter(error.args), None), ReadTimeoutError)


def _save(response: requests.Response, part: Path, report_bytes: _ReportBytes) -> None:
    done, total = _existing_and_total_bytes(response, part)
    etag = response.headers.get("ETag", "")
    # A weak ETag ("W/…") does not guarantee equal bytes and must not be used to resume.
    if etag.startswith('"') and etag.isascii():
        _etag_file(part).write_text(etag, encoding="ascii")
    else:
        _etag_file(part).unlink(missing_ok=True)
    with part.open("ab" if done else "wb") as file:
        report_bytes(done, total)
        for block in response.iter_content(_BLOCK_BYTES):
            file.write(block)
            done += len(block)
            report_bytes(done, total)
    if total is not None and done != total:
        raise TransientError(f"the transfer ended after {done} of {total} bytes")


def _existing_and_total_bytes(response: requests.Response, part: Path) -> tuple[int, int | None]:
    """How many bytes of `part` the response continues, and the size of the whole file if known."""
    if response.status_code != requests.codes.partial_content:
        length = response.headers.get("Content-Length", "")
        return 0, int(length) if length.isdecimal() else None
    content_range = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    existing = part.stat().st_size if part.is_file() else 0
    if content_range is None or int(content_range["start"]) != existing:
        part.unlink(missing_ok=True)
        raise TransientError("the server resumed at another position than requested")
    return existing, int(content_range["total"])


def _etag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _reason(error: requests.RequestException) -> str:
    """The reason in words; the exception's own text is a chain of Python class names around the URL."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the server's certificate was not accepted"
    if isinstance(error, requests.exceptions.ProxyError):
        return "the proxy did not answer"
    if isinstance(error, requests.Timeout):
        return f"the server did not answer within {_ANSWER_S} s"
    if _has_paused(error):
        return f"the server sent nothing for {_PAUSE_S} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was interrupted"
    if isinstance(error, requests.ConnectionError):
        return "the server cannot be reached"
    return "the URL is not valid for a download"


def _log_retry(state: RetryCallState) -> None:
    error = state.outcome.exception() if state.outcome else None
    log.warning("model.download_interrupted", attempt=state.attempt_number, error=str(error))
