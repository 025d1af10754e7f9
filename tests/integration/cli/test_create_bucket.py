"""`python -m uvr create-bucket` on a real S3 server."""

from __future__ import annotations

import argparse

import pytest

from config import Settings
from tests.support.s3_server import ADMIN, S3Server
from uvr.cli.create_bucket import create


def run(**settings: str) -> int:
    return create(argparse.Namespace(), Settings(_env_file=None, **settings))


def test_the_bucket_is_created_and_a_second_call_says_that_it_is_there(
    s3: S3Server, capsys: pytest.CaptureFixture[str]
):
    keys = {"aws_access_key_id": ADMIN.access_key_id, "aws_secret_access_key": ADMIN.secret_access_key}
    bucket = {"s3_endpoint_url": s3.endpoint_url, "s3_bucket_name": "made-by-command", **keys}
    assert [run(**bucket), run(**bucket)] == [0, 0]
    assert capsys.readouterr().out.splitlines() == [
        "The bucket made-by-command was created.",
        "The bucket made-by-command exists already.",
    ]
    assert "made-by-command" in [found["Name"] for found in s3.client(ADMIN).list_buckets()["Buckets"]]


def test_without_a_name_and_without_a_server_it_says_why(capsys: pytest.CaptureFixture[str]):
    assert run() == 2
    assert "S3_BUCKET_NAME is not set" in capsys.readouterr().err
    nowhere = {"s3_endpoint_url": "http://127.0.0.1:1", "aws_access_key_id": "k", "aws_secret_access_key": "s"}
    assert run(s3_bucket_name="stems", **nowhere) == 2
    assert "The bucket stems could not be created" in capsys.readouterr().err
