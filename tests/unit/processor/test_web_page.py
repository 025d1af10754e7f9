"""Web pages in place of songs: recognized by their bytes, reported with their title, never confused with a song."""

from __future__ import annotations

import pytest

from uvr.processor.web_page import SNIFFED_BYTES, is_web_page, title_of


@pytest.mark.parametrize(
    ("beginning", "content_type"),
    [
        (b"<!DOCTYPE html><title>Sign in</title>", "text/html"),
        (b"<!doctype HTML>", "audio/mpeg"),
        (b"<html lang=en>", ""),
        (b"\xef\xbb\xbf \r\n<!-- saved <b>here</b> -->\n<HTML>", "application/octet-stream"),
        (b"<head><title>Sign in</title>", "text/html; charset=utf-8"),
        (b"\n<?xml version='1.0'?><html lang='en'>", "application/xhtml+xml"),
    ],
)
def test_a_page_is_recognized_whatever_its_content_type(beginning, content_type):
    assert is_web_page(beginning, content_type)


@pytest.mark.parametrize(
    "beginning",
    [
        b"RIFF\x24\x08\x00\x00WAVEfmt ",
        b"ID3\x03\x00",
        b"fLaC\x00",
        b"OggS\x00",
        b"\xff\xfb\x90\x00",
        b"   \xff\xfb\x90",
        b"",
    ],
)
def test_a_song_with_the_content_type_of_a_page_is_not_a_page(beginning):
    assert not is_web_page(beginning, "text/html; charset=utf-8")


@pytest.mark.parametrize("beginning", [b"<htmlish/>", b"<rss>", b"<!doctype svg>", b"{}", b"#EXTM3U <html>"])
def test_other_text_is_not_a_page(beginning):
    assert not is_web_page(beginning, "application/octet-stream")


@pytest.mark.parametrize(
    ("page", "content_type", "title"),
    [
        (b"<title>Sign in</title>", "text/html", "Sign in"),
        (b"<TITLE data-x='1'>\n  Tom &amp; Jerry\t&#8211; live </TITLE>", "", "Tom & Jerry \u2013 live"),
        ("<title>登录</title>".encode(), "text/html", "登录"),
        ("<title>登录</title>".encode("gbk"), "text/html; charset=GBK", "登录"),
        (b"<meta charset='gb2312'>" + "<title>登录</title>".encode("gbk"), "text/html", "登录"),
        (b"<title>Caf\xe9</title>", "text/html; charset=ISO-8859-1", "Café"),
        (b"<title>Caf\xe9</title>", "text/html", "Caf\ufffd"),
        (b"<title>a</title>", "text/html; charset=punycode", "a"),
        (b"<title>a\x00\x1b[31mb\xe2\x80\xaec&#7;d</title>", "", "a [31mb cd"),
        (b"<title></title><title>second</title>", "", ""),
        (b"<p>no title</p>", "", ""),
        (b"<title>" + b"x" * 3000, "", ""),
        (b"<title>" + b"x" * 200 + b"</title>", "", "x" * 99 + "…"),
    ],
)
def test_a_title_is_one_safe_line(page, content_type, title):
    assert title_of(page, content_type) == title


@pytest.mark.parametrize("piece", [b"<title>", b"<title ", b"<!--", b"<", b" ", b"&amp;"])
def test_a_page_built_to_be_slow_is_read_quickly(piece):
    page = piece * (SNIFFED_BYTES // len(piece))
    assert not is_web_page(b"RIFF" + page, "")
    is_web_page(page, "text/html")
    assert title_of(page, "") == ""
