"""The OCI index over the images that a pipeline packed of one version for several platforms, one index for each runtime.

The packing steps of a run share nothing but the layout, and run at the same time. Each names its own image first and then
looks whether the set is whole; so at least the last one finds it whole, and several that do write the same bytes. An index has
one image for a platform: of several targets of one platform it is that of the first in loop.yaml. Images are deployed by their
own digests as ever; the index is the one name under which a version is copied to a registry, and found there by any engine.
"""

from __future__ import annotations

from pathlib import Path

from edgeloop_components.package.layout import images, name_image, write_index
from edgeloop_contracts import Loop, Package

__all__ = ["index_name", "index_repository", "join"]


def index_repository(package: Package) -> str:
    """Where the index is; the images themselves are a name deeper."""
    return f"edgeloop/{package.loop}"


def index_name(package: Package) -> str:
    """Such as `edgeloop/turbine-power:7-native`."""
    return f"{index_repository(package)}:{package.version}-{package.runtime}"


def join(layout: Path, loop: Loop, package: Package) -> str:
    """The digest of the index that `package` is in, written and named; empty while images lack, or for one platform alone."""
    named = images(layout)
    first = {target.platform: target.name for target in reversed(loop.targets) if target.runtime == package.runtime}
    names = [f"edgeloop/{loop.name}/{name}:{package.version}" for name in first.values()]
    if len(names) < 2 or not set(names) <= named.keys():
        return ""
    digest = write_index(layout, [named[name] for name in names])
    name_image(layout, digest, index_name(package))
    return digest
