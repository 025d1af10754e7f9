"""A client of a uvr-api service. This file needs `requests` and nothing else of the project: import it, or copy it.

    with Client("https://stems.example.com", "admin", "…") as service:
        task = service.wait(service.submit("song.mp3").task_uuid)
        service.download(task.task_uuid, Path("stems"))

Whatever goes wrong with the service is a `ClientError`, its text a sentence for people. Requests whose answer was lost
and those that a busy service puts off are sent again; a song that is submitted twice that way is one task all the same.
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
"""Called with the number of bytes sent so far and the total, which is None if it is not known."""

_FINAL = ("success", "failed", "cancelled")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
_MAX_PAUSE_S = 90.0
_STORING_S = 600.0
_BLOCK_BYTES = 1 << 16
_MAX_NAME_BYTES = 150

_Result = TypeVar("_Result")


class ClientError(Exception):
    """The service did not do what it was asked; `retry_after_s` is None where asking again would not help."""

    def __init__(self, sentence: str, *, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.retry_after_s = retry_after_s


class UnreachableError(ClientError):
    """No answer came, or not one of this service: it is down, or the address is wrong."""


class RefusedError(ClientError):
    """The service refused, with the HTTP status in `status`; the sentence is its own."""


class CredentialsError(RefusedError):
    """No user name and password, or wrong ones (401)."""


class UnknownTaskError(RefusedError):
    """There is no such task (404)."""


class ConflictError(RefusedError):
    """The task is not in a state in which this can be done (409)."""


class BusyError(RefusedError):
    """Too many requests, or a service that could not take them, for longer than the client is patient (429, 50x)."""


_REFUSALS: dict[int, type[RefusedError]] = {401: CredentialsError, 404: UnknownTaskError, 409: ConflictError}
_REFUSALS |= dict.fromkeys((429, 502, 503, 504), BusyError)


@dataclass(frozen=True)
class Task:
    """A task as the service told it last; `answer` is all that was told (docs/api.md)."""

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
    """The service at `url`. Not for several threads at once; close it, or use it in a `with` statement."""

    def __init__(self, url: str, username: str, password: str, *, timeout_s: float = 30) -> None:
        if not _host(url) or "@" in url:
            shown = url.rpartition("@")[2]
            raise ClientError(
                f'"{shown}" is no address of a service; one is https://stems.example.com, with no password.'
            )
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._answered = False
        self._session = requests.Session()
        self._session.auth = HTTPBasicAuth(username.encode(), password.encode())
        self._session.trust_env = _host(url) not in _LOOPBACK  # a proxy would look for it on itself

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

        `options` are further fields of POST /generate: priority, output_format, hook_url and so on. Calls with one
        `idempotency_key` make one task; without it each call makes its own.
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
        """How a task stands; its links are fresh ones."""
        return _task(self._call("GET", _path(task_uuid)))

    def list(self, **filters: str | int) -> Iterator[Task]:
        """All tasks that pass the filters of GET /tasks, latest first; fetched page by page."""
        page: dict[str, Any] = {"next_cursor": ""}
        while (cursor := page.get("next_cursor")) is not None:
            page = self._call("GET", "/tasks", params={**filters, "cursor": cursor}, needs="tasks")
            yield from map(_task, page["tasks"])

    def cancel(self, task_uuid: str) -> Task:
        """End a task before its time; one that was cancelled already is left at that."""
        return _task(self._call("POST", f"{_path(task_uuid)}/cancel"))

    def wait(self, task_uuid: str, on_progress: Callable[[Task], object] = lambda _task: None) -> Task:
        """The task once it has ended, however it did; `on_progress` sees it every now and then until it has."""
        pause_s = 0.2
        while True:
            task = self.get(task_uuid)
            on_progress(task)
            if task.is_final:
                return task
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def download(self, task_uuid: str, folder: Path, name: str = "") -> dict[str, Path]:
        """Store a task's stems in `folder` as {name}_{stem}.{ext}, each whole or not at all; their paths by stem.

        They are named after the song unless `name` is given. Raises OSError where nothing can be written.
        """
        task = self.get(task_uuid)
        if not task.stems:
            reason = task.error_message or f"it is {task.status}, and no stems are stored."
            raise ClientError(f"There is nothing to download of task {task_uuid}: {reason}")
        folder.mkdir(parents=True, exist_ok=True)
        name = name or song_name(task.audio) or task_uuid
        paths = {stem: folder / f"{name}_{stem}{_suffix(link)}" for stem, link in task.stems.items()}
        for stem, path in paths.items():
            self._patiently(partial(self._fetch, task.stems[stem], path))
        return paths

    def _call(self, method: str, path: str, *, needs: str = "task_uuid", **options: Any) -> dict[str, Any]:
        """The JSON object that the service answers with; without this field it comes from something else."""

        def step() -> dict[str, Any]:
            with self._answer(method, self.url + path, allow_redirects=False, **options) as answer:
                return _json_object(answer, needs)

        return self._patiently(step)

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
        """An answer that is no refusal, open as long as the block runs."""
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
            # Where nothing ever answered, the address is more likely to be wrong than the service to be restarting.
            worth_it = self._answered or not _was_never_sent(error)
            raise UnreachableError(f"{place} does not answer.", retry_after_s=0.0 if worth_it else None) from error
        except requests.RequestException as error:
            raise UnreachableError(f"{place} cannot be asked: {error}.") from error

    def _patiently(self, step: Callable[[], _Result]) -> _Result:
        """What `step` gives, tried again for some time where that may help."""
        for pause_s in _PAUSES_S:
            try:
                return step()
            except ClientError as error:
                if error.retry_after_s is None or error.retry_after_s > _MAX_PAUSE_S:
                    raise
                time.sleep(max(error.retry_after_s, pause_s))
        return step()


class _Upload:
    """A multipart body whose file is read while it is sent, and anew each time."""

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
    """Whether a song is named by its URL, and not by its file."""
    return str(song).lower().startswith(("http://", "https://"))


def song_name(song: str | Path) -> str:
    """What the stems of a song are called after: the name in its path or URL without the ending, safe as a file's."""
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
    """`name` without what is no text: files can have names in any bytes."""
    return name.encode(errors="surrogateescape").decode(errors=errors)


def _host(url: str) -> str:
    """The host's name in an http(s) URL, "" if it is none."""
    try:
        return urlsplit(url).hostname or "" if is_url(url) else ""
    except ValueError:
        return ""


def _suffix(link: str) -> str:
    return Path(urlsplit(link).path).suffix


def _path(task_uuid: str) -> str:
    return f"/tasks/{quote(task_uuid, safe='')}"


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Credentials are for the service alone: a link carries its own permission."""
    return request


def _task(answer: Mapping[str, Any]) -> Task:
    return Task(**{part.name: answer[part.name] for part in fields(Task) if part.name in answer}, answer=answer)


def _json_object(answer: requests.Response, needs: str) -> dict[str, Any]:
    try:
        found = answer.json()
        found[needs]
    except (ValueError, TypeError, KeyError) as error:
        raise UnreachableError(f"What answers at {answer.url} is not a uvr-api; is the address right?") from error
    return dict(found)


def _refusal(answer: requests.Response) -> RefusedError:
    """The service's own sentence, or one about what stands between here and there."""
    kind = _REFUSALS.get(answer.status_code, RefusedError)
    wish = answer.headers.get("Retry-After", "")
    try:
        sentence = str(answer.json()["detail"])
    except (ValueError, TypeError, KeyError):
        target = f" {answer.headers['Location']}" if "Location" in answer.headers else ""
        sentence = f"{answer.url} answered {answer.status_code} {answer.reason}{target}."
    retry_after_s = (float(wish) if wish.isdigit() else 0.0) if kind is BusyError else None
    return kind(sentence, status=answer.status_code, retry_after_s=retry_after_s)


def _was_never_sent(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
