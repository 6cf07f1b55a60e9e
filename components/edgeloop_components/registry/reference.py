"""Names of images: in a registry, `host[:port]/repository[:tag][@digest]`; in a folder, `oci:FOLDER[:NAME][@digest]`.

There is no default registry: what a short name would mean differs from machine to machine. Refuses names that the OCI
distribution specification does not allow, with what is wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgeloop_components.package.names import is_repository
from edgeloop_components.registry.errors import RegistryError

__all__ = ["InLayout", "Remote", "is_loopback", "parse", "parse_remote"]

MOST_CHARACTERS = 1024
_DIGEST = r"sha256:[0-9a-f]{64}"
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?|\[[0-9A-Fa-f:.]{2,45}\])(?::(\d{1,5}))?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


@dataclass(frozen=True)
class Remote:
    """An image in a registry, by tag, by digest, or by both; by neither: the repository."""

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.registry}/{self.repository}{tag}" + (f"@{self.digest}" if self.digest else "")


@dataclass(frozen=True)
class InLayout:
    """An image in an OCI image layout, by the name that index.json gives it, or by digest."""

    folder: Path
    name: str = ""
    digest: str = ""

    def __str__(self) -> str:
        name = f":{self.name}" if self.name else ""
        return f"oci:{self.folder}{name}" + (f"@{self.digest}" if self.digest else "")


def parse(text: str) -> Remote | InLayout:
    """An image's name; RegistryError says what is wrong with it."""
    return _in_layout(text) if text.startswith("oci:") else parse_remote(text)


def parse_remote(text: str) -> Remote:
    """The name of an image or a repository in a registry."""
    rest, digest = _digest(text)
    host, slash, path = rest.partition("/")
    if not slash or not ("." in host or ":" in host or host.lower() == "localhost"):
        raise RegistryError(
            f"image {text[:200]!r}: expected host[:port]/repository[:tag][@sha256:...], found no registry's host"
        )
    repository, _, tag = path.partition(":")
    port = found.group(1) if (found := _HOST.fullmatch(host)) else None
    checks = {
        f"host {host[:80]!r}": found is not None and int(port or 1) in range(1, 65536),
        f"repository {repository[:80]!r} (small letters, digits, . _ - / in between)": is_repository(repository),
        f"tag {tag[:80]!r}": ":" not in path if not tag else _TAG.fullmatch(tag) is not None,
    }
    if bad := [what for what, good in checks.items() if not good]:
        raise RegistryError(
            f"image {text[:200]!r}: expected host[:port]/repository[:tag], found a bad {', '.join(bad)}"
        )
    return Remote(host.lower(), repository, tag, digest)


def _in_layout(text: str) -> InLayout:
    rest, digest = _digest(text)
    folder, _, name = rest.removeprefix("oci:").partition(":")
    if not folder or "\0" in rest:
        raise RegistryError(f"image {text[:200]!r}: expected oci:FOLDER[:NAME][@sha256:...], found no folder")
    return InLayout(Path(folder), name, digest)


def _digest(text: str) -> tuple[str, str]:
    if len(text) > MOST_CHARACTERS:
        raise RegistryError(f"image {text[:60]!r}...: expected at most {MOST_CHARACTERS} characters, found {len(text)}")
    rest, at, digest = text.rpartition("@")
    if not at or (text.startswith("oci:") and not digest.startswith("sha256:")):
        return text, ""
    if not re.fullmatch(_DIGEST, digest):
        raise RegistryError(f"image {text[:200]!r}: expected a digest sha256:<64 hex digits> after @")
    return rest, digest


def is_loopback(registry: str) -> bool:
    """Whether that host is this machine, where plain HTTP shows nothing to anybody."""
    host = registry.rpartition(":")[0] if re.search(r":\d+$", registry) else registry
    return host.lower() in ("localhost", "[::1]") or re.fullmatch(r"127(\.\d{1,3}){3}", host) is not None
