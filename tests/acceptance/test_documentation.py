"""Runs every command and every example in README and docs as printed there, in a checkout with a running service.

Only addresses (of the service, of hosts for songs and webhooks) and task ids are replaced by real ones. A new command
in the documentation is run without a change here; a command that cannot be run here is listed below with the reason.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from config import Settings
from tests.support.audio import encoded, noise
from tests.support.checkout import Checkout
from tests.support.documentation import Block, blocks, commands_in_text, differences
from tests.support.http_server import Answer, HttpServer, http_server
from tests.support.waiting import eventually
from uvr.client import Client
from uvr.environment.unknown_variables import SCRIPT_VARIABLES
from uvr.models import store

DOCUMENTED_ID = "10ca2964-a404-4518-bdb7-3adc6b7431ac"

NOT_RUN = {
    "./start.sh*": "needs a Docker engine: make test-docker runs it",
    "./stop.sh": "needs a Docker engine: make test-docker runs it",
    "helm *": "needs a cluster; tests/unit/deploy renders the chart, test_kubernetes.py runs what it says",
    "kubectl *": "needs a cluster; tests/unit/deploy checks the names in the commands",
    "docker *": "needs a Docker engine: make test-docker runs it",
    "make test*": "would run this test again, or needs a Docker engine",
    "make chaos*": "takes minutes; tests/chaos has tests of its parts",
    "make bench*": "takes minutes and measures",
    "python -m bench.*": "takes minutes and measures",
    "make lint": "checks the code, not the service",
    "make screenshots*": "needs a Chromium: test_look.py runs it",
    "*make setup-library": "installs 1.5 GB with torch",
    "MODEL_NAME=UVR-DeNoise-Lite VENV=*": "needs the environment of make setup-library",
    "uv pip *": "needs a graphics card, or is what the service itself runs to fetch a package",
    "pip download": "is what the service itself runs: test_spleeter_network.py",
    "python download_models.py Kim_Vocal_2 *": "needs GitHub; models/test_download.py downloads from a mirror",
    "python download_models.py --all": "needs GitHub; models/test_download_command.py asks for all",
    "python download_models.py --force Kim_Vocal_2": "needs GitHub; models/test_download.py does it with a mirror",
    "python app.py": "runs until it is stopped; ./start_local.sh runs it",
    "python processor.py": "runs until it is stopped; ./start_local.sh runs it",
    "python uploader.py": "runs until it is stopped; ./start_local.sh runs it",
    "python -m uvr create-bucket": "needs the key of an administrator; cli/test_create_bucket.py has one",
    "python -m uvr.liveness.drain*": "waits for the end of the processor; liveness/test_drain.py runs it",
    "python -m uvr dead": "names the command; its examples are run",
    "python -m uvr separate --model FILE.onnx --params FILE.json": "test_command_line.py runs it",
    "python -m uvr separate four.wav *": "takes a minute and measures",
    "python -m uvr users": "names the command; its examples are run",
    "python -m uvr users add anna": "asks for a password at the terminal; cli/test_users.py types one",
    "BASIC_AUTH_USERS_FILE=* python -m uvr users add *": "cli/test_users.py adds users to other files",
    "python -m uvr users passwd anna": "asks for a password at the terminal; cli/test_users.py types one",
    "python -m uvr users token revoke *": "needs the id of a token; cli/test_users.py revokes one",
    'curl -N -u "$CREDENTIALS" "$UVR/events"': "does not end; routes/test_events.py reads such streams",
    "redis-cli *": "needs the command line of Redis; auth/test_sessions.py deletes the same key",
    "htpasswd *": "asks for a password at the terminal; auth/test_users.py reads such files",
    "aws *": "needs the AWS command line; test_storage_docs.py gives the same JSON to a bucket",
}
RUN_ELSEWHERE = {
    "make demo*": "test_the_demo_says_in_twenty_lines_what_it_did_and_what_comes_next",
    "tar *": "test_the_backup_holds_what_the_page_says",
    "./stop_local.sh": "tests/acceptance/test_local_scripts.py",
    "./restart_local.sh": "tests/acceptance/test_local_scripts.py",
}

PAGES_TESTED_IN = {
    "docs/server.md": "tests/server/test_server_page.py",
    "docs/server.zh-CN.md": "tests/server/test_server_page.py",
}
"""Their commands are for root on a server; that test runs them below another root."""

EXAMPLES_TESTED_IN = {
    ("docs/api.md", "def is_genuine("): "tests/integration/docs/test_api_docs.py",
    ("docs/api.md", "from standardwebhooks import Webhook"): "tests/integration/docs/test_api_docs.py",
    ("docs/api.md", "function isGenuine("): "tests/integration/docs/test_api_docs.py",
    ("docs/api.md", "async function follow("): "test_a_task_is_followed_with_fetch",
    ("docs/client.md", "with Client("): "test_the_client_example_fetches_stems",
    ("docs/examples.md", "song.mp3"): "tests/acceptance/test_examples.py",
    ("docs/examples.md", "9000"): "tests/acceptance/test_examples.py",
}


PRINTED = {
    "uvr submit song.mp3 https": "stems/another_vocals.wav\n",
    'uvr separate song.mp3 "another song.flac"': "stems/another song_instrumental.flac",
    "uvr separate music": "stems/Album - Song_vocals.wav\n",
    "uvr cancel": DOCUMENTED_ID,
    "uvr dead": DOCUMENTED_ID,
    "uvr doctor": "ok    settings",
    "uvr users": "bert\nuvr_",
    "--list": "Spleeter-2stems",
    "/test_api.sh": "_instrumental.wav?expires=",
    "/events": "event: state\nid: success.0\ndata: {",
    "/cancel": '"status":"cancelled"',
    "PATCH": '"priority":5',
    "uvr priority": DOCUMENTED_ID,
    '"audio": "https://example.com/two.mp3"': '"batch":"',
    f"/tasks/{DOCUMENTED_ID}/retry": '"status":"queued"',
    f"/dead-letters/{DOCUMENTED_ID}/retry": DOCUMENTED_ID,
    "DELETE": "HTTP/1.1 204 NO CONTENT",
    "status=failed": DOCUMENTED_ID,
    "grep -h": '"event":"task.ended"',
    '/metrics"\n': "# TYPE uvr_queue_waiting gauge",
    "$NODE_ID": 'uvr_queue_leased{node="",queue="results"} 0.0',
}
"""Text in a block of commands -> text that the block must print, among other things."""


def matches(command: str, patterns: Any) -> bool:
    return any(fnmatchcase(command, pattern) for pattern in patterns)


def is_run(command: str) -> bool:
    return not matches(command, [*NOT_RUN, *RUN_ELSEWHERE])


def to_run() -> list[Block]:
    """Each block with a command to run, and as a block of its own each command that only occurs in running text."""
    here = [block for block in blocks("sh") if block.page not in PAGES_TESTED_IN]
    fenced = {"\n".join(block.commands): block for block in reversed(here)}
    known = {command for block in fenced.values() for command in block.commands}
    others = [
        Block(page, "sh", f"{command}\n")
        for command, page in commands_in_text().items()
        if command not in known and page not in PAGES_TESTED_IN
    ]
    return [block for block in [*reversed(fenced.values()), *others] if any(map(is_run, block.commands))]


@dataclass
class Reader:
    """Runs what the documentation shows in a checkout, with a host for songs and webhooks."""

    checkout: Checkout
    web: HttpServer

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.checkout.environment['API_PORT']}"

    @cached_property
    def client(self) -> Client:
        return Client(self.url, "admin", self.checkout.variable("BASIC_AUTH_PASSWORD"))

    @cached_property
    def succeeded(self) -> str:
        """A task that has its stems and whose webhook is delivered."""
        task = self.client.submit(self.web.url("/song.mp3"), hook_url=self.web.url("/hook"))
        return self._ended(task.task_uuid, "success")

    def failed(self) -> str:
        """A new dead letter whose webhook is delivered."""
        task = self.client.submit(self.web.url("/gone.mp3"), hook_url=self.web.url("/hook"))
        return self._ended(task.task_uuid, "failed")

    def waiting(self) -> str:
        """A task whose song never arrives."""
        return self.client.submit(self.web.url("/slow.mp3")).task_uuid

    def delayed(self) -> str:
        """A task that waits for its next attempt, because the host of its song has asked for a pause."""
        task = self.client.submit(self.web.url("/busy.mp3"))
        is_delayed = lambda now: (now.status, now.answer["attempt"]) == ("queued", 1)  # noqa: E731
        eventually(lambda: is_delayed(self.client.get(task.task_uuid)), "the task is delayed", every_s=0.05)
        return task.task_uuid

    def webhook(self, status: str) -> Any:
        """The latest webhook with this status."""
        bodies = [json.loads(request.body) for request in self.web.requests if request.path == "/hook"]
        return next(body for body in reversed(bodies) if body["status"] == status)

    def run(self, script: str, task_uuid: str = "", *, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {
            **self.checkout.environment,
            "PATH": f"{self.checkout.folder}/.venv/bin:{os.environ['PATH']}",
            "ID": task_uuid,
            "NODE_ID": "",
            "NO_PROXY": "127.0.0.1",
        }
        if "uvr users " in script:  # the service of this checkout has no users file
            environment["BASIC_AUTH_USERS_FILE"] = "data/users.htpasswd"
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.in_place(script, task_uuid)],
            cwd=folder or self.checkout.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def in_place(self, text: str, task_uuid: str = "") -> str:
        """`text` of a page with the example addresses and ids replaced by real ones."""
        for documented, real in {
            "http://127.0.0.1:8000": self.url,
            "https://stems.example.com": self.url,
            "https://example.org": self.web.url(""),
            "https://example.com": self.web.url(""),
            DOCUMENTED_ID: task_uuid,
            "FILE|URL": "song.mp3",
        }.items():
            text = text.replace(documented, real)
        return text

    def _ended(self, task_uuid: str, status: str) -> str:
        task = self.client.wait(task_uuid)
        assert task.status == status, task
        delivered = lambda: self.client.get(task_uuid).answer["webhook"]["state"] == "delivered"  # noqa: E731
        eventually(delivered, "the webhook is delivered", every_s=0.05)
        return task_uuid


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, model_dir: Path) -> Iterator[Reader]:
    """A checkout as the documentation assumes it: its service runs, and it contains songs."""
    store.ensure_model_file("Spleeter-2stems", model_dir)
    folder = tmp_path_factory.mktemp("checkout")
    checkout = Checkout(folder, model_dir, ALLOWED_PRIVATE_NETWORKS="127.0.0.0/8")
    (folder / ".venv").symlink_to(sys.prefix)
    (folder / ".curlrc").write_text("fail-with-body\n")
    checkout.environment["CURL_HOME"] = str(folder)
    with http_server() as web:
        song, another = encoded(noise(1.5), ".mp3", codec="libmp3lame"), encoded(noise(1), ".flac", codec="flac")
        (folder / "song.mp3").write_bytes(song)
        (folder / "another song.flac").write_bytes(another)
        (folder / "music" / "Album").mkdir(parents=True)
        (folder / "music" / "Album" / "Song.mp3").write_bytes(song)
        web.answer("/song.mp3", Answer(body=song))
        web.answer("/another.flac", Answer(body=another))
        web.answer("/hook", Answer(204))
        web.answer("/busy.mp3", Answer(503, headers={"Retry-After": "600"}))
        web.answer("/slow.mp3", Answer(delay_s=100))
        try:
            start = checkout.run("start_local.sh")
            assert start.returncode == 0, start.stdout + start.stderr
            yield Reader(checkout, web)
        finally:
            web.stopping.set()
            checkout.run("stop_local.sh", SHUTDOWN_GRACE_SECONDS="0")


def task_for(script: str) -> Callable[[Reader], str]:
    """Makes a task in the state that the commands need."""
    if "PATCH" in script or "uvr priority" in script:
        return Reader.delayed
    if "cancel" in script:
        return Reader.waiting
    if any(word in script for word in ("retry", "dead ", "DELETE", "status=failed", "--status failed")):
        return Reader.failed
    return lambda reader: reader.succeeded


@pytest.mark.parametrize("block", to_run(), ids=str)
def test_a_documented_command_does_what_the_page_says(reader: Reader, block: Block) -> None:
    for program in ("curl", "jq"):
        if f"{program} " in block.text and not shutil.which(program):
            pytest.skip(f"needs {program}")
    before = [other.text for other in blocks("sh") if other.page == block.page and other.text.startswith("export ")]
    lines = [line for line in block.text.splitlines() if not matches(line.partition("  #")[0].rstrip(), NOT_RUN)]
    task_uuid = task_for(block.text)(reader)
    done = reader.run("\n".join([*before, *lines]), task_uuid)
    refused = block.answer is not None and '"title": "Bad Request"' in block.answer.text
    assert done.returncode == (22 if refused else 0), done.stdout + done.stderr
    for part, printed in PRINTED.items():
        if part in block.text:
            assert reader.in_place(printed, task_uuid) in done.stdout
    if block.answer:
        assert mismatches(block.answer, done.stdout) == []


def mismatches(example: Block, printed: str) -> list[str]:
    """Where the printed answer differs from the one on the page."""
    head, _, body = printed.rpartition("\n\n") if printed.startswith("HTTP/") else ("", "", printed)
    shown_head, _, shown_body = (
        example.text.rpartition("\n\n") if example.language == "http" else ("", "", example.text)
    )
    heads = [] if head.startswith(shown_head.partition("\n")[0]) else [f"{head} is not {shown_head}"]
    return heads + differences(json.loads(shown_body), json.loads(body))


def test_every_exception_is_still_documented() -> None:
    documented = [command for block in blocks("sh") for command in block.commands] + list(commands_in_text())
    assert [
        pattern for pattern in [*NOT_RUN, *RUN_ELSEWHERE] if not any(fnmatchcase(line, pattern) for line in documented)
    ] == []


def test_every_block_is_in_a_language_that_is_tested() -> None:
    assert {block.language for block in blocks()} <= {
        "sh",
        "json",
        "http",
        "text",
        "dotenv",
        "yaml",
        "python",
        "js",
        "mermaid",
    }
    for block in blocks("python", "js"):
        assert any(block.page == page and mark in block.text for page, mark in EXAMPLES_TESTED_IN), block
    for block in blocks("json"):
        json.loads(block.text)
    for block in blocks("yaml"):
        yaml.safe_load(block.text)


@pytest.mark.parametrize("block", blocks("dotenv"), ids=str)
def test_documented_settings_are_valid(block: Block) -> None:
    values = {name.lower(): value for name, value in dotenv_values(stream=StringIO(block.text)).items()}
    for_docker = values.keys() & {name.lower() for name in SCRIPT_VARIABLES}
    assert values.keys() - for_docker <= Settings.model_fields.keys()
    Settings.model_validate({name: values[name] for name in values.keys() - for_docker})


@pytest.mark.parametrize("status", ["success", "failed"])
def test_webhooks_have_the_documented_fields(reader: Reader, status: str) -> None:
    assert reader.succeeded
    reader.failed()
    examples = [json.loads(block.text) for block in blocks("json")]
    # That of a preset has stems that the model of these tests does not give.
    others = ("progress", "preset")
    shown = [each for each in examples if each.get("status") == status and not each.keys() & set(others)]
    assert shown
    for example in shown:
        assert differences(example, reader.webhook(status)) == []


def test_the_client_example_fetches_stems(reader: Reader) -> None:
    [example] = [block for block in blocks("python") if block.page == "docs/client.md"]
    script = reader.in_place(example.text).replace('"…"', repr(reader.checkout.variable("BASIC_AUTH_PASSWORD")))
    (reader.checkout.folder / "example.py").write_text(script, encoding="utf-8")
    done = reader.run("PYTHONPATH=. python example.py")
    assert done.returncode == 0, done.stderr
    assert "stems/song_vocals.flac" in done.stdout


def test_a_task_is_followed_with_fetch(reader: Reader) -> None:
    if not shutil.which("node"):
        pytest.skip("needs Node.js to run the documented example")
    [example] = [block for block in blocks("js") if "async function follow(" in block.text]
    task = reader.client.submit(reader.web.url("/song.mp3"))
    place = f"{reader.url}/tasks/{task.task_uuid}/events"
    credentials = f"admin:{reader.checkout.variable('BASIC_AUTH_PASSWORD')}"
    call = f"follow({json.dumps(place)}, {json.dumps(credentials)}, (task) => console.log(JSON.stringify(task)));"
    command = ["node", "-e", f"{example.text}\n{call}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    states = [json.loads(line) for line in done.stdout.splitlines()]
    assert {state["task_uuid"] for state in states} == {task.task_uuid}
    assert states[-1]["status"] == "success"


def test_the_demo_says_in_twenty_lines_what_it_did_and_what_comes_next(reader: Reader) -> None:
    folder = reader.checkout.folder
    (folder / "path" / "to").mkdir(parents=True)
    (folder / "path" / "to" / "song.mp3").symlink_to(folder / "song.mp3")
    names = {"make demo": "Spleeter-2stems.example", "make demo SONG=path/to/song.mp3": "song"}
    with ThreadPoolExecutor() as pool:
        for name, done in zip(names.values(), pool.map(reader.run, names), strict=True):
            assert done.returncode == 0, done.stdout + done.stderr
            assert len((done.stdout + done.stderr).splitlines()) <= 20
            assert f"  demo/{name}_vocals.wav  1" in done.stdout
            assert "  ./start_local.sh  " in done.stdout.partition("What next:")[2]


def test_the_backup_holds_what_the_page_says(reader: Reader, tmp_path: Path) -> None:
    [backup] = [block for block in blocks("sh") if block.text.startswith("tar czf backup")]
    assert reader.succeeded
    shutil.copy(reader.checkout.folder / ".env", tmp_path)
    shutil.copytree(
        reader.checkout.folder / "data", tmp_path / "data"
    )  # a copy stands still, as a stopped service does
    done = reader.run(backup.text, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    with tarfile.open(tmp_path / "backup.tar.gz") as archive:
        names = archive.getnames()
    assert ".env" in names
    assert any(name.startswith("data/redis/appendonlydir/") for name in names)
    assert f"data/output/stems/{reader.succeeded}_vocals.wav" in names
