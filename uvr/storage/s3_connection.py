"""The connection to a bucket: a boto3 client with the right host, region and addressing style.

Requests and links go to the same host, unless clients reach the storage under another address. Two things that the
settings may not say are asked of the server, once in each process: the region of a bucket at AWS, and whether an
unknown service accepts the name of the bucket in the path.
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

_MAX_IDLE_CONNECTIONS = 64
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_TRIES = 3
_PROBE_TIMEOUT_S = 3
_PROBE_AGAIN_S = 10.0


class S3Connection:
    """One bucket; `S3Storage` explains the parameters."""

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str,
        public_endpoint_url: str = "",
        addressing_style: AddressingStyle,
        region: str,
        access_key_id: str,
        secret_access_key: str,
    ) -> None:
        self._bucket = bucket
        self._address = address = bucket_address(endpoint_url, bucket, addressing_style)
        self._public_address = (
            bucket_address(public_endpoint_url, bucket, addressing_style) if public_endpoint_url else None
        )
        # R2 signs with the region "auto". AWS has no such region; its global endpoint is in us-east-1.
        by_endpoint = address.region or ("auto" if address.endpoint_url else "us-east-1")
        self._region = by_endpoint if region == "auto" else region
        self._access_key_id = access_key_id
        self._secret_access_key = secret_access_key
        self._is_style_open = not address.is_certain
        self._is_region_open = region == "auto" and not address.endpoint_url
        self._lock = threading.Lock()
        self._connected: S3Client | None = None
        self._link_clients: dict[Style, S3Client] = {}
        self._probe_again_at = 0.0

    @property
    def client(self) -> S3Client:
        """The client, with the region and style that the server reported, or if it is silent the most likely ones."""
        with self._lock:
            is_open = self._is_style_open or self._is_region_open
            if self._connected and not (is_open and time.monotonic() >= self._probe_again_at):
                return self._connected
            from botocore.exceptions import BotoCoreError

            style = self._address.style
            try:
                if self._is_style_open:
                    style = self._probe_style()
                if self._is_region_open:
                    self._region = self._probe_region()
                self._is_style_open = self._is_region_open = False
            except BotoCoreError:
                self._probe_again_at = time.monotonic() + _PROBE_AGAIN_S
            self._connected = self._client_for(style)
            return self._connected

    @property
    def link_client(self) -> S3Client:
        """The client that signs links: a signature holds for one host, so it is the host that clients reach."""
        client, address = self.client, self._public_address
        if address is None:
            return client
        # The server behind both addresses is the same, so what it was found to accept counts for both.
        config: Any = client.meta.config
        style: Style = address.style if address.is_certain else config.s3["addressing_style"]
        with self._lock:
            if style not in self._link_clients:
                self._link_clients[style] = self._client_for(style, endpoint_url=address.endpoint_url)
            return self._link_clients[style]

    def _probe_style(self) -> Style:
        from botocore.exceptions import ClientError

        try:
            # Not HEAD, because its responses do not contain the error code.
            self._client_for("path", for_probe=True).list_objects_v2(Bucket=self._bucket, MaxKeys=1)
        except ClientError as error:
            if code_of(error) in BUCKET_IN_HOST_ONLY:
                return "virtual"
        return "path"

    def _probe_region(self) -> str:
        from botocore.exceptions import ClientError

        try:
            response: Any = self._client_for("virtual", for_probe=True).head_bucket(Bucket=self._bucket)
        except ClientError as error:
            response = error.response  # it names the region even if it is an error
        region: str = response["ResponseMetadata"]["HTTPHeaders"].get("x-amz-bucket-region", self._region)
        return region

    @cached_property
    def _session(self) -> Session:
        import boto3

        # Not boto3's default session, which all threads share although it is not thread-safe.
        return boto3.Session()

    def _client_for(self, style: Style, *, for_probe: bool = False, endpoint_url: str = "") -> S3Client:
        """A boto3 client, of the endpoint unless another is given. One for a probe has short time-outs, because a
        client of the API may be waiting.
        """
        from botocore.config import Config

        config = Config(
            signature_version="s3v4",
            # Never "auto", which presigns for AWS's global endpoint but sends requests to the regional one.
            s3={"addressing_style": style},
            retries={"mode": "standard", "total_max_attempts": 1 if for_probe else _TRIES},
            connect_timeout=_PROBE_TIMEOUT_S if for_probe else _CONNECT_TIMEOUT_S,
            read_timeout=_PROBE_TIMEOUT_S if for_probe else _READ_TIMEOUT_S,
            max_pool_connections=_MAX_IDLE_CONNECTIONS,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return self._session.client(
            "s3",
            endpoint_url=endpoint_url or self._address.endpoint_url or None,
            region_name=self._region,
            aws_access_key_id=self._access_key_id or None,
            aws_secret_access_key=self._secret_access_key or None,
            config=config,
        )

    @contextmanager
    def translated_errors(self, missing: frozenset[str] = frozenset()) -> Iterator[None]:
        """Translate errors of boto3 into those of the service; `missing` contains the codes for "no such object"."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            if code_of(error) in missing:
                raise PermanentError("This file is no longer stored.", reason="missing") from error
            if self._is_style_open and code_of(error) in BUCKET_IN_HOST_ONLY:
                self._probe_again_at = 0.0  # the probe had no answer
                raise TransientError(refusal(error).message, code=code_of(error)) from error
            raise refusal(error) from error
        except BotoCoreError as error:
            raise failure(error) from error
