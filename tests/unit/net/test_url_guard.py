"""The rules of the URL guard: public addresses, networks that the operator allows, and the form of URLs."""

from ipaddress import ip_address, ip_network

import pytest

from uvr.errors import PermanentError, TransientError
from uvr.net.hosts import parse_host_list
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


DENIED = parse_host_list("own.example, 8.8.4.0/24, 2606:4700::1111")


@pytest.mark.parametrize(
    "host", ["own.example", "OWN.example.", "a.b.own.example", "8.8.4.4", "0x08080404", "[2606:4700::1111]"]
)
def test_denied_host_is_refused_when_a_task_is_accepted_without_dns(host):
    asked = []
    guard = UrlGuard([], denied=DENIED, resolver=asked.append)
    with pytest.raises(PermanentError, match=r"^audio names the host .*, which is denied by the operator"):
        guard.check(f"http://{host}/song.wav", "audio")
    guard.check("http://known.example/", "audio")
    guard.check("http://notown.example/", "audio")
    guard.check("http://8.8.8.8/", "audio")
    assert asked == []


def test_denied_network_goes_before_an_allowed_one():
    guard = UrlGuard([ip_network("10.0.0.0/8")], denied=parse_host_list("10.0.0.0/24"))
    guard.check("http://10.0.1.1/", "audio")
    with pytest.raises(PermanentError, match="DENIED_HOSTS"):
        guard.check("http://10.0.0.1/", "audio")


@pytest.mark.parametrize("own_address", ["8.8.4.4", "9.9.9.9"])
def test_name_that_leads_to_a_denied_host_is_refused(own_address):
    """One of the names has an address in a denied network, or the address that a denied name has now."""
    names = {"own.example": "9.9.9.9", "other.example": own_address, "good.example": "8.8.8.8"}
    guard = UrlGuard([], denied=DENIED, resolver=lambda host: [ip_address(names[host])])
    assert guard.addresses("good.example") == [ip_address("8.8.8.8")]
    with pytest.raises(PermanentError, match=r"^The host other\.example is denied"):
        guard.addresses("other.example")


def test_denied_name_that_does_not_resolve_is_denied_by_its_name():
    def resolver(host):
        if host == "own.example":
            raise OSError("no such name")
        return [ip_address("8.8.8.8")]

    guard = UrlGuard([], denied=DENIED, resolver=resolver)
    assert guard.addresses("good.example")
    with pytest.raises(PermanentError, match="DENIED_HOSTS"):
        UrlGuard([], denied=DENIED, resolver=lambda _host: [ip_address("8.8.8.8")]).addresses("own.example")


@pytest.mark.parametrize("port", ["22", "25", "6667", "10080"])
def test_port_to_which_no_browser_connects_is_refused_by_default(port):
    with pytest.raises(PermanentError, match=f"^hook_url leads to port {port}, to which"):
        GUARD.check(f"https://example.com:{port}/", "hook_url")


@pytest.mark.parametrize(
    "url", ["http://a.example/", "https://a.example/", "http://a.example:81/", "http://a.example:9000/"]
)
def test_every_other_port_is_allowed_by_default(url):
    assert _refusal(GUARD, url) == ""


def test_network_that_the_operator_has_opened_has_all_ports_unless_ports_are_listed():
    guard = UrlGuard([ip_network("10.0.0.0/8")])
    assert _refusal(guard, "http://10.0.0.1:25/") == ""
    assert _refusal(guard, "http://inside.example:25/") == "", "it may be there, which the connection will show"
    assert "leads to port 25" in _refusal(guard, "http://8.8.8.8:25/")
    listed = UrlGuard([ip_network("10.0.0.0/8")], allowed_ports=[(443, 443)])
    assert "leads to port 25" in _refusal(listed, "http://10.0.0.1:25/")


def test_listed_ports_are_the_only_ones():
    guard = UrlGuard([], allowed_ports=[(25, 25), (443, 443), (1024, 65535)])
    assert [_refusal(guard, f"https://a.example{port}/") for port in ("", ":25", ":1024", ":65535")] == [""] * 4
    for url in ["http://a.example/", "https://a.example:444/"]:
        assert "ALLOWED_PORTS" in _refusal(guard, url)


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
