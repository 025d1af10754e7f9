"""How requests name the bucket: in the path (`https://endpoint/bucket/key`) or in the host (`https://bucket.endpoint/key`).

Some services accept only one of the two. Aliyun OSS, Tencent COS, Huawei OBS and Volcengine TOS require the host
("virtual" style); servers that are reached by an IP address require the path. For the services listed here, the choice
of S3_ADDRESSING_STYLE=auto is certain. For all others it is a guess, which `uvr.storage.s3_connection` checks with the
server.

People copy endpoints from web consoles, where many endpoints already contain the bucket. Such an endpoint is accepted
if its meaning is clear, and refused with an explanation if it is ambiguous.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

Style = Literal["path", "virtual"]
AddressingStyle = Literal["auto", "path", "virtual"]


@dataclass(frozen=True)
class BucketAddress:
    """Where to send requests: `endpoint_url` without the bucket, "" for AWS; `region` as the endpoint has it, or "".

    `is_certain` is False where `style` is a guess.
    """

    endpoint_url: str
    style: Style
    region: str
    is_certain: bool


@dataclass(frozen=True)
class _Service:
    """A service, the style to use with it, and the pattern of its endpoints, which a bucket may precede."""

    style: Style
    endpoint: str

    def match(self, host: str) -> re.Match[str] | None:
        return re.fullmatch(rf"(?:(?P<bucket>.+?)\.)??(?P<endpoint>{self.endpoint})", host)


_REGION = r"(?P<region>[a-z]{2,}(?:-[a-z0-9]+)+?)"
_SERVICES = [
    _Service("virtual", rf"s3(?:-accelerate|-fips)?(?:\.dualstack)?(?:[.-]{_REGION})?\.amazonaws\.com(?:\.cn)?"),
    _Service("virtual", rf"(?:s3\.)?oss-(?:accelerate(?:-overseas)?|{_REGION}(?:-internal)?)\.aliyuncs\.com"),
    _Service("virtual", rf"cos(?:-internal)?\.(?:accelerate|{_REGION})\.(?:myqcloud\.com|tencentcos\.cn)"),
    _Service("virtual", rf"obs\.{_REGION}\.myhuaweicloud\.(?:com|eu)"),
    _Service("virtual", rf"tos-s3-{_REGION}\.i?volces\.com"),
    # Cloudflare R2 and DigitalOcean Spaces accept both; only in the path may the name of a bucket contain dots.
    _Service("path", r"[0-9a-f]{32}(?:\.[a-z]+)?(?P<region>)\.r2\.cloudflarestorage\.com"),
    _Service("path", r"[a-z]{3}\d(?P<region>)\.digitaloceanspaces\.com"),
]
_AWS_GLOBAL = "s3.amazonaws.com"
_KEEP_ENDPOINT = "if the endpoint is correct as it is, set S3_ADDRESSING_STYLE=path"


def bucket_address(endpoint_url: str, bucket: str, style: AddressingStyle = "auto") -> BucketAddress:
    """Where and how to reach `bucket`. Raises `ValueError` if the endpoint contains another or possibly this one."""
    url = urlsplit(endpoint_url)
    host = (url.hostname or _AWS_GLOBAL).lower()
    path = _path_without_bucket(url.path, bucket, style)
    matched = next(((service.style, match) for service in _SERVICES if (match := service.match(host))), None)
    if matched is None:
        chosen: Style = "path" if style == "auto" else style
        netloc = _netloc(_host_without_bucket(host, bucket, style), url.port)
        is_certain = style != "auto" or _is_without_subdomains(host)
        return BucketAddress(urlunsplit((url.scheme, netloc, path, "", "")), chosen, "", is_certain)
    service_style, match = matched
    if match["bucket"] not in (None, bucket):
        raise ValueError(f"names the bucket {match['bucket']}, but S3_BUCKET_NAME is {bucket}")
    chosen = service_style if style == "auto" else style
    if match["endpoint"] == _AWS_GLOBAL:
        return BucketAddress("", chosen, "", is_certain=True)
    address = urlunsplit((url.scheme, _netloc(match["endpoint"], url.port), path, "", ""))
    return BucketAddress(address, chosen, match["region"] or "", is_certain=True)


def _path_without_bucket(path: str, bucket: str, style: AddressingStyle) -> str:
    segments = [segment for segment in path.split("/") if segment]
    if segments == [bucket]:
        return ""
    if segments and segments[-1] == bucket and style != "path":
        raise ValueError(f"ends with the name of the bucket, {bucket}: remove that; {_KEEP_ENDPOINT}")
    return path.rstrip("/")


def _host_without_bucket(host: str, bucket: str, style: AddressingStyle) -> str:
    if style == "path" or not host.startswith(f"{bucket}."):
        return host
    rest = host.removeprefix(f"{bucket}.")
    if style == "auto":
        raise ValueError(
            f"{host} begins with the name of the bucket: write {rest} if you mean that host; {_KEEP_ENDPOINT}, or "
            f"S3_ADDRESSING_STYLE=virtual if the server requires the bucket in the host name"
        )
    return rest


def _is_without_subdomains(host: str) -> bool:
    """Whether no bucket can precede this host, because it is an IP address or a name without a dot."""
    try:
        ip_address(host)
    except ValueError:
        return "." not in host
    return True


def _netloc(host: str, port: int | None) -> str:
    named = f"[{host}]" if ":" in host else host
    return f"{named}:{port}" if port else named
