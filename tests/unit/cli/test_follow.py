"""A user who interrupts `--wait` gets the command that continues it."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from uvr.cli.follow import FollowedTask, follow
from uvr.client import Client, Task


class InterruptedClient(Client):
    """A client whose first request is interrupted by Ctrl-C."""

    def get(self, task_uuid: str) -> Task:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("folder", "command"), [(None, "status --wait one two=b-2"), (Path("my stems"), "status -o 'my stems' one two=b-2")]
)
def test_ctrl_c_prints_the_command_that_follows_the_remaining_tasks(
    capsys: pytest.CaptureFixture[str], folder: Path | None, command: str
) -> None:
    tasks = [FollowedTask("one", "a.mp3"), FollowedTask("two", "b.mp3", "b-2", "two=b-2")]
    with InterruptedClient("http://127.0.0.1", "anna", "secret") as client, pytest.raises(SystemExit) as end:
        follow(client, tasks, Namespace(output=folder, json=False))
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith(f"to follow them again: python -m uvr {command}\n")
