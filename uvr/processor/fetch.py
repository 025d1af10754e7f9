"""Downloads the song at a URL that a client gave into a file, and trusts nothing that the server says.

Every download ends, and one that is too slow to be of use ends early. Bytes are counted as they are read, after
decompression. The whole exchange has a time limit, and so has each wait for the next bytes. Every redirect passes the
`UrlGuard`. Where servers and browsers work together although both break a standard, this does what browsers do. Every
failure is explained in one sentence, and the class of the error says whether another attempt makes sense.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import requests
from urllib3.exceptions import DecodeError, HTTPError

from config import FETCH_USER_AGENT
from uvr.errors import CancelledError, PermanentError, TransientError, disk_error
from uvr.net.http_status import described, is_transient, redirect_target, retry_after_s
from uvr.net.url_guard import GuardedSession, UrlGuard
from uvr.processor.web_page import refuse_web_page

_CHUNK_BYTES = 256 * 2**10
_MAX_REDIRECTS = 20  # as in browsers
_WHOLE_FILE = re.compile(r"bytes 0-(\d+)/(\d+)", re.IGNORECASE)
_FAILED = "The audio could not be downloaded:"


@dataclass(frozen=True)
class MinRate:
    """A download must bring at least `bytes_per_s` on average over each `window_s`; 0 allows any rate."""

    bytes_per_s: int
    window_s: float


@dataclass(frozen=True)
class Download:
    """A finished download: its size in `bytes`, and the `content_type` that the server named, "" if none."""

    bytes: int
    content_type: str


def download(
    url: str,
    destination: Path,
    *,
    guard: UrlGuard,
    max_bytes: int,
    timeout_s: float,
    total_s: float,
    min_rate: MinRate = MinRate(0, 0.0),
    user_agent: str = FETCH_USER_AGENT,
    cancelled: Callable[[], bool] = lambda: False,
) -> Download:
    """Stream `url` into the file `destination`, which the caller removes, also after an error.

    `timeout_s` limits connecting and every pause, `total_s` the whole exchange with its redirects. Raises
    `PermanentError` (a 4xx, an empty file, more than `max_bytes`, a web page, a forbidden address), `TransientError`
    (a 5xx, name resolution, a reset, a time-out, too low a rate), `DiskFullError`, or `CancelledError` once
    `cancelled()` is true.
    """
    with (
        guard.session(total_s) as session,
        _errors_explained(pace := _Pace(session, min_rate, timeout_s, total_s)),
        _request(session, guard, url, timeout_s, user_agent) as response,
    ):
        _refuse_failure(response)
        pace.follow(0)

        def check() -> None:
            if cancelled():
                raise CancelledError("The download was stopped because its result is no longer needed.")
            if session.expired:
                # A body without a length looks complete when the session is cut off at its time limit.
                raise pace.too_slow()
            pace.follow(response.raw.tell())

        size = _save(response, destination, max_bytes, check)
        content_type = response.headers.get("Content-Type", "")
        refuse_web_page(destination, content_type)
        return Download(size, content_type)


def _request(
    session: GuardedSession, guard: UrlGuard, url: str, timeout_s: float, user_agent: str
) -> requests.Response:
    """GET `url` and follow its redirects, each of them checked by `guard`."""
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
            raise PermanentError(f"{_FAILED} the server redirects to something that is not a URL.") from error
    raise PermanentError(f"{_FAILED} the server redirects more than {_MAX_REDIRECTS} times.")


def _refuse_failure(response: requests.Response) -> None:
    status = response.status_code
    if status == HTTPStatus.PARTIAL_CONTENT:
        extent = _WHOLE_FILE.fullmatch(response.headers.get("Content-Range", ""))
        if not extent or int(extent[1]) + 1 != int(extent[2]):
            raise PermanentError(f"{_FAILED} the server sent only a part of the file although all of it was requested.")
    if 200 <= status < 300:
        return
    sentence = f"{_FAILED} the server answered {described(status)}."
    if is_transient(status):
        raise TransientError(sentence, retry_after_s=retry_after_s(response), status=status)
    raise PermanentError(sentence, status=status)


def _save(response: requests.Response, destination: Path, max_bytes: int, check: Callable[[], None]) -> int:
    """Write the body to `destination`; returns its size. `check` may raise after every chunk."""
    size = 0
    try:
        with destination.open("wb") as file:
            # read1 returns what has arrived; read would wait for a full chunk, and `check` with it.
            while chunk := response.raw.read1(_CHUNK_BYTES, decode_content=True):
                check()
                size += len(chunk)
                if size > max_bytes:
                    raise PermanentError(f"The audio is too large: the limit is {max_bytes / 2**20:.4g} MiB.")
                file.write(chunk)
    except OSError as error:
        raise disk_error(error, "The audio could not be saved") from error
    check()
    if not size:
        raise PermanentError(f"{_FAILED} the server sent an empty file.")
    return size


class _Pace:
    """Ends a session that is too slow, and says so.

    The bytes of each window must arrive within its time; when they do, the next window begins. Before the first one, a
    server has `timeout_s` more: one of its addresses may not answer, it may redirect, or prepare the file.
    """

    def __init__(self, session: GuardedSession, min_rate: MinRate, timeout_s: float, total_s: float) -> None:
        self._session = session
        self._min_rate = min_rate
        self._window_s = max(min_rate.window_s, timeout_s)
        self.timeout_s = timeout_s
        self._total_s = total_s
        self._next_bytes = 0.0
        if min_rate.bytes_per_s:
            session.expect_progress(self._window_s + timeout_s)

    @property
    def expired(self) -> bool:
        return self._session.expired

    def follow(self, arrived_bytes: int) -> None:
        """Begin the next window if the bytes of this one have arrived."""
        if self._min_rate.bytes_per_s and arrived_bytes >= self._next_bytes:
            self._next_bytes = arrived_bytes + self._min_rate.bytes_per_s * self._window_s
            self._session.expect_progress(self._window_s)

    def too_slow(self) -> TransientError:
        """Why the session was ended."""
        if not self._session.stalled:
            return TransientError(f"{_FAILED} it took longer than {self._total_s:g} s.")
        if not self._next_bytes:
            waited_s = self._window_s + self.timeout_s
            return TransientError(f"{_FAILED} the server had not begun to send it after {waited_s:g} s.")
        rate = f"{self._min_rate.bytes_per_s / 2**10:.3g} KiB/s"
        return TransientError(f"{_FAILED} it arrived at less than {rate} for {self._window_s:g} s.")


@contextmanager
def _errors_explained(pace: _Pace) -> Iterator[None]:
    """Turn what requests and urllib3 raise into the errors of this service."""
    try:
        yield
    except (requests.RequestException, HTTPError, UnicodeError) as error:
        if pace.expired:
            raise pace.too_slow() from error
        if isinstance(error, requests.exceptions.InvalidURL | UnicodeError):
            raise PermanentError(f"{_FAILED} the URL is not valid.") from error
        if isinstance(error, DecodeError):
            raise PermanentError(f"{_FAILED} the server sent damaged compressed data.") from error
        if _is_caused_by(error, ssl.SSLCertVerificationError):
            raise PermanentError(f"{_FAILED} the server's certificate is not valid for this address.") from error
        if _is_caused_by(error, TimeoutError):
            raise TransientError(f"{_FAILED} the server sent nothing for {pace.timeout_s:g} s.") from error
        raise TransientError(f"{_FAILED} the connection broke off.") from error


def _is_caused_by(error: BaseException | None, kind: type[BaseException]) -> bool:
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error is not None
