"""Images of a group whose site has a pull-through registry: the same path and digest behind another host."""

from __future__ import annotations

import pytest

from edgeloop_contracts import Loop, Package, from_json
from edgeloop_fleet.offline import Choice, Demand, Group, Layer, plan_groups, prepull_jobs
from edgeloop_fleet.render import RenderError, Settings, deployment_name, render_loop
from edgeloop_fleet.render.values import mirrors_in
from edgeloop_pipelines.local.standin.overriders import deployments_of

DIGEST = "sha256:" + "ab" * 32
MIRROR = "cache.site-a:5000"
LOOP: Loop = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "power"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": name, "nodes": {"group": name}} for name in ("near", "far")],
    },
)
PACKAGES = {
    name: Package(
        loop="power", version=1, target=name, platform="linux/amd64", runtime="onnxruntime", repository="edgeloop/power",
        digest=DIGEST, size_bytes=1,
    )
    for name in ("near", "far")
}  # fmt: skip
REGISTRIES = {
    "edgeloop.local": f"{MIRROR}/edgeloop/power@{DIGEST}",
    "registry.example:5000/team": f"{MIRROR}/team/edgeloop/power@{DIGEST}",
    "localhost/x": f"{MIRROR}/x/edgeloop/power@{DIGEST}",
    "team": f"{MIRROR}/team/edgeloop/power@{DIGEST}",
}


def servers(settings: Settings) -> dict[str, str]:
    """group: image of its Deployment, as KubeEdge makes it of template and overriders."""
    (application,) = [o for o in render_loop(LOOP, PACKAGES, (), settings) if o["kind"] == "EdgeApplication"]
    made = {item["metadata"]["name"]: item for item in deployments_of(application)}
    return {
        group: made[deployment_name("power", group)]["spec"]["template"]["spec"]["containers"][0]["image"]
        for group in PACKAGES
    }


@pytest.mark.parametrize("registry", REGISTRIES)
def test_servers_and_jobs_of_a_group_with_a_mirror_name_it(registry: str) -> None:
    """The other group goes to the registry; a job pulls the very name that the pod asks for, else the pod pulls again."""
    plain, mirrored = Settings(registry=registry), Settings(registry=registry, mirrors={"near": MIRROR})
    expected = {"near": REGISTRIES[registry], "far": f"{registry}/edgeloop/power@{DIGEST}"}
    assert servers(mirrored) == expected
    assert servers(plain)["near"] == expected["far"]
    jobs = [o for o in render_loop(LOOP, PACKAGES, (), mirrored) if o["kind"] == "ImagePrePullJob"]
    assert [job["spec"]["imagePrePullTemplate"]["images"] for job in jobs] == [[image] for image in expected.values()]


def test_the_plans_jobs_name_it_too() -> None:
    """As the rendering of the loop does."""
    settings = Settings(mirrors={"near": MIRROR})
    groups = [
        Group(name, None, (Demand("power", 1, "low", (Choice(package, (Layer(DIGEST, 1, 1),)),)),))
        for name, package in PACKAGES.items()
    ]
    jobs = prepull_jobs(plan_groups(groups), [LOOP], {DIGEST: PACKAGES["near"]}, (), settings)
    assert jobs == [o for o in render_loop(LOOP, PACKAGES, (), settings) if o["kind"] == "ImagePrePullJob"]


@pytest.mark.parametrize("host", ["cache", "Cache.site", "cache.site/path", "cache.site:port", "", "-a.b"])
def test_a_mirror_that_is_no_host_is_refused(host: str) -> None:
    """One without a dot or a port would be read as the first part of a repository."""
    with pytest.raises(RenderError, match="expected a registry's HOST or HOST:PORT"):
        Settings(mirrors={"near": host})


def test_a_mirror_for_an_unknown_group_is_refused() -> None:
    """With the groups that there are."""
    assert mirrors_in([f"near={MIRROR}"], ("near", "far")) == {"near": MIRROR}
    for word in (f"nera={MIRROR}", "near"):
        with pytest.raises(RenderError, match=r"GROUP=HOST\[:PORT\] with a group of near, far, got"):
            mirrors_in([word], ("near", "far"))
