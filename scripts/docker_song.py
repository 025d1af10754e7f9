"""Send a song through a running service, once or several times, and check the stems.

This program serves the song and receives the webhooks, so the service must be able to reach LISTEN. It succeeds if the
webhook of each task arrives and both stems can be downloaded and have exactly FRAMES sample frames.
`scripts/test_docker.sh` runs it with the Python of the machine, so it uses only the standard library.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import queue
import ssl
import sys
import time
import wave
from pathlib import Path
from typing import Any
from urllib.request import HTTPSHandler, ProxyHandler, Request, build_opener

from scripts.song_server import SongServer

STEMS = ("vocals", "instrumental")

# Never ask a proxy for a loopback address. SSL_CERT_FILE names the authority of a service behind HTTPS.
_open = build_opener(ProxyHandler({}), HTTPSHandler(context=ssl.create_default_context())).open


def call(url: str, body: dict[str, str] | None = None) -> dict[str, Any]:
    """The answer of the service to a GET, or to a POST of `body`."""
    user, password = os.environ["BASIC_AUTH_USERNAME"], os.environ["BASIC_AUTH_PASSWORD"]
    request = Request(  # noqa: S310  # this is the service under test
        url,
        data=json.dumps(body).encode() if body else None,
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(),
        },
    )
    with _open(request, timeout=10) as answer:
        result: dict[str, Any] = json.load(answer)
        return result


def frames_of(url: str) -> int:
    """The number of sample frames of the WAV file at `url`."""
    with _open(url, timeout=30) as answer:
        stem = io.BytesIO(answer.read())
    with wave.open(stem) as sound:
        return int(sound.getnframes())


def fault_of(payload: dict[str, Any], frames: int, links: str) -> str:
    """What is wrong with the outcome of a task, "" if nothing is."""
    if payload["status"] != "success":
        return str(payload["error_message"])
    if elsewhere := [payload[name] for name in STEMS if not payload[name].startswith(links)]:
        return f"links do not begin with {links}: {', '.join(elsewhere)}"
    lengths = {name: frames_of(payload[name]) for name in STEMS}
    wrong = [f"{name} has {length} frames, not {frames}" for name, length in lengths.items() if length != frames]
    return "; ".join(wrong)


def run(server: SongServer, options: argparse.Namespace) -> int:
    """Submit the songs, wait for the webhooks, check the stems; 0 if everything is right."""
    started = time.monotonic()
    song = {"audio": server.song_url, "hook_url": server.hook_url}
    if options.model:
        song["model"] = options.model
    waiting = {str(call(f"{options.api}/generate", song)["task_uuid"]) for _ in range(options.times)}
    while waiting:
        left_s = started + options.timeout - time.monotonic()
        try:
            payload = server.webhooks.get(timeout=max(left_s, 0.01))
        except queue.Empty:
            sys.stderr.write(f"no webhook after {options.timeout} s for {', '.join(waiting)}\n")
            return 1
        task_uuid = payload["task_uuid"]
        if fault := fault_of(payload, options.frames, options.links):
            sys.stderr.write(f"{task_uuid}: {fault}\n")
            return 1
        waiting.discard(task_uuid)
        task = call(f"{options.api}/tasks/{task_uuid}")
        took_s, backend = time.monotonic() - started, task["facts"]["backend"]
        sys.stdout.write(f"{task_uuid}: both stems after {took_s:.1f} s, attempt {task['attempt']}, by {backend}\n")
    return 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", type=Path)
    parser.add_argument("--api", required=True, help="address of the service")
    parser.add_argument("--listen", required=True, help="address of this machine that the service can reach")
    parser.add_argument("--frames", type=int, required=True, help="length of the song in sample frames")
    parser.add_argument("--links", default="", help="what the links to the stems begin with")
    parser.add_argument("--model", default="", help="what separates it (the default model)")
    parser.add_argument("--times", type=int, default=1, help="how many tasks to send at once (1)")
    parser.add_argument("--timeout", type=float, default=120, help="seconds to wait for all webhooks (120)")
    options = parser.parse_args()
    with (server := SongServer(options.song, options.listen)).serving():
        return run(server, options)


if __name__ == "__main__":
    sys.exit(main())
