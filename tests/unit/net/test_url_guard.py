"""The rules of the URL guard: public addresses, networks that the operator allows, and the form of URLs."""

from ipaddress import ip_address, ip_network

import pytest

from uvr.errors import PermanentError, TransientError
from uvr.net.url_guard import UrlGuard, is_public

GUARD = UrlGuard([])


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00::1"])
def test_ordinary_addresses_are_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "100::1",
        "2001::7f00:1",
        "2001:20::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3ffe::1",
        "3fff::1",
        "5f00::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ],
)
def test_special_addresses_are_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "127.1",
        "127.0.1",
        "127.0.0.1.",
        "0x7f.1..",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "169.254.169.254",
        "[fd00:ec2::254]",
    ],
)
def test_private_address_in_any_spelling_is_refused_when_a_task_is_accepted(host):
    with pytest.raises(PermanentError, match="not at a public address"):
        GUARD.check(f"http://{host}:8000/song.wav", "audio")


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/song.wav",
        "http://example.com:8080/a%20b.flac?sign=%2F#here",
        "http://8.8.8.8/",
        "https://[2606:4700::1111]/x",
        "https://bücher.example/lied.mp3",
        "HTTPS://EXAMPLE.COM",
    ],
)
def test_ordinary_urls_are_accepted_without_dns(url):
    asked = []
    guard = UrlGuard([], resolver=lambda host: asked.append(host) or [ip_address("8.8.8.8")])
    assert _refusal(guard, url) == ""
    assert _refusal(guard, f"ftp{url[4:]}")
    assert asked == []


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "must be a URL that begins with http"),
        ("song.wav", "must be a URL that begins with http"),
        ("ftp://example.com/song.wav", "must be a URL that begins with http"),
        ("file:///etc/passwd", "must be a URL that begins with http"),
        ("//example.com/song.wav", "must be a URL that begins with http"),
        ("http://", "names no host"),
        ("http:///song.wav", "names no host"),
        ("http://user@example.com/", "user name or password"),
        ("http://user:secret@example.com/", "user name or password"),
        ("http://example.com:99999/", "not a valid URL"),
        ("http://[::1/", "not a valid URL"),
        ("http://*.example.com/", "cannot exist"),
        ("http://[fe80::1%25eth0]/", "cannot exist"),
        ("http://127.0.0.1;example.com/", "cannot exist"),
        (f"http://{'a.' * 127}example/", "cannot exist"),
        ("http://127。0。0。1/", "not a valid URL"),
        ("http://exa mple.com/", "spaces or control"),
        ("http://example.com/a b", "spaces or control"),
        ("http://example.com/\r\nX-Injected: 1", "spaces or control"),
        (" http://example.com/", "spaces or control"),
        ("http://example.com/\x00", "spaces or control"),
    ],
)
def test_malformed_url_is_refused_with_its_reason(url, reason):
    with pytest.raises(PermanentError, match=reason) as refused:
        GUARD.check(url, "hook_url")
    assert refused.value.message.startswith("hook_url ")


def test_allowed_network_allows_only_its_own_addresses():
    guard = UrlGuard([ip_network("10.20.0.0/16"), ip_network("fd12::/32")])
    guard.check("http://10.20.255.255/", "audio")
    guard.check("http://[fd12::1]/", "audio")
    for host in ["10.21.0.0", "127.0.0.1", "[fd13::1]", "[::ffff:10.20.0.1]"]:
        with pytest.raises(PermanentError):
            guard.check(f"http://{host}/", "audio")


def test_name_with_one_private_address_among_public_ones_is_refused():
    guard = UrlGuard([], resolver=_names(["8.8.8.8", "10.0.0.1"]))
    with pytest.raises(PermanentError, match=r"^The host song\.example is not at a public address"):
        guard.addresses("song.example")


def test_refusal_has_the_address_for_the_log_but_not_in_the_message():
    guard = UrlGuard([], resolver=_names(["10.0.0.7"]))
    with pytest.raises(PermanentError) as refused:
        guard.addresses("song.example")
    assert "10.0.0.7" not in refused.value.message
    assert refused.value.facts["address"] == "10.0.0.7"


@pytest.mark.parametrize("host", ["nowhere.invalid", f"{'a' * 64}.example", "a..example"])
def test_name_that_does_not_resolve_is_a_transient_error(host):
    with pytest.raises(TransientError, match="could not be resolved"):
        GUARD.addresses(host)


def _names(addresses):
    return lambda _host: [ip_address(address) for address in addresses]


def _refusal(guard, url):
    try:
        guard.check(url, "audio")
    except PermanentError as refused:
        return refused.message
    return ""
