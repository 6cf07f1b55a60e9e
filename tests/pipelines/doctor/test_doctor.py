"""`edgeloop doctor` over a healthy installation finds nothing; each fault that is seeded into it is found, and no other."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.stores import seaweed
from edgeloop_fleet.render.files import write_objects
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.doctor.checks import CHECKS, TOPICS
from edgeloop_pipelines.doctor.checks.versions import CVES, vulnerable
from edgeloop_pipelines.doctor.describe import main as describe
from edgeloop_pipelines.doctor.objects import version_in
from edgeloop_pipelines.quantities import quantity

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]


def _seeds() -> Any:
    spec = importlib.util.spec_from_file_location("doctor_seeds", HERE / "seeds.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.SEEDS


SEEDS = _seeds()
TOGETHER = (  # faults that do not hide each other
    "kubeedge-version", "kubernetes-version", "router-off", "task-manager-off", "node-limit", "node-too-small", "kfp-refused",
    "objects-refused", "image-missing", "clock-skew", "group-overlap", "group-without-labels", "tolerations",
    "service-account-token", "pull-policy", "rule-edited", "host-ports", "empty-dir",
)  # fmt: skip


def test_a_healthy_installation_has_no_finding(site):
    """Everything is looked at, read only, and nothing is found; the exit code is 0."""
    code, document = site.doctor("--write", "--strict")
    assert document["findings"] == []
    assert document["ok"] is True
    assert code == 0
    assert {each["what"] for each in document["looked_at"]} == {
        "cluster",
        "kfp",
        "objects",
        "registry",
        "fleet",
        "loop",
    }
    assert site.api.methods == {"GET"}
    assert site.s3.keys == set()


def test_every_check_has_a_seed():
    """No check that cannot find anything; no two of one code."""
    codes = [check.code for checks in TOPICS.values() for check in checks]
    assert len(codes) == len(set(codes)) == len(CHECKS)
    assert set(SEEDS) == set(codes)


OF_SERVICES = [check.code for check in TOPICS["Services"] if check.code != "clock-skew"]


@pytest.mark.parametrize("code", [code for code in SEEDS if code not in OF_SERVICES])
def test_a_fault_in_the_cluster_is_found(site, code):
    """The fault is found, with what, why, fix and source, and brings no other finding but those that come of it."""
    SEEDS[code].act(site)
    found = {finding.code: finding for finding in site.examined()}
    assert set(found) == {code, *SEEDS[code].with_it}
    assert all(found[code].document().values())


@pytest.mark.parametrize("code", OF_SERVICES)
def test_a_fault_of_a_service_is_found(site, code):
    """The same for services, through the command: the exit code is 1."""
    seed = SEEDS[code]
    seed.act(site)
    exit_code, document = site.doctor(*seed.words, cluster=code.startswith(("registry", "image")))
    assert [finding["code"] for finding in document["findings"]] == [code]
    assert exit_code == 1


def test_many_faults_are_found_at_once(site):
    """18 faults in one installation: each is found in one look."""
    for code in TOGETHER:
        SEEDS[code].act(site)
    exit_code, document = site.doctor()
    assert {finding["code"] for finding in document["findings"]} >= set(TOGETHER)
    assert exit_code == 1
    severities = [finding["severity"] for finding in document["findings"]]
    assert severities == sorted(severities), "errors come first"
    assert document["counts"]["error"] + document["counts"]["warning"] == len(severities)


def test_warnings_are_no_failure_unless_strict(site, capsys):
    """Warnings alone end with exit code 0, with --strict with 1; people read what, why and fix."""
    SEEDS["replicas"].act(site)
    assert site.doctor()[0] == 0
    assert site.doctor("--strict")[0] == 1
    assert main(["doctor", "--kubeconfig", str(site.kubeconfig)]) == 0
    text = capsys.readouterr().out
    assert "warning: replicas\n  EdgeApplication power: group cabinets: 1 server for 2 nodes" in text
    assert "\n  why: there is to be one server a node" in text
    assert "\n  fix: edgeloop render the loop with the nodes of today, and apply\n" in text
    assert text.endswith("0 errors, 1 warning\n")


def test_clocks_of_servers_are_read(site):
    """Date headers: an API server that is 10 minutes ahead is an error, a fleet service that is a minute behind a warning."""
    site.api.clock_off_s, site.fleet.clock_off_s = 600, -60
    found = site.doctor()[1]["findings"]
    told = {(each["subject"], each["severity"], each["what"]) for each in found if each["code"] == "clock-skew"}
    said = {(subject, severity, what.split(" s ")[1]) for subject, severity, what in told}
    assert ("API server", "error", "ahead") in said
    assert ("Fleet service", "warning", "behind") in said


def test_a_service_that_hangs_is_given_up(site):
    """An API server that never ends an answer costs the time that was allowed, and is a finding."""
    site.api.stall_s = 2.0
    began_s = time.monotonic()
    exit_code, document = site.doctor("--timeout", "0.5")
    assert exit_code == 1
    assert "cluster-away" in {finding["code"] for finding in document["findings"]}
    assert time.monotonic() - began_s < 15


def test_without_a_cluster_it_says_what_it_did_not_look_at(tmp_path, monkeypatch, capsys):
    """One machine with nothing on it: no finding, exit code 0, and each part with the reason why it was left out."""
    for name in (
        "KUBECONFIG",
        "AWS_ENDPOINT_URL_S3",
        "AWS_ENDPOINT_URL",
        "EDGELOOP_FLEET_URL",
        "KF_PIPELINES_ENDPOINT",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["doctor", "--home", str(tmp_path / "home"), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["findings"] == document["looked_at"] == []
    parts = ["cluster", "Kubeflow Pipelines", "object store", "fleet service", "registry"]
    assert [each["what"] for each in document["not_looked_at"]] == parts
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--kubeconfig", "nowhere"], ["--context", "nobody"]])
def test_a_cluster_that_was_named_and_is_not_there_is_a_finding(words, tmp_path, monkeypatch, capsys):
    """Neither a crash nor silence."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    assert main(["doctor", *words, "--home", str(tmp_path), "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [finding["code"] for finding in found] == ["cluster-away"]


def test_a_folder_is_looked_at_like_a_cluster(site, capsys):
    """What `edgeloop render` wrote is checked before it is applied; a file that is no YAML is a finding."""
    folder = site.folder / "rendered"
    write_objects(
        folder, [each for each in site.api.objects if each["kind"] in ("NodeGroup", "EdgeApplication", "DaemonSet")]
    )
    assert main(["doctor", "--folder", str(folder), "--strict"]) == 0
    SEEDS["tolerations"].act(site)
    write_objects(folder, site.objects("EdgeApplication"))
    assert main(["doctor", "--folder", str(folder)]) == 1
    assert "error: tolerations" in capsys.readouterr().out
    (folder / "broken.yaml").write_text("a: [")
    assert main(["doctor", "--folder", str(folder)]) == 1
    assert "error: cluster-away" in capsys.readouterr().out


def test_the_documentation_lists_the_checks():
    """docs/doctor.md holds the tables of today; if not: python -m edgeloop_pipelines.doctor.describe docs/doctor.md."""
    assert describe(["--check", str(ROOT / "docs" / "doctor.md")]) == 0
    for number in CVES:
        assert number in (ROOT / "docs" / "doctor.md").read_text()


@pytest.mark.parametrize(
    ("text", "amount"),
    [("250m", 0.25), ("2", 2), ("96Mi", 96 * 2**20), ("1e3", 1000), ("1.5Gi", 1.5 * 2**30), ("5k", 5000), ("x", None)],
)
def test_quantities(text, amount):
    """Kubernetes' amounts, with their suffixes."""
    assert quantity(text) == amount


@pytest.mark.parametrize(
    ("text", "hole"),
    [
        ("v1.23.1", False),
        ("v1.22.2", False),
        ("v1.22.1", True),
        ("v1.23.0-98+g16cd", True),
        ("v1.21.9", True),
        ("v1.24.0", False),
    ],
)
def test_which_versions_have_holes(text, hole):
    """1.22.2 and 1.23.1 have the fixes, and what is newer; older lines have none."""
    assert vulnerable(version_in(text)) is hole


def test_a_build_between_releases_is_a_warning(site):
    """Its number is before the fixes, its content is not known."""
    site.one("Node", "n2")["status"]["nodeInfo"]["kubeletVersion"] = "v1.32.10-kubeedge-v1.23.0-98+16cd8548eedb81"
    assert [(found.code, found.severity) for found in site.examined()] == [("kubeedge-version", "warning")]


def test_the_local_stand_in_is_looked_at_in_its_folder(cluster, capsys):
    """The cluster folder of one machine, with what is rendered into it: nothing is wrong."""
    cluster.apply("sha256:" + "1" * 64)
    assert main(["doctor", "--folder", str(cluster.folder), "--strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["looked_at"] == [{"what": "folder", "where": str(cluster.folder)}]


def test_pods_of_kubeflow_may_land_on_edge_nodes_too(site):
    """Kubeflow's own Deployments select no nodes; KubeEdge's nodes have no taint. With a taint all is well."""
    pod = {"containers": [{"name": "api", "image": "ml-pipeline:2"}]}
    metadata = {"name": "ml-pipeline", "namespace": "kubeflow"}
    site.api.objects.append({"kind": "Deployment", "metadata": metadata, "spec": {"template": {"spec": pod}}})
    assert [(found.code, found.subject) for found in site.examined()] == [("lands-on-edge", "Deployment ml-pipeline")]
    for node in site.objects("Node"):
        node["spec"] = {"taints": [{"key": "edge", "effect": "NoSchedule"}]}
    assert "lands-on-edge" not in {found.code for found in site.examined()}


def test_secrets_that_may_not_be_listed_are_not_looked_at(site):
    """A user without that right gets no finding for it: the output says so."""
    site.api.forbidden.add("Secret")
    code, document = site.doctor("--strict")
    assert code == 0, document["findings"]
    assert {"secrets", "cloud secrets"} <= {each["what"] for each in document["not_looked_at"]}


@pytest.mark.slow
def test_a_real_object_store_is_written_to(tmp_path, monkeypatch, capsys):
    """SeaweedFS honours the condition, and nothing of the probe is left in it."""
    running = seaweed.start(tmp_path / "objects")
    try:
        for name, value in running.env().items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HOME", str(tmp_path))
        assert main(["doctor", "--home", str(tmp_path / "home"), "--write", "--strict", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["looked_at"][0]["what"] == "objects"
        assert list(running.objects().list("edgeloop-doctor/")) == []
    finally:
        running.stop()


@pytest.mark.cluster
@pytest.mark.skipif(not os.environ.get("EDGELOOP_TEST_KUBECONFIG"), reason="EDGELOOP_TEST_KUBECONFIG names no cluster")
def test_a_real_cluster_is_looked_over(capsys):
    """Whatever is found there, the cluster is read."""
    main(["doctor", "--kubeconfig", os.environ["EDGELOOP_TEST_KUBECONFIG"], "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["looked_at"][0]["what"] == "cluster"
    assert "cluster-away" not in {finding["code"] for finding in document["findings"]}
