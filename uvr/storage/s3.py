"""Stems in an S3-compatible bucket: AWS, Cloudflare R2, MinIO, SeaweedFS and others.

Large files go up in parts, read from the disk as they are sent. Checksums are sent only where the protocol demands
them, because many compatible servers know no others. Only a few quick tries are made here; patient retries are the
queue's business. boto3 is imported at the first use, so that a process which never touches the bucket does not carry
it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote

from uvr.errors import PermanentError, TransientError, UvrError
from uvr.http_answers import is_transient

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError
    from mypy_boto3_s3 import S3Client

_PART_BYTES = 16 * 2**20
_PARTS_AT_ONCE = 4
_CONNECTIONS_KEPT = 64
_CONNECT_TIMEOUT_S = 10
_READ_TIMEOUT_S = 60
_TRIES = 3

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; answers to HEAD carry the bare status.
_NO_BUCKET = "The bucket does not exist: check S3_BUCKET_NAME and S3_ENDPOINT_URL."
_NO_ACCESS = (
    "The storage refuses access: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the key's rights on S3_BUCKET_NAME."
)
_BAD_KEY = "The storage does not know this access key: check AWS_ACCESS_KEY_ID and S3_ENDPOINT_URL."
_BAD_SIGNATURE = "The storage does not accept the signature: check AWS_SECRET_ACCESS_KEY and AWS_REGION."
_BAD_REGION = "The bucket lies in another region: check AWS_REGION and S3_ENDPOINT_URL."
_SENTENCES = {
    "NoSuchBucket": _NO_BUCKET,
    "InvalidBucketName": _NO_BUCKET,
    "404": _NO_BUCKET,
    "AccessDenied": _NO_ACCESS,
    "403": _NO_ACCESS,
    "InvalidAccessKeyId": _BAD_KEY,
    "SignatureDoesNotMatch": _BAD_SIGNATURE,
    "AuthorizationHeaderMalformed": _BAD_REGION,
    "PermanentRedirect": _BAD_REGION,
    "301": _BAD_REGION,
    "ExpiredToken": "The credentials for the storage have expired: renew them.",
    "RequestTimeTooSkewed": "The storage and this machine differ in time: check this machine's clock.",
    "AccessControlListNotSupported": "The bucket takes no ACLs: leave S3_ACL empty.",
}
_MISSING = frozenset({"404", "NoSuchKey"})
"""Answers to a question for one object."""

# A moment's trouble that is told with a status below 500.
_TRANSIENT_CODES = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "NoSuchUpload",  # somebody has cleaned up between two parts
        "OperationAborted",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)


class S3Storage:
    """Objects in `bucket`. Empty strings stand for what is not set.

    `endpoint_url`: another service than AWS, spoken to in path style. `region`: "auto" leaves it to the endpoint.
    Without a key pair the machine's own role is used. `public_domain`: the bucket is public under this address, so
    links are plain; else they are presigned. `acl`: a canned ACL for every object, for services that still use them.
    """

    kind: Literal["s3"] = "s3"

    def __init__(
        self,
        *,
        bucket: str,
        endpoint_url: str = "",
        region: str = "auto",
        access_key_id: str = "",
        secret_access_key: str = "",
        public_domain: str = "",
        acl: str = "",
    ) -> None:
        self._bucket = bucket
        self._endpoint_url = endpoint_url
        # R2 signs with "auto"; AWS knows no such region, and us-east-1 is where its global endpoint is.
        self._region = "us-east-1" if region == "auto" and not endpoint_url else region
        self._access_key_id = access_key_id
        self._secret_access_key = secret_access_key
        self._public_domain = public_domain.rstrip("/")
        self._acl = acl

    def put(self, path: Path, key: str, content_type: str) -> None:
        """Upload the file, in parts if it is large."""
        extra = {"ContentType": content_type} | self._extra
        if path.stat().st_size >= _PART_BYTES:
            self._abort_unfinished(key)
        # Not upload_file, which hides the error's code in a sentence, nor upload_fileobj, which holds parts in memory.
        with _explained(), self._transfers() as manager:
            manager.upload(str(path), self._bucket, key, extra_args=extra).result()

    def get(self, key: str, path: Path) -> None:
        """Download the object, in parts if it is large."""
        from s3transfer.exceptions import RetriesExceededError

        try:
            with _explained(_MISSING), self._transfers() as manager:
                manager.download(self._bucket, key, str(path)).result()
        except RetriesExceededError as error:
            raise TransientError("The storage broke off while it sent a file; another try may succeed.") from error
        except OSError as error:
            raise TransientError("The file could not be kept: the disk is full or not writable.") from error

    def copy(self, source: str, target: str) -> None:
        """Let the storage copy the object, up to 5 GB, its media type included."""
        with _explained(_MISSING):
            self._client.copy_object(
                Bucket=self._bucket, Key=target, CopySource={"Bucket": self._bucket, "Key": source}, **self._extra
            )

    def url(self, key: str, ttl_s: int) -> str:
        """The public address, or a presigned one that holds for `ttl_s` seconds (at most 7 days)."""
        if self._public_domain:
            return f"{self._public_domain}/{quote(key)}"
        where = {"Bucket": self._bucket, "Key": key}
        with _explained():
            return self._client.generate_presigned_url("get_object", Params=where, ExpiresIn=ttl_s)

    def delete(self, key: str) -> None:
        """Remove the object, if it is there."""
        with _explained():
            self._client.delete_object(Bucket=self._bucket, Key=key)

    def check(self) -> None:
        """Ask for the bucket: shows that the endpoint answers, the key is known and the bucket exists."""
        with _explained():
            self._client.head_bucket(Bucket=self._bucket)

    @property
    def _extra(self) -> Any:
        return {"ACL": self._acl} if self._acl else {}

    def _transfers(self) -> Any:
        from boto3.s3.transfer import TransferConfig, create_transfer_manager

        config = TransferConfig(
            multipart_threshold=_PART_BYTES, multipart_chunksize=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
        )
        return create_transfer_manager(self._client, config)

    def _abort_unfinished(self, key: str) -> None:
        """Free the parts of an earlier try that was killed: they are billed for ever, though no listing shows them."""
        from botocore.exceptions import ClientError

        # Not every key may list; whatever else is refused, the upload itself will say.
        with _explained(), suppress(ClientError):
            uploads = self._client.list_multipart_uploads(Bucket=self._bucket, Prefix=key).get("Uploads", [])
            for upload in uploads:
                if upload["Key"] == key:
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload["UploadId"])

    @cached_property
    def _client(self) -> S3Client:
        import boto3
        from botocore.config import Config

        config = Config(
            signature_version="s3v4",
            s3={"addressing_style": "path" if self._endpoint_url else "auto"},
            retries={"mode": "standard", "total_max_attempts": _TRIES},
            connect_timeout=_CONNECT_TIMEOUT_S,
            read_timeout=_READ_TIMEOUT_S,
            max_pool_connections=_CONNECTIONS_KEPT,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        # A session of its own: boto3's default one is shared between threads and must not be.
        return boto3.Session().client(
            "s3",
            endpoint_url=self._endpoint_url or None,
            region_name=self._region,
            aws_access_key_id=self._access_key_id or None,
            aws_secret_access_key=self._secret_access_key or None,
            config=config,
        )


@contextmanager
def _explained(missing: frozenset[str] = frozenset()) -> Iterator[None]:
    """Turn what boto3 raises into the errors of the service; `missing` are codes for an object that is not there."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        if _code(error) in missing:
            raise PermanentError("This file is no longer stored.", reason="missing") from error
        raise _refusal(error) from error
    except BotoCoreError as error:
        raise _failure(error) from error


def _code(error: ClientError) -> str:
    answer: Any = error.response
    return str(answer.get("Error", {}).get("Code", ""))


def _refusal(error: ClientError) -> UvrError:
    """The error for an answer that is not a success."""
    answer: Any = error.response
    code = _code(error)
    status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _TRANSIENT_CODES or is_transient(status):
        return TransientError("The storage is overloaded or disturbed; another try may succeed.", code=code)
    return PermanentError(_SENTENCES.get(code, f"The storage refused the request ({code})."), code=code)


def _failure(error: BotoCoreError) -> UvrError:
    """The error for a request that got no answer, or was never sent."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return PermanentError("No credentials for the storage: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    if isinstance(error, exceptions.CredentialRetrievalError | exceptions.MetadataRetrievalError):
        return TransientError("The machine's role gives no credentials for the storage at the moment.")
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return TransientError(
            "The storage cannot be reached: check S3_ENDPOINT_URL and the network.", reason=str(error)
        )
    return PermanentError("The storage's settings are not valid: check the S3_ and AWS_ variables.", reason=str(error))
