"""KFP wrapper of `train`: a snapshot in, an ONNX model with its reference and golden rows out."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def train(loop: str, run_key: str, snapshot: dsl.Input[dsl.Dataset], trained: dsl.Output[dsl.Model]) -> None:
    """Trains the loop's model: model.onnx, reference.json, golden.json, split.json.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        snapshot: Folder of the snapshot.

    Returns:
        trained: Folder of the model.
    """
    from edgeloop_components.steps import running

    with running("train", loop, run_key) as step:
        from edgeloop_components.wrapping import fit

        fit(step, snapshot.path, trained.path)
        trained.metadata.update(framework="onnx", snapshot=snapshot.metadata.get("digest", ""))
