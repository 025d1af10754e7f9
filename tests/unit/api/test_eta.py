"""Estimates of when a task will be done."""

from __future__ import annotations

import pytest

from uvr.api.eta import Throughput
from uvr.tasks.model import Status, Task
from uvr.timestamps import now_ms


def task(status: Status = Status.QUEUED, progress: float = 0.0, started_ms: int = 0) -> Task:
    return Task("a", "https://songs.example/a.mp3", 3, 1, status=status, progress=progress, started_ms=started_ms)


def test_there_is_no_estimate_before_the_first_song_or_without_a_processor() -> None:
    assert Throughput(None, processors=1, processing=0).remaining_s(task(), 0) is None
    assert Throughput(60.0, processors=0, processing=0).remaining_s(task(), 0) is None


@pytest.mark.parametrize(
    ("position", "processing", "processors", "expected_s"),
    [(0, 0, 1, 60), (0, 1, 1, 90), (3, 1, 1, 270), (3, 1, 2, 165), (0, 0, 4, 60)],
)
def test_a_queued_task_waits_for_the_tasks_ahead_and_half_of_those_in_progress(
    position: int, processing: int, processors: int, expected_s: int
) -> None:
    assert Throughput(60.0, processors, processing).remaining_s(task(), position) == expected_s


SPEEDS = {"": 0.5, "slow": 4.0, "quick": 0.25}


@pytest.mark.parametrize(
    ("models", "expected_s"), [([], 50), (["slow"], 400), (["slow", "quick"], 425), (["slow", "never seen"], 60)]
)
def test_once_the_length_of_a_song_is_known_the_speed_of_its_models_counts(models: list[str], expected_s: int) -> None:
    outlook = Throughput(60.0, processors=1, processing=1, speeds=SPEEDS)
    decoded = Task("a", "b", 3, 1, status=Status.PROCESSING, models=models, facts={"audio_s": 100.0})
    assert outlook.remaining_s(decoded, None) == expected_s
    assert outlook.remaining_s(Task("a", "b", 3, 1, status=Status.PROCESSING, models=models), None) == 60


def test_a_task_in_progress_takes_the_rest_of_its_time() -> None:
    outlook = Throughput(60.0, processors=1, processing=1)
    assert outlook.remaining_s(task(Status.PROCESSING, 0.25), None) == 45


@pytest.mark.parametrize(("progress", "began_s", "expected_s"), [(0.5, 300, 165), (0.9, 540, 55), (0.5, -9, 15)])
def test_the_further_a_task_is_the_more_its_own_speed_counts(progress: float, began_s: int, expected_s: int) -> None:
    started_ms = now_ms() - began_s * 1000
    outlook = Throughput(60.0, processors=1, processing=1)
    assert outlook.remaining_s(task(Status.PROCESSING, progress, started_ms), None) == expected_s


@pytest.mark.parametrize("status", ["uploading", "success", "failed", "cancelled"])
def test_a_task_whose_stems_are_made_or_will_not_be_made_has_no_estimate(status: str) -> None:
    assert Throughput(60.0, processors=1, processing=0).remaining_s(task(Status(status)), None) is None


def test_a_task_that_waits_for_a_retry_has_no_estimate() -> None:
    assert Throughput(60.0, processors=1, processing=0).remaining_s(task(), None) is None
