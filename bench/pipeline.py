"""What the service adds to a separation: `python -m bench.pipeline`.

A 20 s song goes through the local stack (embedded Redis with `appendfsync always`, stems on disk, one song at a time).
Measured is the time from the start of POST /generate to the arrival of the webhook, minus the separation as the task
itself tells it; what remains is the API, three queues, the download, the hand-over with its fsyncs, the storage and
the webhook. The separation here is decoding, network and encoding together: all that the child process does.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

from config import load_settings
from scripts.demo import client_of, demo_variables
from scripts.local.stack import Folders, Stack
from scripts.song_server import SongServer
from uvr.client import Client

RESULTS = Path(__file__).resolve().parent / "results" / "pipeline.json"
SONG_S = 20
RATE_HZ = 44_100


def main() -> None:
    """Start the stack, send the song again and again, report."""
    parser = argparse.ArgumentParser(description="Time from POST to webhook minus the separation.")
    parser.add_argument("--rounds", type=int, default=9, help="songs that count; one more goes first (9)")
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as name:
        os.environ.update(demo_variables(Path(name), os.environ))
        stack = Stack(load_settings(), Folders(*(Path(name) / part for part in ("run", "logs", "redis"))))
        stack.start()
        try:
            with (server := SongServer(made_song(Path(name)))).serving(), client_of(load_settings()) as client:
                runs = [one_run(client, server) for _ in range(rounds + 1)]
        finally:
            stack.stop()
    report(runs[1:])


def made_song(folder: Path) -> Path:
    """Twenty seconds of coloured noise as a 16-bit stereo WAV: to the network one song is as long as another."""
    generator = np.random.default_rng(0)
    sound = np.cumsum(generator.standard_normal((SONG_S * RATE_HZ, 2)), axis=0)
    sound -= np.linspace(0, 1, len(sound))[:, None] * sound[-1]
    path = folder / "song.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE_HZ)
        file.writeframes((sound / np.abs(sound).max() * 20_000).astype("<i2").tobytes())
    return path


def one_run(client: Client, server: SongServer) -> dict[str, float]:
    """Seconds of one song: in all, in the child process, fetching, and what the service added."""
    started = time.monotonic()
    task_uuid = client.submit(server.song_url, hook_url=server.hook_url).task_uuid
    payload = server.webhooks.get(timeout=120)
    total_s = time.monotonic() - started
    assert payload["status"] == "success", payload
    facts = client.get(task_uuid).answer["facts"]
    return {
        "total_s": total_s,
        "separation_s": facts["separation_s"],
        "fetch_s": facts["fetch_s"],
        "added_s": total_s - facts["separation_s"],
    }


def report(runs: list[dict[str, float]]) -> None:
    """The table, and the same as JSON."""
    print(f"{len(runs)} songs of {SONG_S} s; seconds")
    print(f"{'':<14}{'median':>8}{'least':>8}{'most':>8}")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:<14}{statistics.median(values):>8.3f}{min(values):>8.3f}{max(values):>8.3f}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(runs, indent=1) + "\n")


if __name__ == "__main__":
    main()
