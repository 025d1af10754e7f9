"""Properties of the URL guard for all addresses and URLs, checked with Python's `ipaddress` and plain arithmetic."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import example, given, settings
from hypothesis import strategies as st
from urllib3.util import parse_url

from tests.support.hosts import bracketed, disguises, spellings
from uvr.errors import PermanentError
from uvr.net.url_guard import Address, UrlGuard, is_public

GUARD = UrlGuard([])

at_leisure = settings(deadline=None)  # the machine may have other things to do

ipv4 = st.ip_addresses(v=4)
ipv6 = st.ip_addresses(v=6) | st.integers(2 << 124, (4 << 124) - 1).map(IPv6Address)
addresses = ipv4 | ipv6
networks = st.tuples(addresses, st.integers(0, 128)).map(
    lambda drawn: ip_network((drawn[0], min(drawn[1], drawn[0].max_prefixlen)), strict=False)
)

# Refused here, and by newer or older versions of Python held to be global.
_OURS = (
    [IPv4Network("168.63.129.16/32"), IPv4Network("192.0.0.0/24"), IPv4Network("192.88.99.0/24")],
    [IPv6Network(net) for net in ("2001::/23", "2002::/16", "3ffe::/16", "3fff::/20", "fec0::/10")],
)


def is_special(address: Address) -> bool:
    """Whether `ipaddress` says that the address is not an ordinary one of the internet."""
    return (
        not address.is_global
        or address.is_private
        or address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_reserved
        or address.is_unspecified
    )


def refused(url: str, guard: UrlGuard = GUARD) -> bool:
    try:
        guard.check(url, "audio")
    except PermanentError:
        return True
    return False


@at_leisure
@given(addresses)
def test_no_address_that_is_special_for_python_is_public(address):
    assert not (is_public(address) and is_special(address))


@at_leisure
@given(ipv4)
def test_every_ordinary_ipv4_address_is_public(address):
    assert is_public(address) or is_special(address) or any(address in network for network in _OURS[0])


@at_leisure
@given(ipv6)
def test_every_ordinary_ipv6_address_is_public(address):
    assert is_public(address) or is_special(address) or any(address in network for network in _OURS[1])


@at_leisure
@given(ipv6)
def test_no_address_that_wraps_another_is_public(address):
    wrapped = address.ipv4_mapped or address.sixtofour or address.teredo
    assert not (is_public(address) and wrapped)


@at_leisure
@given(ipv4)
def test_no_mapped_or_tunnelled_address_is_public(address):
    assert not any(is_public(disguise) for disguise in disguises(address))


@at_leisure
@given(ipv4)
def test_every_spelling_of_an_ipv4_address_has_the_same_result(address):
    verdicts = {spelling: refused(f"http://{spelling}:8000/song") for spelling in spellings(address)}
    assert verdicts == dict.fromkeys(verdicts, not is_public(address))


@at_leisure
@given(ipv6)
def test_every_spelling_of_an_ipv6_address_has_the_same_result(address):
    high, low = address.exploded.rsplit(":", 2)[0], IPv4Address(int(address) & 0xFFFFFFFF)
    forms = [str(address), address.exploded, address.exploded.upper(), f"{high}:{low}"]
    assert {refused(f"http://[{form}]/") for form in forms} == {not is_public(address)}


@at_leisure
@given(networks, addresses)
@example(ip_network("127.0.0.1/32"), IPv6Address("::ffff:127.0.0.1"))
@example(ip_network("::ffff:127.0.0.1/128"), IPv4Address("127.0.0.1"))
@example(ip_network("::/0"), IPv4Address("127.0.0.1"))
@example(ip_network("0.0.0.0/0"), IPv6Address("::1"))
def test_an_allowed_network_allows_only_its_own_addresses(network, address):
    inside = address.version == network.version and (
        int(address) >> (address.max_prefixlen - network.prefixlen)
        == int(network.network_address) >> (address.max_prefixlen - network.prefixlen)
    )
    admitted = not refused(f"http://{bracketed(str(address))}/", UrlGuard([network]))
    assert admitted == (is_public(address) or inside)


@at_leisure
@given(st.lists(addresses, min_size=1, max_size=5))
def test_a_name_is_admitted_only_if_all_its_addresses_are(found):
    guard = UrlGuard([], resolver=lambda _host: found)
    if all(map(is_public, found)):
        assert guard.addresses("song.example") == found
    else:
        with pytest.raises(PermanentError):
            guard.addresses("song.example")


telling = st.sampled_from("htps:/\\@[]%.?#&;*-_~^|<>\"'{}`12709afx \t\r\n\0éß。①\uff0f\u200b\u2100")
urlish = st.text(telling, max_size=40)


@at_leisure
@given(st.builds(str.__add__, st.sampled_from(["http://", "https://", "HTTP://", "http:", ""]), urlish | st.text()))
def test_every_parser_agrees_on_a_url_that_passes(url):
    """The host that is checked must be the host that is connected to, and no parser may fail."""
    if refused(url):
        return
    prepared = requests.Request("GET", url).prepare().url
    assert prepared is not None
    assert parse_url(url).host == parse_url(prepared).host
    assert parse_url(url).host.strip("[]") == urlsplit(prepared).hostname
