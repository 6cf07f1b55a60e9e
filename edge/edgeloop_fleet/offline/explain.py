"""Why an image or a layer is kept or not: one sentence with its numbers, made of the plan's own values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from edgeloop_contracts import KeptItem
from edgeloop_fleet.offline.values import Choice, Demand, Group, Layer

__all__ = ["Case", "size", "why_image", "why_layer"]


@dataclass(frozen=True)
class Case:
    """A group and what was decided for it: the layers that are kept, their bytes, and loop: place of the image that serves."""

    group: Group
    kept: frozenset[str]
    disk_bytes: int
    fetch_bytes: int
    link: int | None
    exact: bool
    serves: Mapping[str, int]


def size(size_bytes: int) -> str:
    """Bytes for a person: `12.3 MiB`; below a tenth of that, `4096 B`."""
    return f"{size_bytes / 2**20:,.1f} MiB" if size_bytes >= 2**20 // 10 else f"{size_bytes} B"


def why_image(case: Case, demand: Demand, choice: Choice, item: KeptItem) -> str:
    """The sentence for one image."""
    return _kept(case, demand, choice, item) if item.keep else _dropped(case, demand, choice)


def _asked(case: Case, demand: Demand) -> str:
    """Which part of the group's requests the loop has."""
    total = sum(other.share for other in case.group.demands)
    return f"{100 * demand.share / total if total else 0:.1f} % of requests, priority {demand.priority}"


def _kept(case: Case, demand: Demand, choice: Choice, item: KeptItem) -> str:
    serves = case.serves[demand.loop]
    of = f"{item.place + 1} of {len(demand.chain)}"
    role = f"serves {demand.loop}" if item.serves else f"in reserve for {demand.loop}, behind number {serves + 1}"
    others = {
        layer.digest
        for other in case.group.demands
        for kept in other.chain
        if kept != choice and {layer.digest for layer in kept.layers} <= case.kept
        for layer in kept.layers
    } | {layer.digest for layer in case.group.required}
    alone = sum({la.digest: la.disk_bytes for la in choice.layers if la.digest not in others}.values())
    disk = f"{size(item.disk_bytes)} on disk, {size(alone)} of it for this image alone"
    return f"kept: {role} ({_asked(case, demand)}) as choice {of}; {disk}; {_fetch(item)}"


def _fetch(item: KeptItem) -> str:
    if not item.fetch_bytes:
        return "nothing more to fetch for it"
    when = f", there {item.ready_s:.0f} s from now" if item.ready_s is not None else ", no link forecast"
    return f"{size(item.fetch_bytes)} to fetch{when}"


def _dropped(case: Case, demand: Demand, choice: Choice) -> str:
    """The first limit that it breaks alone, else beside what is kept, which is worth more."""
    group = case.group
    own = {layer.digest: layer for layer in choice.layers}
    must = {layer.digest: layer for layer in group.required}
    alone_disk = sum(layer.disk_bytes for layer in {**must, **own}.values())
    alone_fetch = sum(la.size_bytes for digest, la in {**must, **own}.items() if digest not in group.present)
    beside = f" with the {size(sum(la.disk_bytes for la in must.values()))} that must stay" if must else ""
    if group.storage_bytes is not None and alone_disk > group.storage_bytes:
        return f"dropped: needs {size(alone_disk)} on disk{beside}, the group has {size(group.storage_bytes)}"
    if case.link is not None and alone_fetch > case.link:
        return f"dropped: needs {size(alone_fetch)} fetched{beside}, the link brings {size(case.link)} in time"
    new = [layer for digest, layer in own.items() if digest not in case.kept]
    disk = sum(layer.disk_bytes for layer in new)
    fetch = sum(layer.size_bytes for layer in new if layer.digest not in group.present)
    reasons = []
    if group.storage_bytes is not None and disk > (free := group.storage_bytes - case.disk_bytes):
        reasons.append(f"needs {size(disk)} more on disk where {size(free)} are left")
    if case.link is not None and fetch > (rest := case.link - case.fetch_bytes):
        reasons.append(f"needs {size(fetch)} more fetched where the link has {size(rest)} left")
    if not reasons:
        return f"dropped: {size(disk)} more on disk would fit, and {_unneeded(case, demand)} ({_asked(case, demand)})"
    return f"dropped: {' and '.join(reasons)}; {_instead(case, demand)} ({_asked(case, demand)})"


def _unneeded(case: Case, demand: Demand) -> str:
    """Why what would fit is not kept."""
    if case.exact or demand.loop in case.serves:
        return "nothing more would be served"
    return "the bounded method keeps to sets that only grow with the storage"


def _instead(case: Case, demand: Demand) -> str:
    method = "no set of images serves more" if case.exact else "the bounded method found no set that serves more"
    if demand.loop in case.serves:
        return f"{demand.loop} is served by choice {case.serves[demand.loop] + 1} of {len(demand.chain)}, and {method}"
    return f"{demand.loop} is not served without a link, and {method}"


def why_layer(layer: Layer, required: bool, users: Sequence[Choice], images: Collection[str]) -> str:
    """The sentence for one layer. `users`: the images that have it, `images`: the digests of those that are kept."""
    kept = [choice.package for choice in users if choice.package.digest in images]
    names = ", ".join(dict.fromkeys(f"{package.loop}@{package.version} for {package.target}" for package in kept))
    if required:
        return f"kept: it must stay ({size(layer.disk_bytes)} on disk)" + (f"; also part of {names}" if names else "")
    if kept:
        return (
            f"kept: {len(kept)} of the {len(users)} images with it are kept ({names}); {size(layer.disk_bytes)} on disk"
        )
    return f"dropped: none of the {len(users)} images with it is kept; {size(layer.disk_bytes)} on disk are saved"
