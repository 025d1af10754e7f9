"""`make demo`: send one real song through the whole service, on free ports and in its own folders.

It starts the same processes as start_local.sh, serves the song over HTTP, submits it with POST /generate, waits for the
webhook, saves both stems in demo/, and stops everything that it started, also after Ctrl-C. It does not read .env, so
it does not affect a configured service.
"""

from __future__ import annotations

import math
import os
import queue
import secrets
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from config import ROOT, Settings, SettingsError, load_settings
from scripts.local.errors import StartError
from scripts.local.stack import Folders, Stack, say
from scripts.song_server import SongServer
from uvr import logs
from uvr.audio.decode import AudioReader
from uvr.cli.progress_bar import ProgressLine
from uvr.client import Client, ClientError
from uvr.errors import UvrError
from uvr.models.catalogue import SPLEETER_NAME
from uvr.models.spleeter import example_song

STEMS_DIR = ROOT / "demo"

_KEPT_VARIABLES = {
    "MODEL_NAME",
    "MODEL_FILE_DIR",
    "MODEL_SOURCES",
    "HF_ENDPOINT",
    "MODEL_BASE_URL",
    "INFERENCE_THREADS",
}
_POLL_S = 0.2

_NEXT = """
The demo has stopped its service. What next:
  ./start_local.sh                   starts the service permanently, with a better model (59 MB from GitHub)
  make demo SONG=path/to/song.mp3    runs the demo with your own song
  README.md                          explains the rest"""


def demo_variables(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` with the settings of the demo in place of those of the service; files are kept in `folder`."""
    replaced = {name.upper() for name in Settings.model_fields} - _KEPT_VARIABLES
    kept = {name: value for name, value in environment.items() if name not in replaced}
    api_port, redis_port = _free_ports(2)
    return {
        "MODEL_NAME": SPLEETER_NAME,
        **kept,
        "ENV_FILE": "",
        "BASIC_AUTH_PASSWORD": secrets.token_hex(16),
        "API_PORT": str(api_port),
        "API_WORKERS": "1",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(redis_port),
        "REDIS_PASSWORD": secrets.token_hex(16),
        "ALLOWED_PRIVATE_NETWORKS": "127.0.0.0/8",
        "TEMP_DIR": str(folder / "temp"),
        "OUTPUT_DIR": str(folder / "output"),
        "SHUTDOWN_GRACE_SECONDS": "1",
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(server.getsockname()[1]) for server in sockets]
    finally:
        for server in sockets:
            server.close()


def client_of(settings: Settings) -> Client:
    """A client of the local service with these settings."""
    return Client(settings.local_url, settings.basic_auth_username, settings.basic_auth_password.get_secret_value())


def wait_for_webhook(client: Client, task_uuid: str, server: SongServer) -> dict[str, Any]:
    """Show the progress of the task until its webhook arrives; returns the payload of the webhook."""
    with closing(ProgressLine("  separating", sys.stdout)) as line:
        while True:
            try:
                return server.webhooks.get(timeout=_POLL_S)
            except queue.Empty:
                line.advanced(client.get(task_uuid).progress)


def describe(path: Path) -> str:
    """Name, length, sample rate and level of an audio file; the level is the RMS relative to full scale."""
    frames, energy = 0, 0.0
    with AudioReader(path, max_seconds=math.inf) as audio:
        for block in audio.blocks():
            frames += block.shape[1]
            energy += float(np.square(block, dtype=np.float64).mean(axis=0).sum())
    level_db = 10 * math.log10(max(energy / frames, 1e-20))
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"{name}  {frames / audio.format.sample_rate:.2f} s  {audio.format.sample_rate} Hz  {level_db:.1f} dB RMS"


def run(song: Path, settings: Settings) -> int:
    """Send `song` through the running service; 0 if both stems arrive."""
    with (server := SongServer(song)).serving(), client_of(settings) as client:
        started = time.monotonic()
        task_uuid = client.submit(server.song_url, hook_url=server.hook_url).task_uuid
        say(f"POST /generate: task {task_uuid}")
        payload = wait_for_webhook(client, task_uuid, server)
        if payload["status"] != "success":
            say(f"The task failed: {payload['error_message']}")
            return 1
        say(f"Webhook after {time.monotonic() - started:.1f} s. The stems:")
        for path in client.download(task_uuid, STEMS_DIR, song.stem).values():
            say(f"  {describe(path)}")
    return 0


def demonstrate(song: Path | None, folder: Path) -> int:
    """Start the service with all its files in `folder`, run the demo, and stop the service."""
    settings = load_settings()
    stack = Stack(settings, Folders(folder / "run", folder / "logs", folder / "redis"))
    try:
        stack.start()
        say(f"The service is running during the demo: {settings.local_url}/docs")
        if song is None:
            with closing(ProgressLine("the example song", sys.stderr)) as line:
                song = example_song(settings.model_file_dir, line.downloaded)
        say(f"The song: {describe(song)}")
        return run(song, settings)
    except ClientError as error:
        tails = [f"The end of {service.name}.log:\n{service.log_tail(5)}" for service in stack.services]
        say("\n".join([*tails, f"The service does not answer as expected: {error}"]))
    except (StartError, SettingsError, UvrError, OSError) as error:
        say(str(error))
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not leave processes behind
        stack.stop()
    return 1


def main() -> int:
    """`python -m scripts.demo [SONG]`; 1 if the demo fails."""
    song = Path(sys.argv[1]).expanduser() if sys.argv[1:] and sys.argv[1] else None
    if song and not song.is_file():
        say(f"There is no file {song}.")
        return 1
    logs.configure("error", "auto", process="demo")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: sys.exit(128 + signal.SIGTERM))
    with tempfile.TemporaryDirectory(prefix="uvr-demo-") as name:
        variables = demo_variables(Path(name), os.environ)
        os.environ.clear()
        os.environ.update(variables)
        try:
            status = demonstrate(song, Path(name))
        except KeyboardInterrupt:
            return 128 + signal.SIGINT
    if status == 0:
        say(_NEXT)
    return status


if __name__ == "__main__":
    sys.exit(main())
