"""`edgeloop compile`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say

ImageOption = Annotated[
    str,
    typer.Option(
        envvar="EDGELOOP_STEPS_IMAGE", help="Image of the steps, by digest: name@sha256:... [the release's own]"
    ),
]


def command(
    loop_file: Annotated[
        Path | None, typer.Argument(metavar="[LOOP.YAML]", help="Loop that becomes the default of the pipeline.")
    ] = None,
    image: ImageOption = "",
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("compiled"),
    namespace: Annotated[str, typer.Option(help="Namespace of the Kubernetes objects.")] = "kubeflow",
    as_json: JsonOption = False,
) -> None:
    """Write the pipeline as IR YAML, and as Pipeline and PipelineVersion objects for kubectl or GitOps.

    The version's name is made from the content: compiling the same again writes the same files.

    Examples:

      edgeloop compile --image registry.example/edgeloop-steps@sha256:... --out compiled
      edgeloop compile loop.yaml --namespace team-a
    """
    import yaml

    from edgeloop_components.steps import write_text
    from edgeloop_pipelines import compile as compiling
    from edgeloop_pipelines import loopfile

    compiled = compiling.compile_pipeline(image, loopfile.load(loop_file) if loop_file else None)
    objects = compiling.manifests(compiled, namespace)
    out.mkdir(parents=True, exist_ok=True)
    texts = {out / f"{compiled.name}.yaml": compiled.ir}
    for item in objects:
        kind, name = item["kind"].lower(), item["metadata"]["name"]
        texts[out / f"{kind}-{namespace}-{name}.yaml"] = yaml.safe_dump(item, sort_keys=False)
    for path, text in texts.items():
        write_text(path, text)
    files = [str(path) for path in texts]
    document = {"pipeline": compiled.name, "version": compiled.version, "image": compiled.image, "files": files}
    emit(document, lambda: say("\n".join((f"{compiled.name}, version {compiled.version}", *files))), as_json)
