"""KFP wrapper of `rollout`: a version and its packages in, the rollout written and the fleet service told."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def rollout(
    *,
    loop: str,
    run_key: str,
    evidence_s: float,
    now_s: float,
    version: dsl.Input[dsl.Model],
    packages: dsl.Input[list[dsl.Artifact]],
    rollout: dsl.Output[dsl.Artifact],
) -> None:
    """Writes the Rollout of an accepted version and tells the fleet service: rollout.json.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        evidence_s: When the cause of the run was seen first, Unix seconds; 0: not known.
        now_s: The rollout's time, Unix seconds; 0: the time on the wall.
        version: Folder of the version.
        packages: Folders of the packages, one for each target.

    Returns:
        rollout: Folder of the rollout's document.
    """
    from edgeloop_components.steps import running

    with running("rollout", loop, run_key) as step:
        from edgeloop_components.wrapping import roll_out

        told = roll_out(
            step, version.path, [p.path for p in packages], rollout.path, evidence_s=evidence_s, now_s=now_s
        )
        rollout.metadata.update(told=told.told, why=told.why)
