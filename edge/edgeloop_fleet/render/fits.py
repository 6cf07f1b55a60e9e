"""Whether packages may go to their groups at all: decided as the rollout step decides it, before anything is rendered.

Refuses a package that needs what its target's nodes have not, and, where keys are trusted, an image that none of them signed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeloop_contracts import Package, Target
from edgeloop_contracts.ecdsa import SignatureError
from edgeloop_contracts.fit import explain, lending
from edgeloop_contracts.signature import check_image
from edgeloop_fleet.render.values import RenderError, Settings

__all__ = ["check_packages"]


def check_packages(targets: Mapping[str, Target], packages: Mapping[str, Package], settings: Settings) -> None:
    """`targets` and `packages` by group. RenderError with every reason, and the nearest fit of what does not fit."""
    has = {group: lending(target, settings.lent) for group, target in targets.items()}
    if problems := [*_misfits(has, packages), *_unsigned(packages, settings)]:
        raise RenderError("; ".join(problems))


def _misfits(has: Mapping[str, Target], packages: Mapping[str, Package]) -> Iterator[str]:
    for group, package in packages.items():
        if why := explain(package.needs, has[group], has.values()):
            yield f"group {group}: {why}"


def _unsigned(packages: Mapping[str, Package], settings: Settings) -> Iterator[str]:
    for group, package in packages.items() if settings.trusted else ():
        try:
            check_image(package.digest, package.signatures, settings.trusted)
        except SignatureError as error:
            yield f"group {group}: package of {package.loop}@{package.version} for {package.target}: {error}"
