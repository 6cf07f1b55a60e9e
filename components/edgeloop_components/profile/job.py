"""The profile on a node: a Kubernetes Job that runs server and load generator in one pod, and what its log says. Pure.

A pod cannot write control groups, so the Job varies the load only and relies on the pod's own limits, which are those of the
profile made before. The server is a sidecar (an init container that goes on), so that the Job ends when the load has ended.

What keeps it apart from the server in use on the same node: it listens on 127.0.0.1 and a port of its own, and its run folder
is the pod's, so that the agent never counts its requests. The host's network is used because edge nodes may have no other.

The image with the generator holds one static file, /edgeloop/load, which is also its entry point (`load.generator(platform)`).
Refuses an image that is not given by digest.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeloop_components.profile.load import CONNECTIONS, Load, http_request, pack_requests
from edgeloop_components.profile.search import Judged, judge
from edgeloop_contracts import Package, ProfilePoint, ResourceProfile, Target
from edgeloop_contracts.artifacts import DIGEST
from edgeloop_contracts.loop import THREADED

__all__ = ["JobError", "JobPlan", "profile_job", "profile_of_log", "rates_for"]

RUN_FOLDER, REQUESTS_FOLDER = "/run/edgeloop", "/requests"
USER = 65532
UNREACHABLE = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
STARTS_WITHIN_S, MOST_REQUEST_BYTES = 120, 512 * 1024  # of a ConfigMap's 1 MiB
FIRST_PORT, PORTS = 18000, 2000
LOAD_RESOURCES = {"requests": {"cpu": "50m", "memory": "16Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}}
SHARES = (0.1, 0.25, 0.5, 0.75, 1.0, 1.25)  # of the rate that the build machine sustained
DEMANDS = (1, 2, 5, 10, 20)  # of the demand, where it sustained none for sure


class JobError(ValueError):
    """The Job cannot be made, or its log does not hold a result."""


@dataclass(frozen=True, kw_only=True)
class JobPlan:
    """What the Job does, and where it gets its images from. `load_image` is a full name by digest."""

    load_image: str
    registry: str
    namespace: str = "edgeloop"
    port: int = 0  # 0: one that follows from the image, so that two Jobs on a node do not meet
    rates_per_s: tuple[float, ...]
    seconds: float = 10.0
    seed: int = 1
    timeout_s: float = 1.0


def rates_for(profile: ResourceProfile, demand_per_s: float) -> tuple[float, ...]:
    """The rates to try on a node, ascending: around what the build machine sustained."""
    if profile.rate_per_s:
        return tuple(round(share * profile.rate_per_s, 1) for share in SHARES)
    return tuple(times * demand_per_s for times in DEMANDS)


def profile_job(
    package: Package, target: Target, profile: ResourceProfile, bodies: Sequence[bytes], plan: JobPlan
) -> list[dict[str, Any]]:
    """The ConfigMap with the requests, and the Job. JobError."""
    if not re.fullmatch(rf"\S+@{DIGEST}", plan.load_image):
        raise JobError(f"load image: expected a name by digest (@sha256:...), got {plan.load_image}")
    plan = replace(plan, port=plan.port or FIRST_PORT + int(package.digest[7:15], 16) % PORTS)
    name = f"profile-{package.loop[:30]}-{target.name[:10]}-{package.digest[7:15]}"
    marks = {
        "app.kubernetes.io/name": "profile",
        "app.kubernetes.io/part-of": "edgeloop",
        "app.kubernetes.io/managed-by": "edgeloop",
        "edgeloop.dev/loop": package.loop,
        "edgeloop.dev/group": target.nodes.group,
    }
    metadata = {"name": name, "namespace": plan.namespace, "labels": marks}
    route = f"/v2/models/{package.loop}/infer"
    requests = pack_requests(_fitting(http_request("POST", route, body) for body in bodies))
    config = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "binaryData": {"requests": base64.b64encode(requests).decode()},
    }
    return [config, _job(metadata | {"labels": dict(marks)}, package, target, profile, plan)]


def _fitting(requests: Iterable[bytes]) -> list[bytes]:
    """As many as a ConfigMap holds."""
    kept: list[bytes] = []
    size = 0
    for request in requests:
        size += len(request) + 4
        if kept and size > MOST_REQUEST_BYTES:
            break
        kept.append(request)
    return kept


def _job(
    metadata: dict[str, Any], package: Package, target: Target, profile: ResourceProfile, plan: JobPlan
) -> dict[str, Any]:
    pod = {
        "restartPolicy": "Never",
        "nodeSelector": dict(target.nodes.labels) or {"edgeloop.dev/group": target.nodes.group},
        "tolerations": [{"key": key, "operator": "Exists", "effect": "NoExecute"} for key in UNREACHABLE],
        "hostNetwork": True,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_server(package, profile, plan)],
        "containers": [_load(profile, plan)],
        "volumes": [
            {"name": "run", "emptyDir": {"sizeLimit": "16Mi"}},
            {"name": "requests", "configMap": {"name": metadata["name"]}},
        ],
    }
    patience_s = STARTS_WITHIN_S + math.ceil(len(plan.rates_per_s) * (plan.seconds + plan.timeout_s)) + 60
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": patience_s,
            "ttlSecondsAfterFinished": 3600,
            "template": {"metadata": {"labels": dict(metadata["labels"])}, "spec": pod},
        },
    }


def _security() -> dict[str, Any]:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _server(package: Package, profile: ResourceProfile, plan: JobPlan) -> dict[str, Any]:
    """The image that the target's nodes run, under the limits of the profile, with the probe that they use."""
    where = ["--host", "127.0.0.1", "--port", str(plan.port), "--run-dir", RUN_FOLDER]
    return {
        "name": "server",
        "restartPolicy": "Always",
        "image": f"{plan.registry}/{package.repository}@{package.digest}",
        "imagePullPolicy": "IfNotPresent",
        "args": where,
        "env": [{"name": name, "value": value} for name, value in _environment(package, profile).items()],
        "resources": {
            "requests": {"cpu": f"{profile.cpu_request_m}m", "memory": f"{profile.memory_request_mib}Mi"},
            "limits": {"cpu": f"{profile.cpu_limit_m}m", "memory": f"{profile.memory_limit_mib}Mi"},
        },
        "startupProbe": {
            "exec": {"command": ["/edgeloop/server", "check", "--run-dir", RUN_FOLDER, "--pid", "1"]},
            "timeoutSeconds": 10,
            "periodSeconds": 1,
            "failureThreshold": STARTS_WITHIN_S,
        },
        "securityContext": _security(),
        "volumeMounts": [{"name": "run", "mountPath": RUN_FOLDER}],
    }


def _environment(package: Package, profile: ResourceProfile) -> dict[str, str]:
    """Names under which nothing is reported, and the number of threads, where the runtime can be told it."""
    threads = {"EDGELOOP_THREADS": str(profile.threads)} if package.runtime in THREADED else {}
    return {"EDGELOOP_NODE": "profile", "EDGELOOP_GROUP": "profile", **threads}


def _load(profile: ResourceProfile, plan: JobPlan) -> dict[str, Any]:
    limit_ms = 100.0 if profile.latency_limit_ms is None else profile.latency_limit_ms
    words = {
        "--port": plan.port,
        "--rates": ",".join(f"{rate:g}" for rate in plan.rates_per_s),
        "--seconds": f"{plan.seconds:g}",
        "--seed": plan.seed,
        "--connections": CONNECTIONS,
        "--limit-us": round(limit_ms * 1000),
        "--timeout-s": f"{plan.timeout_s:g}",
        "--wait-s": 10,
        "--requests": f"{REQUESTS_FOLDER}/requests",
    }
    return {
        "name": "load",
        "image": plan.load_image,
        "imagePullPolicy": "IfNotPresent",
        "args": ["run", *(str(word) for pair in words.items() for word in pair)],
        "resources": LOAD_RESOURCES,
        "securityContext": _security(),
        "volumeMounts": [{"name": "requests", "mountPath": REQUESTS_FOLDER, "readOnly": True}],
    }


def profile_of_log(profile: ResourceProfile, log: str, *, node: str = "") -> ResourceProfile:
    """The profile with what the Job's container `load` printed: rate and latency of the node in place of the build machine's.

    Latencies come from a histogram and are its buckets' upper ends, at most 1/32 too high. JobError.
    """
    limit_ms = 100.0 if profile.latency_limit_ms is None else profile.latency_limit_ms
    judged = [judge(load, limit_ms) for load in _loads(log)]
    proved = [point for point in judged if point.ok]
    best = max(proved, key=lambda point: point.rate_per_s) if proved else None
    above = [point.rate_per_s for point in judged if not (point.ok or point.open)]
    shown = best or min(judged, key=lambda point: point.rate_per_s)
    if shown.p99_ms == math.inf:
        raise JobError(f"the Job's log: at {shown.rate_per_s:g} requests a second {shown.why}")
    return replace(
        profile,
        method=_method(node, len(judged), best),
        limited=True,
        confirmed=False,
        latency_p50_ms=shown.p50_ms,
        latency_p99_ms=shown.p99_ms,
        latency_p99_low_ms=shown.p99_low_ms,
        latency_p99_high_ms=None if shown.p99_high_ms == math.inf else shown.p99_high_ms,
        rate_per_s=best.rate_per_s if best else None,
        rate_low_per_s=best.rate_per_s if best else None,
        rate_high_per_s=min((rate for rate in above if best is None or rate > best.rate_per_s), default=None),
        cpu_us_per_request=None,
        points=tuple(_point(profile, point) for point in judged),
    )


def _method(node: str, points: int, best: Judged | None) -> str:
    where = f"a Job on node {node}" if node else "a Job on a node of the group"
    found = "no rate was proved" if best is None else "the highest of the rates tried that was proved"
    return (
        f"{where}, under the pod's own limits: only the load was varied, at {points} rates; {found}; "
        "requests and limits are those found on the build machine"
    )


def _point(profile: ResourceProfile, judged: Judged) -> ProfilePoint:
    return ProfilePoint(
        quota_m=profile.cpu_limit_m,
        threads=profile.threads,
        memory_mib=profile.memory_limit_mib,
        rate_per_s=judged.rate_per_s,
        latency_p99_ms=None if judged.p99_ms == math.inf else judged.p99_ms,
        ok=judged.ok,
        why=judged.why,
    )


def _loads(log: str) -> list[Load]:
    """The lines of the generator among whatever else a log holds."""
    found = []
    for line in log.splitlines():
        at = line.find('{"rate_per_s"')
        if at < 0:
            continue
        try:
            found.append(_load_of(json.loads(line[at:])))
        except (ValueError, KeyError, TypeError) as error:
            raise JobError(
                f"the Job's log: expected the generator's JSON, got {line[at : at + 80]!r}: {error}"
            ) from error
    if not found:
        raise JobError(f"the Job's log: expected a line of the generator, found none; it ends {log[-200:]!r}")
    return found


def _load_of(told: dict[str, Any]) -> Load:
    latencies = [top / 1000 for top, times in told["histogram_us"] for _ in range(times)]
    latencies += [math.inf] * told["failed"]
    errors = {name: times for name, times in told["errors"].items() if times}
    return Load(
        told["rate_per_s"],
        told["seconds"],
        told["seed"],
        latencies,
        errors,
        told["late_p99_us"] / 1000,
        told["cpu_s"],
        told["elapsed_s"],
    )
