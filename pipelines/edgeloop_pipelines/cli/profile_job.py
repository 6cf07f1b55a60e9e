"""The profile on a node, for `edgeloop profile --job` and `--job-log`: a Job's objects as files, and what its log says."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_pipelines.cli.console import UserError
from edgeloop_pipelines.cli.stores import open_objects

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import Objects
    from edgeloop_contracts import Package, Reference, ResourceProfile, Target

__all__ = ["read_log", "write_job"]


def write_job(loop: str, target: str, out: Path, *, registry: str, load_image: str, home: Path) -> list[Path]:
    """Writes ConfigMap and Job for the newest package of a loop's target; the files.

    Without `load_image` the generator's image is written into the installation's layout, to be pushed from there.
    """
    from edgeloop_components.profile.image import REPOSITORY
    from edgeloop_components.profile.image import load_image as made_image
    from edgeloop_components.profile.job import JobError, JobPlan, profile_job, rates_for
    from edgeloop_components.profile.rows import request_bodies
    from edgeloop_fleet.render.files import write_objects

    with open_objects(home) as objects:
        wanted, package, reference = _known(objects, loop, target)
    assert package.profile is not None  # _known looked
    image = load_image or f"{registry}/{REPOSITORY}@{made_image(home / 'images')}"
    try:
        rates_per_s = rates_for(package.profile, wanted.budget.demand_per_s)
        plan = JobPlan(load_image=image, registry=registry, rates_per_s=rates_per_s)
        rendered = profile_job(package, wanted, package.profile, request_bodies(reference, plan.seed), plan)
    except JobError as error:
        raise UserError(str(error)) from error
    return write_objects(out, rendered)


def _known(objects: Objects, loop: str, target: str) -> tuple[Target, Package, Reference]:
    """The target, its newest package with a profile, and that version's reference. UserError."""
    from edgeloop_components.catalog import catalog
    from edgeloop_contracts import Reference, loads

    document = catalog.get_loop(objects, loop)
    names = [one.name for one in document.targets]
    if not target and len(names) == 1:
        (target,) = names
    if target not in names:
        raise UserError(f"--target: expected one of {', '.join(names)}, got {target or 'nothing'}")
    for version in sorted(catalog.versions(objects, loop), key=lambda one: one.number, reverse=True):
        for package in catalog.packages(objects, loop, version.number):
            if package.target == target and package.profile:
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder, "reference.json")
                    catalog.fetch_blob(objects, version.reference, path)
                    reference = loads(Reference, path.read_bytes())
                return document.targets[names.index(target)], package, reference
    raise UserError(f"{loop}: no package with a profile for target {target}", "run `edgeloop run` first")


def read_log(profile: ResourceProfile, log: Path, node: str) -> ResourceProfile:
    """The profile with what a Job's container `load` printed into `log`. UserError."""
    from edgeloop_components.profile.job import JobError, profile_of_log

    try:
        return profile_of_log(profile, log.read_text(errors="replace"), node=node)
    except OSError as error:
        raise UserError(f"{log}: cannot be read: {error.strerror}") from error
    except JobError as error:
        raise UserError(f"{log}: {error}", "kubectl logs job/NAME -c load > FILE") from error
