"""Who stops following tasks hears how to go on."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path

import pytest

from uvr.cli.follow import Followed, follow
from uvr.client import Client, Task


class InterruptedClient(Client):
    """Somebody presses Ctrl-C at the first question."""

    def get(self, task_uuid: str) -> Task:
        raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("folder", "command"), [(None, "status --wait one two=b-2"), (Path("my stems"), "status -o 'my stems' one two=b-2")]
)
def test_ctrl_c_is_answered_with_the_command_that_goes_on(
    capsys: pytest.CaptureFixture[str], folder: Path | None, command: str
) -> None:
    tasks = [Followed("one", "a.mp3"), Followed("two", "b.mp3", "b-2", "two=b-2")]
    with InterruptedClient("http://127.0.0.1", "anna", "secret") as client, pytest.raises(SystemExit) as end:
        follow(client, tasks, Namespace(output=folder, json=False))
    assert end.value.code == 130
    assert capsys.readouterr().err.endswith(f"to follow them again: python -m uvr {command}\n")
