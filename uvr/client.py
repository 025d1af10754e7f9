"""A client for a uvr-api service. This file needs only `requests` and no other file of the project, so you can copy it.

    with Client("https://stems.example.com", "admin", "…") as service:
        task = service.wait(service.submit("song.mp3").task_uuid)
        service.download(task.task_uuid, Path("stems"))

Instead of a user name and a password, a token does too: `Client("https://stems.example.com", token="uvr_…")`.

All problems with the service raise a `ClientError`, whose text is a sentence for the user. The client retries requests
whose response was lost, and those that a busy service refused for now. A song that is submitted twice by such a retry
still becomes only one task.
"""

from __future__ import annotations

import json
import os
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Self, TypeVar
from urllib.parse import quote, unquote, urlsplit

import requests
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import NewConnectionError

UploadProgress = Callable[[int, int | None], object]
"""Called with the number of bytes sent so far, and the size of the file."""

Option = str | int | Sequence[str] | Mapping[str, str]
"""A field of POST /generate, such as priority, model, stems or metadata."""

_FINAL = ("success", "failed", "cancelled")
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0)
_MAX_RETRY_AFTER_S = 90.0
_UPLOAD_RESPONSE_TIMEOUT_S = 600.0
_BLOCK_BYTES = 1 << 16
_MAX_NAME_BYTES = 150
_WEBHOOK_SECRET = "/users/me/webhook-secret"  # noqa: S105  # a path

_Result = TypeVar("_Result")


class ClientError(Exception):
    """The service did not do what was requested. `retry_after_s` is None if a retry cannot help."""

    def __init__(self, message: str, *, status: int = 0, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s


class UnreachableError(ClientError):
    """There was no response, or none of a uvr-api: the service is down, or the URL is wrong."""


class RefusedError(ClientError):
    """The service refused the request with the HTTP status `status`; the text is the one that the service sent."""


class CredentialsError(RefusedError):
    """The user name and password, or the token, are missing or wrong (401)."""


class UnknownTaskError(RefusedError):
    """There is no such task (404)."""


class ConflictError(RefusedError):
    """The state of the task does not allow the request (409)."""


class BusyError(RefusedError):
    """The service refused all retries because it is busy or not available (429, 502, 503, 504)."""


_REFUSALS: dict[int, type[RefusedError]] = {401: CredentialsError, 404: UnknownTaskError, 409: ConflictError}
_REFUSALS |= dict.fromkeys((429, 502, 503, 504), BusyError)


@dataclass(frozen=True)
class Task:
    """A task as the service last reported it; `answer` is the whole JSON object (docs/api.md)."""

    task_uuid: str
    status: str = ""
    priority: int = 0
    progress: float = 0.0
    position: int | None = None
    eta_s: int | None = None
    created_at: str = ""
    audio: str = ""
    error_message: str | None = None
    batch: str = ""
    stems: Mapping[str, str] = field(default_factory=dict)
    answer: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def is_final(self) -> bool:
        """Whether the task has ended."""
        return self.status in _FINAL


class Client:
    """The service at `url`. Use it in one thread only, and close it or use it in a `with` statement."""

    def __init__(
        self, url: str, username: str = "", password: str = "", *, token: str = "", timeout_s: float = 30
    ) -> None:
        if not _host(url) or "@" in url:
            shown = url.rpartition("@")[2]
            raise ClientError(
                f'"{shown}" is not the URL of a service; write it as https://stems.example.com, without a password.'
            )
        self.url = url.rstrip("/")
        self._timeout_s = timeout_s
        self._has_answered = False
        self._session = requests.Session()
        self._session.auth = _BearerToken(token) if token else HTTPBasicAuth(username.encode(), password.encode())
        self._session.trust_env = _host(url) not in _LOOPBACK  # a proxy would connect to itself

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
        on_upload: UploadProgress = lambda _done, _total: None,
        **options: Option,
    ) -> Task:
        """Queue a song: an http(s) URL, or a file to upload. Raises `OSError` if the file cannot be read.

        `options` are other fields of POST /generate: `priority=5`, `output_format="flac"`, `hook_url="https://…"`,
        `model="best"` or a list of models to average, `stems=["vocals"]`, `metadata={"order": "4711"}`. Calls with the
        same `idempotency_key` create one task; without a key each call creates its own.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        if is_url(song):
            return _task(self._call("POST", "/generate", headers=headers, json={**options, "audio": str(song)}))
        with Path(song).open("rb") as file:
            upload = _Upload(file, _text(Path(song).name, errors="replace"), _form_fields(options), on_upload)
            headers |= upload.headers
            timeout_s = (self._timeout_s, _UPLOAD_RESPONSE_TIMEOUT_S)
            return _task(self._call("POST", "/generate", headers=headers, data=upload, timeout=timeout_s))

    def submit_batch(
        self, songs: Sequence[str | Mapping[str, Option]], *, idempotency_key: str = "", **options: Option
    ) -> list[Task]:
        """Queue 1 to 100 songs in one step, all or none; returns their tasks, which have the same `batch`.

        A song is an http(s) URL, or a mapping with the URL as `audio` and options of its own; `options` are for all
        others. Files cannot be in a batch. Calls with the same `idempotency_key` create one batch.
        """
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        bodies = [{**options, **({"audio": song} if isinstance(song, str) else song)} for song in songs]
        answer = self._call("POST", "/generate", headers=headers, json=bodies, needs="tasks")
        return [_task({"status": answer["status"], "batch": answer["batch"], **task}) for task in answer["tasks"]]

    def get(self, task_uuid: str) -> Task:
        """The current state of a task, with new links to its stems."""
        return _task(self._call("GET", _path(task_uuid)))

    def list(self, **filters: str | int) -> Iterator[Task]:
        """All tasks that match the filters of GET /tasks, newest first, fetched page by page."""
        page: dict[str, Any] = {"next_cursor": ""}
        while (cursor := page.get("next_cursor")) is not None:
            page = self._call("GET", "/tasks", params={**filters, "cursor": cursor}, needs="tasks")
            yield from map(_task, page["tasks"])

    def cancel(self, task_uuid: str) -> Task:
        """Cancel a task; it is no error if it is cancelled already."""
        return _task(self._call("POST", f"{_path(task_uuid)}/cancel"))

    def change_priority(self, task_uuid: str, priority: int) -> Task:
        """Give a task that waits another priority, 1 to 5; raises `ConflictError` if it no longer waits."""
        return _task(self._call("PATCH", _path(task_uuid), json={"priority": priority}))

    def webhook_secret(self) -> Mapping[str, Any]:
        """What the service says about your own webhook secret, never the secret itself (docs/api.md)."""
        return self._call("GET", _WEBHOOK_SECRET, needs="is_set")

    def make_webhook_secret(self) -> Mapping[str, Any]:
        """Make or replace your webhook secret; the same fields, and `secret`, which is never shown again."""
        return self._call("POST", _WEBHOOK_SECRET, needs="secret")

    def remove_webhook_secret(self) -> None:
        """Remove your webhook secret and those that it replaced; it is no error if you have none."""
        self._call("DELETE", _WEBHOOK_SECRET, needs="")

    def wait(self, task_uuid: str, on_progress: Callable[[Task], object] = lambda _task: None) -> Task:
        """Wait until the task has ended, successfully or not; `on_progress` receives each state on the way."""
        pause_s = 0.2
        while True:
            task = self.get(task_uuid)
            on_progress(task)
            if task.is_final:
                return task
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 2.0)

    def download(self, task_uuid: str, folder: Path, name: str = "") -> dict[str, Path]:
        """Save the stems of a task in `folder` as {name}_{stem}.{ext}, and return their paths by stem.

        Without `name`, the name of the song is used. A file appears only when it is complete. Raises `OSError` if a
        file cannot be written.
        """
        task = self.get(task_uuid)
        if not task.stems:
            reason = task.error_message or f"its status is {task.status} and it has no stems."
            raise ClientError(f"Task {task_uuid} has nothing to download: {reason}")
        folder.mkdir(parents=True, exist_ok=True)
        name = name or song_name(task.audio) or task_uuid
        paths = {stem: folder / f"{name}_{stem}{Path(urlsplit(link).path).suffix}" for stem, link in task.stems.items()}
        for stem, path in paths.items():
            self._with_retries(partial(self._fetch, task.stems[stem], path, auth=_send_no_credentials))
        return paths

    def download_zip(self, task_uuid: str, folder: Path, name: str = "") -> Path:
        """Save all stems of a task in one archive, `folder`/{name}.zip, and return its path.

        Without `name`, the name of the song is used. The archive appears only when it is complete. Raises `OSError` if
        it cannot be written.
        """
        name = name or song_name(self.get(task_uuid).audio) or task_uuid
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.zip"
        self._with_retries(partial(self._fetch, f"{self.url}{_path(task_uuid)}/stems.zip", path))
        return path

    def _call(self, method: str, path: str, *, needs: str = "task_uuid", **options: Any) -> dict[str, Any]:
        """The JSON object that the service returns; a response without the field `needs` is not from a uvr-api.

        {} if `needs` is empty, for a response without a body.
        """

        def request() -> dict[str, Any]:
            with self._answer(method, self.url + path, allow_redirects=False, **options) as answer:
                if not needs:
                    return {}
                try:
                    body = dict(answer.json())
                    body[needs]
                except (ValueError, TypeError, KeyError) as error:
                    raise UnreachableError(f"The server at {answer.url} is not a uvr-api; check the URL.") from error
                return body

        return self._with_retries(request)

    def _fetch(self, link: str, path: Path, **options: Any) -> None:
        part = path.with_name(f".{uuid.uuid4().hex}.part")
        try:
            with self._answer("GET", link, stream=True, **options) as answer, part.open("wb") as file:
                for block in answer.iter_content(_BLOCK_BYTES):
                    file.write(block)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    @contextmanager
    def _answer(self, method: str, url: str, **options: Any) -> Iterator[requests.Response]:
        """Send a request; the response is a success and stays open until the block ends."""
        origin = "{0.scheme}://{0.netloc}".format(urlsplit(url))
        try:
            with self._session.request(method, url, **{"timeout": self._timeout_s, **options}) as answer:
                self._has_answered = True
                if answer.status_code >= requests.codes.multiple_choices:
                    raise _refusal(answer)
                yield answer
        except requests.exceptions.SSLError as error:
            raise UnreachableError(f"The certificate of {origin} is not trusted.") from error
        except (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            # If the service has never answered, the URL is probably wrong; otherwise it is probably restarting.
            cause = error.args[0] if error.args else None
            was_sent = not isinstance(getattr(cause, "reason", None), NewConnectionError)
            may_recover = self._has_answered or was_sent
            raise UnreachableError(f"{origin} does not answer.", retry_after_s=0.0 if may_recover else None) from error
        except requests.RequestException as error:
            raise UnreachableError(f"The request to {origin} failed: {error}.") from error

    def _with_retries(self, step: Callable[[], _Result]) -> _Result:
        """The result of `step`, which is repeated for some time if a retry may help."""
        for pause_s in _RETRY_PAUSES_S:
            try:
                return step()
            except ClientError as error:
                if error.retry_after_s is None or error.retry_after_s > _MAX_RETRY_AFTER_S:
                    raise
                time.sleep(max(error.retry_after_s, pause_s))
        return step()


class _BearerToken(AuthBase):
    """Sends a token with each request. Raises `ClientError` for a text that cannot be one."""

    def __init__(self, token: str) -> None:
        if not re.fullmatch(r"[!-~]+", token):
            raise ClientError("The token has characters that no token has; copy it again, without spaces around it.")
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._token}"
        return request


class _Upload:
    """A multipart body that reads the file while it is sent, and from its beginning in each retry."""

    def __init__(self, file: BinaryIO, name: str, options: Mapping[str, str | int], on_upload: UploadProgress) -> None:
        empty = requests.Request("POST", "http://unused", data=options, files={"audio": (name, b"")}).prepare()
        assert isinstance(empty.body, bytes)
        self.headers = {"Content-Type": empty.headers["Content-Type"]}
        before, boundary, end = empty.body.rpartition(b"\r\n--")
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


def _send_no_credentials(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """For links, which contain their own permission, and may lead to another host."""
    return request


def _form_fields(options: Mapping[str, Option]) -> dict[str, str | int]:
    """Options as the text fields of a form: lists with commas, mappings as JSON."""
    fields: dict[str, str | int] = {}
    for name, value in options.items():
        if isinstance(value, Mapping):
            fields[name] = json.dumps(value, ensure_ascii=False)
        else:
            fields[name] = value if isinstance(value, str | int) else ",".join(value)
    return fields


def is_url(song: str | Path) -> bool:
    """Whether a song is given as a URL and not as a file."""
    return str(song).lower().startswith(("http://", "https://"))


def song_name(song: str | Path) -> str:
    """The name of a song from its path or URL, without the extension, safe as part of a file name."""
    path = unquote(urlsplit(str(song)).path) if is_url(song) else str(song)
    return safe_name(Path(path).stem)


def safe_name(name: str) -> str:
    """`name` with characters that every file system allows in file names, and at most 150 bytes long."""
    name = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).lstrip(".")
    return truncated(_text(name, errors="ignore"), _MAX_NAME_BYTES)


def truncated(name: str, max_bytes: int) -> str:
    """The beginning of `name`, of whole characters and at most `max_bytes` as a file name."""
    while len(os.fsencode(name)) > max_bytes:
        name = name[:-1]
    return name


def _text(name: str, *, errors: str) -> str:
    """`name` as valid Unicode: file names can contain any bytes."""
    return name.encode(errors="surrogateescape").decode(errors=errors)


def _host(url: str) -> str:
    """The host of an http(s) URL, or "" if it is not one."""
    try:
        return urlsplit(url).hostname or "" if is_url(url) else ""
    except ValueError:
        return ""


def _path(task_uuid: str) -> str:
    return f"/tasks/{quote(task_uuid, safe='')}"


def _task(answer: Mapping[str, Any]) -> Task:
    return Task(
        **{attribute.name: answer[attribute.name] for attribute in fields(Task) if attribute.name in answer},
        answer=answer,
    )


def _refusal(answer: requests.Response) -> RefusedError:
    """The error for a refusal, with the text of the service, or of our own if a server in between refused."""
    kind = _REFUSALS.get(answer.status_code, RefusedError)
    retry_after = answer.headers.get("Retry-After", "")
    try:
        message = str(answer.json()["detail"])
    except (ValueError, TypeError, KeyError):
        target = f" {answer.headers['Location']}" if "Location" in answer.headers else ""
        message = f"{answer.url} answered {answer.status_code} {answer.reason}{target}."
    retry_after_s = (float(retry_after) if retry_after.isdigit() else 0.0) if kind is BusyError else None
    return kind(message, status=answer.status_code, retry_after_s=retry_after_s)
