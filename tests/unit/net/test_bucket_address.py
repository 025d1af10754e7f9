"""Endpoints as people copy them from web consoles: their meaning, and the ambiguous ones that are refused."""

from __future__ import annotations

import pytest

from uvr.net.bucket_address import BucketAddress, bucket_address

R2 = "0123456789abcdef0123456789abcdef.r2.cloudflarestorage.com"


@pytest.mark.parametrize(
    ("endpoint", "read"),
    [
        ("", BucketAddress("", "virtual", "", True)),
        ("https://s3.amazonaws.com", BucketAddress("", "virtual", "", True)),
        (
            "https://s3.eu-west-1.amazonaws.com",
            BucketAddress("https://s3.eu-west-1.amazonaws.com", "virtual", "eu-west-1", True),
        ),
        (
            "https://oss-cn-hangzhou.aliyuncs.com",
            BucketAddress("https://oss-cn-hangzhou.aliyuncs.com", "virtual", "cn-hangzhou", True),
        ),
        (
            "https://s3.oss-cn-hangzhou-internal.aliyuncs.com",
            BucketAddress("https://s3.oss-cn-hangzhou-internal.aliyuncs.com", "virtual", "cn-hangzhou", True),
        ),
        (
            "https://cos.ap-guangzhou.myqcloud.com",
            BucketAddress("https://cos.ap-guangzhou.myqcloud.com", "virtual", "ap-guangzhou", True),
        ),
        (
            "https://obs.cn-north-4.myhuaweicloud.com",
            BucketAddress("https://obs.cn-north-4.myhuaweicloud.com", "virtual", "cn-north-4", True),
        ),
        (
            "https://tos-s3-cn-beijing.volces.com",
            BucketAddress("https://tos-s3-cn-beijing.volces.com", "virtual", "cn-beijing", True),
        ),
        (f"https://{R2}", BucketAddress(f"https://{R2}", "path", "", True)),
        ("http://127.0.0.1:9000", BucketAddress("http://127.0.0.1:9000", "path", "", True)),
        ("http://[::1]:9000", BucketAddress("http://[::1]:9000", "path", "", True)),
        ("http://minio:9000", BucketAddress("http://minio:9000", "path", "", True)),
        ("https://s3.example.com:9000", BucketAddress("https://s3.example.com:9000", "path", "", False)),
        ("https://x.example/storage/v1/s3", BucketAddress("https://x.example/storage/v1/s3", "path", "", False)),
    ],
)
def test_an_endpoint_determines_style_and_region(endpoint: str, read: BucketAddress) -> None:
    assert bucket_address(endpoint, "songs") == read


@pytest.mark.parametrize(
    ("with_bucket", "without"),
    [
        ("https://songs.s3.eu-west-1.amazonaws.com", "https://s3.eu-west-1.amazonaws.com"),
        ("https://songs.oss-cn-hangzhou.aliyuncs.com", "https://oss-cn-hangzhou.aliyuncs.com"),
        ("https://songs.s3.oss-cn-hangzhou.aliyuncs.com", "https://s3.oss-cn-hangzhou.aliyuncs.com"),
        ("https://songs.cos.ap-guangzhou.myqcloud.com", "https://cos.ap-guangzhou.myqcloud.com"),
        ("https://songs.nyc3.digitaloceanspaces.com", "https://nyc3.digitaloceanspaces.com"),
        (f"https://songs.{R2}", f"https://{R2}"),
        (f"https://{R2}/songs", f"https://{R2}"),
        ("http://minio:9000/songs/", "http://minio:9000"),
    ],
)
def test_the_bucket_in_an_endpoint_is_removed(with_bucket: str, without: str) -> None:
    assert bucket_address(with_bucket, "songs") == bucket_address(without, "songs")


@pytest.mark.parametrize(
    ("endpoint", "sentence"),
    [
        ("https://other.oss-cn-hangzhou.aliyuncs.com", "names the bucket other, but S3_BUCKET_NAME is songs"),
        ("https://songs.example.com", "write example.com if you mean that host"),
        ("https://x.example/storage/v1/s3/songs", "ends with the name of the bucket"),
    ],
)
def test_an_endpoint_that_may_contain_a_bucket_is_refused(endpoint: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        bucket_address(endpoint, "songs")


def test_an_explicit_style_decides_what_the_host_means() -> None:
    assert bucket_address("https://songs.example.com", "songs", "virtual").endpoint_url == "https://example.com"
    as_it_is = bucket_address("https://songs.example.com", "songs", "path")
    assert as_it_is == BucketAddress("https://songs.example.com", "path", "", True)
    assert bucket_address("https://oss-cn-hangzhou.aliyuncs.com", "songs", "path").style == "path"
