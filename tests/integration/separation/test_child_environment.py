"""Children that read the files of clients have no password in their environment, whatever this process has."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from config import Settings
from tests.support.children import pid_of
from tests.support.engines import ScriptedEngine
from uvr.separation.child_environment import child_environment
from uvr.separation.child_process import Child

SECRET = "do-not-pass-on"
SECRET_FIELDS = [
    name
    for name, field in Settings.model_fields.items()
    if "SecretStr" in str(field.annotation)  # also inside a container
]


@pytest.fixture
def child() -> Child:
    return Child(ScriptedEngine, "network")


def environment_of(child: Child) -> dict[str, str]:
    """The variables with which the process of `child` was started, as everything in it can read them."""
    child.start()
    try:
        entries = Path(f"/proc/{pid_of(child)}/environ").read_text().split("\0")
        return dict(entry.split("=", 1) for entry in entries if entry)
    finally:
        child.close()


def test_secret_settings_are_found() -> None:
    assert {"basic_auth_password", "redis_url", "fetch_proxy", "webhook_headers"} <= set(SECRET_FIELDS)


def test_no_secret_reaches_a_child(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [
        "AWS_SESSION_TOKEN",
        "HTTPS_PROXY",
        "http_proxy",
        "HF_TOKEN",
        "NVIDIA_API_KEY",
        "CUDA_SECRET",
        "ANY_OTHER",
    ]
    for name in (*SECRET_FIELDS, *others):
        monkeypatch.setenv(name.upper() if name in SECRET_FIELDS else name, f"http://user:{SECRET}@host")
    assert SECRET not in str(environment_of(child))


def test_a_child_gets_what_runtimes_need(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "LC_TIME": "C", "PYTHONUNBUFFERED": "1", "TZ": "UTC"}
    for name, value in wanted.items():
        monkeypatch.setenv(name, value)
    assert wanted.items() <= environment_of(child).items()


def test_only_a_child_that_downloads_gets_proxies() -> None:
    variables = {"https_proxy": f"http://user:{SECRET}@proxy:3128", "NO_PROXY": "localhost", "REDIS_PASSWORD": SECRET}
    assert child_environment(variables).keys() == {"PYTHONPATH"}
    assert child_environment(variables, downloads=True).keys() == {"PYTHONPATH", "https_proxy", "NO_PROXY"}


def test_the_environment_of_this_process_stays_as_it_is(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    environment_of(child)
    show = [sys.executable, "-c", "import os; print(os.environ['WEBHOOK_SECRET'])"]
    assert os.environ["WEBHOOK_SECRET"] == SECRET
    assert subprocess.check_output(show, text=True).strip() == SECRET
