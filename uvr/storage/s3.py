"""Storage in an S3-compatible bucket: AWS, Cloudflare R2, Aliyun OSS, Tencent COS, MinIO, SeaweedFS and others.

Large files are uploaded in parts, which are read from the disk as they are sent. Checksums are sent only where the
protocol requires them, because many compatible servers support no others. A request is retried a few times at once;
longer retries are made by the queue. boto3 is imported on first use, because not every process uses the bucket.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from uvr.errors import TransientError, UvrError, disk_error
from uvr.net.bucket_address import AddressingStyle
from uvr.net.hosts import is_loopback
from uvr.net.http_status import described
from uvr.storage.content_types import content_type
from uvr.storage.download_name import inline
from uvr.storage.s3_connection import S3Connection
from uvr.storage.s3_errors import MISSING, code_of

_PART_BYTES = 16 * 2**20
_MAX_CONCURRENT_PARTS = 4
_CHECK_NAME = ".uvr-write-check"
_CHECK_BODY = b"uvr-api checks that it can store files here. This file may be deleted.\n"
_CHECK_LINK_S = 60
_CHECK_TIMEOUT_S = 10
_NO_BUCKET = {"404", "NoSuchBucket", "NotFound"}
_NEVER_NAMED = {"us-east-1", "auto"}
"""Regions in which a bucket is created if no region is given; AWS refuses the name of the first one."""


class S3Storage:
    """Objects in `bucket`. An empty string means that a parameter is not set.

    `endpoint_url`: the service, if it is not AWS. `public_endpoint_url`: the same as clients reach it, for signed
    links. `addressing_style`: see `uvr.net.bucket_address`, whose `ValueError` this raises. `region`: "auto" means the
    region of the endpoint. Without an access key the role of this machine is used. `public_domain`: the public address
    of the bucket, for plain links; without it links are presigned. `acl`: a canned ACL for every object, for services
    that still use them. `key_prefix`: where `check` stores its file.
    """

    kind: Literal["s3"] = "s3"

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str = "",
        public_endpoint_url: str = "",
        addressing_style: AddressingStyle = "auto",
        region: str = "auto",
        access_key_id: str = "",
        secret_access_key: str = "",
        public_domain: str = "",
        acl: str = "",
        key_prefix: str = "",
    ) -> None:
        self._bucket = bucket
        self._s3 = S3Connection(
            bucket=bucket,
            endpoint_url=endpoint_url,
            public_endpoint_url=public_endpoint_url,
            addressing_style=addressing_style,
            region=region,
            access_key_id=access_key_id,
            secret_access_key=secret_access_key,
        )
        self._public_domain = public_domain.rstrip("/")
        self._links_lead_to_loopback = is_loopback(urlsplit(public_endpoint_url).hostname or "")
        self._acl = acl
        self._check_key = f"{key_prefix}{_CHECK_NAME}"

    def put(self, path: Path, key: str, content_type: str, download_name: str = "") -> None:
        """Upload the file, in parts if it is large; `download_name` is stored with it for all links."""
        extra = {"ContentType": content_type} | _disposition(download_name) | self._extra
        if path.stat().st_size >= _PART_BYTES:
            self._abort_unfinished_uploads(key)
        # upload_file would hide the error code in a sentence, and upload_fileobj would hold parts in memory.
        with self._s3.translated_errors(), self._transfers() as manager:
            manager.upload(str(path), self._bucket, key, extra_args=extra).result()

    def get(self, key: str, path: Path) -> None:
        """Download the object, in parts if it is large."""
        from s3transfer.exceptions import RetriesExceededError

        try:
            with self._s3.translated_errors(MISSING), self._transfers() as manager:
                manager.download(self._bucket, key, str(path)).result()
        except RetriesExceededError as error:
            raise TransientError("The storage closed the connection during a download; a retry may succeed.") from error
        except OSError as error:
            raise disk_error(error, "The downloaded file cannot be written") from error

    def size_bytes(self, key: str) -> int:
        """The size of the object."""
        with self._s3.translated_errors(MISSING):
            return self._s3.client.head_object(Bucket=self._bucket, Key=key)["ContentLength"]

    def read(self, key: str, start: int, max_bytes: int) -> bytes:
        """A part of the object, in a request of its own: no connection waits for a slow client meanwhile."""
        part = f"bytes={start}-{start + max_bytes - 1}"
        with self._s3.translated_errors(MISSING):
            return self._s3.client.get_object(Bucket=self._bucket, Key=key, Range=part)["Body"].read()

    def copy(self, source: str, target: str, download_name: str = "") -> None:
        """Have the storage copy the object, of up to 5 GB, with its media type."""
        extra = self._extra
        if download_name:  # a copy takes over either all headers of its source or none
            new_headers = {"ContentType": content_type(target), **_disposition(download_name)}
            extra |= {"MetadataDirective": "REPLACE", **new_headers}
        with self._s3.translated_errors(MISSING):
            self._s3.client.copy_object(
                Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": source}, **extra
            )

    def url(self, key: str, ttl_s: int) -> str:
        """The public URL, or a presigned one that is valid for `ttl_s` seconds (at most 7 days)."""
        if self._public_domain:
            return f"{self._public_domain}/{quote(key)}"
        where = {"Bucket": self._bucket, "Key": key}
        with self._s3.translated_errors():
            return self._s3.link_client.generate_presigned_url("get_object", Params=where, ExpiresIn=ttl_s)

    def delete(self, key: str) -> None:
        """Delete the object if it exists."""
        with self._s3.translated_errors():
            self._s3.client.delete_object(Bucket=self._bucket, Key=key)

    def create_bucket(self) -> bool:
        """Create the bucket, private; False if it is there already."""
        from botocore.exceptions import ClientError

        with self._s3.translated_errors():
            try:
                self._s3.client.head_bucket(Bucket=self._bucket)
            except ClientError as error:
                if code_of(error) not in _NO_BUCKET:
                    raise
            else:
                return False
            region = self._s3.client.meta.region_name
            where: Any = {"CreateBucketConfiguration": {"LocationConstraint": region}}
            self._s3.client.create_bucket(Bucket=self._bucket, **({} if region in _NEVER_NAMED else where))
        return True

    def check(self) -> list[str]:
        """Store a small file, always under the same key, open a link to it and delete it again."""
        with self._s3.translated_errors():
            self._s3.client.put_object(**self._check_file, Body=_CHECK_BODY, ContentType="text/plain", **self._extra)
        warnings = [
            self._link_warning(),
            self._warning("deleted", "s3:DeleteObject", lambda: self._s3.client.delete_object(**self._check_file)),
        ]
        return [warning for warning in warnings if warning]

    @property
    def _extra(self) -> Any:
        return {"ACL": self._acl} if self._acl else {}

    def _transfers(self) -> Any:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=_MAX_CONCURRENT_PARTS
        )
        return create_transfer_manager(self._s3.client, config)

    def _abort_unfinished_uploads(self, key: str) -> None:
        """Free the parts of an earlier attempt that was killed: no listing shows them, but they are billed for ever."""
        from botocore.exceptions import ClientError

        # Not every access key may list uploads. The upload itself reports all other errors.
        with self._s3.translated_errors(), suppress(ClientError):
            uploads = self._s3.client.list_multipart_uploads(Bucket=self._bucket, Prefix=key).get("Uploads", [])
            for upload in uploads:
                if upload["Key"] == key:
                    self._s3.client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload["UploadId"])

    def _link_warning(self) -> str:
        """What is wrong with links, or "". A missing file was deleted by the check of another process."""
        import requests

        # A container cannot open what only programs on its host can: neither says anything about clients.
        if self._public_domain or self._links_lead_to_loopback:
            return self._warning("read", "s3:GetObject", lambda: self._s3.client.get_object(**self._check_file))
        link = self.url(self._check_key, _CHECK_LINK_S)
        try:
            status = requests.get(link, timeout=_CHECK_TIMEOUT_S).status_code
        except requests.RequestException:
            return "Links to stems cannot be opened from this machine; check that your clients can open them."
        if status in (HTTPStatus.OK, HTTPStatus.NOT_FOUND):
            return ""
        return (
            f"Links to stems do not open: the storage answers {described(status)}. Give the access key the right "
            f"s3:GetObject, and check AWS_REGION, S3_ENDPOINT_URL and S3_PUBLIC_ENDPOINT_URL."
        )

    def _warning(self, done: str, right: str, step: Callable[[], object]) -> str:
        """Do `step` with the file of the check, and return a warning if the storage refuses it."""
        try:
            with self._s3.translated_errors(MISSING):
                step()
        except UvrError as error:
            if error.facts.get("reason") != "missing":
                return f"Stored files cannot be {done}; give the access key the right {right}. {error.message}"
        return ""

    @property
    def _check_file(self) -> Any:
        return {"Bucket": self._bucket, "Key": self._check_key}


def _disposition(download_name: str) -> dict[str, str]:
    return {"ContentDisposition": inline(download_name)} if download_name else {}
