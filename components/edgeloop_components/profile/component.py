"""KFP wrapper of `profile`: a compiled model in, its measured cost and the resources derived from it out."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def profile(
    *,
    loop: str,
    run_key: str,
    target: str,
    compiled: dsl.Input[dsl.Artifact],
    profiled: dsl.Output[dsl.Artifact],
    cost: dsl.Output[dsl.Metrics],
) -> None:
    """Measures what a compiled model costs: profile.json.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        target: Name of the target.
        compiled: Folder of the compiled model.

    Returns:
        profiled: Folder of the profile.
        cost: Latency and memory.
    """
    from edgeloop_components.steps import running

    with running("profile", loop, run_key, target) as step:
        from edgeloop_components.wrapping import measure

        found = measure(step, compiled.path, profiled.path)
        for name in ("latency_p50_ms", "latency_p99_ms", "memory_peak_mib", "load_ms"):
            cost.log_metric(name, getattr(found, name))
