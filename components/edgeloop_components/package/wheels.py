"""Wheels of any platform from a lock: fetched by pip with every hash required, unpacked without running anything.

`requirements-image.lock` is the part of the repository's requirements.lock that images need: the same versions and hashes.
`python -m edgeloop_components.package.wheels lock requirements.lock` writes it; `... fetch` fills the cache. A layer of
locked wheels and one of the same wheels as installed (package/installed.py) have the same bytes.

Refuses a wheel whose hash is not in the lock, members that lead out, and a platform without such wheels.
"""

from __future__ import annotations

import argparse
import email
import hashlib
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from email.message import Message
from pathlib import Path, PurePosixPath

from edgeloop_components.package import cache
from edgeloop_components.package.blobs import write_bytes
from edgeloop_components.package.cache import Member
from edgeloop_components.package.installed import closure, needed
from edgeloop_components.package.layers import SITE, File, Layer, PackageError, Part
from edgeloop_contracts import canonical, digest_of

__all__ = ["LOCK", "ROOTS", "entries_of", "fetch", "locked_layer", "note_of", "subset"]

LOCK = Path(__file__).with_name("requirements-image.lock")
ROOTS = ("onnxruntime", "numpy", "uvicorn", "uvloop", "httptools", "paho-mqtt")
PYTHON_VERSION = "3.11"
_GLIBC = 36  # of the base: Debian bookworm
_MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_HEAD = "# Written by `python -m edgeloop_components.package.wheels lock`: what an image needs of requirements.lock.\n"


def entries_of(text: str) -> dict[str, str]:
    """name: entry (its requirement and hashes, as pip reads them) of a lock file."""
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = re.findall(r"^([A-Za-z0-9._-]+)((?:\[[^]]*\])?==[^\n]*(?:\n[ \t]+[^\n]*)*)", plain, re.MULTILINE)
    return {_canonical(name): f"{name}{rest}".rstrip() for name, rest in found}


def subset(text: str, names: Iterable[str]) -> str:
    """A lock file's entries of `names`. PackageError for one that it has not."""
    entries, wanted = entries_of(text), sorted(map(_canonical, names))
    missing = [name for name in wanted if name not in entries]
    if missing:
        raise PackageError(f"lock: expected {', '.join(missing)} in it, found none")
    return _HEAD + "".join(f"{entries[name]}\n" for name in wanted)


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked_layer(names: Iterable[str], platform: str) -> Layer:
    """The locked wheels `names` for a platform with what they need, trimmed as installed ones are. PackageError."""
    wheels = {_canonical(_metadata(members)["Name"]): members for members in map(_members, fetch(platform))}
    chosen = _closure(names, {name: _metadata(members) for name, members in wheels.items()}, platform)
    files = [file for name in chosen for file in _files(wheels[name])]
    native = any(".so" in PurePosixPath(file.path).name for file in files)
    parts = [_part(_metadata(wheels[name])) for name in chosen]
    listed = " ".join(f"{part.name}=={part.version}" for part in parts)
    return Layer(f"wheels: {listed}", tuple(files), platform=platform if native else "", parts=tuple(parts))


def _part(metadata: Message) -> Part:
    return Part(metadata["Name"], metadata["Version"], "pypi", license=metadata.get("License-Expression") or "")


def fetch(platform: str) -> list[Path]:
    """The wheels of the whole lock for a platform, from the cache or by pip. PackageError."""
    if platform not in _MACHINES:
        raise PackageError(f"wheels: expected a platform that has them ({', '.join(_MACHINES)}), got {platform}")
    folder, note = cache.folder("wheels"), note_of(platform)
    names = json.loads(note.read_bytes()) if note.exists() else None
    if names is None or not all((folder / name).exists() for name in names):
        names = _download(folder, platform)
        write_bytes(note, canonical(names))
    return [folder / name for name in names]


def note_of(platform: str) -> Path:
    """The file of the cache that names the wheels of a platform; `fetch` writes it."""
    key = digest_of([LOCK.read_text(), platform, PYTHON_VERSION]).removeprefix("sha256:")
    return cache.folder("wheels") / f"{key}.json"


def _download(folder: Path, platform: str) -> list[str]:
    """Names of the wheels in the cache: <sha256>.whl."""
    machine = _MACHINES[platform]
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(_GLIBC, 16, -1)] + [f"manylinux2014_{machine}"]
    with tempfile.TemporaryDirectory() as temporary:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += [
            "--only-binary=:all:",
            "--require-hashes",
            "--implementation",
            "cp",
            "--python-version",
            PYTHON_VERSION,
        ]
        command += [word for abi in ("cp311", "abi3", "none") for word in ("--abi", abi)]
        command += [word for tag in tags for word in ("--platform", tag)]
        done = subprocess.run([*command, "-r", str(LOCK), "-d", temporary], capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr or done.stdout).strip()[-600:]
            raise PackageError(f"wheels for {platform}: expected pip to fetch what {LOCK.name} names; it said: {said}")
        return sorted(_kept(wheel, folder) for wheel in Path(temporary).glob("*.whl"))


def _kept(wheel: Path, folder: Path) -> str:
    sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if f"sha256:{sha256}" not in LOCK.read_text():
        raise PackageError(f"{wheel.name}: expected a sha256 of {LOCK.name}, found {sha256}")
    return cache.put(wheel, folder / f"{sha256}.whl", sha256).name


def _members(wheel: Path) -> list[Member]:
    return cache.expanded(wheel, wheel.stem, _unzipped)


def _unzipped(wheel: Path) -> Iterator[tuple[Member, bytes]]:
    """A wheel's files where installing would put them; scripts, headers and data are left out."""
    with zipfile.ZipFile(wheel) as archive:
        for info in archive.infolist():
            path = cache.inside(info.filename, wheel.name)
            spread = re.fullmatch(r"[^/]+\.data/(\w+)/(.+)", path)
            if info.is_dir() or (spread and spread[1] not in ("purelib", "platlib")):
                continue
            yield Member(spread[2] if spread else path, "file"), archive.read(info)


def _metadata(members: Iterable[Member]) -> Message:
    source = next((m.source for m in members if re.fullmatch(r"[^/]+\.dist-info/METADATA", m.path)), None)
    if source is None:
        raise PackageError("wheel: expected METADATA in it, found none")
    return email.message_from_string(Path(source).read_text())


def _files(members: Iterable[Member]) -> Iterator[File]:
    for member in members:
        if needed(member.path):
            mode = 0o755 if ".so" in PurePosixPath(member.path).name else 0o644
            yield File(f"{SITE}/{member.path}", Path(member.source), member.sha256, member.size_bytes, mode)


def _closure(names: Iterable[str], metadata: Mapping[str, Message], platform: str) -> list[str]:
    from packaging.requirements import Requirement

    environment = {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": _MACHINES[platform]}
    environment |= {"python_version": PYTHON_VERSION, "implementation_name": "cpython", "extra": ""}
    found, waiting = set[str](), [_canonical(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        if name not in metadata:
            raise PackageError(f"{LOCK.name}: expected {name} in it, found none: lock it anew")
        found.add(name)
        wanted = map(Requirement, metadata[name].get_all("Requires-Dist") or [])
        waiting += [_canonical(r.name) for r in wanted if r.marker is None or r.marker.evaluate(environment)]
    return sorted(found)


def _lock(options: argparse.Namespace) -> None:
    names = [distribution.metadata["Name"] for distribution in closure(options.roots)]
    text = subset(options.path.read_text(), {*names, *options.alone})
    options.out.write_text(text)
    print(f"{options.out}: {', '.join(entries_of(text))}")


def _fetch(platforms: Iterable[str]) -> None:
    for platform in platforms:
        wheels = fetch(platform)
        size_bytes = sum(wheel.stat().st_size for wheel in wheels)
        print(f"{platform}: {len(wheels)} wheels, {size_bytes / 1e6:.1f} MB, in the cache")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; its exit code."""
    top = argparse.ArgumentParser(prog="python -m edgeloop_components.package.wheels")
    commands = top.add_subparsers(dest="command", required=True)
    lock = commands.add_parser("lock", help="take what images need out of a lock file")
    lock.add_argument("path", type=Path, help="the repository's requirements.lock")
    lock.add_argument("--roots", nargs="+", default=ROOTS, help="with all that they need [those of server images]")
    lock.add_argument("--alone", nargs="+", default=[], help="without what they need")
    lock.add_argument("--out", type=Path, default=LOCK, help="file to write")
    lock.set_defaults(run=_lock)
    brought = commands.add_parser("fetch", help="fetch the wheels of all platforms, or of some, into the cache")
    brought.add_argument("--platform", action="append", choices=list(_MACHINES))
    brought.set_defaults(run=lambda options: _fetch(options.platform or _MACHINES))
    options = top.parse_args(arguments)
    try:
        options.run(options)
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
