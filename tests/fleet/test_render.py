"""Rendering: what the notes on KubeEdge demand of every object, for loops of several shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Loop, Needs, Package, ResourceProfile, from_json
from edgeloop_contracts.ecdsa import GX, GY, P, PublicKey, public_keys
from edgeloop_fleet.render import (
    Node,
    RenderError,
    Settings,
    deployment_name,
    identity,
    node_of,
    render_loop,
    superseded,
)
from edgeloop_fleet.render.files import file_name, load_all, write_objects
from edgeloop_fleet.render.workload import overriders
from edgeloop_fleet.testing import openly_signed

DIGEST = "sha256:" + "ab" * 32


def loop_of(name: str, groups: dict[str, dict[str, str]], runtime: str = "onnxruntime") -> Loop:
    """A loop with one target a group; `groups` is group: nodes.labels."""
    targets = [
        {"name": f"t{i}", "runtime": runtime, "part": "ice40-up5k", "nodes": {"group": group, "labels": labels}}
        for i, (group, labels) in enumerate(groups.items())
    ]
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": name},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": targets,
    }
    return from_json(Loop, document)


def package_of(loop: Loop, group: str, digest: str = DIGEST, *, profile: bool = True) -> Package:
    target = next(target for target in loop.targets if target.nodes.group == group)
    measured = ResourceProfile(
        loop=loop.name, target=target.name, method="test", latency_p50_ms=1, latency_p99_ms=2, memory_peak_mib=70,
        cpu_request_m=100, cpu_limit_m=500, memory_request_mib=96, memory_limit_mib=160,
    )  # fmt: skip
    return Package(
        loop=loop.name, version=3, target=target.name, platform=target.platform, runtime=target.runtime,
        repository=f"edgeloop/{loop.name}/{target.name}", digest=digest, size_bytes=1, profile=measured if profile else None,
    )  # fmt: skip


def nodes_of(*names: str, group: str = "gateways") -> list[Node]:
    return [Node(name=name, labels={"edgeloop.dev/group": group}) for name in names]


def rendered(
    loop: Loop, nodes: list[Node], settings: Settings | None = None, *, signed: bool = False
) -> list[dict[str, Any]]:
    packages = {target.nodes.group: package_of(loop, target.nodes.group) for target in loop.targets}
    given = {group: openly_signed(package) for group, package in packages.items()} if signed else packages
    return render_loop(loop, given, nodes, settings or Settings())


def of_kind(objects: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [item for item in objects if item["kind"] == kind]


def pod_specs(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for item in objects:
        if item["kind"] == "DaemonSet":
            yield item["spec"]["template"]["spec"]
        if item["kind"] == "EdgeApplication":
            for manifest in item["spec"]["workloadTemplate"]["manifests"]:
                yield manifest["spec"]["template"]["spec"]


def boards_of(device: str) -> Loop:
    """One group with boards, one whose boards are simulated, one of another runtime."""
    loop = loop_of("press", {"lines": {}, "benches": {}, "cabinets": {}}, runtime="fpga")
    boards, simulated, plain = loop.targets
    fpga = replace(boards.fpga, device=device, board="icebreaker", baud=1_000_000)
    return replace(loop, targets=(replace(boards, fpga=fpga), simulated, replace(plain, runtime="native")))


POWER = loop_of("turbine-power", {"gateways": {}, "cabinets": {"site": "north"}})


def test_a_node_group_always_has_labels() -> None:
    """NodeGroups select by the loop's labels, and by the group's own label where the loop names none."""
    groups = {item["metadata"]["name"]: item["spec"] for item in of_kind(rendered(POWER, []), "NodeGroup")}
    assert groups == {
        "gateways": {"matchLabels": {"edgeloop.dev/group": "gateways"}},
        "cabinets": {"matchLabels": {"site": "north"}},
    }


def test_every_pod_survives_a_power_cut_without_a_link() -> None:
    """No token, endless tolerations, IfNotPresent, host network without ports, nothing in an emptyDir or a ConfigMap."""
    specs = list(pod_specs(rendered(POWER, nodes_of("n1"))))
    assert len(specs) == 2
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["hostNetwork"] is True
        tolerations = {(t["key"], t["operator"], t["effect"]) for t in spec["tolerations"]}
        assert tolerations == {
            ("node.kubernetes.io/unreachable", "Exists", "NoExecute"),
            ("node.kubernetes.io/not-ready", "Exists", "NoExecute"),
        }
        assert not any("tolerationSeconds" in toleration for toleration in spec["tolerations"])
        assert all(set(volume) == {"name", "hostPath"} for volume in spec["volumes"])
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["imagePullPolicy"] == "IfNotPresent"
            assert "ports" not in container
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]


def test_every_field_reference_says_its_api_version() -> None:
    """KubeEdge's env overrider drops a fieldRef without apiVersion, and the Deployment is then refused."""
    references = [
        variable["valueFrom"]["fieldRef"]
        for spec in pod_specs(rendered(POWER, []))
        for variable in spec["containers"][0]["env"]
    ]
    assert {reference["fieldPath"] for reference in references} == {"spec.nodeName", "status.hostIP"}
    assert all(reference["apiVersion"] == "v1" for reference in references)


def test_servers_get_the_public_keys_as_text() -> None:
    """The server's container alone, in the template; a text that its own verification reads; without keys there is none."""
    keys = (PublicKey(GX, GY), PublicKey(GX, P - GY))
    server, agent = (
        {variable["name"]: variable for variable in spec["containers"][0]["env"]}
        for spec in sorted(
            pod_specs(rendered(POWER, [], Settings(trusted=keys), signed=True)),
            key=lambda spec: "initContainers" in spec,
        )
    )
    assert public_keys(server["EDGELOOP_PUBLIC_KEY"]["value"]) == keys
    assert set(server["EDGELOOP_PUBLIC_KEY"]) == {
        "name",
        "value",
    }  # nothing that a node must fetch before a pod can start
    assert "EDGELOOP_PUBLIC_KEY" not in agent
    plain = [v["name"] for spec in pod_specs(rendered(POWER, [])) for v in spec["containers"][0]["env"]]
    assert "EDGELOOP_PUBLIC_KEY" not in plain


def test_a_surge_update_finds_room_on_nodes_that_have_the_old_pod() -> None:
    """Spread counts only pods of one revision; there is no anti-affinity that would keep the surge pod Pending."""
    (application,) = of_kind(rendered(POWER, nodes_of("n1")), "EdgeApplication")
    (deployment,) = application["spec"]["workloadTemplate"]["manifests"]
    assert deployment["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    assert deployment["spec"]["progressDeadlineSeconds"] == 120
    spec = deployment["spec"]["template"]["spec"]
    assert "affinity" not in spec
    (spread,) = spec["topologySpreadConstraints"]
    assert spread["matchLabelKeys"] == ["pod-template-hash"]
    assert (spread["maxSkew"], spread["whenUnsatisfiable"], spread["nodeAffinityPolicy"]) == (
        1,
        "DoNotSchedule",
        "Honor",
    )
    assert spread["labelSelector"]["matchLabels"] == deployment["spec"]["selector"]["matchLabels"]
    assert "exec" in spec["containers"][0]["readinessProbe"]


def test_overriders_say_all_that_differs_between_groups() -> None:
    """Digest by Tag with a path, replicas = nodes of the group, resources of the profile, and the group's environment."""
    nodes = [*nodes_of("n1", "n2"), Node(name="n3", labels={"site": "north"})]
    (application,) = of_kind(rendered(POWER, nodes, Settings(registry="registry.example:5000/site")), "EdgeApplication")
    gateways, cabinets = application["spec"]["workloadScope"]["targetNodeGroups"]
    over = gateways["overriders"]
    path = {"path": "/spec/template/spec/containers/0/image"}
    assert [(o["component"], o["operator"], o["value"], o["predicate"]) for o in over["imageOverriders"]] == [
        ("Repository", "replace", "site/edgeloop/turbine-power/t0", path),
        ("Tag", "replace", DIGEST, path),
    ]
    assert (over["replicas"], cabinets["overriders"]["replicas"]) == (2, 1)
    assert over["resourcesOverriders"][0]["value"]["limits"] == {"cpu": "500m", "memory": "160Mi"}
    assert over["envOverriders"][0]["value"] == [
        {"name": "EDGELOOP_GROUP", "value": "gateways"},
        {"name": "EDGELOOP_IMAGE", "value": DIGEST},
        {"name": "EDGELOOP_THREADS", "value": "1"},
    ]


def test_the_measured_threads_reach_the_server() -> None:
    """Those of the profile, where the runtime takes them: a native server has one thread and is told none."""
    package = package_of(POWER, "gateways")
    assert package.profile is not None
    two = replace(package, profile=replace(package.profile, threads=2))

    def told(one: Package) -> list[dict[str, str]]:
        env: list[dict[str, str]] = overriders("gateways", one, 1, Settings())["envOverriders"][0]["value"]
        return [variable for variable in env if variable["name"] == "EDGELOOP_THREADS"]

    assert told(two) == [{"name": "EDGELOOP_THREADS", "value": "2"}]
    assert told(replace(two, runtime="native")) == []
    assert told(replace(two, profile=None)) == []


def test_a_board_is_a_resource_of_its_group_alone() -> None:
    """The group with a device gets it as an extended resource, and is told where it is; no container is privileged."""
    loop = boards_of("/dev/ttyUSB1")
    objects = rendered(loop, nodes_of("n1", "n2", group="lines"), Settings(device_resource="boards.example"))
    (application,) = of_kind(objects, "EdgeApplication")
    over = {t["name"]: t["overriders"] for t in application["spec"]["workloadScope"]["targetNodeGroups"]}
    limits = {name: o["resourcesOverriders"][0]["value"]["limits"] for name, o in over.items()}
    assert limits["lines"] == {"cpu": "500m", "memory": "160Mi", "boards.example/ttyUSB1": "1"}
    assert limits["benches"] == limits["cabinets"] == {"cpu": "500m", "memory": "160Mi"}
    told = {name: {v["name"]: v["value"] for v in o["envOverriders"][0]["value"]} for name, o in over.items()}
    assert told["lines"]["EDGELOOP_DEVICE"] == "/dev/ttyUSB1"
    assert "EDGELOOP_DEVICE" not in told["benches"]
    spec = application["spec"]["workloadTemplate"]["manifests"][0]["spec"]["template"]["spec"]
    assert spec["securityContext"]["supplementalGroups"] == [20]
    assert "privileged" not in spec["containers"][0]["securityContext"]
    unmeasured = overriders("lines", package_of(loop, "lines", profile=False), 1, Settings(), loop.targets[0])
    assert unmeasured["resourcesOverriders"][0]["value"] == {"limits": {"smarter-devices/ttyUSB1": "1"}}


def test_kubeedge_is_told_of_each_board() -> None:
    """One DeviceModel, and a Device for each node with a board; a loop without boards has neither."""
    objects = rendered(boards_of("/dev/ttyUSB1"), nodes_of("n1", "n2.site", group="lines"))
    (model,) = of_kind(objects, "DeviceModel")
    devices = of_kind(objects, "Device")
    assert [(d["metadata"]["name"], d["spec"]["nodeName"]) for d in devices] == [
        ("press-n1", "n1"),
        ("press-n2-site", "n2.site"),
    ]
    for device in devices:
        assert device["spec"]["deviceModelRef"] == {"name": model["metadata"]["name"]}
        assert device["spec"]["protocol"]["configData"] == {
            "device": "/dev/ttyUSB1", "baud": 1_000_000, "board": "icebreaker", "part": "ice40-up5k",
        }  # fmt: skip
        names = [prop["name"] for prop in device["spec"]["properties"]]
        assert names == [prop["name"] for prop in model["spec"]["properties"]]
    without = rendered(POWER, nodes_of("n1"))
    assert of_kind(without, "DeviceModel") == of_kind(without, "Device") == []
    (application,) = of_kind(without, "EdgeApplication")
    spec = application["spec"]["workloadTemplate"]["manifests"][0]["spec"]["template"]["spec"]
    assert "supplementalGroups" not in spec["securityContext"]


def test_a_wave_touches_only_its_groups_overriders() -> None:
    """Another digest for one group leaves the template and the other group's overriders byte for byte as they were."""
    nodes = nodes_of("n1")
    both = {group: package_of(POWER, group) for group in ("gateways", "cabinets")}
    before, after = (
        of_kind(render_loop(POWER, packages, nodes, Settings()), "EdgeApplication")[0]
        for packages in (both, {**both, "gateways": package_of(POWER, "gateways", "sha256:" + "cd" * 32)})
    )
    assert before["spec"]["workloadTemplate"] == after["spec"]["workloadTemplate"]
    old, new = (item["spec"]["workloadScope"]["targetNodeGroups"] for item in (before, after))
    assert old[0] != new[0]
    assert old[1] == new[1]


def test_a_group_without_a_package_gets_no_server() -> None:
    """The first wave names one group; without any package there is no EdgeApplication at all."""
    objects = render_loop(POWER, {"gateways": package_of(POWER, "gateways")}, [], Settings())
    (application,) = of_kind(objects, "EdgeApplication")
    assert [target["name"] for target in application["spec"]["workloadScope"]["targetNodeGroups"]] == ["gateways"]
    assert of_kind(render_loop(POWER, {}, [], Settings()), "EdgeApplication") == []


def test_a_job_pulls_by_names_or_by_labels_never_both() -> None:
    """Nodes that are known and ready are named; a group with none is selected by its label."""
    nodes = [*nodes_of("n1", "n2"), Node(name="n9", labels={"edgeloop.dev/group": "gateways"}, ready=False)]
    jobs = [item["spec"]["imagePrePullTemplate"] for item in of_kind(rendered(POWER, nodes), "ImagePrePullJob")]
    assert [job.get("nodeNames") for job in jobs] == [["n1", "n2"], None]
    assert jobs[1]["labelSelector"] == {"matchLabels": {"apps.kubeedge.io/belonging-to": "cabinets"}}
    assert "labelSelector" not in jobs[0]


def test_there_is_a_rule_for_each_node_that_is_up_and_one_for_acknowledgements() -> None:
    """A Rule for a node that is not connected would never subscribe, so it waits for a later rendering."""
    nodes = [*nodes_of("n1", "n2.site"), Node(name="n9", labels={"edgeloop.dev/group": "gateways"}, ready=False)]
    objects = rendered(POWER, nodes, Settings(namespace="ml", fleet_url="http://fleet.example:8080"))
    endpoints = {
        item["spec"]["ruleEndpointType"]: item["metadata"]["name"] for item in of_kind(objects, "RuleEndpoint")
    }
    specs = [item["spec"] for item in of_kind(objects, "Rule")]
    assert [spec["sourceResource"] for spec in specs] == [
        {"topic": "reports/n1", "node_name": "n1"},
        {"topic": "reports/n2.site", "node_name": "n2.site"},
        {"path": "/acks"},
    ]
    assert specs[0]["targetResource"] == {"resource": "http://fleet.example:8080/v1/reports"}
    assert specs[2]["targetResource"] == {"topic": "acks"}
    assert (specs[0]["source"], specs[0]["target"]) == (endpoints["eventbus"], endpoints["rest"])
    assert (specs[2]["source"], specs[2]["target"]) == (endpoints["rest"], endpoints["eventbus"])
    kinds = [item["kind"] for item in objects]
    assert kinds.index("RuleEndpoint") < kinds.index("Rule"), "the endpoint must be there before the rule"
    assert of_kind(rendered(POWER, nodes, Settings(transport="https")), "Rule") == []


def test_what_cannot_be_updated_is_named_by_its_content() -> None:
    """The same content has the same name; another URL gives other Rules, which supersede the old ones and nothing else."""
    nodes = nodes_of("n1")
    first, again = rendered(POWER, nodes), rendered(POWER, nodes)
    assert first == again
    second = rendered(POWER, nodes, Settings(fleet_url="http://other.example"))
    old = {identity(item) for item in first} - {identity(item) for item in second}
    assert {kind for kind, _, _ in old} == {"Rule"}
    assert {identity(item) for item in superseded(first, second)} == old
    foreign = {**first[3], "metadata": {**first[3]["metadata"], "labels": {}}}
    assert superseded([foreign], second) == []


def test_names_are_short_and_apart() -> None:
    """The longest names that a loop may have stay within 63 characters, and similar ones do not collide."""
    loops = [loop_of("l" * 47 + last, {"g" * 47 + "x": {}, "g" * 47 + "y": {}}) for last in "ab"]
    node = Node(name=".".join(["n" * 60] * 4), labels={"edgeloop.dev/group": "g" * 47 + "x"})
    objects = [item for loop in loops for item in rendered(loop, [node])]
    assert max(len(item["metadata"]["name"]) for item in objects) <= 63
    names = [deployment_name(loop.name, target.nodes.group) for loop in loops for target in loop.targets]
    assert len(set(names)) == 4
    assert all(len(name) <= 63 for name in names)
    assert len({file_name(item) for item in objects}) == len({identity(item) for item in objects})


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda: Settings(namespace="Bad_NS"), "settings.namespace"),
        (lambda: Settings(registry="reg/$(HOME)"), "settings.registry"),
        (lambda: Settings(fleet_url="http://a/?x=1"), "settings.fleet_url"),
        (lambda: Settings(mqtt="broker"), "HOST:PORT"),
        (lambda: Node(name="a/#"), "node"),
        (lambda: rendered(loop_of("l", {"g": {"site": "a b"}}), []), "nodes.labels.site"),
        (
            lambda: render_loop(
                POWER, {"gateways": replace(package_of(POWER, "gateways"), runtime="vendor")}, [], Settings()
            ),
            "readiness probe",
        ),
        (lambda: rendered(boards_of("/dev/../etc/passwd"), []), "fpga.device: expected a device of the node"),
        (lambda: rendered(boards_of("/tmp/tty"), []), "fpga.device: expected a device of the node"),
        (lambda: Settings(device_resource="a/b"), "settings.device_resource"),
        (lambda: render_loop(POWER, {"other": package_of(POWER, "gateways")}, [], Settings()), "gateways, cabinets"),
        (
            lambda: render_loop(
                POWER, {"gateways": package_of(loop_of("x", {"gateways": {}}), "gateways")}, [], Settings()
            ),
            "packages of this loop",
        ),
    ],
)
def test_text_that_cannot_stand_in_an_object_is_refused(make: Callable[[], object], expected: str) -> None:
    """Unsafe names, URLs and labels, and packages that do not fit the loop, are named and nothing is rendered."""
    with pytest.raises(RenderError, match=expected):
        make()


def test_a_package_that_may_not_go_to_its_group_is_not_rendered() -> None:
    """What the rollout step refuses, rendering refuses: more needs than the target has, and with keys an unsigned image."""
    package, trusted = package_of(POWER, "gateways"), (PublicKey(GX, GY),)
    bare = {"gateways": replace(package, needs=Needs(runtime="python3.11"))}
    with pytest.raises(
        RenderError, match=r"group gateways: target \S+ does not fit .* needs python3\.11 .*; nearest: target"
    ):
        render_loop(POWER, bare, [], Settings())
    assert render_loop(POWER, bare, [], Settings(lent=("python3.11",)))
    with pytest.raises(RenderError, match=r"group gateways: package of turbine-power@3 for .*; it is not signed"):
        render_loop(POWER, {"gateways": package}, [], Settings(trusted=trusted))
    signed = openly_signed(package)
    with pytest.raises(RenderError, match="was not made over these bytes"):
        render_loop(POWER, {"gateways": signed}, [], Settings(trusted=(PublicKey(GX, P - GY),)))
    assert render_loop(POWER, {"gateways": signed}, [], Settings(trusted=trusted))


def test_nodes_are_read_from_kubernetes_objects() -> None:
    """A node that says Ready=False is not ready; one without conditions was written by hand and counts as ready."""
    sick = {"metadata": {"name": "a"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    assert not node_of(sick).ready
    assert node_of({"metadata": {"name": "b", "labels": {"x": "y"}}}) == Node(name="b", labels={"x": "y"})


def test_objects_are_written_one_a_file_and_unchanged_files_are_left_alone(tmp_path: Path) -> None:
    """What is read back is what was rendered; a second writing touches no file; two objects never share one."""
    objects = rendered(POWER, nodes_of("n1"))
    paths = write_objects(tmp_path, objects)
    assert [load_all(path.read_text()) for path in paths] == [[item] for item in objects]
    assert (tmp_path / "edgeapplication-edgeloop-turbine-power.yaml").is_file()
    stamps = {path: path.stat().st_mtime_ns for path in paths}
    write_objects(tmp_path, objects)
    assert {path: path.stat().st_mtime_ns for path in paths} == stamps
    assert sorted(tmp_path.iterdir()) == sorted(paths), "no temporary file stays behind"
    clash = [{"kind": "Rule", "metadata": {"namespace": ns, "name": name}} for ns, name in (("a-b", "c"), ("a", "b-c"))]
    with pytest.raises(RenderError, match="one object a file"):
        write_objects(tmp_path, clash)
