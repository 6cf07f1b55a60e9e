"""The lock file of the Debian packages, and the packages that it names, fetched into the cache.

A line: package, version, architecture, sha256, bytes, source package. What the archive no longer has (a security update
takes an older version's place) is an error that says how to lock anew, unless the cache still holds it.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

from edgeloop_components.package import cache
from edgeloop_components.package.debian import ARCHITECTURES, PURPOSES, RELEASE, STEPS
from edgeloop_components.package.debian.apt import apt, update
from edgeloop_components.package.layers import PackageError

__all__ = ["LOCK", "Locked", "fetch", "locked", "read", "resolve", "write"]

LOCK = Path(__file__).with_name(f"{RELEASE}.lock")
RELOCK = "python -m edgeloop_components.package.debian lock"
_HEAD = f"# Debian {RELEASE}; written by `{RELOCK}`: package, version, architecture, sha256, bytes, source\n"


@dataclass(frozen=True, order=True)
class Locked:
    """One package of one architecture (`all`: of every one)."""

    package: str
    version: str
    architecture: str
    sha256: str
    size_bytes: int
    source: str


def read(path: Path = LOCK) -> list[Locked]:
    """The packages of a lock file. PackageError names the line that is not one."""
    found = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split()
        if line.startswith("#") or not words:
            continue
        if len(words) != 6 or not re.fullmatch("[0-9a-f]{64}", words[3]) or not words[4].isdigit():
            raise PackageError(
                f"{path}:{number}: expected package version architecture sha256 bytes source, got {line!r}"
            )
        found.append(Locked(words[0], words[1], words[2], words[3], int(words[4]), words[5]))
    return found


def write(entries: Sequence[Locked], path: Path = LOCK) -> None:
    """Writes a lock file."""
    lines = [" ".join(str(value) for value in astuple(entry)) for entry in sorted(set(entries))]
    path.write_text(_HEAD + "\n".join(lines) + "\n")


def locked(platform: str, path: Path = LOCK, *, purpose: str = "server") -> list[Locked]:
    """The packages of a platform's base for a purpose (PURPOSES). PackageError when the release is not locked for it."""
    architecture = ARCHITECTURES.get(platform)
    if architecture is None:
        raise PackageError(f"base of Debian {RELEASE}: expected one of {', '.join(ARCHITECTURES)}, got {platform}")
    wanted = set(PURPOSES[purpose])
    entries = [e for e in read(path) if e.architecture in (architecture, "all") and e.package in wanted]
    missing = sorted(wanted - {entry.package for entry in entries})
    if missing:
        raise PackageError(f"{path}: expected {', '.join(missing)} for {architecture}, found none: {RELOCK}")
    return entries


def resolve() -> list[Locked]:
    """The newest versions that the machine's Debian sources have, for every architecture."""
    update()
    names = [f"{package}:{architecture}" for package in STEPS for architecture in ARCHITECTURES.values()]
    done = apt("apt-cache", "show", "--no-all-versions", *names)
    entries = [_entry(stanza) for stanza in re.split(r"\n\n+", done.stdout.strip()) if stanza]
    found = {(entry.package, entry.architecture) for entry in entries}
    for name in names:
        package, architecture = name.split(":")
        if (package, architecture) not in found and (package, "all") not in found:
            raise PackageError(f"{name}: expected it in the machine's Debian sources: {done.stderr.strip()[-300:]}")
    return entries


def _entry(stanza: str) -> Locked:
    fields = dict(re.findall(r"^([A-Za-z0-9-]+): (.*)$", stanza, re.MULTILINE))
    source = str(fields.get("Source") or fields["Package"]).split()[0]
    size = int(fields["Size"])
    return Locked(fields["Package"], fields["Version"], fields["Architecture"], fields["SHA256"], size, source)


def fetch(entries: Sequence[Locked]) -> dict[Locked, Path]:
    """The .deb files of packages, from the cache or the archive. PackageError names those that are not to be had."""
    paths = {entry: cache.folder("debs") / f"{entry.sha256}.deb" for entry in entries}
    missing = [entry for entry, path in paths.items() if not path.exists()]
    if missing and (still := _download(missing, paths)):
        update()
        if still := _download(still, paths):
            names = ", ".join(f"{e.package} {e.version} ({e.architecture})" for e in still)
            raise PackageError(
                f"{names}: expected in the Debian archive, found none: newer versions took their place. Lock anew: {RELOCK}"
            )
    return paths


def _download(entries: Sequence[Locked], paths: dict[Locked, Path]) -> list[Locked]:
    """Fetches what it can; gives what it could not. All at once, else one by one."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if apt("apt-get", "download", "-qq", *map(_wanted, entries), cwd=folder).returncode:
            for entry in entries:
                apt("apt-get", "download", "-qq", _wanted(entry), cwd=folder)
        for deb in folder.glob("*.deb"):
            for entry in (e for e in entries if _is(deb, e)):
                cache.put(deb, paths[entry], entry.sha256)
    return [entry for entry in entries if not paths[entry].exists()]


def _wanted(entry: Locked) -> str:
    architecture = "" if entry.architecture == "all" else f":{entry.architecture}"
    return f"{entry.package}{architecture}={entry.version}"


def _is(deb: Path, entry: Locked) -> bool:
    """apt names files package_version_architecture.deb, with the colon of an epoch escaped."""
    return deb.name.lower() == f"{entry.package}_{entry.version.replace(':', '%3a')}_{entry.architecture}.deb".lower()
