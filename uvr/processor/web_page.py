"""Web pages that come in place of a song: a login form, a "file not found" with status 200, the page around a player.

The first bytes decide, not the Content-Type alone, because servers call real audio text/html too. `title_of` gives what
the page says about itself in a form that is safe to show: one line, of bounded length, without control characters.
"""

from __future__ import annotations

import re
from html import unescape

SNIFFED_BYTES = 64 * 2**10
"""As much of a file's beginning as there is to look at; titles stand behind scripts and styles in some pages."""

_MAX_TITLE = 100
_MAX_TITLE_BYTES = 2048
# Byte order marks, white space and comments may stand before the markup.
_LEADING = re.compile(rb"(?:\xef\xbb\xbf)?(?:\s|<!--.*?-->)*", re.DOTALL)
_MARKUP = re.compile(rb"<(?:!doctype\s+html|html)[\s>]", re.IGNORECASE)
_TITLE_BEGINS = re.compile(rb"<title[\s>]", re.IGNORECASE)
_TITLE = re.compile(rb"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(rb"charset\s*=\s*[\"']?([\w-]+)", re.IGNORECASE)
# Python knows encodings besides these that decode slowly, or decode to something else than text.
_KNOWN_CHARSET = re.compile(
    r"utf-?8|gb(?:k|2312|18030)|big5|shift_jis|euc-(?:jp|kr)|iso-8859-(?:[1-9]|1[013-6])|windows-125[0-8]|koi8-[ru]"
)


def is_web_page(beginning: bytes, content_type: str) -> bool:
    """Whether a file that begins with these bytes, and came with this Content-Type, is a web page."""
    markup = _LEADING.sub(b"", beginning, count=1)
    is_declared = content_type.partition(";")[0].strip().lower() in {"text/html", "application/xhtml+xml"}
    return bool(_MARKUP.match(markup)) or (is_declared and markup.startswith(b"<"))


def title_of(beginning: bytes, content_type: str) -> str:
    """The title of a web page, "" when it has none."""
    begins = _TITLE_BEGINS.search(beginning)
    # From the first one only and not far, or a page of titles without an end would take seconds.
    found = begins and _TITLE.match(beginning, begins.start(), begins.start() + _MAX_TITLE_BYTES)
    if not found:
        return ""
    declared = _CHARSET.search(content_type.encode(errors="replace")) or _CHARSET.search(beginning)
    charset = declared[1].decode().lower() if declared else ""
    text = unescape(found[1].decode(charset if _KNOWN_CHARSET.fullmatch(charset) else "utf-8", errors="replace"))
    title = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 1].rstrip()}…"
