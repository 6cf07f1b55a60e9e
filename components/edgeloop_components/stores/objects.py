"""The object store: one bucket of an S3 server behind a small port, with conditional writes.

This is the module to import: the port (port.py), the S3 adapter (s3.py), the simulator (memory.py), and `connect`,
which reads the usual environment variables. One conformance suite holds adapter and simulator to the port's laws.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from edgeloop_components.stores.memory import MemoryObjects
from edgeloop_components.stores.port import NotFound, Objects, StoreError, StoreUnavailable
from edgeloop_components.stores.s3 import S3Objects

__all__ = ["MemoryObjects", "NotFound", "Objects", "S3Objects", "StoreError", "StoreUnavailable", "connect"]


def connect(bucket: str | None = None, *, environment: Mapping[str, str] | None = None) -> S3Objects:
    """The bucket (default EDGELOOP_BUCKET or `edgeloop`) at the S3 server that the environment names.

    Reads AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, and
    AWS_REGION (default us-east-1). StoreError says which is missing or wrong. Nothing is sent yet.
    """
    import urllib3
    from minio import Minio

    given = os.environ if environment is None else environment
    endpoint = _required(given, "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.netloc or url.path.strip("/"):
        raise StoreError(f"AWS_ENDPOINT_URL_S3: expected http(s)://host[:port], got {endpoint!r}")
    client = Minio(
        url.netloc,
        access_key=_required(given, "AWS_ACCESS_KEY_ID"),
        secret_key=_required(given, "AWS_SECRET_ACCESS_KEY"),
        session_token=given.get("AWS_SESSION_TOKEN") or None,
        region=given.get("AWS_REGION") or "us-east-1",
        secure=url.scheme == "https",
        http_client=urllib3.PoolManager(retries=False, maxsize=16, timeout=urllib3.Timeout(connect=3, read=60)),
    )
    return S3Objects(client, bucket or given.get("EDGELOOP_BUCKET") or "edgeloop", endpoint=endpoint)


def _required(environment: Mapping[str, str], *names: str) -> str:
    for name in names:
        if environment.get(name):
            return environment[name]
    raise StoreError(
        f"object store: expected {' or '.join(names)} in the environment, found nothing; "
        "`edgeloop` commands set it for the store of this machine, elsewhere set it yourself"
    )
