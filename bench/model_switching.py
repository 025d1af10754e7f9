"""The seconds lost to switching when tasks alternate between two models: `python -m bench.model_switching`.

Ten tasks are queued at once in the local stack, while only one network fits into the memory. They are separated with
MODEL_STICKINESS 4, with 0 (first in, first out), and, for comparison, all with one model. Both models are the stand-in
of UVR-MDX-NET-Inst_HQ_4, so a song takes as long with one as with the other. What is measured is the time from the
moment in which the first song enters the network until the last one leaves it, from the processor's log; what it takes
longer than with one model is lost. The cases take turns, and each figure is the median of all rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import requests

from bench import standin
from bench.songs import made_song
from config import Settings, load_settings
from scripts.demo import demo_variables
from scripts.local.stack import Folders, Stack
from scripts.song_server import SongServer

RESULTS = Path(__file__).resolve().parent / "results" / "model_switching.json"
MODELS = ("first", "second")
CASES = {"one model": (MODELS[:1], 4), "two models, stickiness 4": (MODELS, 4), "two models, stickiness 0": (MODELS, 0)}
"""The models by which the tasks alternate, and MODEL_STICKINESS."""
OFFERED_WITHIN_S = 60


@dataclass(frozen=True)
class Figure:
    """One run: how long all songs took, and how often the next song had another model than the one before it."""

    total_s: float
    switches: int


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description="Seconds lost when tasks alternate between two models.")
    parser.add_argument("--tasks", type=int, default=10, help="number of tasks (10)")
    parser.add_argument("--seconds", type=int, default=10, help="seconds of audio per task (10)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds per figure (3)")
    options = parser.parse_args()
    figures: dict[str, list[Figure]] = {name: [] for name in CASES}
    with tempfile.TemporaryDirectory(prefix="uvr-bench-") as name:
        song = made_song(Path(name) / "song.wav", options.seconds)
        put_models(Path(name) / "models")
        for number in range(options.rounds):
            for case in CASES if number % 2 == 0 else reversed(CASES):
                figures[case].append(measured(Path(name), case, song, options.tasks))
    report(figures, options)


def put_models(folder: Path) -> None:
    """Put the same network into `folder` under the names of both models."""
    folder.mkdir()
    made = standin.ensure()
    for model in MODELS:
        shutil.copy(made, folder / f"{model}.onnx")
        shutil.copy(made.with_name(f"{made.name}.json"), folder / f"{model}.onnx.json")


def measured(folder: Path, case: str, song: Path, tasks: int) -> Figure:
    """One run of a case, with a service of its own."""
    models, stickiness = CASES[case]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        os.environ.update(demo_variables(Path(name), os.environ), LOG_FORMAT="json")
        os.environ.update(MODEL_NAME=MODELS[0], MODEL_FILE_DIR=str(folder / "models"), MODELS_OFFERED="*")
        os.environ.update(MAX_MODEL_MEMORY_BYTES="1", MODEL_STICKINESS=str(stickiness))
        settings = load_settings()
        stack = Stack(settings, Folders(*(Path(name) / part for part in ("run", "logs", "redis"))))
        stack.start()
        try:
            # A processor knows what a switch costs when it has loaded both; the first model is the last one it uses.
            separated(settings, song, [*reversed(MODELS)])
            model_of = separated(settings, song, [models[number % len(models)] for number in range(tasks)])
        finally:
            stack.stop()
        return figure((Path(name) / "logs" / "processor.log").read_text(encoding="utf-8"), model_of)


def separated(settings: Settings, song: Path, models: Sequence[str]) -> dict[str, str]:
    """Submit the song once for each of `models` and wait for all webhooks; returns the models by task."""
    with (server := SongServer(song)).serving():
        model_of = {submitted(settings, server, model): model for model in models}
        for _ in model_of:
            assert server.webhooks.get(timeout=3600)["status"] == "success"
    return model_of


def submitted(settings: Settings, server: SongServer, model: str) -> str:
    """The id of a new task, once the processor has told the API which models it has."""
    body = {"audio": server.song_url, "hook_url": server.hook_url, "model": model}
    credentials = (settings.basic_auth_username, settings.basic_auth_password.get_secret_value())
    deadline = time.monotonic() + OFFERED_WITHIN_S
    while True:
        answer = requests.post(f"{settings.local_url}/generate", json=body, auth=credentials, timeout=30)
        if answer.status_code == 202:
            task_uuid: str = answer.json()["task_uuid"]
            return task_uuid
        assert answer.status_code == 503, answer.text
        assert time.monotonic() < deadline, answer.text
        time.sleep(0.2)


def figure(log: str, model_of: dict[str, str]) -> Figure:
    """The figure of the tasks in `model_of` from the processor's log."""
    events = [json.loads(line) for line in log.splitlines() if '"network.left"' in line]
    turns = [event for event in events if event["task_uuid"] in model_of]
    order = [model_of[turn["task_uuid"]] for turn in turns]
    total_s = sum(turn["stay_s"] for turn in turns) + sum(turn["gap_s"] for turn in turns[1:])
    return Figure(total_s, sum(one != other for one, other in pairwise(order)))


def report(figures: dict[str, list[Figure]], options: argparse.Namespace) -> None:
    """Print a table for docs/benchmarks.md and write the figures as JSON."""
    median_s = {case: statistics.median(run.total_s for run in runs) for case, runs in figures.items()}
    print(f"{options.tasks} tasks of {options.seconds} s, medians of {options.rounds} rounds\n")
    print("| case | seconds | switches | lost, seconds |")
    print("|---|---|---|---|")
    for case, runs in figures.items():
        switches = statistics.median(run.switches for run in runs)
        print(f"| {case} | {median_s[case]:.1f} | {switches:.0f} | {median_s[case] - median_s['one model']:.1f} |")
    RESULTS.parent.mkdir(exist_ok=True)
    found = {case: [asdict(run) for run in runs] for case, runs in figures.items()}
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
