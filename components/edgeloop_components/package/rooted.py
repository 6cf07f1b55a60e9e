"""What an image's layers come to when they are laid over one another, without unpacking any: whiteouts, links, replaced folders.

Refuses members that lead out of the root, and images of more members than a limit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

from edgeloop_components.package.blobs import LayoutError
from edgeloop_components.package.tarstream import MOST_MEMBERS, Member

__all__ = ["Root"]

_WHITEOUT, _OPAQUE = ".wh.", ".wh..wh..opq"  # take away this name, or all of this folder, of the lower layers
MOST_LINKS = 40  # that Linux follows on one path
Entry = tuple[str, str]  # kind, a link's target


class Root:
    """The root of an image, layer by layer from the lowest."""

    def __init__(self) -> None:
        self._entries: dict[str, Entry] = {}

    def add(self, layer: Iterable[Member]) -> None:
        """Lays a layer over those so far. LayoutError."""
        own: dict[str, Entry] = {}
        gone, emptied = set[str](), set[str]()  # of the lower layers, wherever in the archive that is said
        for member in layer:
            path = _inside(member)
            if path.name == _OPAQUE:
                emptied.add(_text(path.parent))
            elif path.name.startswith(_WHITEOUT):
                gone.add(_text(path.with_name(path.name.removeprefix(_WHITEOUT) or _WHITEOUT)))
            else:
                own[_text(path)] = self._entry(member, own)
            if len(own) + len(self._entries) > MOST_MEMBERS:
                raise LayoutError(f"image: expected at most {MOST_MEMBERS} members, found more")
        gone.update(path for path, (kind, _) in own.items() if kind != "folder")
        kept = {path: entry for path, entry in self._entries.items() if not _covered(path, gone, emptied)}
        self._entries = {**kept, **own}

    def _entry(self, member: Member, own: Mapping[str, Entry]) -> Entry:
        """A hard link is what it leads to, whatever becomes of that name later."""
        if member.kind != "hard link":
            return member.kind, member.target
        target = _text(PurePosixPath(member.target))
        return own.get(target) or self._entries.get(target) or (member.kind, "")

    def is_file(self, path: str) -> bool:
        """Whether a path leads to a file, through links where it has some."""
        left, done, links = path.split("/"), list[str](), 0
        while left:
            part = left.pop(0)
            done = done[:-1] if part == ".." else [*done, part] if part not in ("", ".") else done
            kind, target = self._entries.get("/".join(done), ("folder", ""))
            links += kind == "link"
            if links > MOST_LINKS or (left and kind not in ("folder", "link")):
                return False
            if kind == "link":
                done, left = [] if target.startswith("/") else done[:-1], [*target.split("/"), *left]
        return self._entries.get("/".join(done), ("", ""))[0] == "file"


def _inside(member: Member) -> PurePosixPath:
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts:
        raise LayoutError(f"layer member {member.name!r}: expected a path inside, found one that leads out")
    return path


def _text(path: PurePosixPath) -> str:
    return "" if str(path) == "." else str(path)


def _covered(path: str, gone: set[str], emptied: set[str]) -> bool:
    """Whether a lower layer's path is taken away: itself, or a folder that it is in."""
    above = [_text(parent) for parent in PurePosixPath(path).parents]
    return path in gone or any(parent in gone or parent in emptied for parent in above)
