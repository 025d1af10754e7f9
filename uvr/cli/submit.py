"""`python -m uvr submit`: songs on this machine's disk or behind URLs, sent to a running service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from config import Settings
from uvr.audio.output_format import OutputFormat
from uvr.cli import remote
from uvr.cli.follow import Followed, add_following_options, follow, is_followed
from uvr.cli.output_names import stem_names, why_not_writable
from uvr.cli.progress_bar import ProgressLine
from uvr.client import Client, Task, is_url, song_name


def add_parser(commands: Any) -> None:
    """Add `submit` to the commands of an argument parser."""
    parser = commands.add_parser(
        "submit",
        help="send songs to a running service",
        description=f"Send songs to a running service. {remote.ABOUT}",
    )
    parser.add_argument("songs", nargs="+", metavar="FILE|URL", help="a song on this disk, or its http(s) URL")
    parser.add_argument("--priority", type=int, choices=range(1, 6), help="5 goes first; default: DEFAULT_PRIORITY")
    parser.add_argument("--format", choices=[form.value for form in OutputFormat], help="of the stems; default: wav")
    parser.add_argument("--hook", metavar="URL", help="is told how each task ended")
    add_following_options(parser)
    remote.add_service_options(parser)
    parser.set_defaults(run=submit)


def submit(wanted: argparse.Namespace, settings: Settings) -> int:
    """Queue songs; print their tasks' ids, or follow the tasks and print where their stems are."""
    songs = list(dict.fromkeys(wanted.songs))
    names = [song_name(song) for song in songs]
    if wanted.output:
        if obstacle := why_not_writable(wanted.output):
            remote.say(obstacle)
            return remote.NOT_ASKED
        names = stem_names(names, wanted.output)
        if song := _overwritten(songs, names, wanted.output):
            remote.say(f"{song} might be overwritten by a stem of another song; choose another folder.")
            return remote.NOT_ASKED
    named = dict(zip(songs, names, strict=True))
    return remote.with_service(wanted, settings, partial(_submit_all, wanted, named))


def _overwritten(songs: Sequence[str], names: Sequence[str], folder: Path) -> str:
    """A song in `folder` that a stem of a song of these names might overwrite; "" where none can."""
    for song in songs:
        lies_there = not is_url(song) and Path(song).resolve().parent == folder.resolve()
        if lies_there and any(name and Path(song).name.startswith(f"{name}_") for name in names):
            return song
    return ""


def _submit_all(wanted: argparse.Namespace, named: Mapping[str, str], client: Client) -> int:
    followed: list[Followed] = []

    def step(song: str) -> None:
        task = _submitted(client, song, wanted)
        if is_followed(wanted):
            name = named[song]
            again = task.task_uuid if name == song_name(song) else f"{task.task_uuid}={name}"
            followed.append(Followed(task.task_uuid, song, name, again))
            remote.say(f"{song}: task {task.task_uuid}")
        else:
            remote.tell({"input": song, **task.answer} if wanted.json else task.task_uuid)

    status = remote.for_each(wanted.songs, step, as_json=wanted.json)
    return max(status, follow(client, followed, wanted))


def _submitted(client: Client, song: str, wanted: argparse.Namespace) -> Task:
    fields = {"priority": wanted.priority, "output_format": wanted.format, "hook_url": wanted.hook}
    given = {name: value for name, value in fields.items() if value is not None}
    if is_url(song):
        return client.submit(song, **given)
    with closing(ProgressLine(f"sending {song_name(song)}", sys.stderr)) as line:
        return client.submit(song, on_upload=line.transferred, **given)
