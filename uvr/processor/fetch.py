"""The download of a URL that a client gave into a file, without believing anything the other side says about it.

`download` promises an end: sizes are counted while reading, after decoding; the whole exchange has a time limit, and
so has every silence in it; every hop of a redirect passes the guard. Where servers and browsers get on well although
neither keeps to the standards, it does what browsers do. What goes wrong is told in one sentence, and the error's class
says whether another try makes sense.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import requests
from urllib3.exceptions import DecodeError, HTTPError

from config import FETCH_USER_AGENT
from uvr.errors import CancelledError, PermanentError, TransientError, UvrError
from uvr.net.http_status import described, is_transient, redirect_target, retry_after_s
from uvr.net.url_guard import GuardedSession, UrlGuard
from uvr.processor.web_page import SNIFFED_BYTES, is_web_page, title_of

_CHUNK_BYTES = 256 * 2**10
_MAX_REDIRECTS = 20  # as browsers
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}", re.ASCII)
_WHOLE_FILE = re.compile(r"bytes 0-(\d+)/(\d+)", re.IGNORECASE)
_FAILED = "The audio could not be fetched:"


@dataclass(frozen=True)
class Fetched:
    """A download: `bytes` counted, `content_type` as the server said, `name` the last part of the URL's path or ""."""

    path: Path
    bytes: int
    content_type: str
    name: str


def never() -> bool:
    """The answer to `cancelled` of callers that do not cancel."""
    return False


def download(
    url: str,
    destination: Path,
    *,
    guard: UrlGuard,
    max_bytes: int,
    timeout_s: float,
    total_s: float,
    user_agent: str = FETCH_USER_AGENT,
    cancelled: Callable[[], bool] = never,
) -> Fetched:
    """Stream `url` into `destination`, which stays the caller's also when this fails.

    `timeout_s` limits connecting and every silence, `total_s` the whole exchange, redirects included. Raises
    `PermanentError` (a 4xx, empty, larger than `max_bytes`, a web page, a refused address), `TransientError` (a 5xx,
    name resolution, resets, time-outs, a full disk) or `CancelledError`, once `cancelled()` is true.
    """
    with (
        guard.session(total_s) as session,
        _explained(session, timeout_s, total_s),
        _open(session, guard, url, timeout_s, user_agent) as response,
    ):
        _refuse_failure(response)
        size = _save(response, destination, max_bytes, lambda: _go_on(session, total_s, cancelled))
        content_type = response.headers.get("Content-Type", "")
        _refuse_web_page(destination, content_type)
        return Fetched(destination, size, content_type, _name(response.url))


def _open(session: GuardedSession, guard: UrlGuard, url: str, timeout_s: float, user_agent: str) -> requests.Response:
    headers = {"User-Agent": user_agent, "Accept-Encoding": "identity"}
    subject = "audio"
    for _ in range(_MAX_REDIRECTS + 1):
        guard.check(url, subject)
        response = session.get(url, headers=headers, stream=True, timeout=timeout_s)
        if not response.is_redirect:
            return response
        response.close()
        try:
            url, subject = redirect_target(response), "The URL that the server redirects to"
        except ValueError as error:
            raise PermanentError(f"{_FAILED} the server redirects to something that is no URL.") from error
    raise PermanentError(f"{_FAILED} the server redirects more than {_MAX_REDIRECTS} times.")


def _refuse_failure(response: requests.Response) -> None:
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT:
        extent = _WHOLE_FILE.fullmatch(response.headers.get("Content-Range", ""))
        if not extent or int(extent[1]) + 1 != int(extent[2]):
            raise PermanentError(f"{_FAILED} the server sent a part of the file, though all of it was asked for.")
    if 200 <= status < 300:
        return
    sentence = f"{_FAILED} the server answered {described(status)}."
    if is_transient(status):
        raise TransientError(sentence, retry_after_s=retry_after_s(response), status=status)
    raise PermanentError(sentence, status=status)


def _save(response: requests.Response, destination: Path, max_bytes: int, go_on: Callable[[], None]) -> int:
    size = 0
    try:
        with destination.open("wb") as file:
            # read1 returns what has come; read would wait for a full chunk and hear of nothing else meanwhile.
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                go_on()
                size += len(chunk)
                if size > max_bytes:
                    raise PermanentError(f"The audio is too large: the limit is {max_bytes / 2**20:.4g} MiB.")
                file.write(chunk)
    except OSError as error:
        raise TransientError("The audio could not be kept: the disk of the service is full or not writable.") from error
    go_on()
    if not size:
        raise PermanentError(f"{_FAILED} the server sent an empty file.")
    return size


def _refuse_web_page(path: Path, content_type: str) -> None:
    with path.open("rb") as file:
        beginning = file.read(SNIFFED_BYTES)
    if not is_web_page(beginning, content_type):
        return
    title = title_of(beginning, content_type)
    titled = f" titled “{title}”" if title else ""
    media_type = _MEDIA_TYPE.match(content_type)
    typed = f"; its Content-Type is {media_type[0]}" if media_type else ""
    raise PermanentError(f"The URL leads to a web page{titled}, not to audio{typed}.", content_type=content_type)


def _go_on(session: GuardedSession, total_s: float, cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CancelledError("The download was stopped because its result is no longer wanted.")
    if session.expired:
        # A body without a length looks complete when the watchdog cuts it off.
        raise _too_slow(total_s)


def _too_slow(total_s: float) -> TransientError:
    return TransientError(f"{_FAILED} it took longer than {total_s:g} s.")


@contextmanager
def _explained(session: GuardedSession, timeout_s: float, total_s: float) -> Iterator[None]:
    """Turn what requests and urllib3 raise into the errors of the service."""
    try:
        yield
    except (requests.RequestException, HTTPError, UnicodeError) as error:
        if session.expired:
            raise _too_slow(total_s) from error
        raise _explanation(error, timeout_s) from error


def _explanation(error: Exception, timeout_s: float) -> UvrError:
    if isinstance(error, requests.exceptions.InvalidURL | UnicodeError):
        return PermanentError(f"{_FAILED} the URL is not valid.")
    if isinstance(error, DecodeError):
        return PermanentError(f"{_FAILED} the server sent damaged compressed data.")
    if _comes_from(error, ssl.SSLCertVerificationError):
        return PermanentError(f"{_FAILED} the server's certificate is not valid for this address.")
    if _comes_from(error, TimeoutError):
        return TransientError(f"{_FAILED} the server sent nothing for {timeout_s:g} s.")
    return TransientError(f"{_FAILED} the connection broke off.")


def _comes_from(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None


def _name(url: str) -> str:
    return PurePosixPath(unquote(urlsplit(url).path)).name
