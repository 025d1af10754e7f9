"""Recognizes web pages in place of a song: a login form, a "file not found" with status 200, the page of a player.

The first bytes decide, not the Content-Type alone, because some servers call real audio text/html. `title_of` returns
the title of the page in a form that is safe to show: one line, of limited length, without control characters.
"""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

from uvr.errors import PermanentError

SNIFFED_BYTES = 64 * 2**10
"""How much of the beginning of a file is read; in some pages the title comes after scripts and styles."""

_MAX_TITLE_LENGTH = 100
_MAX_TITLE_BYTES = 2048
# The markup may follow a byte order mark, white space and comments.
_LEADING = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<!--.*?-->)*", re.DOTALL)
_MARKUP = re.compile(rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_TITLE_START = re.compile(rb"<title[\s>]", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
# Not every encoding of Python: some decode slowly, or to something other than text.
_ALLOWED_CHARSET = re.compile(
    r"utf-?8|gb(?:k|2312|18030)|big5|shift_jis|euc-(?:jp|kr)|iso-8859-(?:[1-9]|1[013-6])|windows-125[0-8]|koi8-[ru]"
)
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,64}/[\w.+-]{1,64}", re.ASCII)


def refuse_web_page(path: Path, content_type: str) -> None:
    """Raise `PermanentError` if the file at `path`, sent with this Content-Type, is a web page."""
    with path.open("rb") as file:
        beginning = file.read(SNIFFED_BYTES)
    if not is_web_page(beginning, content_type):
        return
    title = title_of(beginning, content_type)
    titled = f" titled “{title}”" if title else ""
    media_type = _MEDIA_TYPE.match(content_type)
    typed = f"; its Content-Type is {media_type[0]}" if media_type else ""
    raise PermanentError(f"The URL leads to a web page{titled}, not to audio{typed}.", content_type=content_type)


def is_web_page(beginning: bytes, content_type: str) -> bool:
    """Whether a file with this `beginning`, sent with this Content-Type, is a web page."""
    markup = _LEADING.sub(b"", beginning, count=1)
    is_declared = content_type.partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}
    return bool(_MARKUP.match(markup)) or (is_declared and markup.startswith(b"<"))


def title_of(beginning: bytes, content_type: str) -> str:
    """The title of a web page; "" when it has none."""
    start = _TITLE_START.search(beginning)
    # Only at the first <title>, and not far: a page full of titles without an end would take seconds.
    match = start and _TITLE.match(beginning, start.start(), start.start() + _MAX_TITLE_BYTES)
    if not match:
        return ""
    declared = _CHARSET.search(content_type.encode(errors="replace")) or _CHARSET.search(beginning)
    charset = declared[1].decode().lower() if declared else ""
    text = unescape(match[1].decode(charset if _ALLOWED_CHARSET.fullmatch(charset) else "utf-8", errors="replace"))
    title = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return title if len(title) <= _MAX_TITLE_LENGTH else f"{title[: _MAX_TITLE_LENGTH - 1].rstrip()}…"
