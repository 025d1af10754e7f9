"""How long the network waits between two tasks while others are queued: `python -m bench.gaps`.

Ten tasks at once through the local stack. The gap is the time from one song's leaving the network to the next one's
entering it, as the processor's log tells both; it is compared with the time a song spends in the network. Everything
else, fetching and decoding before it, encoding and handing over behind it, should happen beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

from bench import standin
from bench.songs import made_song
from config import load_settings
from scripts.demo import client_of, demo_variables
from scripts.local.stack import Folders, Stack
from scripts.song_server import SongServer

RESULTS = Path(__file__).resolve().parent / "results" / "gaps.json"
LARGEST_SHARE = 0.03


def main() -> None:
    """Queue the tasks, wait for the last one, read the log, report."""
    parser = argparse.ArgumentParser(description="Gaps between separations while tasks wait.")
    parser.add_argument("--tasks", type=int, default=10, help="how many (10)")
    parser.add_argument("--seconds", type=int, default=60, help="of audio in each (60)")
    parser.add_argument("--hq4", action="store_true", help="a network of HQ_4's size instead of Spleeter-2stems")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as name:
        os.environ.update(demo_variables(Path(name), os.environ), LOG_FORMAT="json")
        if options.hq4:
            model = standin.ensure()
            os.environ.update(MODEL_NAME=model.name, MODEL_FILE_DIR=str(model.parent))
        song = made_song(Path(name) / "song.wav", options.seconds)
        report(measured(Path(name), song, options.tasks))


def measured(folder: Path, song: Path, tasks: int) -> list[dict[str, float]]:
    """Gap and stay of each song, in seconds, in the order in which they were in the network."""
    settings = load_settings()
    stack = Stack(settings, Folders(*(folder / part for part in ("run", "logs", "redis"))))
    stack.start()
    try:
        with (server := SongServer(song)).serving(), client_of(settings) as client:
            for _ in range(tasks):
                client.submit(server.song_url, hook_url=server.hook_url)
            for _ in range(tasks):
                assert server.webhooks.get(timeout=3600)["status"] == "success"
    finally:
        stack.stop()
    lines = (folder / "logs" / "processor.log").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines if '"network.left"' in line]
    return [{"gap_s": event["gap_s"], "stay_s": event["stay_s"]} for event in events]


def report(turns: list[dict[str, float]]) -> None:
    """The figures, and the same as JSON."""
    gaps, stays = [turn["gap_s"] for turn in turns[1:]], [turn["stay_s"] for turn in turns]
    share = statistics.median(gaps) / statistics.median(stays)
    print(f"{len(turns)} songs; seconds in the network: median {statistics.median(stays):.2f}")
    print(f"gaps between them: median {statistics.median(gaps):.3f}, most {max(gaps):.3f}")
    verdict = "" if share <= LARGEST_SHARE else " (missed)"
    print(f"share: {share:.2%}, aim: at most {LARGEST_SHARE:.0%}{verdict}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps({"at": time.time(), "turns": turns}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
