"""A plan on the stand-in: what it says is served is served after a power cut without a link, and nothing else can be."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from edgeloop_contracts import OfflinePlan, Package
from edgeloop_fleet.clusters.folder import FolderCluster, read_nodes
from edgeloop_fleet.offline import plan_groups, prepull_jobs, serving
from edgeloop_fleet.offline.facts import GroupFacts, groups_from
from edgeloop_fleet.render import Settings, render_loop
from edgeloop_pipelines.cli.plan_inputs import layers_in

pytestmark = pytest.mark.slow


def planned(site: Any, versions: list[Mapping[str, Package]]) -> OfflinePlan:
    """The large group has no limit, the small one 2 MiB on disk."""
    facts = {"small": GroupFacts(storage_mib=2)}
    return plan_groups(groups_from([site.loop], {"power": versions}, facts, lambda d: layers_in(site.images, d)))


def rendered(site: Any, packages: Mapping[str, Package]) -> list[dict[str, Any]]:
    """Groups and servers, without rules, agent and jobs."""
    nodes = read_nodes(site.folder / "nodes.yaml")
    found = render_loop(site.loop, packages, nodes, Settings(server_port=site.port))
    return [item for item in found if item["kind"] in ("NodeGroup", "EdgeApplication")]


def stored(site: Any, node: str) -> int:
    """Bytes of blobs in a node's own store."""
    blobs = site.folder / "nodes" / node / "images" / "blobs"
    return sum(path.stat().st_size for path in blobs.rglob("*") if path.is_file())


def test_each_node_serves_after_a_power_cut_without_a_link_what_the_plan_says(
    site: Any, start_standin: Callable[..., Any]
) -> None:
    """A champion of 3 MiB fits the large group only; the small group's 2 MiB hold the last good version.

    The jobs alone fill the nodes. Then the link is cut (the site's images are gone), the power too (kill -9, and all that was
    unpacked is away): every node serves as planned. Then the large group goes to its reserve, and does; the small one is sent
    what was dropped, which cannot come: the link is cut indeed, and the old server goes on.
    """
    champion, good = site.image("champion", 3 << 20), site.image("good", 1 << 19)
    versions = [
        {f"{group}-t": site.package(number, f"{group}-t", digest) for group in ("large", "small")}
        for number, digest in ((2, champion), (1, good))
    ]
    plan = planned(site, versions)
    serves = {group: serving(items)["power"] for group, items in plan.groups.items()}
    assert {group: item.version for group, item in serves.items()} == {"large": 2, "small": 1}
    assert [item.keep for item in plan.groups["large"]] == [True, True]
    assert "the group has 2.0 MiB" in plan.groups["small"][0].why

    standin = start_standin()
    client = FolderCluster(site.folder)
    known = {package.digest: package for one in versions for package in one.values()}
    jobs = prepull_jobs(plan, [site.loop], known, read_nodes(site.folder / "nodes.yaml"), Settings())
    assert len(jobs) == 3
    client.apply([*rendered(site, {}), *jobs])
    standin.until(
        lambda: [job["status"]["phase"] for job in standin.status("imageprepulljob-*")] == ["Completed"] * len(jobs)
    )
    fetched = {node: stored(site, node) for node in ("n1", "n2", "n3")}
    assert fetched["n1"] == fetched["n2"] == plan.outlook["large"].fetch_bytes
    assert fetched["n3"] == plan.outlook["small"].fetch_bytes <= 2 << 20

    site.images.rename(site.images.with_name("cut-off"))
    by_version = {2: versions[0], 1: versions[1]}
    chosen = {group: by_version[item.version][f"{group}-t"] for group, item in serves.items()}
    client.apply(rendered(site, chosen))
    expected = {"n1": "champion", "n2": "champion", "n3": "good"}
    standin.until(lambda: site.answers() == expected)

    standin.process.send_signal(signal.SIGKILL)
    standin.process.wait(10)
    gone = dict.fromkeys(expected, "ConnectionRefusedError")
    assert any(site.answers() == gone or time.sleep(0.05) for _ in range(100)), "servers outlived the power cut"
    for unpacked in ("rootfs", "layers"):
        shutil.rmtree(site.folder / unpacked)
    standin = start_standin()
    standin.until(standin.shown)
    standin.until(lambda: site.answers() == expected)

    client.apply(rendered(site, {"large": versions[1]["large-t"], "small": versions[0]["small-t"]}))
    standin.until(lambda: client.observe("power", ["small"])["small"].waiting.startswith("ImagePullBackOff"))
    reserve = [dict.fromkeys(expected, "good")] * 5  # old and new answer together for a moment
    standin.until(lambda: [site.answers() for _ in reserve] == reserve)
    assert {node: stored(site, node) for node in fetched} == fetched
