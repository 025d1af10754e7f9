"""Translates errors of S3-compatible servers and boto3 into errors that name the wrong setting or allow a retry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvr.errors import PermanentError, TransientError, UvrError
from uvr.net.http_status import is_transient

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError

# https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html; answers to HEAD carry the bare status.
_NO_BUCKET = "The bucket does not exist: check S3_BUCKET_NAME and S3_ENDPOINT_URL."
_NO_ACCESS = (
    "The storage refuses access: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and the key's rights on S3_BUCKET_NAME."
)
_BAD_KEY = "The storage does not know this access key: check AWS_ACCESS_KEY_ID and S3_ENDPOINT_URL."
_BAD_SIGNATURE = "The storage does not accept the signature: check AWS_SECRET_ACCESS_KEY and AWS_REGION."
_BAD_REGION = "The bucket is in another region: check AWS_REGION and S3_ENDPOINT_URL."
_BAD_STYLE = "The storage accepts the bucket's name in the host only: set S3_ADDRESSING_STYLE to virtual or to auto."
BUCKET_IN_HOST_ONLY = (
    "SecondLevelDomainForbidden",  # Aliyun OSS
    "PathStyleDomainForbidden",  # Tencent COS
    "VirtualHostDomainRequired",  # Huawei OBS
    "InvalidPathAccess",  # Volcengine TOS
)
"""Error codes for requests that name the bucket in their path."""

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
    **dict.fromkeys(BUCKET_IN_HOST_ONLY, _BAD_STYLE),
    "ExpiredToken": "The credentials for the storage have expired: renew them.",
    "RequestTimeTooSkewed": "The clocks of the storage and this machine differ: check the clock of this machine.",
    "AccessControlListNotSupported": "The bucket does not support ACLs: leave S3_ACL empty.",
}
MISSING = frozenset({"404", "NoSuchKey"})
"""Error codes for an object that does not exist."""

# Temporary errors whose HTTP status is below 500.
_TRANSIENT_CODES = frozenset(
    {
        "BadDigest",
        "IncompleteBody",
        "NoSuchUpload",  # it was cleaned up between two parts
        "OperationAborted",
        "RequestTimeout",
        "SlowDown",
        "Throttling",
        "ThrottlingException",
    }
)


def code_of(error: ClientError) -> str:
    """The error code of the server's response."""
    response: Any = error.response
    return str(response.get("Error", {}).get("Code", ""))


def refusal(error: ClientError) -> UvrError:
    """The error for a response that is not a success."""
    response: Any = error.response
    code = code_of(error)
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _TRANSIENT_CODES or is_transient(status):
        return TransientError("The storage is overloaded or has an error; a retry may succeed.", code=code)
    return PermanentError(_SENTENCES.get(code, f"The storage refused the request ({code})."), code=code)


def failure(error: BotoCoreError) -> UvrError:
    """The error for a request that got no response, or was never sent."""
    from botocore import exceptions

    if isinstance(error, exceptions.NoCredentialsError | exceptions.PartialCredentialsError):
        return PermanentError("The storage needs credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.")
    if isinstance(error, exceptions.CredentialRetrievalError | exceptions.MetadataRetrievalError):
        return TransientError("The role of this machine provides no credentials for the storage at the moment.")
    if isinstance(error, exceptions.ConnectionError | exceptions.HTTPClientError):
        return TransientError(
            "The storage cannot be reached: check S3_ENDPOINT_URL and the network.", reason=str(error)
        )
    return PermanentError("The storage settings are not valid: check the S3_ and AWS_ variables.", reason=str(error))
