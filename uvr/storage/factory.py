"""Opens the storages that the settings describe, one for stems and one for uploads."""

from __future__ import annotations

from collections.abc import Callable

from config import Settings
from uvr.storage.base import Storage
from uvr.storage.local import LocalStorage
from uvr.storage.s3 import S3Storage


def open_storage(settings: Settings, link_key: Callable[[], bytes]) -> Storage:
    """The storage of stems: the bucket if one is set, else OUTPUT_DIR/stems with links signed by `link_key()`."""
    if not settings.s3_bucket_name:
        return LocalStorage(settings.output_dir / "stems", settings.base_url, link_key)
    return open_bucket(settings)


def open_bucket(settings: Settings) -> S3Storage:
    """The bucket of the settings, as the storage of stems."""
    return _bucket(
        settings,
        public_endpoint_url=settings.s3_public_endpoint_url,
        public_domain=settings.s3_public_domain,
        acl=settings.s3_acl,
    )


def open_upload_storage(settings: Settings) -> Storage:
    """The storage of uploaded songs: the same bucket or disk as for stems, but never public."""
    return _bucket(settings) if settings.s3_bucket_name else LocalStorage(settings.output_dir, "", _no_link_key)


def _bucket(settings: Settings, *, public_endpoint_url: str = "", public_domain: str = "", acl: str = "") -> S3Storage:
    return S3Storage(
        bucket=settings.s3_bucket_name,
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=public_endpoint_url,
        addressing_style=settings.s3_addressing_style,
        region=settings.aws_region,
        access_key_id=settings.aws_access_key_id,
        secret_access_key=settings.aws_secret_access_key.get_secret_value(),
        public_domain=public_domain,
        acl=acl,
        key_prefix=settings.s3_key_prefix,
    )


def _no_link_key() -> bytes:
    raise RuntimeError("there are no links to uploads")
