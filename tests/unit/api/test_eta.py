"""When a task will be done, as far as one can tell."""

from __future__ import annotations

import pytest

from uvr.api.eta import Throughput
from uvr.tasks.model import Status, Task
from uvr.timestamps import now_ms


def task(status: Status = Status.QUEUED, progress: float = 0.0, started_ms: int = 0) -> Task:
    return Task("a", "https://songs.example/a.mp3", 3, 1, status=status, progress=progress, started_ms=started_ms)


def test_nobody_can_tell_before_the_first_song_or_without_a_processor() -> None:
    assert Throughput(None, processors=1, processing=0).remaining_s(task(), 0) is None
    assert Throughput(60.0, processors=0, processing=0).remaining_s(task(), 0) is None


@pytest.mark.parametrize(
    ("position", "processing", "processors", "expected_s"),
    [(0, 0, 1, 60), (0, 1, 1, 90), (3, 1, 1, 270), (3, 1, 2, 165), (0, 0, 4, 60)],
)
def test_those_before_it_and_half_of_those_at_work_are_waited_for(
    position: int, processing: int, processors: int, expected_s: int
) -> None:
    assert Throughput(60.0, processors, processing).remaining_s(task(), position) == expected_s


def test_a_task_at_work_takes_what_is_left_of_it() -> None:
    outlook = Throughput(60.0, processors=1, processing=1)
    assert outlook.remaining_s(task(Status.PROCESSING, 0.25), None) == 45


@pytest.mark.parametrize(("progress", "began_s", "expected_s"), [(0.5, 300, 165), (0.9, 540, 55), (0.5, -9, 15)])
def test_a_song_that_takes_longer_than_others_is_known_by_its_own_pace(
    progress: float, began_s: int, expected_s: int
) -> None:
    started_ms = now_ms() - began_s * 1000
    outlook = Throughput(60.0, processors=1, processing=1)
    assert outlook.remaining_s(task(Status.PROCESSING, progress, started_ms), None) == expected_s


@pytest.mark.parametrize("status", ["uploading", "success", "failed", "cancelled"])
def test_stems_that_are_made_or_will_not_be_have_no_estimate(status: str) -> None:
    assert Throughput(60.0, processors=1, processing=0).remaining_s(task(Status(status)), None) is None


def test_a_task_in_a_pause_before_another_try_has_no_estimate() -> None:
    assert Throughput(60.0, processors=1, processing=0).remaining_s(task(), None) is None
