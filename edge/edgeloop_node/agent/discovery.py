"""Reads the servers of the run folder into the spool: their counts, what they are, and what ended servers left behind.

A file that a server left is deleted only after its reports are in the spool; a crash between the two reads it twice, which
changes nothing. An entry whose socket nobody answers belongs to a dead server and is removed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loaded
from edgeloop_node.agent.entries import Entry, Version, entry_of
from edgeloop_node.agent.spool import Spool
from edgeloop_node.files import remove
from edgeloop_node.local import FINAL, DeadError, Server, UnreachableError, ask, servers_in
from edgeloop_node.log import Changes, log

__all__ = ["Discovery"]

TIMEOUT_S = 3.0
MAX_PAGES = 50  # in one turn; the rest comes in the next


def _entries(documents: Any, where: str) -> list[Entry]:
    entries = []
    for document in documents:
        try:
            entries.append(entry_of(document))
        except ValueError as error:
            log("error", "a report cannot be read and is left out", where=where, error=str(error))
    return entries


def _version_of(server: Server) -> Version:
    document = server.document
    window_s = int(document["window_s"])
    if window_s < 1:
        raise ValueError(f"window_s: expected >= 1, got {window_s}")
    return Version(
        loop=server.loop,
        version=server.version,
        schema_hash=str(document["schema_hash"]),
        window_s=window_s,
        image=str(document.get("image", "")),
        classes=tuple(str(name) for name in document["classes"]),
        group=str(document.get("group", "")),
    )


class Discovery:
    """What is known of the servers here. Methods raise sqlite3.Error when the spool cannot be written."""

    def __init__(self, run_dir: Path, spool: Spool) -> None:
        self.run_dir, self.spool = run_dir, spool
        self.group = next((v.group for v in reversed(spool.versions()) if v.group), "")  # what the servers here say
        self._known: set[str] = set()
        self._changes = Changes()

    def read(self) -> tuple[tuple[Loaded, ...], list[Entry]]:
        """What is loaded now, and the reports that say more than before."""
        changed = [entry for path in sorted(self.run_dir.glob(f"*{FINAL}")) for entry in self._final(path)]
        loaded = []
        for server in servers_in(self.run_dir):
            try:
                changed += self._server(server)
                loaded.append(self._loaded(server, ready=True))
            except DeadError:
                self._bury(server)
            except UnreachableError as error:
                self._changes.trouble(f"server {server.boot} does not answer", error)
                loaded.append(self._loaded(server, ready=False))
        return tuple(loaded), changed

    def _loaded(self, server: Server, *, ready: bool) -> Loaded:
        image = str(server.document.get("image", ""))
        return Loaded(loop=server.loop, version=server.version, image=image, boot=server.boot, ready=ready)

    def _server(self, server: Server) -> list[Entry]:
        changed: list[Entry] = []
        for page in self._pages(server):
            entries = _entries(page["reports"], f"server {server.boot}")
            if server.boot not in self._known:
                self._meet(server)
            if entries:
                changed += self.spool.store(server.boot, page["sequence"], entries)
        self._changes.well(f"server {server.boot} does not answer")
        return changed

    def _pages(self, server: Server) -> Iterator[dict[str, Any]]:
        for _ in range(MAX_PAGES):
            after = self.spool.cursor(server.boot)
            answer = ask(server.socket, f"/window?after={after}", TIMEOUT_S)
            page = answer.body
            if answer.status != 200 or not _is_page(page, server.boot):
                raise UnreachableError(
                    f"/window: expected a page of {server.boot}, got {answer.status}: {str(page)[:100]}"
                )
            yield page
            if not page.get("more"):
                return

    def _meet(self, server: Server) -> None:
        try:
            version = _version_of(server)
            self.spool.learn(version)
        except (KeyError, ValueError, TypeError) as error:
            raise UnreachableError(f"{server.boot}: its announcement lacks what labels need: {error!r}") from error
        self.group = version.group
        self._known.add(server.boot)
        log("info", "a server was found", boot=server.boot, loop=server.loop, version=server.version)

    def _bury(self, server: Server) -> None:
        log("info", "a server is gone", boot=server.boot, loop=server.loop, version=server.version)
        self._known.discard(server.boot)
        self._changes.well(f"server {server.boot} does not answer")
        for path in (server.socket, server.socket.with_suffix(".json")):
            self._remove(path)

    def _remove(self, path: Path) -> None:
        try:
            remove(path)
        except OSError as error:
            self._changes.trouble(f"{path.name} cannot be removed", error)

    def _final(self, path: Path) -> list[Entry]:
        boot = path.name.removesuffix(FINAL)
        try:
            document = json.loads(path.read_bytes())
            entries = _entries(document["reports"], path.name)
        except FileNotFoundError:
            return []
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._changes.trouble(f"{path.name} cannot be read and is kept", repr(error))
            return []
        sequence = max((entry.sequence for entry in entries), default=0)
        changed = self.spool.store(boot, sequence, entries)
        self._remove(path)
        log("info", "an ended server's counts were taken over", boot=boot, reports=len(entries))
        return changed


def _is_page(page: Any, boot: str) -> bool:
    return (
        isinstance(page, dict)
        and page.get("boot") == boot
        and type(page.get("sequence")) is int
        and isinstance(page.get("reports"), list)
    )
