"""KFP wrapper of `package`: a compiled model in, an OCI image in the layout out."""
# mypy: disable-error-code="untyped-decorator"

from kfp import dsl

from edgeloop_components import IMAGES


@dsl.component(base_image=IMAGES["steps"], install_kfp_package=False)
def package(
    *,
    loop: str,
    run_key: str,
    target: str,
    version: dsl.Input[dsl.Model],
    compiled: dsl.Input[dsl.Artifact],
    profiled: dsl.Input[dsl.Artifact],
    packaged: dsl.Output[dsl.Artifact],
) -> None:
    """Packs a version for a target as an image, and enters the package in the catalog: package.json.

    Args:
        loop: The Loop document, JSON text.
        run_key: Name of the run.
        target: Name of the target.
        version: Folder of the version.
        compiled: Folder of the compiled model.
        profiled: Folder of its profile.

    Returns:
        packaged: Folder of the package's document.
    """
    from edgeloop_components.steps import running

    with running("package", loop, run_key, target) as step:
        from edgeloop_components.wrapping import pack

        made = pack(step, version.path, compiled.path, profiled.path, packaged.path)
        packaged.metadata.update(repository=made.repository, digest=made.digest, size_bytes=made.size_bytes)
