"""apt for other architectures than this machine's, without root and without touching the machine: a private configuration.

Its sources are the machine's own Debian sources of the release, its updates and its security updates. Refuses, with what to
do, a machine without apt or without such sources.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from edgeloop_components.package.cache import folder
from edgeloop_components.package.debian import ARCHITECTURES, RELEASE
from edgeloop_components.package.layers import PackageError

__all__ = ["apt", "update"]

_SUITES = {RELEASE, f"{RELEASE}-updates", f"{RELEASE}-security"}
_INSTEAD = "Take a base by digest instead: EDGELOOP_BASE=<image>@sha256:<digest>"


def apt(program: str, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs `apt-get` or `apt-cache` with the private configuration."""
    if shutil.which(program) is None:
        raise PackageError(f"{program}: expected it on this machine, to fetch Debian packages. {_INSTEAD}")
    environment = {**os.environ, "APT_CONFIG": str(_configuration()), "LC_ALL": "C"}
    return subprocess.run([program, *words], cwd=cwd, env=environment, capture_output=True, text=True)


def update() -> None:
    """Fetches the package lists. PackageError when a source does not answer."""
    done = apt("apt-get", "update", "-qq", "-o", "APT::Update::Error-Mode=any")
    if done.returncode:
        raise PackageError(f"apt-get update: {done.stderr.strip()[-600:]}")


def _configuration() -> Path:
    root = folder("apt")
    for name in (
        "etc/apt/apt.conf.d",
        "etc/apt/preferences.d",
        "var/lib/apt/lists/partial",
        "var/cache/apt/archives/partial",
        "var/lib/dpkg",
    ):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "var/lib/dpkg/status").touch()
    sources = _sources(Path("/etc/apt"))
    if not sources:
        raise PackageError(
            f"/etc/apt: expected Debian sources of {' or '.join(sorted(_SUITES))}, found none. {_INSTEAD}"
        )
    (root / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    architectures = " ".join(f'"{name}";' for name in ARCHITECTURES.values())
    path = root / "apt.conf"
    path.write_text(
        f'Dir "{root}";\nDir::Etc::Trusted "/etc/apt/trusted.gpg";\nDir::Etc::TrustedParts "/etc/apt/trusted.gpg.d";\n'
        f'APT::Architecture "amd64";\nAPT::Architectures {{ {architectures} }};\n'
        'APT::Install-Recommends "false";\nAPT::Sandbox::User "root";\nAcquire::Languages "none";\nAcquire::Retries "3";\n'
    )
    return path


def _sources(etc: Path) -> list[str]:
    """The machine's sources of the release as one-line entries."""
    found: list[str] = []
    for path in sorted([etc / "sources.list", *etc.glob("sources.list.d/*")]):
        if path.suffix in (".list", ".sources") and path.is_file():
            reader = _stanzas if path.suffix == ".sources" else _lines
            found += reader(path.read_text())
    return list(dict.fromkeys(found))


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        match = re.fullmatch(r"deb\s+(?:\[(.*?)\]\s+)?(\S+)\s+(\S+)\s+(.+)", line.split("#")[0].strip())
        if match and match[3] in _SUITES:
            yield _entry(match[2], match[3], _signed_by(match[1] or ""))


def _signed_by(options: str) -> str:
    return next((word.split("=", 1)[1] for word in options.split() if word.lower().startswith("signed-by=")), "")


def _stanzas(text: str) -> Iterator[str]:
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", "\n".join(lines), re.MULTILINE))
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled", "yes") == "no":
            continue
        key = fields.get("Signed-By", "")
        for suite in sorted(_SUITES.intersection(fields.get("Suites", "").split())):
            yield from (_entry(uri, suite, key) for uri in fields.get("URIs", "").split())


def _entry(uri: str, suite: str, key: str) -> str:
    return f"deb {f'[signed-by={key}] ' if key.startswith('/') else ''}{uri} {suite} main"
