"""Objects by key: a directory on one machine, S3 and its kin when grown."""

from twelvefold.engines.blobs.contract import (
    BlobExistsError,
    BlobInfo,
    BlobKeyError,
    BlobNotFoundError,
    BlobRangeError,
    Blobs,
    BlobStorageFullError,
    check_key,
)
from twelvefold.engines.blobs.object_store import BlobsConfig, open_blobs

__all__ = [
    "BlobExistsError",
    "BlobInfo",
    "BlobKeyError",
    "BlobNotFoundError",
    "BlobRangeError",
    "BlobStorageFullError",
    "Blobs",
    "BlobsConfig",
    "check_key",
    "open_blobs",
]
