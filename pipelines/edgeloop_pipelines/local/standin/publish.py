"""Writes what the API server would show into `status/`, one object a file, and reads what an earlier life left there.

Only what has changed is written; what is no longer there is removed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from edgeloop_contracts import digest_of
from edgeloop_fleet.clusters.folder import STATUS
from edgeloop_fleet.render import files, identity
from edgeloop_pipelines.local.standin.objects import Owner
from edgeloop_pipelines.local.standin.status import BYTES_PULLED

__all__ = ["Earlier", "Publisher", "earlier"]

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Earlier:
    """What the status folder said when the stand-in started: generations, finished jobs, bytes pulled."""

    generations: Mapping[Owner, tuple[str, int]] = field(default_factory=dict)
    jobs: Mapping[str, Object] = field(default_factory=dict)
    pulled_bytes: Mapping[str, int] = field(default_factory=dict)


def _documents(folder: Path) -> list[Object]:
    """A file that cannot be read is left out: all of it is written anew."""
    found: list[Object] = []
    for path in sorted((folder / STATUS).glob("*.yaml")):
        try:
            found += [
                item for item in files.load_all(path.read_text()) if isinstance(item, dict) and "metadata" in item
            ]
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
    return found


def earlier(folder: Path) -> Earlier:
    """Reads the status folder."""
    found = _documents(folder)
    workloads = [item for item in found if item["kind"] in ("Deployment", "DaemonSet")]
    jobs = {item["metadata"]["name"]: item["status"] for item in found if item["kind"] == "ImagePrePullJob"}
    notes = {i["metadata"]["name"]: i["metadata"].get("annotations", {}) for i in found if i["kind"] == "Node"}
    return Earlier(
        {Owner(*identity(i)): (digest_of(i["spec"]), int(i["metadata"]["generation"])) for i in workloads},
        {name: status for name, status in jobs.items() if status["phase"] != "InProgress"},
        {name: int(note.get(BYTES_PULLED, 0)) for name, note in notes.items()},
    )


class Publisher:
    """Keeps the status folder equal to the newest documents."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / STATUS
        self._written: dict[str, Object] = {}

    def publish(self, documents: Iterable[Object]) -> None:
        """Writes the changed ones and removes the files of objects that are gone."""
        named = {files.file_name(document): document for document in documents}
        for name, document in named.items():
            if self._written.get(name) != document:
                files.write_atomic(self._folder / name, files.dump(document))
        gone = {path.name for path in self._folder.glob("*.yaml")} - set(named)
        for name in gone:
            (self._folder / name).unlink(missing_ok=True)
        self._written = named
