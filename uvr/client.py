"""A Python client for a uvr-api service. This file needs only `requests` and no other module: import it, or copy it.

    with Client("https://stems.example.com", "admin", "…") as service:
        task = service.wait(service.submit("song.mp3").task_uuid)
        service.download(task.task_uuid, Path("stems"))

Every error of the service is a `ClientError` whose text is a sentence for people. If an answer is lost or the service
is busy, the client repeats the request. A song that is submitted twice that way is still one task.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote, unquote, urlsplit

import requests
from requests.auth import HTTPBasicAuth
from urllib3.exceptions import NewConnectionError

Transferred = Callable[[int, int | None], object]
"""Is told how many bytes have gone over so far, and of how many, if that is known."""

_FINAL = ("success", "failed", "cancelled")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
_MAX_PAUSE_S = 90.0
_STORING_S = 600.0
_BLOCK_BYTES = 1 << 16
_MAX_NAME_BYTES = 150

_Result = TypeVar("_Result")


class ClientError(Exception):
    """The service did not do what was requested; `retry_after_s` is None if repeating the request would not help."""

    def __init__(self, sentence: str, *, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after_s = retry_after_s


class UnreachableError(ClientError):
    """There was no answer, or an answer of another program: the service is down, or the address is wrong."""


class RefusedError(ClientError):
    """The service refused the request. `status` is the HTTP status; the text is the message of the service."""


class CredentialsError(RefusedError):
    """The user name and password are missing or wrong (401)."""


class UnknownTaskError(RefusedError):
    """There is no such task (404)."""


class ConflictError(RefusedError):
    """The state of the task does not allow this (409)."""


class BusyError(RefusedError):
    """Too many requests, or an overloaded service, for longer than the client repeats a request (429, 502 to 504)."""


_REFUSALS: dict[int, type[RefusedError]] = {401: CredentialsError, 404: UnknownTaskError, 409: ConflictError}
_REFUSALS |= dict.fromkeys((429, 502, 503, 504), BusyError)


@dataclass(frozen=True)
class Task:
    """A task as in the latest answer of the service; `answer` contains all of its fields (docs/api.md)."""

    task_uuid: str
    status: str = ""
    priority: int = 0
    progress: float = 0.0
    position: int | None = None
    eta_s: int | None = None
    created_at: str = ""
    audio: str = ""
    error_message: str | None = None
    stems: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self.status in _FINAL


class Client:
    """The service at `url`. Not thread-safe. Close it, or use it in a `with` statement."""

    def __init__(self, url: str, username: str, password: str, *, timeout_s: float = 30) -> None:
        if not _host(url) or "@" in url:
            shown = url.rpartition("@")[2]
            raise ClientError(
                f'"{shown}" is not the address of a service; use one like https://stems.example.com, with no password.'
            )
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._answered = False
        self._session = requests.Session()
        self._session.auth = HTTPBasicAuth(username.encode(), password.encode())
        self._session.trust_env = _host(url) not in _LOOPBACK  # a proxy would look for loopback addresses on itself

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def submit(
        self,
        song: str | Path,
        *,
        idempotency_key: str = "",
        on_upload: Transferred = lambda _done, _total: None,
        **options: str | int,
    ) -> Task:
        """Queue a song: an http(s) URL, or a file to be uploaded. Raises OSError for a file that cannot be read.

        `options` are the other fields of POST /generate: priority, output_format, hook_url and so on. Calls with the
        same `idempotency_key` create one task; without a key, each call creates its own.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        if is_url(song):
            return _task(self._call("POST", "/generate", headers=headers, json={**options, "audio": str(song)}))
        with Path(song).open("rb") as file:
            upload = _Upload(file, _text(Path(song).name, errors="replace"), options, on_upload)
            headers |= upload.headers
            timeout_s = (self._timeout_s, _STORING_S)
            return _task(self._call("POST", "/generate", headers=headers, data=upload, timeout=timeout_s))

    def get(self, task_uuid: str) -> Task:
        """The current state of a task, with new links to its stems."""
        return _task(self._call("GET", _path(task_uuid)))

    def list(self, **filters: str | int) -> Iterator[Task]:
        """All tasks that match the filters of GET /tasks, latest first; fetched page by page."""
        page: dict[str, Any] = {"next_cursor": ""}
        while (cursor := page.get("next_cursor")) is not None:
            page = self._call("GET", "/tasks", params={**filters, "cursor": cursor}, needs="tasks")
            yield from map(_task, page["tasks"])

    def cancel(self, task_uuid: str) -> Task:
        """Cancel a task. Cancelling it again changes nothing."""
        return _task(self._call("POST", f"{_path(task_uuid)}/cancel"))

    def wait(self, task_uuid: str, on_progress: Callable[[Task], object] = lambda _task: None) -> Task:
        """Wait until the task has ended, in any final state, and return it; `on_progress` is called after each poll."""
        pause_s = 0.2
        while True:
            task = self.get(task_uuid)
            on_progress(task)
            if task.is_final:
                return task
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def download(self, task_uuid: str, folder: Path, name: str = "") -> dict[str, Path]:
        """Save the stems of a task in `folder` as {name}_{stem}.{ext} and return their paths by stem.

        A stem appears under its name only when it is complete. `name` defaults to the name of the song. Raises OSError
        if a file cannot be written.
        """
        task = self.get(task_uuid)
        if not task.stems:
            reason = task.error_message or f"it is {task.status} and has no stems."
            raise ClientError(f"Task {task_uuid} has no stems to download: {reason}")
        folder.mkdir(parents=True, exist_ok=True)
        name = name or song_name(task.audio) or task_uuid
        paths = {stem: folder / f"{name}_{stem}{Path(urlsplit(link).path).suffix}" for stem, link in task.stems.items()}
        for stem, path in paths.items():
            self._with_retries(partial(self._fetch, task.stems[stem], path))
        return paths

    def _call(self, method: str, path: str, *, needs: str = "task_uuid", **options: Any) -> dict[str, Any]:
        """The JSON object in the answer. An answer without the field `needs` is not one of this service."""

        def request() -> dict[str, Any]:
            with self._answer(method, self.url + path, allow_redirects=False, **options) as answer:
                try:
                    found = answer.json()
                    found[needs]
                except (ValueError, TypeError, KeyError) as error:
                    raise UnreachableError(
                        f"The program at {answer.url} is not a uvr-api service. Is the address right?"
                    ) from error
                return dict(found)

        return self._with_retries(request)

    def _fetch(self, link: str, path: Path) -> None:
        part = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with self._answer("GET", link, auth=_anonymous, stream=True) as answer, part.open("wb") as file:
                for block in answer.iter_content(_BLOCK_BYTES):
                    file.write(block)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _answer(self, method: str, url: str, **options: Any) -> Iterator[requests.Response]:
        """A successful answer, open as long as the block runs. Every other outcome raises a `ClientError`."""
        place = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        try:
            with self._session.request(method, url, **{"timeout": self._timeout_s, **options}) as answer:
                self._answered = True
                if answer.status_code >= requests.codes.multiple_choices:
                    raise _refusal(answer)
                yield answer
        except requests.exceptions.SSLError as error:
            raise UnreachableError(f"The certificate of {place} is not trusted.") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            # If nothing has ever answered there, the address is probably wrong, and repeating would not help.
            cause = error.args[0] if error.args else None
            was_sent = not isinstance(getattr(cause, "reason", None), NewConnectionError)
            can_retry = self._answered or was_sent
            raise UnreachableError(f"{place} does not answer.", retry_after_s=0.0 if can_retry else None) from error
        except requests.RequestException as error:
            raise UnreachableError(f"The request to {place} failed: {error}.") from error

    def _with_retries(self, request: Callable[[], _Result]) -> _Result:
        """The result of `request`, which is repeated after a pause if that may help."""
        for pause_s in _PAUSES_S:
            try:
                return request()
            except ClientError as error:
                if error.retry_after_s is None or error.retry_after_s > _MAX_PAUSE_S:
                    raise
                time.sleep(max(error.retry_after_s, pause_s))
        return request()


class _Upload:
    """A multipart body that reads its file while it is sent, from the start each time."""

    def __init__(self, file: BinaryIO, name: str, options: Mapping[str, str | int], on_upload: Transferred) -> None:
        frame = requests.Request("POST", "http://frame", data=options, files={"audio": (name, b"")}).prepare()
        assert isinstance(frame.body, bytes)
        self.headers = {"Content-Type": frame.headers["Content-Type"]}
        before, boundary, end = frame.body.rpartition(b"\r\n--")
        self._head, self._tail = before, boundary + end
        self._file, self._size, self._on_upload = file, os.fstat(file.fileno()).st_size, on_upload

    def __len__(self) -> int:
        return len(self._head) + self._size + len(self._tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self._head
        self._file.seek(0)
        while block := self._file.read(_BLOCK_BYTES):
            yield block
            self._on_upload(self._file.tell(), self._size)
        yield self._tail


def is_url(song: str | Path) -> bool:
    """Whether `song` is an http(s) URL and not a file."""
    return str(song).lower().startswith(("http://", "https://"))


def song_name(song: str | Path) -> str:
    """The name for the stems of a song: the file name in its path or URL without the suffix, safe for file systems."""
    path = unquote(urlsplit(str(song)).path) if is_url(song) else str(song)
    return safe_name(Path(path).stem)


def safe_name(name: str) -> str:
    """`name` in characters that every file system takes in the name of a file, and in 150 bytes at most."""
    name = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).lstrip(".")
    return shortened(_text(name, errors="ignore"), _MAX_NAME_BYTES)


def shortened(name: str, max_bytes: int) -> str:
    """The beginning of `name` that takes no more than `max_bytes` on disk, cut between two characters."""
    while len(os.fsencode(name)) > max_bytes:
        name = name[:-1]
    return name


def _text(name: str, *, errors: str) -> str:
    """`name` without bytes that are not UTF-8, which file names may contain."""
    return name.encode(errors="surrogateescape").decode(errors=errors)


def _host(url: str) -> str:
    """The host of an http(s) URL, "" for any other text."""
    try:
        return urlsplit(url).hostname or "" if is_url(url) else ""
    except ValueError:
        return ""


def _path(task_uuid: str) -> str:
    return f"/tasks/{quote(task_uuid, safe='')}"


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No credentials: they are only for the service, and the signature in a link is its permission."""
    return request


def _task(answer: Mapping[str, Any]) -> Task:
    return Task(**{part.name: answer[part.name] for part in fields(Task) if part.name in answer}, answer=answer)


def _refusal(answer: requests.Response) -> RefusedError:
    """The error in an answer: the message of the service, or one about a proxy that answered in its place."""
    kind = _REFUSALS.get(answer.status_code, RefusedError)
    retry_after = answer.headers.get("Retry-After", "")
    try:
        sentence = str(answer.json()["detail"])
    except (ValueError, TypeError, KeyError):
        target = f" {answer.headers['Location']}" if "Location" in answer.headers else ""
        sentence = f"{answer.url} answered {answer.status_code} {answer.reason}{target}."
    retry_after_s = (float(retry_after) if retry_after.isdigit() else 0.0) if kind is BusyError else None
    return kind(sentence, status=answer.status_code, retry_after_s=retry_after_s)
