"""Progress on a terminal, and in a log."""

from __future__ import annotations

import io

from uvr.cli.progress_bar import ProgressLine
from uvr.models.files import DownloadProgress


class Terminal(io.StringIO):
    """A text stream that claims to be a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_that_grows() -> None:
    out = Terminal()
    line = ProgressLine("song.mp3", out)
    line.advanced(0.5)
    line.advanced(1.0)
    line.close()
    half, whole = out.getvalue().split("\r")[1:]
    assert half == "song.mp3 ███████████████░░░░░░░░░░░░░░░  50%\x1b[K"
    assert whole == "song.mp3 ██████████████████████████████ 100%\x1b[K\n"


def test_a_terminal_is_redrawn_ten_times_a_second_at_most() -> None:
    out = Terminal()
    line = ProgressLine("song.mp3", out)
    for step in range(1000):
        line.advanced(step / 1001)
    assert out.getvalue().count("\r") < 10


def test_a_log_gets_a_line_for_every_fifth() -> None:
    out = io.StringIO()
    line = ProgressLine("song.mp3", out)
    for percent in range(101):
        line.advanced(percent / 100)
    line.close()
    assert out.getvalue().splitlines() == [f"song.mp3: {percent}%" for percent in (0, 20, 40, 60, 80, 100)]


def test_a_download_says_what_comes_from_where_and_how_large_it_is_before_anything_arrives() -> None:
    out = Terminal()
    ProgressLine("Kim_Vocal_2", out).downloaded(DownloadProgress("https://example.org/Kim_Vocal_2.onnx", 0, 66_759_214))
    assert (
        out.getvalue().splitlines()[0] == "Downloading Kim_Vocal_2 (66.8 MB) from https://example.org/Kim_Vocal_2.onnx"
    )


def test_a_log_gets_what_is_downloaded_and_a_line_for_every_fifth() -> None:
    out = io.StringIO()
    line = ProgressLine("model", out)
    for megabytes in range(101):
        line.downloaded(DownloadProgress("the mirror", megabytes * 1_000_000, 100_000_000))
    line.close()
    shown = [f"model: {megabytes}.0 MB of 100.0 MB" for megabytes in (20, 40, 60, 80, 100)]
    assert out.getvalue().splitlines() == ["Downloading model (100.0 MB) from the mirror", *shown]


def test_a_download_of_unknown_size_is_shown_by_its_amount() -> None:
    out, log = Terminal(), io.StringIO()
    ProgressLine("model", out).downloaded(DownloadProgress("the mirror", 2_500_000))
    assert out.getvalue() == "Downloading model from the mirror\n\rmodel 2.5 MB\x1b[K"
    line = ProgressLine("model", log)
    for megabytes in range(51):
        line.downloaded(DownloadProgress("the mirror", megabytes * 1_000_000))
    assert log.getvalue().splitlines() == ["Downloading model from the mirror", "model: 20.0 MB", "model: 40.0 MB"]


def test_closing_without_any_progress_prints_nothing() -> None:
    out = Terminal()
    ProgressLine("model", out).close()
    assert out.getvalue() == ""
