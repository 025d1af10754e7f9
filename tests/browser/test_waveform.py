"""The waveforms: what is drawn, and how pointer and keys choose a position and a part to repeat."""

from __future__ import annotations

import numpy as np
import pytest

from tests.browser.range_server import Content
from uvr.audio.peaks import PeaksWriter

RATE_HZ = 44100
SONG_S = 243
"""Silent, but for the second quarter."""

BAR_STEP_PX = 3
"""A bar and the gap behind it."""


@pytest.fixture(scope="module", autouse=True)
def _peaks(server, tmp_path_factory):
    folder = tmp_path_factory.mktemp("peaks")
    song = np.zeros((2, SONG_S * RATE_HZ), np.float32)
    quarter = song.shape[1] // 4
    song[:, quarter : 2 * quarter] = np.random.default_rng(1).uniform(-0.5, 0.5, (2, quarter))
    with PeaksWriter(folder / "fine", folder / "coarse", RATE_HZ) as writer:
        for start in range(0, song.shape[1], 65536):
            writer.write(song[:, start : start + 65536])
    for name in ("fine", "coarse"):
        server.files[f"/peaks/{name}"] = Content.of((folder / name).read_bytes())


def show(page, language: str = "en") -> None:
    page.evaluate(
        "([song, urls, language]) => showWaveforms(song, urls, language)",
        [SONG_S, ["/peaks/fine", "/peaks/coarse"], language],
    )
    page.wait_for_function("[...document.querySelectorAll('canvas')].every(({ height }) => height !== 150)")


@pytest.fixture
def view(page):
    show(page)
    return page


def heights(page) -> np.ndarray:
    """How much of each column of the first lane is drawn, from 0 to 1."""
    return np.array(
        page.evaluate(
            """() => {
              const canvas = document.querySelector(".lane canvas");
              const { data, width, height } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
              return Array.from({ length: width }, (_, x) => Array.from({ length: height }, (_, y) =>
                data[4 * (y * width + x) + 3] > 0 ? 1 : 0).reduce((sum, drawn) => sum + drawn) / height);
            }"""
        )
    )


def events(page) -> list[list[object]]:
    return page.evaluate("events.splice(0)")


def spoken(page) -> str:
    return page.evaluate("document.querySelector('input[type=range]').ariaValueText")


def test_sound_is_drawn_where_it_is_and_as_loud_as_it_is(view):
    columns = heights(view)
    columns = columns[: len(columns) // BAR_STEP_PX * BAR_STEP_PX].reshape(-1, BAR_STEP_PX).max(axis=1)
    sound = slice(len(columns) // 4 + 2, len(columns) // 2 - 2)
    assert columns[sound].min() > 0.4
    assert columns[sound].max() < 0.6
    assert columns[: len(columns) // 4 - 2].max() < 0.05
    assert columns[: len(columns) // 4 - 2].min() > 0, "silence is a line"
    assert columns[len(columns) // 2 + 2 :].max() < 0.05


def test_a_screen_with_more_pixels_gets_more_columns_and_a_new_width_a_new_drawing(open_page):
    page = open_page(device_scale_factor=3, viewport={"width": 500, "height": 400})
    show(page)
    assert len(heights(page)) == pytest.approx(3 * (500 - 16), abs=2)
    page.set_viewport_size({"width": 300, "height": 400})
    page.wait_for_function("document.querySelector('.lane canvas').width < 900")
    assert heights(page)[3 * 284 // 4 + 5 :][: 3 * BAR_STEP_PX].max() > 0.4
    page.context.close()


def test_a_click_seeks_and_a_drag_chooses_the_part_to_repeat(view):
    box = view.locator(".lane").nth(1).bounding_box()
    middle, y = box["x"] + box["width"] / 2, box["y"] + 10
    view.mouse.click(middle, y)
    [[kind, position_s]] = events(view)
    assert (kind, position_s) == ("seek", pytest.approx(SONG_S / 2, abs=0.5))
    view.mouse.move(middle, y)
    view.mouse.down()
    view.mouse.move(box["x"] + box["width"] / 4, y, steps=4)
    view.mouse.up()
    [[kind, region]] = events(view)
    assert kind == "loop"
    assert region["startS"] == pytest.approx(SONG_S / 4, abs=0.5)
    assert region["endS"] == pytest.approx(SONG_S / 2, abs=0.5)


def test_keys_move_the_position_and_set_the_loop(view):
    view.locator("input[type=range]").focus()
    keys = ["ArrowRight", "ArrowRight", "Shift+ArrowLeft", "PageUp", "[", "ArrowRight", "]", "Home", "End", "ArrowUp"]
    for key in keys:
        view.keyboard.press(key)
    assert [detail for kind, detail in events(view) if kind == "seek"] == [5, 10, 9, 39, 44, 0, SONG_S, SONG_S]
    view.keyboard.press("Escape")
    assert events(view) == [["loop", None]]
    view.keyboard.press("[")
    assert view.evaluate("document.querySelector('#view').classList.contains('has-loop')")


def test_loop_keys_report_the_region(view):
    view.locator("input[type=range]").focus()
    for key in ("PageUp", "[", "PageUp", "]"):
        view.keyboard.press(key)
    assert [detail for kind, detail in events(view) if kind == "loop"] == [
        {"startS": 30, "endS": SONG_S},
        {"startS": 30, "endS": 60},
    ]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("en", ["4 minutes 3 seconds", "1 minute 1 second", "0 seconds", "1 hour", "59 seconds"]),
        ("zh-CN", ["4分钟3秒钟", "1分钟1秒钟", "0秒钟", "1小时", "59秒钟"]),
    ],
)
def test_screen_readers_hear_the_time_in_the_language_of_the_page(page, language, expected):
    show(page, language)
    page.evaluate("view.showPosition(243)")
    assert spoken(page) == expected[0]
    said = page.evaluate("(language) => [243, 61, 0, 3600, 59.9].map((s) => spokenTime(s, language))", language)
    assert said == expected


@pytest.mark.parametrize(("motion", "most", "least"), [("reduce", 4, 1), ("no-preference", 1000, 10)])
def test_whoever_wants_less_motion_gets_it(open_page, motion, most, least):
    page = open_page(reduced_motion=motion)
    shown = page.evaluate(
        """async () => {
          const shown = [];
          const player = Object.assign(new EventTarget(), { state: "playing", positionS: 1 });
          const stop = followPosition(player, (positionS) => shown.push(positionS));
          player.dispatchEvent(new Event("state"));
          await new Promise((resolve) => setTimeout(resolve, 1200));
          stop();
          return shown.length;
        }"""
    )
    assert least <= shown <= most
    page.context.close()
