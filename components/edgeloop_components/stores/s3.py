"""The object store over S3: one bucket through the minio client, path style, no call that only one server knows.

While the server does not answer (a restart), an operation is tried again for some seconds. Errors name the operation,
bucket, key and endpoint, and say what to do.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from edgeloop_components.stores.port import NotFound, StoreError, StoreUnavailable, checked, write_file

__all__ = ["S3Objects"]

T = TypeVar("T")
_CHUNK_BYTES = 1 << 20
_TYPE = {"Content-Type": "application/octet-stream"}
_ADVICE = {
    "NoSuchBucket": "create the bucket, or name another one in EDGELOOP_BUCKET",
    "AccessDenied": "the key has no right to do this; check AWS_ACCESS_KEY_ID and the bucket's policy",
    "InvalidAccessKeyId": "the server does not know this key; check AWS_ACCESS_KEY_ID",
    "SignatureDoesNotMatch": "the secret does not belong to the key; check AWS_SECRET_ACCESS_KEY",
    "AuthorizationHeaderMalformed": "the region is wrong; check AWS_REGION",
}


class S3Objects:
    """One bucket through a `minio.Minio` client, which must not retry by itself (`connect` makes such a one).

    `patience_s` is how long an operation is tried again while the server does not answer. A conditional write whose
    answer was lost counts as done when the store then holds exactly its bytes.
    """

    def __init__(self, client: Any, bucket: str, *, endpoint: str, patience_s: float = 15.0) -> None:
        self.bucket, self.endpoint, self.patience_s = bucket, endpoint, patience_s
        self._client = client

    def get(self, key: str) -> bytes:
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        def read() -> tuple[bytes, str]:
            response = self._client.get_object(self.bucket, checked(key))
            try:
                return response.read(), response.headers["etag"].strip('"')
            finally:
                response.release_conn()

        return self._call("get", key, read)

    def put(self, key: str, data: bytes) -> None:
        self._call("put", key, lambda: self._put(key, data, {}))

    def put_new(self, key: str, data: bytes) -> bool:
        return self._conditional("put_new", key, data, {"If-None-Match": "*"})

    def put_if(self, key: str, data: bytes, etag: str) -> bool:
        return self._conditional("put_if", key, data, {"If-Match": f'"{etag}"'})

    def list(self, prefix: str) -> Iterator[str]:
        def names() -> list[str]:
            found = self._client.list_objects(self.bucket, prefix, recursive=True)
            return sorted(o.object_name for o in found if not o.is_dir)  # servers order by folders or by bytes

        return iter(self._call("list", prefix, names))

    def delete(self, key: str) -> None:
        self._call("delete", key, lambda: self._client.remove_object(self.bucket, checked(key)))

    def fget(self, key: str, path: Path) -> None:
        def read() -> None:
            response = self._client.get_object(self.bucket, checked(key))
            try:
                write_file(path, response.stream(_CHUNK_BYTES))
            finally:
                response.release_conn()

        self._call("get", key, read)

    def fput(self, path: Path, key: str) -> None:
        self._call("put", key, lambda: self._client.fput_object(self.bucket, checked(key), str(path)))

    def make_bucket(self) -> None:
        """Makes the bucket when it is missing. For a server of one's own; elsewhere a key may lack the right."""

        def make() -> None:
            if not self._client.bucket_exists(self.bucket):
                self._client.make_bucket(self.bucket)

        self._call("make", "", make)

    def _put(self, key: str, data: bytes, condition: Mapping[str, str]) -> bool:
        # minio's put_object turns unknown headers into metadata; its own PUT below signs and sends what it is given
        self._client._put_object(self.bucket, checked(key), data, {**_TYPE, **condition})
        return True

    def _conditional(self, operation: str, key: str, data: bytes, condition: Mapping[str, str]) -> bool:
        attempts = 0

        def attempt() -> bool:
            nonlocal attempts
            attempts += 1
            return self._put(key, data, condition)

        try:
            return self._call(operation, key, attempt)
        except _ConditionFailed:
            return attempts > 1 and self._holds(key, data)

    def _holds(self, key: str, data: bytes) -> bool:
        try:
            return self.get(key) == data
        except NotFound:
            return False

    def _call(self, operation: str, key: str, act: Callable[[], T]) -> T:
        end = time.monotonic() + self.patience_s
        pause_s = 0.1
        while True:
            try:
                return act()
            except Exception as error:
                failure = self._failure(error, f"{operation} {self.bucket}/{key} at {self.endpoint}")
                if failure is None:
                    raise
                if not isinstance(failure, StoreUnavailable) or time.monotonic() + pause_s > end:
                    raise failure from error
            time.sleep(pause_s)
            pause_s = min(pause_s * 1.5, 1.0)

    def _failure(self, error: Exception, what: str) -> StoreError | None:
        """The error in this module's words; None when it is not the store's."""
        from minio.error import InvalidResponseError, S3Error, ServerError
        from urllib3.exceptions import HTTPError

        if isinstance(error, S3Error):
            return self._refusal(error, what)
        if isinstance(error, InvalidResponseError) and error._code < 500:
            return StoreError(f"{what}: {error}; does AWS_ENDPOINT_URL_S3 name an S3 server?")
        if isinstance(error, (HTTPError, ServerError, InvalidResponseError)):
            return StoreUnavailable(
                f"{what}: no answer from the object store for {self.patience_s:g} s ({error}); "
                "is it running, and does AWS_ENDPOINT_URL_S3 name it?"
            )
        return None

    def _refusal(self, error: Any, what: str) -> StoreError:
        if error.code == "NoSuchKey":
            return NotFound(f"{what}: there is no such object")
        if error.code == "PreconditionFailed":
            return _ConditionFailed(what)
        if error.response.status >= 500 or error.code in ("SlowDown", "ConditionalRequestConflict"):
            return StoreUnavailable(f"{what}: {error.code}: {error.message}; try again when the server is well")
        advice = _ADVICE.get(error.code, "see the server's log")
        return StoreError(f"{what}: {error.code}: {error.message}; {advice}")


class _ConditionFailed(StoreError):  # noqa: N818
    """A conditional write found another state."""
