"""Another user of the machine, a decoder that a song has taken over, and a link that leaked get nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.chaos.supervised import descendants
from tests.support.audio import encoded, noise
from tests.support.service import AUTH, ROOT, Service
from tests.support.waiting import PROMPT_S, eventually


@pytest.fixture(scope="module")
def done(service: Service) -> str:
    """The id of a song that was uploaded and separated."""
    task_uuid = service.send(encoded(noise(1), ".wav", codec="pcm_s16le"))
    assert service.wait_for(task_uuid)["status"] == "success"
    return task_uuid


@pytest.mark.usefixtures("done")
def test_children_of_the_processor_have_no_password_in_their_environment(service: Service) -> None:
    secrets = [AUTH[1], service.environment["REDIS_URL"], service.environment["WEBHOOK_SECRET"]]
    children = descendants(service.processes["processor"].pid)
    found = [Path(f"/proc/{child}/environ").read_text() for child in children]
    assert len(found) >= 2, "the network and a media child"
    assert not [secret for secret in secrets if secret in str(found)]


@pytest.mark.usefixtures("done")
def test_others_cannot_read_songs_and_stems(service: Service) -> None:
    written = [path for folder in (service.output_dir, service.temp_dir) for path in (folder, *folder.rglob("*"))]
    assert [path for path in written if path.suffix == ".wav"]
    assert [path for path in written if path.stat().st_mode & 0o077] == []


def test_links_that_were_revoked_stop_working_at_once(service: Service, done: str) -> None:
    leaked = service.task(done)["vocals"]
    assert requests.get(leaked, timeout=PROMPT_S).status_code == 200
    command = [sys.executable, "-m", "uvr", "revoke-links"]
    subprocess.run(command, cwd=ROOT, env=service.environment, check=True, capture_output=True)

    def is_refused() -> bool:  # by every process of the API; two of five requests in a row reach the same one
        return all(requests.get(leaked, timeout=PROMPT_S).status_code == 403 for _ in range(5))

    eventually(is_refused, "the link is refused", PROMPT_S, every_s=0.2)
    fresh = requests.get(f"{service.url}/tasks/{done}", auth=AUTH, timeout=PROMPT_S).json()["vocals"]
    # Five requests may have missed a process that still has the old key.
    eventually(lambda: requests.get(fresh, timeout=PROMPT_S).ok, "the fresh link opens", PROMPT_S, every_s=0.2)
