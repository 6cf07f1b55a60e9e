"""Every field of Sedna's objects (sedna.io/v1alpha1) that loop.yaml has no counterpart for, with what to do instead.

The first row whose pattern is a field's path, or the beginning of it, is taken. `""` as advice: nothing to do and nothing lost.
What no row names is unknown to Sedna, too.
"""

from __future__ import annotations

import re

__all__ = ["ADVICE", "UNKNOWN", "advice_for"]

UNKNOWN = "Sedna v1alpha1 has no such field; nothing is made of it"

_STATE = "the state of a running job stays with it: edgeloop's catalog begins with version 1"
_POD = "edgeloop makes the pod: see `edgeloop render`"
_KEYS = "credentials are AWS_* in the environment, on a cluster the Secret edgeloop-s3"
_STEPS = "steps run in the image of the pipeline's steps, on nodes of the cloud: see `edgeloop compile --image`"
_ROWS = "the server takes rows in requests: files are for your application to mount"
_VERSIONS = "each trained model is a version NAME@N in the catalog, never a file that is overwritten"

_SERVER_SET = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "managedFields",
    "selfLink",
    "annotations.kubectl",
)
_METADATA = {
    **{f"metadata.{name}": "" for name in _SERVER_SET},
    "metadata.name": "",
    "metadata.namespace": "say the namespace to `edgeloop render --namespace`",
    "metadata": "rendered objects carry edgeloop's own labels",
    "apiVersion": "",
    "kind": "",
    "status": _STATE,
}

_JOB = {
    "spec.initialModel": "training starts from the data. To serve a ready ONNX file: train: {onnx: model.onnx}",
    "spec.trainSpec.template.spec.containers[].image": f"the training function is Python code beside loop.yaml; {_STEPS}",
    "spec.trainSpec.template": _STEPS,
    "spec.trainSpec.trigger.checkPeriodSeconds": "the fleet service judges at every report (Sedna looks every 10 s in any case)",
    "spec.evalSpec.initialEvalModel": "a new version is compared with the champion of the catalog",
    "spec.evalSpec": "the pipeline computes the metrics on the newest rows: see validate.require and validate.slices",
    "spec.deploySpec.model.hotUpdateEnabled": "a version is a signed image that replaces the server without losing a request",
    "spec.deploySpec.model.pollPeriodSeconds": "nothing polls: the fleet service rolls versions out",
    "spec.deploySpec.model": _VERSIONS,
    "spec.deploySpec.trigger.timer": "loop.yaml has no hours of the day for a rollout: approval: manual lets a person begin it",
    "spec.deploySpec.trigger.checkPeriodSeconds": "a version is judged when it is trained",
    "spec.deploySpec.hardExampleMining": "agents count confidence and drift of all rows; your application says which to label",
    "spec.deploySpec.template.spec.containers[].image": "the server's image is built by the pipeline",
    "spec.deploySpec.template.spec.containers[].args": "an application of yours asks the server for scores: POST /score",
    "spec.deploySpec.template.spec.containers[].command": "an application of yours asks the server for scores: POST /score",
    "spec.deploySpec.template.spec.containers[].env": "settings of your application stay with it; the server has none of them",
    "spec.deploySpec.template.spec.containers[].resources.requests": "requests are derived from the measured profile",
    "spec.deploySpec.template.spec.containers[].resources": "edgeloop knows budgets of memory_mib and cpu_m, and FPGAs; no GPU",
    "spec.deploySpec.template.spec.containers[].volumeMounts": _ROWS,
    "spec.deploySpec.template.spec.volumes": _ROWS,
    "spec.deploySpec.template": _POD,
    "spec.outputDir": f"{_VERSIONS}; where: AWS_ENDPOINT_URL_S3 and EDGELOOP_BUCKET",
    "spec.credentialName": _KEYS,
}

_DATASET = {
    "spec.nodeName": "the pipeline reads data in the cloud: copy them from the node to the object store",
    "spec.credentialName": _KEYS,
}

_MODEL = {
    "spec.url": _VERSIONS,
    "spec.format": "models are ONNX: scikit-learn estimators are converted, other frameworks export",
    "spec.device_soc_versions": "say the hardware as targets (platform and runtime); there is none for these chips",
    "spec.credentialName": _KEYS,
}

ADVICE: dict[str, dict[str, str]] = {
    "IncrementalLearningJob": {**_METADATA, **_JOB},
    "Dataset": {**_METADATA, **_DATASET},
    "Model": {**_METADATA, **_MODEL},
}


def advice_for(kind: str, path: str) -> tuple[str, str]:
    """The part of the path that a row speaks of, and the advice. UNKNOWN with the whole path where no row does."""
    for pattern, advice in ADVICE[kind].items():
        found = re.match(rf"{re.escape(pattern)}(?=[.\[]|$)".replace(r"\[\]", r"\[\d+\]"), path)
        if found:
            return found[0], advice
    return path, UNKNOWN
