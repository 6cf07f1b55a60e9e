"""Fetches tools that tests use as independent peers from Debian, without touching the machine: python tests/tools/fetch.py

cosign, oras and docker-registry are in Debian 13 and run on Debian 12 too. A private apt configuration below the cache folder
(EDGELOOP_TOOLS, else `edgeloop/tools` in the user's cache) reads the archive that this machine's own sources name, checks its
signatures as apt does, and the packages are unpacked there without being installed. What is there is not fetched again.

Others are fetched when they are named: `python tests/tools/fetch.py linux.uml` for a kernel that runs as a program (41 MB).

Refuses a machine without apt, or without Debian among its sources.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

SUITE, KEYRING = "trixie", "/usr/share/keyrings/debian-archive-keyring.gpg"
TOOLS = {"cosign": "cosign", "oras": "oras", "docker-registry": "docker-registry"}  # command: package
FURTHER = {
    "linux.uml": "user-mode-linux"
}  # fetched when they are named, from this machine's own release: they need its libc


class ToolsError(RuntimeError):
    """The tools cannot be had on this machine; the text says why."""


def folder() -> Path:
    """Where the tools are kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("EDGELOOP_TOOLS") or cache / "edgeloop" / "tools")


def tools(names: Sequence[str] = tuple(TOOLS)) -> dict[str, Path]:
    """Each tool's path, fetched first where one lacks. `ToolsError` says why it cannot be had."""
    known = TOOLS | FURTHER
    if unknown := [name for name in names if name not in known]:
        raise ToolsError(f"expected some of {', '.join(known)}, got {', '.join(unknown)}")
    paths = {name: folder() / "usr" / "bin" / name for name in names}
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for packages, suite in ((TOOLS, SUITE), (FURTHER, "")):
            if lacking := [packages[name] for name, path in paths.items() if name in packages and not path.exists()]:
                _fetch(lacking, suite)
    return paths


def _fetch(packages: list[str], suite: str) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise ToolsError("cosign, oras and docker-registry come from Debian: no apt-get and dpkg on this machine")
    with tempfile.TemporaryDirectory(dir=folder(), prefix=".apt-") as temporary:
        root = Path(temporary)
        environment = {**os.environ, "APT_CONFIG": str(_configuration(root, suite or _codename()))}
        _run(["apt-get", "-qq", "update"], environment, root)
        _run(["apt-get", "-qq", "download", *packages], environment, root)
        for package in root.glob("*.deb"):
            _run(["dpkg", "-x", str(package), str(root / "unpacked")], environment, root)
        (folder() / "usr" / "bin").mkdir(parents=True, exist_ok=True)
        for name in TOOLS | FURTHER:
            unpacked = root / "unpacked" / "usr" / "bin" / name
            if unpacked.exists():
                unpacked.replace(folder() / "usr" / "bin" / name)


def _configuration(root: Path, suite: str) -> Path:
    """An apt configuration of its own below `root`, with this machine's way to reach the archive."""
    for name in ("etc/apt/apt.conf.d", "etc/apt/preferences.d", "etc/apt/sources.list.d", "etc/apt/trusted.gpg.d"):
        (root / name).mkdir(parents=True)
    for name in ("var/lib/apt/lists/partial", "var/cache/apt/archives/partial", "var/lib/dpkg"):
        (root / name).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    (root / "etc/apt/sources.list").write_text(f"deb [signed-by={KEYRING}] {_archive()} {suite} main\n")
    own = [line for line in _output(["apt-config", "dump"]).splitlines() if line.startswith("Acquire::")]
    lines = [f'Dir "{root}";', 'APT::Sandbox::User "root";', 'APT::Install-Recommends "false";']
    path = root / "apt.conf"
    path.write_text("\n".join([*own, *lines, 'Acquire::Languages "none";']) + "\n")
    return path


def _archive() -> str:
    """The address of the first Debian source of this machine."""
    form = "$(REPO_URI) $(RELEASE) $(COMPONENT)"
    codename = _codename()
    for line in _output(["apt-get", "indextargets", "--format", form, "Created-By: Packages"]).splitlines():
        uri, suite, component = line.split(" ")
        if codename and (suite, component) == (codename, "main"):
            return uri
    raise ToolsError(
        "cosign, oras and docker-registry come from Debian: this machine's apt sources name no Debian archive"
    )


def _codename() -> str:
    """This Debian's name; empty on another system."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    return release.get("VERSION_CODENAME", "").strip('"') if release.get("ID") == "debian" else ""


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _run(command: list[str], environment: dict[str, str], at: Path) -> None:
    try:
        done = subprocess.run(command, env=environment, cwd=at, capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired as error:
        raise ToolsError(f"{' '.join(command)}: did not end within {error.timeout} s") from error
    if done.returncode:
        raise ToolsError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-500:]}")


if __name__ == "__main__":
    try:
        print("\n".join(f"{name}: {path}" for name, path in tools(sys.argv[1:] or tuple(TOOLS)).items()))
    except (ToolsError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"not fetched: {error}")
