"""The pictures in docs/images: small enough, each in a page, and each that a page shows is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
IMAGES = sorted((ROOT / "docs" / "images").iterdir())
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
MAX_BYTES = 300_000
SHOWN = re.compile(r'!\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)="([^"]+)"')


def shown_in(page: Path) -> set[Path]:
    names = [markdown or html for markdown, html in SHOWN.findall(page.read_text(encoding="utf-8"))]
    return {(page.parent / name).resolve() for name in names if not name.startswith("http")}


@pytest.mark.parametrize("image", IMAGES, ids=lambda image: image.name)
def test_a_picture_loads_quickly(image: Path) -> None:
    assert 10_000 < image.stat().st_size < MAX_BYTES


def test_pages_show_the_pictures_that_are_there() -> None:
    shown = set().union(*map(shown_in, PAGES))
    assert {path for path in shown if not path.is_file()} == set()
    assert {image for image in IMAGES if image.resolve() not in shown} == set()


def test_every_picture_has_a_text_for_those_who_do_not_see_it() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert "![](" not in text, page
        assert all('alt="' in tag for tag in re.findall(r"<img [^>]*>", text)), page
