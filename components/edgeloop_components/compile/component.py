"""KFP wrapper of `compile`: a version in, the model in the form of one target's runtime out, proven against the reference."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def compile(  # noqa: A001 (the step's name)
    loop: str, run_key: str, target: str, version: dsl.Input[dsl.Model], compiled: dsl.Output[dsl.Artifact]
) -> None:
    """Compiles a version for a target and compares it with the reference on the golden rows: parity.json.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        target: Name of the target.
        version: Folder of the version.

    Returns:
        compiled: Folder of the compiled model.
    """
    from edgeloop_components.steps import running

    with running("compile", loop, run_key, target) as step:
        from edgeloop_components.wrapping import compile_and_compare

        parity = compile_and_compare(step, version.path, compiled.path)
        compiled.metadata.update(runtime=parity.runtime, max_abs_difference=parity.max_abs_difference)
        if parity.estimator_difference is not None:
            compiled.metadata.update(estimator_difference=parity.estimator_difference)
