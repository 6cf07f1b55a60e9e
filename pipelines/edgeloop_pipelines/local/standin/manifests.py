"""The folder of manifests: read when a file has changed, refused when it is broken.

A file that is refused is a `kubectl apply` that failed: what it said before stays in force, and `problems` names the file
and the error. A file that is removed is a `kubectl delete`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edgeloop_fleet.clusters.folder import APPLY, NODES, read_node_documents
from edgeloop_fleet.render import files, identity
from edgeloop_pipelines.local.standin.objects import ManifestError

__all__ = ["Manifests"]

Stamp = tuple[int, int, int]
Object = Mapping[str, Any]


@dataclass
class _File:
    stamp: Stamp
    documents: list[Any] = field(default_factory=list)


def _stamp(path: Path) -> Stamp:
    found = path.stat()
    return found.st_mtime_ns, found.st_size, found.st_ino


def _one_object(path: Path) -> list[Any]:
    documents = files.load_all(path.read_text())
    if len(documents) != 1:
        raise ManifestError(f"expected one object in the file, got {len(documents)}")
    return documents


class Manifests:
    """What the files of a cluster folder say now. `admit` raises ManifestError for an object that cannot be done."""

    def __init__(self, folder: Path, admit: Callable[[Any], None]) -> None:
        self._folder, self._admit = folder, admit
        self._files: dict[Path, _File] = {}
        self.problems: dict[str, str] = {}

    @property
    def objects(self) -> list[Object]:
        """The objects in force, by file name."""
        kept = (file.documents for path, file in sorted(self._files.items()) if path.name != NODES)
        return [document for documents in kept for document in documents]

    @property
    def nodes(self) -> list[Object]:
        """The Node objects in force."""
        return self._files[self._folder / NODES].documents if self._folder / NODES in self._files else []

    def poll(self) -> bool:
        """Reads what has changed; tells whether anything did."""
        paths = [self._folder / NODES, *sorted((self._folder / APPLY).glob("*.yaml"))]
        there = {path: stamp for path in paths if (stamp := self._stamp_of(path))}
        gone = [path for path in self._files if path not in there]
        for path in gone:
            del self._files[path]
            self.problems.pop(path.name, None)
        changed = [path for path, stamp in there.items() if path not in self._files or self._files[path].stamp != stamp]
        for path in changed:
            self._read(path, there[path])
        return bool(gone or changed)

    def _stamp_of(self, path: Path) -> Stamp | None:
        try:
            return _stamp(path)
        except FileNotFoundError:
            return None

    def _read(self, path: Path, stamp: Stamp) -> None:
        file = self._files.setdefault(path, _File(stamp))
        file.stamp = stamp
        try:
            file.documents = self._admitted(path)
            self.problems.pop(path.name, None)
        except FileNotFoundError:
            self.problems.pop(path.name, None)
        except (OSError, yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, RenderError, ManifestError
            self.problems[path.name] = " ".join(f"{type(error).__name__}: {error}".split())

    def _admitted(self, path: Path) -> list[Any]:
        documents = read_node_documents(path) if path.name == NODES else _one_object(path)
        for document in documents:
            self._admit(document)
            if path.name != NODES and files.file_name(document) != path.name:
                raise ManifestError(f"expected the file name {files.file_name(document)} for {identity(document)}")
        return documents
