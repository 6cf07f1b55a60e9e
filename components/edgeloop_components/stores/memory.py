"""The simulator of the object store: a dictionary with a lock. Gone with the process, shared between threads only."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

from edgeloop_components.stores.port import NotFound, checked, write_file

__all__ = ["MemoryObjects"]


class MemoryObjects:
    """Objects in memory; an etag is the MD5 of the content, as S3 servers make it."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def get(self, key: str) -> bytes:
        return self.get_with_etag(key)[0]

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        data = self._objects.get(checked(key))
        if data is None:
            raise NotFound(f"memory: no object {key}")
        return data, self._etag(data)

    def put(self, key: str, data: bytes) -> None:
        with self._lock:
            self._objects[checked(key)] = bytes(data)

    def put_new(self, key: str, data: bytes) -> bool:
        with self._lock:
            return self._objects.setdefault(checked(key), own := bytes(bytearray(data))) is own

    def put_if(self, key: str, data: bytes, etag: str) -> bool:
        with self._lock:
            found = self._objects.get(checked(key))
            if found is None or self._etag(found) != etag:
                return False
            self._objects[key] = bytes(data)
            return True

    def list(self, prefix: str) -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self._objects if key.startswith(prefix)))

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(checked(key), None)

    def fget(self, key: str, path: Path) -> None:
        write_file(path, iter([self.get(key)]))

    def fput(self, path: Path, key: str) -> None:
        self.put(key, path.read_bytes())

    @staticmethod
    def _etag(data: bytes) -> str:
        return hashlib.md5(data, usedforsecurity=False).hexdigest()
