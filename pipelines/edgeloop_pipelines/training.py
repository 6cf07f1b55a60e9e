"""The training pipeline: from rows to a rollout, in the order in which the design draws it.

    ingest -> train -> validate -> register -> if accepted: for each target: compile -> profile -> package; then rollout
    and, whatever happens, outcome: the record of the run in the catalog

`build` makes it for an image; `training` is the one that runs on this machine. What the two runners make different is kept
away from the steps: secrets, settings and placement are Kubernetes options, which kfp.local leaves out.

Two rules come from kfp.local, which reads conditions and loops by name: the step that a condition or a loop asks must have
one single output parameter (its name is then `Output`). Broken, a condition is silently false; `local.run` looks for that.
"""

from collections.abc import Mapping
from typing import Any

from kfp import dsl, kubernetes

from edgeloop_components import IMAGES
from edgeloop_components.catalog.component import outcome, register
from edgeloop_components.compile.component import compile as compile_step
from edgeloop_components.ingest.component import ingest
from edgeloop_components.package.component import package
from edgeloop_components.profile.component import profile
from edgeloop_components.rollout.component import rollout
from edgeloop_components.train.component import train
from edgeloop_components.validate.component import validate
from edgeloop_contracts import Loop, RunRequest, dumps
from edgeloop_pipelines.limits import Limits, limit

__all__ = ["NAME", "SECRET", "SETTINGS", "SIGNING", "arguments_of", "build", "on_cluster", "training"]

NAME = "edgeloop-training"
SECRET, SIGNING, SETTINGS, IMAGES_CLAIM, IMAGES_PATH = (
    "edgeloop-s3",
    "edgeloop-signing",
    "edgeloop-settings",
    "edgeloop-images",
    "/var/lib/edgeloop/images",
)
_MUST, _MAY = False, True  # `optional`, as Kubernetes says it; without what may be there the defaults hold
_SECRET_KEYS = {_MUST: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), _MAY: ("AWS_SESSION_TOKEN",)}
_SETTING_KEYS = {
    _MUST: ("AWS_ENDPOINT_URL_S3", "EDGELOOP_IMAGES"),
    _MAY: (
        "AWS_REGION",
        "EDGELOOP_BASE",
        "EDGELOOP_BUCKET",
        "EDGELOOP_FLEET_URL",
        "EDGELOOP_PROFILE",
        "EDGELOOP_PUBLIC_KEY",
    ),
}
_SIGNING_KEYS = ("EDGELOOP_SIGNING_KEY", "EDGELOOP_KEY_PASSWORD")  # the task that signs has them, no other
_CLOUD = [
    {"key": "node-role.kubernetes.io/edge", "operator": "DoesNotExist"}
]  # KubeEdge labels its nodes with this key


def on_cluster(task: Any, image: str) -> Any:
    """What every task gets: its image, a node in the cloud, the store's credentials and the settings; and no caching.

    Nothing is cached: a snapshot depends on data that KFP does not see, and the steps after it have effects outside.
    """
    task.set_container_image(image).set_caching_options(False)
    kubernetes.add_node_affinity(task, match_expressions=_CLOUD)
    for optional in (_MUST, _MAY):
        secrets, settings = ({key: key for key in keys[optional]} for keys in (_SECRET_KEYS, _SETTING_KEYS))
        kubernetes.use_secret_as_env(task, SECRET, secrets, optional=optional)
        kubernetes.use_config_map_as_env(task, SETTINGS, settings, optional=optional)
    return task


def build(
    image: str = IMAGES["steps"],
    *,
    name: str = NAME,
    loop_text: str | None = None,
    limits: Mapping[str, Limits] | None = None,
) -> Any:
    """The pipeline with its steps in `image`. With `loop_text` (JSON of a Loop) that loop is the default of `loop`.

    `limits` are those of a cluster, by step; without them a failed step is not tried again, as on one machine.
    """

    def here(task: Any) -> Any:
        if limits is not None:
            limit(task, limits[task.name.rstrip("-0123456789")])
        return on_cluster(task, image)

    def pipeline(  # noqa: PLR0917 (the parameters of the pipeline)
        run_key: str,
        loop: str,
        cause: str = "manual",
        started_by: str = "",
        evidence_s: float = 0.0,
        now_s: float = 0.0,
    ) -> None:
        common = {"loop": loop, "run_key": run_key}
        told = here(outcome(**common, cause=cause, started_by=started_by, now_s=now_s))
        with dsl.ExitHandler(told, name="run"):
            rows = here(ingest(**common, now_s=now_s)).outputs["snapshot"]
            model = here(train(**common, snapshot=rows)).outputs["trained"]
            proof = here(validate(**common, snapshot=rows, trained=model))
            entry = here(
                register(
                    **common,
                    cause=cause,
                    started_by=started_by,
                    now_s=now_s,
                    snapshot=rows,
                    trained=model,
                    validation=proof.outputs["validation"],
                )
            )
            with dsl.If(proof.outputs["Output"] == "accepted", name="accepted"):
                version = entry.outputs["version"]
                with dsl.ParallelFor(entry.outputs["Output"], name="each target") as target:
                    common_here = {**common, "target": target}
                    compiled = here(compile_step(**common_here, version=version)).outputs["compiled"]
                    profiled = here(profile(**common_here, compiled=compiled)).outputs["profiled"]
                    image_of = here(package(**common_here, version=version, compiled=compiled, profiled=profiled))
                    kubernetes.use_secret_as_env(image_of, SIGNING, {key: key for key in _SIGNING_KEYS}, optional=True)
                    kubernetes.mount_pvc(image_of, pvc_name=IMAGES_CLAIM, mount_path=IMAGES_PATH)
                packages = dsl.Collected(image_of.outputs["packaged"])
                here(rollout(**common, evidence_s=evidence_s, now_s=now_s, version=version, packages=packages))

    if loop_text is not None:
        pipeline.__defaults__ = (loop_text, *(pipeline.__defaults__ or ()))
    return dsl.pipeline(name=name, description="Trains, proves, packs and rolls out a version of a loop.")(pipeline)


def arguments_of(request: RunRequest, loop: Loop) -> Mapping[str, Any]:
    """The pipeline's arguments for a run request."""
    return {
        "loop": dumps(loop),
        "run_key": request.key,
        "cause": request.cause,
        "started_by": request.by,
        "evidence_s": float(request.evidence),
        "now_s": float(request.requested_s),
    }


training = build()
