"""`python -m uvr submit`: send songs, as files, folders or URLs, to a running service."""

from __future__ import annotations

import argparse
import sys
from contextlib import closing
from typing import Any

from config import Settings
from uvr.audio.output_format import OutputFormat
from uvr.cli import remote
from uvr.cli.follow import FollowedTask, add_following_options, follow, is_following
from uvr.cli.option_types import joined, key_and_value, separate_names
from uvr.cli.output_names import song_at_risk, stem_names, why_not_writable
from uvr.cli.progress_bar import ProgressLine
from uvr.cli.song_folders import NoSongsError, songs_with_prefixes
from uvr.client import Client, Task, is_url, song_name


def add_parser(commands: Any) -> None:
    """Add `submit` to the commands of an argument parser."""
    parser = commands.add_parser(
        "submit",
        help="send songs to a running service",
        description=f"Send songs to a running service. {remote.OUTPUT_AND_EXIT_STATUS}",
    )
    parser.add_argument(
        "songs",
        nargs="+",
        metavar="FILE|FOLDER|URL",
        help="a file, a folder with all songs below it, or an http(s) URL",
    )
    parser.add_argument("--priority", type=int, choices=range(1, 6), help="5 goes first; default: DEFAULT_PRIORITY")
    parser.add_argument(
        "--format", choices=[form.value for form in OutputFormat], help="format of the stems; default: wav"
    )
    parser.add_argument(
        "--model",
        type=separate_names,
        action="append",
        metavar="NAME",
        help="a model or preset that the service offers; several models, with commas between them, are averaged",
    )
    parser.add_argument(
        "--stems", type=separate_names, action="append", metavar="NAME,…", help="only these stems; default: all"
    )
    parser.add_argument(
        "--metadata",
        type=key_and_value,
        action="append",
        metavar="KEY=VALUE",
        help="your own data, which tasks and webhooks repeat; may be given several times",
    )
    parser.add_argument("--hook", metavar="URL", help="URL that receives the webhook of each task")
    add_following_options(parser)
    remote.add_service_options(parser)
    parser.set_defaults(run=submit)


def submit(options: argparse.Namespace, settings: Settings) -> int:
    """Queue songs; print the ids of their tasks, or follow the tasks and print where their stems are."""
    if options.output and (obstacle := why_not_writable(options.output)):
        remote.print_message(obstacle)
        return remote.NOT_SENT
    try:
        found = songs_with_prefixes(options.songs, options.output)
    except NoSongsError as error:
        remote.print_message(str(error))
        return remote.NOT_SENT
    songs, names = list(found), [prefix + song_name(song) for song, prefix in found.items()]
    if options.output:
        names = stem_names(names, options.output)
        if song := song_at_risk(songs, names, options.output):
            remote.print_message(f"{song} might be overwritten by a stem of another song; choose another folder.")
            return remote.NOT_SENT
    name_of = dict(zip(songs, names, strict=True))
    followed: list[FollowedTask] = []
    with remote.connect(options, settings) as client:

        def send(song: str) -> None:
            task = _submit(client, song, options)
            if is_following(options):
                name = name_of[song]
                status_argument = task.task_uuid if name == song_name(song) else f"{task.task_uuid}={name}"
                followed.append(FollowedTask(task.task_uuid, song, name, status_argument))
                remote.print_message(f"{song}: task {task.task_uuid}")
            else:
                remote.print_result({"input": song, **task.answer} if options.json else task.task_uuid)

        status = remote.for_each(songs, send, as_json=options.json)
        return max(status, follow(client, followed, options))


def _submit(client: Client, song: str, options: argparse.Namespace) -> Task:
    """Queue one song with the options of the command line; show the progress of an upload."""
    models = joined(options.model)
    fields: dict[str, Any] = {
        "priority": options.priority,
        "output_format": options.format,
        "model": models[0] if len(models) == 1 else models,
        "stems": joined(options.stems),
        "metadata": dict(options.metadata or ()),
        "hook_url": options.hook,
    }
    given = {name: value for name, value in fields.items() if value not in (None, [], {})}
    if is_url(song):
        return client.submit(song, **given)
    with closing(ProgressLine(f"sending {song_name(song)}", sys.stderr)) as line:
        return client.submit(song, on_upload=line.transferred, **given)
