"""Services around the cluster: do they answer, do they know us, do their clocks agree, are the images there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import Check, Hit

__all__ = ["CHECKS"]

CLOCK_S = 30.0  # a clock that is further off is a finding
FAR_S = 300.0  # and an error from here on

NAMES = {"kfp": "Kubeflow Pipelines", "objects": "Object store", "registry": "Registry", "fleet": "Fleet service"}
FIXES = {
    ("kfp", "away"): "is the host right, and its port forwarded? --kfp or KF_PIPELINES_ENDPOINT",
    ("kfp", "refused"): "give a token of the audience pipelines.kubeflow.org (EDGELOOP_KFP_TOKEN) and your namespace",
    ("kfp", "broken"): "is it the API of Kubeflow Pipelines 2? See EDGELOOP_KFP_NAMESPACE in multi-user installations",
    ("objects", "away"): "is it running, and does AWS_ENDPOINT_URL_S3 name it?",
    ("objects", "refused"): "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, EDGELOOP_BUCKET and the bucket's policy",
    ("objects", "broken"): "use an S3 server that honours If-None-Match: SeaweedFS, MinIO, AWS",
    ("registry", "away"): "is it running, and reachable from here and from the nodes?",
    ("registry", "refused"): "podman login, or name a file with credentials in REGISTRY_AUTH_FILE",
    ("registry", "broken"): "is it a registry of the OCI distribution specification?",
    ("fleet", "away"): "is it running, and its port forwarded? --fleet or EDGELOOP_FLEET_URL",
    ("fleet", "refused"): "is there a proxy in between that wants credentials?",
    ("fleet", "broken"): "does the address name edgeloop's fleet service?",
}
WHYS = {
    "kfp": "no run can be started",
    "objects": "data, versions and their audit log are there; without it no run and no rollout goes on",
    "registry": "nodes pull from it, and the packing step pushes to it",
    "fleet": "nodes report to it, and it steers rollouts",
}
STATES = {"away": "does not answer", "refused": "does not let us in", "broken": "answers wrongly"}


def _service(name: str, state: str, facts: Facts) -> Iterator[Hit]:
    for service in facts.services:
        if (service.name, service.state) == (name, state):
            yield Hit(f"{NAMES[name]} {service.where}", f"{STATES[state]}: {service.said}", FIXES[name, state])


def _images(facts: Facts) -> Iterator[Hit]:
    for image in facts.images:
        if image.missing:
            yield Hit(f"Image {image.name}", image.missing, "push it (edgeloop model push), or roll out what is there")


def _clocks(facts: Facts) -> Iterator[Hit]:
    for clock in facts.clocks:
        if abs(clock.off_s) > CLOCK_S:
            what = f"its clock is {abs(clock.off_s):.0f} s {'ahead' if clock.off_s > 0 else 'behind'}"
            fix = "run a time service there (chrony, systemd-timesyncd) and let it reach its servers"
            yield Hit(clock.who, what, fix, "error" if abs(clock.off_s) > FAR_S else None)


def _checks() -> Iterator[Check]:
    for name, called in NAMES.items():
        for state, words in STATES.items():
            title = f"{called} {words}"
            yield Check(f"{name}-{state}", "error", title, WHYS[name], "asked now", partial(_service, name, state))


CHECKS = (
    *_checks(),
    Check(
        "image-missing", "error", "an image that is applied is not in its registry",
        "a node that does not have it yet cannot start the server", "asked now", _images,
    ),
    Check(
        "clock-skew", "warning", "a clock is wrong by more than 30 s",
        "windows of reports are cut by the nodes' clocks, tokens and signed S3 requests are valid by the clock, and a window "
        "that ends more than a day ahead is refused",
        "HTTP Date headers and the nodes' leases; edgeloop, fleet settings", _clocks,
    ),
)  # fmt: skip
