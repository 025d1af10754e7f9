"""Which ports URLs of clients may lead to: those that the operator lists, or else all that browsers connect to."""

from __future__ import annotations

import re
from collections.abc import Sequence

PortRange = tuple[int, int]
"""The first and the last port of a range."""

_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def parse_ports(text: str) -> list[PortRange]:
    """Ports and ranges of ports, separated by commas; the `ValueError` for others shows how to write them."""
    ranges = []
    for part in filter(None, map(str.strip, text.split(","))):
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last <= 65535:
            raise ValueError(f"{part} is not a port from 1 to 65535 or a range; write them as 80,443,1024-65535")
        ranges.append((first, last))
    return ranges


# The ports of other protocols, such as SSH and mail: https://fetch.spec.whatwg.org/#port-blocking.
_BLOCKED = parse_ports(
    "1,7,9,11,13,15,17,19-23,25,37,42,43,53,69,77,79,87,95,101-104,109-111,113,115,117,119,123,135,137,139,143,161,179,"
    "389,427,465,512-515,526,530-532,540,548,554,556,563,587,601,636,989,990,993,995,1719,1720,1723,2049,3659,4045,"
    "4190,5060,5061,6000,6566,6665-6669,6679,6697,10080"
)


def is_allowed(port: int, allowed: Sequence[PortRange]) -> bool:
    """Whether `port` is in one of the ranges; without any, whether browsers connect to it."""
    return _is_in(port, allowed) if allowed else not _is_in(port, _BLOCKED)


def _is_in(port: int, ranges: Sequence[PortRange]) -> bool:
    return any(first <= port <= last for first, last in ranges)
