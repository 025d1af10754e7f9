"""The examples of docs/examples.md in Python and JavaScript do what the page says, with a running service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests

from tests.support.audio import encoded, noise, read_audio
from tests.support.documentation import blocks
from tests.support.http_server import Answer, HttpServer
from tests.support.ports import free_port
from tests.support.service import AUTH, Service
from tests.support.waiting import eventually

SECRET = "whsec_dGVzdGtleQ=="
LANGUAGES = ("python", "js")


def example(language: str, mark: str) -> str:
    """The block of the page in this language with the text `mark`."""
    [found] = [each.text for each in blocks(language) if each.page == "docs/examples.md" and mark in each.text]
    return found


def command(language: str, folder: Path, script: str) -> list[str]:
    """A command that runs the script in its own file."""
    program = sys.executable if language == "python" else shutil.which("node")
    if not program:
        pytest.skip("needs Node.js to run the example")
    file = folder / ("example.py" if language == "python" else "example.mjs")
    file.write_text(script, encoding="utf-8")
    return [program, str(file)]


def environment(service: Service) -> dict[str, str]:
    variables = {"UVR": service.url, "CREDENTIALS": ":".join(AUTH), "WEBHOOK_SECRET": SECRET, "NO_PROXY": "127.0.0.1"}
    return {"PATH": os.environ["PATH"], **variables}


@contextmanager
def receiver(language: str, folder: Path, service: Service) -> Iterator[tuple[str, Path]]:
    """The receiver of the page as a process: its URL, and the file with what it prints."""
    port, printed = free_port(), folder / "printed"
    script = example(language, "9000").replace("9000", str(port))
    with printed.open("wb") as output:
        process = subprocess.Popen(
            command(language, folder, script), env=environment(service), stdout=output, stderr=subprocess.STDOUT
        )
    url = f"http://127.0.0.1:{port}/hook"
    try:
        eventually(lambda: answers(url), "the receiver answers")
        yield url, printed
    finally:
        process.kill()
        process.wait()


def answers(url: str) -> bool:
    try:
        return requests.post(url, data=b"{}", timeout=5).status_code == 401
    except requests.ConnectionError:
        return False


@pytest.mark.parametrize("language", LANGUAGES)
def test_songs_are_submitted_uploaded_waited_for_and_saved(
    service: Service, web: HttpServer, tmp_path: Path, language: str
) -> None:
    song = encoded(noise(1), ".mp3", codec="libmp3lame")
    (tmp_path / "song.mp3").write_bytes(song)
    web.answer("/song.mp3", Answer(body=song))
    script = example(language, "song.mp3").replace("https://example.com", web.url(""))
    done = subprocess.run(
        command(language, tmp_path, script),
        env=environment(service),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "success\n"), done.stderr
    saved = tmp_path / f"{language}-stems"
    assert sorted(path.name for path in saved.iterdir()) == ["instrumental.wav", "vocals.wav"]
    assert read_audio(saved / "vocals.wav").shape == read_audio(saved / "instrumental.wav").shape
    eventually(lambda: any(each.path == "/hook" for each in web.requests), "the webhook of the submitted song arrives")


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_receiver_takes_genuine_webhooks_once_and_refuses_others(
    service: Service, tmp_path: Path, language: str
) -> None:
    with receiver(language, tmp_path, service) as (hook_url, printed):
        task_uuid = service.send(encoded(noise(1), ".wav", codec="pcm_s16le"), hook_url=hook_url)
        task = service.wait_for_delivery(task_uuid)
        [attempt] = task["webhook"]["tries"]
        assert attempt["status_code"] == 204
        eventually(lambda: task_uuid in printed.read_text(), "the receiver prints the task")
        again = requests.post(f"{service.url}/tasks/{task_uuid}/webhook", auth=AUTH, timeout=30)
        assert again.status_code == 202
        eventually(lambda: len(service.task(task_uuid)["webhook"]["tries"]) == 2, "the webhook is sent once more")
        eventually(lambda: service.task(task_uuid)["webhook"]["state"] == "delivered", "and delivered")
        forged = {"webhook-id": "one.success", "webhook-timestamp": "1700000000", "webhook-signature": "v1,Zm9yZ2Vk"}
        body = json.dumps({"task_uuid": "forged", "status": "success"})
        assert requests.post(hook_url, data=body, headers=forged, timeout=30).status_code == 401
        lines = [line for line in printed.read_text().splitlines() if " success " in line]
    assert len(lines) == 1
    assert lines[0].startswith(f"{task_uuid} success {service.url}/files/")
