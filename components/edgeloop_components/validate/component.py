"""KFP wrapper of `validate`: a model in, its metrics with intervals, the gates and the answer out."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def validate(
    *,
    loop: str,
    run_key: str,
    snapshot: dsl.Input[dsl.Dataset],
    trained: dsl.Input[dsl.Model],
    validation: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    curves: dsl.Output[dsl.ClassificationMetrics],
    summary: dsl.Output[dsl.HTML],
) -> str:
    """Judges a model on held-out rows, against the champion on the same rows; gives `accepted` or `rejected`.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        snapshot: Folder of the snapshot.
        trained: Folder of the model.

    Returns:
        validation: Folder of the validation: validation.json.
        metrics: The metrics, and the ends of their intervals.
        curves: Confusion matrix, and ROC curve of the last class against the rest.
        summary: The validation as a page.
        Output: `accepted` or `rejected`.
    """
    from edgeloop_components.steps import running

    with running("validate", loop, run_key) as step:
        from edgeloop_components.wrapping import judge, show_curves, show_metrics

        found = judge(step, snapshot.path, trained.path, validation.path, summary.path)
        show_metrics(found, metrics)
        show_curves(found, curves)
        return "accepted" if found.accepted else "rejected"
