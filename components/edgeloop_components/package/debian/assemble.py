"""Makes one layer of Debian packages: a root file system with Python 3.11 in which wheels run as user 65532.

What installing would have done by scripts is done here by rule: the merged /usr, the certificates' bundle, users, the link
python3, and notes under var/lib/dpkg/status.d by which scanners see the packages. Documentation, translations, tests and
what cannot be used in a container are left out; the copyright files stay. A base for the pipeline's steps keeps ensurepip,
and of qemu the processors that edgeloop compiles for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath

from edgeloop_components.package import cache
from edgeloop_components.package.archive import inner_link
from edgeloop_components.package.cache import Member
from edgeloop_components.package.debian import RELEASE, deb
from edgeloop_components.package.debian.lock import Locked, fetch, locked
from edgeloop_components.package.layers import File, Folder, Layer, Link, Part, text_file

__all__ = ["ENVIRONMENT", "base_layer"]

ENVIRONMENT = {"PATH": "/usr/bin", "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt"}
_MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
_STDLIB = "usr/lib/python3.11/"
_DROPPED = (
    *("usr/share/doc/", "usr/share/man/", "usr/share/locale/", "usr/share/lintian/", "usr/share/info/"),
    *("usr/share/bug/", "usr/share/doc-base/", "usr/share/pixmaps/", "usr/share/applications/", "usr/share/binfmts/"),
    *("usr/share/zoneinfo/right/", "usr/share/zoneinfo/posix/", "usr/share/perl5/", "usr/share/debconf/", "usr/sbin/"),
    *("usr/share/ca-certificates/", "etc/update-motd.d/", "usr/share/base-files/"),
    *(
        _STDLIB + name
        for name in ("test/", "idlelib/", "tkinter/", "lib2to3/", "ensurepip/", "distutils/", "turtledemo/")
    ),
    *(
        f"{_STDLIB}lib-dynload/{name}" for name in ("_curses", "_dbm", "nis", "readline")
    ),  # need libraries that are not here
    *("usr/share/zoneinfo/localtime", "usr/lib/aarch64-linux-gnu/gconv/", "usr/lib/x86_64-linux-gnu/gconv/"),
    *("var/", "home/", "boot/", "media/", "mnt/", "opt/", "srv/", "proc/", "sys/", "dev/", "run/", "root/", "tmp/"),
)
_DROPPED_FOR = {"server": _DROPPED, "steps": tuple(path for path in _DROPPED if path != f"{_STDLIB}ensurepip/")}
_OTHER_QEMU = re.compile(r"usr/(libexec/qemu-binfmt/|bin/qemu-(?!(aarch64|arm|riscv64|x86_64)-static$))")
_FOLDERS = (
    *(Folder(name) for name in ("proc", "sys", "dev", "run", "etc", "home")),
    *(Folder(name, 0o1777) for name in ("tmp", "var/tmp")),
)
_USERS = "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:edgeloop:/:/sbin/nologin\n"
_GROUPS = "root:x:0:\nnonroot:x:65532:\n"


def base_layer(platform: str, purpose: str = "server") -> Layer:
    """The layer for a platform and purpose; packages are fetched where the cache has not got them. PackageError."""
    paths = fetch(locked(platform, purpose=purpose))
    entries = sorted(paths)
    found = {entry: cache.expanded(paths[entry], entry.sha256, deb.members) for entry in entries}
    everything = [member for members in found.values() for member in members]
    files = {file.path: file for file in _files(everything, purpose)}
    links = {link.path: link for link in _links(everything, purpose) if link.path not in files}
    for made in _made(everything, {entry: paths[entry] for entry in entries}):
        files[made.path] = made
        links.pop(made.path, None)
    return Layer(
        f"Debian {RELEASE}: " + " ".join(f"{entry.package}={entry.version}" for entry in entries),
        tuple(files.values()),
        platform=platform,
        links=(*links.values(), *_merged_links([*files, *links]), Link("usr/bin/python3", "python3.11")),
        folders=_FOLDERS,
        parts=tuple(_part(entry) for entry in entries),
    )


def _part(entry: Locked) -> Part:
    return Part(entry.package, entry.version, "deb", entry.sha256, "", entry.architecture, entry.source)


def _merged(path: str) -> str:
    return f"usr/{path}" if PurePosixPath(path).parts[:1] and PurePosixPath(path).parts[0] in _MERGED else path


def _merged_links(paths: Iterable[str]) -> Iterator[Link]:
    tops = {path.split("/")[1] for path in paths if path.startswith("usr/") and path.count("/") > 1}
    yield from (Link(name, f"usr/{name}") for name in _MERGED if name in tops)


def _kept(path: str, purpose: str) -> bool:
    if path.startswith("usr/share/doc/"):
        return path.endswith("/copyright")
    return not path.startswith(_DROPPED_FOR[purpose]) and "__pycache__" not in path and not _OTHER_QEMU.match(path)


def _files(members: Iterable[Member], purpose: str) -> Iterator[File]:
    for member in members:
        path = _merged(member.path)
        if member.kind == "file" and _kept(path, purpose):
            yield File(
                path, Path(member.source), member.sha256, member.size_bytes, 0o755 if member.mode & 0o100 else 0o644
            )


def _links(members: Iterable[Member], purpose: str) -> Iterator[Link]:
    """Links, made relative to the image's root. A link between merged folders names the same file as before."""
    for member in members:
        path = _merged(member.path)
        if member.kind == "link" and _kept(path, purpose) and not path.startswith("usr/share/doc/"):
            target = member.target
            if not target.startswith("/") and path != member.path:  # climbs from lib/x now lies one deeper
                target = "/" + str(_normal(PurePosixPath(member.path).parent / target))
            absolute = target.startswith("/")
            yield Link(path, inner_link(PurePosixPath(path), "/" + _merged(target.lstrip("/")) if absolute else target))


def _normal(path: PurePosixPath) -> PurePosixPath:
    parts: list[str] = []
    for part in path.parts:
        if part != "..":
            parts.append(part)
        elif parts:
            parts.pop()
    return PurePosixPath(*parts)


def _made(members: Iterable[Member], debs: Mapping[Locked, Path]) -> Iterator[File]:
    """What the packages' scripts would have made."""
    yield text_file("etc/passwd", _USERS)
    yield text_file("etc/group", _GROUPS)
    yield text_file("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n")
    place = "usr/share/ca-certificates/mozilla/"
    certificates = sorted((m.path, m.source) for m in members if m.path.startswith(place) and m.kind == "file")
    bundle = b"".join(Path(source).read_bytes().rstrip(b"\n") + b"\n" for _, source in certificates)
    path = "etc/ssl/certs/ca-certificates.crt"
    yield File(path, bundle, hashlib.sha256(bundle).hexdigest(), len(bundle))
    for entry, deb_path in debs.items():
        yield text_file(f"var/lib/dpkg/status.d/{entry.package}", deb.control(deb_path))
