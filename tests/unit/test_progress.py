"""Progress as people see it on a terminal, and as logs keep it."""

from __future__ import annotations

import io

from uvr.commands.progress import ProgressLine


class Terminal(io.StringIO):
    """A place to write that says it is a terminal."""

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
    line = ProgressLine("model", out)
    for megabytes in range(101):
        line.transferred(megabytes * 1_000_000, 100_000_000)
    line.close()
    shown = [f"model: {megabytes}.0 MB of 100.0 MB" for megabytes in (0, 20, 40, 60, 80, 100)]
    assert out.getvalue().splitlines() == shown


def test_a_transfer_of_unknown_size_is_shown_by_its_amount() -> None:
    out = Terminal()
    ProgressLine("model", out).transferred(2_500_000, None)
    assert "2.5 MB\x1b" in out.getvalue()


def test_what_never_began_leaves_no_empty_line() -> None:
    out = Terminal()
    ProgressLine("model", out).close()
    assert out.getvalue() == ""
