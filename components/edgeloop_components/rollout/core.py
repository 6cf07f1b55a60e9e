"""Makes the Rollout of an accepted version and hands it to the fleet service.

The document is pure data: waves as the loop names them, one package for each target, and the packages of the champion, to
which the fleet goes back when a wave fails. Where keys are trusted, every package in it is signed with one of them. It is
written to the object store before anybody is told. Telling is idempotent, so a dead service is asked again until
`patience_s` is over. Without a fleet URL nobody is told, and the result says so.
It deploys nothing: that is the fleet service's work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, ModelVersion, Package, Reference, Rollout, Wave, loads, to_json, units
from edgeloop_contracts.ecdsa import PublicKey, SignatureError
from edgeloop_contracts.fit import explain, lending
from edgeloop_contracts.signature import check_image

__all__ = ["FleetError", "Told", "make_rollout", "read_packages", "signed_ones", "tell_fleet"]

PATIENCE_S = 120.0
_PAUSES_S = (0.2, 0.5, 1.0, 2.0)


class FleetError(RuntimeError):
    """The fleet service refused the rollout, or did not answer for too long."""


@dataclass(frozen=True)
class Told:
    """Whether a fleet service was told, and a sentence that says so."""

    told: bool
    why: str


def read_packages(folders: Sequence[Path]) -> list[Package]:
    """The packages that the package steps left in their folders. FileNotFoundError names the folder without one."""
    return [loads(Package, (folder / "package.json").read_bytes()) for folder in folders]


def make_rollout(
    loop: Loop,
    version: ModelVersion,
    packages: Sequence[Package],
    *,
    previous: int | None,
    previous_packages: Mapping[str, Package],
    evidence_s: float,
    created_s: float,
    trusted: Sequence[PublicKey] = (),
    lent: Sequence[str] = (),
) -> Rollout:
    """The rollout of an accepted version to all groups of the loop. ValueError when it is rejected or a target lacks.

    `lent` is what every node of the installation lends to images (edgeloop_contracts/fit.py). ValueError, too, with the reasons
    and the nearest fit, when a target's nodes cannot run its package; and SignatureError, which is one, when keys are `trusted`
    and one of the packages is not signed with any of them.
    """
    if version.state != "accepted":
        raise ValueError(f"rollout of {version.name}: expected an accepted version, got a {version.state} one")
    by_target = {package.target: package for package in packages}
    lacking = [target.name for target in loop.targets if target.name not in by_target]
    wrong = [p.target for p in packages if (p.loop, p.version) != (version.loop, version.number)]
    if lacking or wrong:
        raise ValueError(
            f"rollout of {version.name}: no package for {lacking}, packages of another version for {wrong}"
        )
    for package in (*packages, *previous_packages.values()):
        _check_signed(package, trusted)
    targets = [lending(target, lent) for target in loop.targets]
    if misfits := [why for target in targets if (why := explain(by_target[target.name].needs, target, targets))]:
        raise ValueError(f"rollout of {version.name}: " + "; ".join(misfits))
    return Rollout(
        loop=loop.name,
        version=version.number,
        previous=previous,
        packages=by_target,
        previous_packages=dict(previous_packages),
        waves=tuple(Wave(groups=groups) for groups in loop.waves),
        soak_s=units.duration_s(loop.rollout.soak),
        tolerance=loop.rollout.tolerance,
        created_s=created_s,
        evidence_s=evidence_s or None,
    )


def signed_ones(packages: Mapping[str, Package], trusted: Sequence[PublicKey]) -> tuple[dict[str, Package], str]:
    """The packages that a trusted key has signed (all, where no key is trusted), and a sentence about the rest."""
    kept, left = {}, []
    for target, package in packages.items():
        try:
            _check_signed(package, trusted)
            kept[target] = package
        except SignatureError as error:
            left.append(f"no way back on {target}: {error}")
    return kept, "; ".join(left)


def _check_signed(package: Package, trusted: Sequence[PublicKey]) -> None:
    try:
        if trusted:
            check_image(package.digest, package.signatures, trusted)
    except SignatureError as error:
        raise SignatureError(f"package of {package.loop}@{package.version} for {package.target}: {error}") from error


def tell_fleet(
    url: str,
    loop: Loop,
    rollout: Rollout,
    version: ModelVersion,
    reference: Reference,
    *,
    patience_s: float = PATIENCE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Told:
    """Posts the loop, then the rollout. `FleetError` when the service refuses one or stays away for `patience_s`."""
    if not url:
        return Told(False, f"no fleet service was told of {version.name}: EDGELOOP_FLEET_URL is not set")
    body = {"rollout": to_json(rollout), "version": to_json(version), "reference": to_json(reference)}
    _post(f"{url.rstrip('/')}/v1/loops", to_json(loop), patience_s, sleep)
    _post(f"{url.rstrip('/')}/v1/rollouts", body, patience_s, sleep)
    return Told(True, f"the fleet service at {url} has the rollout of {version.name}")


def _post(url: str, document: Mapping[str, Any], patience_s: float, sleep: Callable[[float], None]) -> None:
    import httpx

    waited_s, tries = 0.0, 0
    while True:
        try:
            answer = httpx.post(url, json=document, timeout=10.0)
            trouble = f"answered {answer.status_code}: {answer.text[:300]}"
            if answer.status_code < 400:
                return
            if answer.status_code < 500:
                raise FleetError(f"the fleet service refused: POST {url} {trouble}")
        except httpx.TransportError as error:
            trouble = f"did not answer: {error}"
        if waited_s >= patience_s:
            raise FleetError(f"POST {url} {trouble}; gave up after {tries + 1} tries")
        pause_s = _PAUSES_S[min(tries, len(_PAUSES_S) - 1)]
        sleep(pause_s)
        waited_s, tries = waited_s + pause_s, tries + 1
