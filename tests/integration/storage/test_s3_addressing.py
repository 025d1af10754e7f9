"""Requests and links go to the same host, in the region of the bucket and in a style that the server accepts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.awsrequest import AWSResponse
from botocore.httpsession import URLLib3Session

from tests.support.http_server import Answer, HttpServer, http_server
from uvr.errors import PermanentError, TransientError
from uvr.storage import s3
from uvr.storage.s3 import S3Storage

R2 = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"
STARTED = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"


class _Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: object, **__: object) -> Iterator[bytes]:
        yield self._content


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The requests that boto3 sends to a fake server; all buckets of AWS are in ap-east-1."""
    requests: list[Any] = []

    def answer(_session: object, request: Any) -> AWSResponse:
        requests.append(request)
        url = urlsplit(request.url)
        elsewhere = url.hostname == "songs.s3.amazonaws.com"
        if request.method == "HEAD" and elsewhere:
            return AWSResponse(request.url, 301, {"x-amz-bucket-region": "ap-east-1"}, _Body(b""))
        body = STARTED if url.query == "uploads" else b""
        return AWSResponse(request.url, 200, {"ETag": '"0"', "x-amz-bucket-region": "ap-east-1"}, _Body(body))

    monkeypatch.setattr(URLLib3Session, "send", answer)
    return requests


@pytest.fixture
def song(tmp_path: Path) -> Path:
    path = tmp_path / "vocals.wav"
    path.write_bytes(b"RIFF")
    return path


def storage_at(endpoint_url: str = "", **more: Any) -> S3Storage:
    return S3Storage(bucket="songs", endpoint_url=endpoint_url, access_key_id="a", secret_access_key="b", **more)


@pytest.mark.parametrize(
    ("endpoint", "region", "host"),
    [
        ("", "ap-east-1", "songs.s3.ap-east-1.amazonaws.com"),
        ("", "us-east-1", "songs.s3.amazonaws.com"),
        ("", "auto", "songs.s3.ap-east-1.amazonaws.com"),
        ("https://s3.ap-east-1.amazonaws.com", "auto", "songs.s3.ap-east-1.amazonaws.com"),
        ("https://songs.oss-cn-hangzhou.aliyuncs.com", "auto", "songs.oss-cn-hangzhou.aliyuncs.com"),
        ("https://cos.ap-guangzhou.myqcloud.com", "auto", "songs.cos.ap-guangzhou.myqcloud.com"),
        (f"https://{R2}", "auto", R2),
        ("http://127.0.0.1:9000", "auto", "127.0.0.1"),
    ],
)
def test_links_lead_to_the_host_of_requests(sent: list[Any], song: Path, endpoint: str, region: str, host: str) -> None:
    storage = storage_at(endpoint, region=region)
    link = urlsplit(storage.url("a.wav", 60))
    storage.put(song, "a.wav", "audio/wav")
    assert (link.hostname, urlsplit(sent[-1].url).hostname, sent[-1].method) == (host, host, "PUT")
    assert link.path == urlsplit(sent[-1].url).path
    scope = link.query.partition("Credential=a%2F")[2].split("%2F")[1]
    assert f"/{scope}/s3/aws4_request" in sent[-1].headers["Authorization"].decode()


def test_the_region_of_a_bucket_is_asked_for_once(sent: list[Any]) -> None:
    storage = storage_at()
    links = [storage.url(key, 60) for key in ("a.wav", "b.wav")]
    assert ["%2Fap-east-1%2Fs3%2F" in link for link in links] == [True, True]
    assert {request.method for request in sent} == {"HEAD"}
    assert len(sent) == 2  # the second one at the host that the first response named


def test_uploads_use_no_encoding_that_aliyun_and_tencent_reject(
    sent: list[Any], song: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = storage_at("https://oss-cn-hangzhou.aliyuncs.com")
    storage.put(song, "whole.wav", "audio/wav")
    monkeypatch.setattr(s3, "_PART_BYTES", 4)
    storage.put(song, "parts.wav", "audio/wav")
    puts = [request for request in sent if request.method == "PUT"]
    assert ["partNumber" in request.url for request in puts] == [False, True]
    for request in puts:
        assert "Content-Encoding" not in request.headers
        assert not request.headers["X-Amz-Content-SHA256"].startswith(b"STREAMING")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HttpServer]:
    """A server reached under names that have no DNS entry, because it is also the HTTP proxy."""
    with http_server() as server:
        monkeypatch.setenv("HTTP_PROXY", server.url(""))
        yield server


def refusal(code: str) -> Answer:
    return Answer(403, body=f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode())


@pytest.mark.parametrize("code", ["SecondLevelDomainForbidden", "InvalidPathAccess"])
def test_a_server_that_requires_the_bucket_in_the_host_gets_it_there(server: HttpServer, song: Path, code: str) -> None:
    server.answer("http://storage.example/songs", refusal(code))
    server.answer("http://songs.storage.example/a.wav", Answer())
    storage = storage_at("http://storage.example")
    assert storage.url("a.wav", 60).startswith("http://songs.storage.example/a.wav?")
    storage.put(song, "a.wav", "audio/wav")
    assert [request.method for request in server.requests] == ["GET", "PUT"]


@pytest.mark.parametrize("code", ["PathStyleDomainForbidden", "VirtualHostDomainRequired"])
def test_a_refused_style_that_was_set_explicitly_is_named(song: Path, code: str) -> None:
    with http_server() as server:
        server.answer("/songs/a.wav", refusal(code))
        storage = storage_at(server.url(""), addressing_style="path")
        with pytest.raises(PermanentError, match="set S3_ADDRESSING_STYLE to virtual"):
            storage.put(song, "a.wav", "audio/wav")


def test_a_probe_without_an_answer_is_repeated(server: HttpServer, song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uvr.storage.s3_connection._PROBE_TIMEOUT_S", 0.2)
    server.answer("http://storage.example/songs", Answer(delay_s=5), refusal("SecondLevelDomainForbidden"))
    server.answer("http://storage.example/songs/a.wav", refusal("SecondLevelDomainForbidden"))
    server.answer("http://songs.storage.example/a.wav", Answer())
    storage = storage_at("http://storage.example")
    with pytest.raises(TransientError, match="S3_ADDRESSING_STYLE"):
        storage.put(song, "a.wav", "audio/wav")
    storage.put(song, "a.wav", "audio/wav")
