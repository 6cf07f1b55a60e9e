"""KFP wrappers around the catalog: the entry of a version, and the record of a run."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def register(
    *,
    loop: str,
    run_key: str,
    cause: str,
    started_by: str,
    now_s: float,
    snapshot: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    validation: dsl.Input[dsl.Artifact],
    version: dsl.Output[dsl.Model],
) -> list[str]:
    """Enters the version in the catalog, accepted or rejected; gives the targets that it is for.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run; the same run has one version, however often it is tried.
        cause: Why the run was started.
        started_by: Who or what started it.
        now_s: The version's time, Unix seconds; 0: the time on the wall.
        snapshot: Folder of the snapshot.
        trained: Folder of the model.
        validation: Folder of the validation.

    Returns:
        version: Folder of the version: model.onnx, version.json, reference.json, golden.json.
        Output: Names of the targets that the version is for.
    """
    from edgeloop_components.steps import running

    with running("register", loop, run_key) as step:
        from edgeloop_components.wrapping import enter

        folders = (snapshot.path, trained.path, validation.path, version.path)
        made = enter(step, *folders, cause=cause, started_by=started_by, now_s=now_s)
        version.metadata.update(name=made.name, state=made.state, onnx=made.onnx)
        return [target.name for target in step.loop.targets]


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def outcome(
    *, loop: str, run_key: str, cause: str, started_by: str, now_s: float, status: dsl.PipelineTaskFinalStatus
) -> None:
    """Records how the run ended: succeeded, rejected or failed, its version, the reason; withdraws a failed run's version.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        cause: Why the run was started.
        started_by: Who or what started it.
        now_s: The record's time, Unix seconds; 0: the time on the wall.
        status: How the pipeline ended.
    """
    from edgeloop_components.steps import running

    with running("outcome", loop, run_key) as step:
        from edgeloop_components.wrapping import record

        facts = {"cause": cause, "started_by": started_by}
        record(step, facts, state=status.state, message=status.error_message or "", now_s=now_s)
