"""The OCI index over the images that a pipeline packed of one version for several platforms, one index for each runtime.

The packing steps of a run share nothing but the layout, and run at the same time. Each names its own image first and then, one
after the other, looks whether the set is whole; so the last one finds it whole, and what is named is over the images that have
their names then, those of a step that was tried again included. An index has one image for a platform: of several targets of one
platform it is that of the one that asks for the least instruction set, the first in loop.yaml where they ask for the same. Images
are deployed by their own digests as ever; the index is the one name under which a version is copied to a registry, and found
there by any engine.
"""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path

from edgeloop_components.package.layout import images, name_image, write_index
from edgeloop_components.package.sbom import attach_index
from edgeloop_components.runtimes import RUNTIMES
from edgeloop_contracts import Loop, Package, Target
from edgeloop_contracts.fit import instruction_set_rank

__all__ = ["index_name", "index_repository", "join"]

LOCK = ".joining"  # held from the look at the images to the index's name; the layout's own lock is taken within


def index_repository(package: Package) -> str:
    """Where the index is; the images themselves are a name deeper."""
    return f"edgeloop/{package.loop}"


def index_name(package: Package) -> str:
    """Such as `edgeloop/turbine-power:7-native`."""
    return f"{index_repository(package)}:{package.version}-{package.runtime}"


def join(layout: Path, loop: Loop, package: Package, seal: Callable[[str], object] = lambda _: None) -> str:
    """The digest of the index that `package` is in, written and named; empty while images lack, or for one platform alone.

    `seal` gets the digest before the index has its name: nobody finds one by name that is not signed.
    """
    names = [f"edgeloop/{loop.name}/{name}:{package.version}" for name in _chosen(loop, package.runtime)]
    with (layout / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        named = images(layout)
        if len(names) < 2 or not set(names) <= named.keys():
            return ""
        digest = write_index(layout, [named[name] for name in names])
        attach_index(layout, digest, index_repository(package))
        seal(digest)
        name_image(layout, digest, index_name(package))
        return digest


def _chosen(loop: Loop, runtime: str) -> list[str]:
    """For each platform the target whose image most of its machines can run."""
    chosen: dict[str, str] = {}
    for target in sorted((target for target in loop.targets if target.runtime == runtime), key=_rank):
        chosen.setdefault(target.platform, target.name)
    return list(chosen.values())


def _rank(target: Target) -> int:
    runtime = RUNTIMES.get(target.runtime)
    return instruction_set_rank(runtime.instruction_set(target) if runtime else "")
