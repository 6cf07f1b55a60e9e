"""What Prometheus is told to look at: every metric that an alert or a panel names is one that edgeloop exposes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from manifest_tree import EDGE, REPOSITORY, TREE, objects, pods

from edgeloop_contracts import Loop, Verdict, from_json
from edgeloop_contracts.report import LATENCY_EDGES_US
from edgeloop_fleet import views
from edgeloop_fleet.controller.reconcile import Hands
from edgeloop_fleet.service import Fleet
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store
from edgeloop_fleet.testing import SimulatedAliases, SimulatedCluster, SimulatedTrigger, simulated_render
from edgeloop_node.server.metrics import metrics_text

OPTION = TREE / "options" / "prometheus"
SERIES = re.compile(r"\b(?:edgeloop_[a-z0-9_]+|up)\b")
LABELS = re.compile(r"\b(\w+) ?(?:=~|!~|!=|=)")
LOOP = {
    "apiVersion": "edgeloop.dev/v1alpha1",
    "kind": "Loop",
    "metadata": {"name": "power"},
    "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
    "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
    "targets": [{"name": "t", "nodes": {"group": "g"}}],
}


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every alert and panel."""
    for group in yaml.safe_load((OPTION / "alerts.yml").read_text())["groups"]:
        yield from ((rule["alert"], rule["expr"]) for rule in group["rules"])
    for panel in json.loads((OPTION / "edgeloop.json").read_text())["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def series_of(text: str) -> dict[str, set[str]]:
    """Name: labels, of the samples of an exposition."""
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition("{")
            labels = set(re.findall(r'(\w+)="', rest.rpartition("}")[0])) if rest else set()
            found.setdefault(name.split(" ")[0], set()).update(labels)
    return found


@pytest.fixture(scope="module")
def of_the_fleet(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """What a real fleet service with a loop shows, after each counter that its code has was counted once."""
    hands = Hands(SimulatedCluster({"g": ["n"]}), SimulatedAliases(), simulated_render)
    store = Store(f"sqlite:///{tmp_path_factory.mktemp('fleet') / 'fleet.db'}")
    fleet = Fleet(store, Settings(), SimulatedTrigger(), hands)
    fleet.put_loop(from_json(Loop, LOOP))
    fleet.tick()
    store.put_verdicts("power", [Verdict(loop="power", version=1, judgement="quality", sentence="broken")])
    code = "\n".join(path.read_text() for path in (REPOSITORY / "edge" / "edgeloop_fleet").rglob("*.py"))
    counted = {name for line in code.splitlines() if "metrics[" in line for name in re.findall(r'"([a-z_]+)"', line)}
    assert counted >= set(fleet.metrics)
    fleet.metrics.update(Counter(dict.fromkeys(counted, 1)))
    return series_of(views.metrics(fleet))


@pytest.fixture(scope="module")
def of_servers() -> dict[str, set[str]]:
    """What a Python server shows; the native server's source names the same."""
    totals: Any = SimpleNamespace(rows=1, uncounted=0, latency=[1] * (len(LATENCY_EDGES_US) + 1), latency_sum_us=1.0)
    info = dict.fromkeys(("loop", "version", "image", "schema_hash", "runtime", "node", "group"), "x")
    found = series_of(metrics_text(totals, {("score", 200): 1}, info))
    native = Path(REPOSITORY / "edge" / "edgeloop_node" / "native" / "metrics.c").read_text()
    assert set(found) <= set(re.findall(r"edgeloop_[a-z_]+", native))
    return found


def test_every_metric_is_exposed(of_the_fleet: dict[str, set[str]], of_servers: dict[str, set[str]]) -> None:
    """By the fleet service or by servers; and the labels that are looked at are theirs or Prometheus' own."""
    known = {**of_the_fleet, **of_servers, "up": set()}
    labels = {"job", "instance", *(label for found in known.values() for label in found)}
    for where, expression in expressions():
        names = set(SERIES.findall(expression))
        assert names, where
        assert names <= set(known), f"{where}: {names - set(known)}"
        assert set(LABELS.findall(re.sub(r"[<>=!]= ", " ", expression))) <= labels, where
        grouped = {
            word.strip()
            for group in re.findall(r"\b(?:by|on|group_left) \(([^)]*)\)", expression)
            for word in group.split(",")
        }
        assert grouped <= labels, where


def test_what_the_fleet_counts_is_looked_at(of_the_fleet: dict[str, set[str]]) -> None:
    """No metric of the fleet service is shown nowhere, but for its clock and the deliveries, which the reports tell of."""
    shown = {name for _, expression in expressions() for name in SERIES.findall(expression)}
    assert {n for n in of_the_fleet if n not in shown} == {
        "edgeloop_fleet_clock_seconds",
        "edgeloop_fleet_deliveries_total",
    }


def test_texts_of_alerts_name_labels_that_are_left() -> None:
    """An alert keeps the labels of its series: `loop` is one of the verdict's, `instance` one of every target's."""
    named = set(re.findall(r"\$labels\.(\w+)", (OPTION / "alerts.yml").read_text()))
    assert named == {"loop", "instance"}


def test_prometheus_looks_where_edgeloop_answers() -> None:
    """The fleet's Service, and pods with the server's label in the namespace of the nodes, on the port that is rendered."""
    from edgeloop_fleet.render import Settings as RenderSettings
    from edgeloop_fleet.render import labels
    from edgeloop_fleet.render.workload import CONTAINER

    fleet, servers = yaml.safe_load((OPTION / "prometheus.yml").read_text())["scrape_configs"]
    (target,) = fleet["static_configs"][0]["targets"]
    assert f"http://{target}" == RenderSettings().fleet_url
    (discovery,) = servers["kubernetes_sd_configs"]
    assert discovery["namespaces"]["names"] == [EDGE] == [RenderSettings().namespace]
    assert discovery["selectors"] == [{"role": "pod", "label": f"{labels.NAME}={CONTAINER}"}]
    assert servers["relabel_configs"][-1]["replacement"] == f"$1:{RenderSettings().server_port}"


def test_the_pod_gets_the_files() -> None:
    """The generated ConfigMap has both, its name with a hash is the volume's, and the dashboard has Grafana's label."""
    items = objects("options/prometheus")
    (pod,) = [pod for pod in pods(items) if pod.name == "prometheus"]
    (name,) = [volume["configMap"]["name"] for volume in pod.spec["volumes"] if "configMap" in volume]
    maps = {item["metadata"]["name"]: item for item in items if item["kind"] == "ConfigMap"}
    assert set(maps[name]["data"]) == {"prometheus.yml", "alerts.yml"}
    assert maps["edgeloop-dashboard"]["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert json.loads(maps["edgeloop-dashboard"]["data"]["edgeloop.json"])["uid"] == "edgeloop"
    arguments = pod.spec["containers"][0]["args"]
    mounts = {mount["mountPath"] for mount in pod.spec["containers"][0]["volumeMounts"]}
    assert {argument.partition("=")[2].removesuffix("/prometheus.yml") for argument in arguments[:2]} <= mounts
