"""Logs are rotated while their processes keep writing, without losing what was written before."""

from __future__ import annotations

from pathlib import Path

from scripts.local.log_rotation import rotate


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_a_log_that_is_small_stays_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_text("12345")
    assert not rotate(log, max_bytes=5)
    assert texts(tmp_path) == {"api.log": "12345"}


def test_a_large_log_is_emptied_while_its_process_writes_on(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    with log.open("ab", buffering=0) as process:
        process.write(b"before")
        assert rotate(log, max_bytes=5)
        process.write(b"after")
    assert texts(tmp_path) == {"api.log": "after", "api.log.1": "before"}


def test_older_logs_get_the_next_number_and_the_oldest_is_deleted(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    for number in range(5):
        log.write_text(f"{number}")
        rotate(log, max_bytes=0, kept=3)
    assert texts(tmp_path) == {"api.log": "", "api.log.1": "4", "api.log.2": "3", "api.log.3": "2"}
