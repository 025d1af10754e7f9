"""The connection to a bucket: a client of boto3 that speaks to it where and how it wants to be spoken to.

Requests and links go to the same host. What the settings leave open is asked of the server, once in each process: in
which region a bucket of AWS lies, and whether a server that is not known here accepts the bucket's name in the path.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

from uvr.errors import PermanentError, TransientError
from uvr.net.bucket_address import AddressingStyle, Style, bucket_address
from uvr.storage.s3_errors import BUCKET_IN_HOST_ONLY, code_of, failure, refusal

if TYPE_CHECKING:
    from boto3 import Session
    from mypy_boto3_s3 import S3Client

_CONNECTIONS_KEPT = 64
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_TRIES = 3
_QUESTION_TIMEOUT_S = 3
_ASK_AGAIN_S = 10.0


class S3Connection:
    """See `S3Storage` for the parameters."""

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str,
        addressing_style: AddressingStyle,
        region: str,
        access_key_id: str,
        secret_access_key: str,
    ) -> None:
        self._bucket = bucket
        self._address = address = bucket_address(endpoint_url, bucket, addressing_style)
        # R2 signs with "auto"; AWS knows no such region, and us-east-1 is where its global endpoint is.
        by_endpoint = address.region or ("auto" if address.endpoint_url else "us-east-1")
        self._region = by_endpoint if region == "auto" else region
        self._access_key_id = access_key_id
        self._secret_access_key = secret_access_key
        self._style_is_open = not address.is_certain
        self._region_is_open = region == "auto" and not address.endpoint_url
        self._lock = threading.Lock()
        self._connected: S3Client | None = None
        self._ask_again_at = 0.0

    @property
    def client(self) -> S3Client:
        """The client, once the server has said what the settings leave open; without an answer, by the best guess."""
        with self._lock:
            if self._connected is None or self._asks_again:
                self._connected = self._connect()
            return self._connected

    @property
    def _asks_again(self) -> bool:
        return (self._style_is_open or self._region_is_open) and time.monotonic() >= self._ask_again_at

    def _connect(self) -> S3Client:
        from botocore.exceptions import BotoCoreError

        style = self._address.style
        try:
            if self._style_is_open:
                style = self._style_by_server()
            if self._region_is_open:
                self._region = self._region_by_server()
            self._style_is_open = self._region_is_open = False
        except BotoCoreError:
            self._ask_again_at = time.monotonic() + _ASK_AGAIN_S
        return self._client_for(style)

    def _style_by_server(self) -> Style:
        from botocore.exceptions import ClientError

        try:
            # Not HEAD: its answers do not name the error.
            self._client_for("path", for_a_question=True).list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ClientError as error:
            if code_of(error) in BUCKET_IN_HOST_ONLY:
                return "virtual"
        return "path"

    def _region_by_server(self) -> str:
        from botocore.exceptions import ClientError

        try:
            answer: Any = self._client_for("virtual", for_a_question=True).head_bucket(Bucket=self._bucket)
        except ClientError as error:
            answer = error.response  # names the region even where it refuses
        region: str = answer["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", self._region)
        return region

    @cached_property
    def _session(self) -> Session:
        import boto3

        # One of our own: boto3's default session is shared between threads and must not be.
        return boto3.Session()

    def _client_for(self, style: Style, *, for_a_question: bool = False) -> S3Client:
        """A client; one for a question is impatient, because a request of a user may wait for the answer."""
        from botocore.config import Config

        config = Config(
            signature_version="s3v4",
            # Never "auto": that presigns for AWS's global endpoint, and sends requests to the regional one.
            s3={"addressing_style": style},
            retries={"mode": "standard", "total_max_attempts": 1 if for_a_question else _TRIES},
            connect_timeout=_QUESTION_TIMEOUT_S if for_a_question else _CONNECT_TIMEOUT_S,
            read_timeout=_QUESTION_TIMEOUT_S if for_a_question else _READ_TIMEOUT_S,
            max_pool_connections=_CONNECTIONS_KEPT,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return self._session.client(
            "s3",
            endpoint_url=self._address.endpoint_url or None,
            region_name=self._region,
            aws_access_key_id=self._access_key_id or None,
            aws_secret_access_key=self._secret_access_key or None,
            config=config,
        )

    @contextmanager
    def explained(self, missing: frozenset[str] = frozenset()) -> Iterator[None]:
        """Turn what boto3 raises into the errors of the service; `missing` are the codes for "no such object"."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if code_of(error) in missing:
                raise PermanentError("This file is no longer stored.", reason="missing") from error
            if self._style_is_open and code_of(error) in BUCKET_IN_HOST_ONLY:
                self._ask_again_at = 0.0  # there was no answer when it was asked
                raise TransientError(refusal(error).message, code=code_of(error)) from error
            raise refusal(error) from error
        except BotoCoreError as error:
            raise failure(error) from error
