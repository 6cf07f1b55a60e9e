"""Image names: taken apart and changed as KubeEdge's image overrider does."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

__all__ = ["ImageName", "changed", "parse"]

_TAG = re.compile(r"[\w][\w.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")


@dataclass(frozen=True)
class ImageName:
    """`[registry/]repository[:tag|@digest]`; `version` is the tag or the digest."""

    registry: str
    repository: str
    version: str

    @property
    def digest(self) -> str:
        return self.version if ":" in self.version else ""

    def __str__(self) -> str:
        name = f"{self.registry}/{self.repository}" if self.registry else self.repository
        separator = ("@" if self.digest else ":") if self.version else ""
        return name + separator + self.version


def parse(image: str) -> ImageName:
    """The first part is a registry when it has a dot or a colon or is localhost."""
    name, _, digest = image.partition("@")
    last = name.rpartition("/")[2]
    tag = last.partition(":")[2]
    if tag:
        name = name.removesuffix(f":{tag}")
    first, slash, rest = name.partition("/")
    if slash and (any(mark in first for mark in ".:") or first == "localhost"):
        return ImageName(first, rest, digest or tag)
    return ImageName("", name, digest or tag)


def _versioned(name: ImageName, version: str) -> ImageName:
    """A text that is neither a tag nor a digest changes nothing: so KubeEdge does it."""
    fits = _TAG.fullmatch(version) or _DIGEST.fullmatch(version)
    return replace(name, version=version) if fits else name


def changed(image: str, component: str, operator: str, value: str) -> str:
    """The image after one overrider. KeyError for a component or an operator that KubeEdge does not have."""
    name = parse(image)
    old = {"Registry": name.registry, "Repository": name.repository, "Tag": name.version}[component]
    new = {"add": old + value, "replace": value, "remove": ""}[operator]
    if component == "Tag":
        return str(_versioned(name, new) if new else replace(name, version=""))
    return str(replace(name, **{component.lower(): new}))
