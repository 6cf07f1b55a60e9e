"""Small fleets for the tests: a loop, a version with its reference, reports, and a service over simulators."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from zlib import crc32

import pytest
import sqlalchemy as sa

from edgeloop_contracts import (
    CalibrationMap,
    Counts,
    Delivery,
    FeatureCounts,
    FeatureReference,
    Loaded,
    Loop,
    ModelVersion,
    Package,
    Reference,
    Report,
    Rollout,
    Wave,
    from_json,
    schema_hash_of,
)
from edgeloop_fleet.controller.reconcile import Hands
from edgeloop_fleet.service import Fleet
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store
from edgeloop_fleet.testing import SimulatedAliases, SimulatedCluster, SimulatedTrigger, simulated_render

HOUR_S, DAY_S = 3600, 86_400
SERVED_S = 10 * DAY_S  # event time at which a test's first version begins to serve
NODES = {"canary": ("n1",), "rest": ("n2", "n3")}
EDGES = tuple(float(i) for i in range(-15, 16))


def make_loop(**changes: Any) -> Loop:
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "demo"},
        "data": {"source": "rows.csv", "label": "y", "features": ["a", "b"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": f"t-{group}", "nodes": {"group": group}} for group in NODES],
        "monitor": {"window": "1h", "false_alarms": "4/year", "label_delay": "1d"},
        "retrain": {"on": ["performance", "drift"]},
        "rollout": {"waves": [["canary"], ["rest"]], "soak": "1h"},
    }
    return from_json(Loop, {**document, **changes})


def make_feature(name: str, **changes: Any) -> FeatureReference:
    """A feature over EDGES: 32 bins of 100 rows each around their middle; quantum 1/16."""
    middles = [EDGES[0] - 0.5, *(e + 0.5 for e in EDGES)]
    values: dict[str, Any] = {
        "name": name,
        "kind": "number",
        "edges": EDGES,
        "counts": (100,) * 32,
        "sums": tuple(round(100 * m * 16) for m in middles),
        "quantum": 1 / 16,
        "minimum": -16.0,
        "maximum": 16.0,
        "std": 9.24,
    }
    return FeatureReference(**{**values, **changes})


def make_reference(**changes: Any) -> Reference:
    features = (make_feature("a"), make_feature("b"))
    values: dict[str, Any] = {
        "loop": "demo",
        "schema_hash": schema_hash_of(features, ("no", "yes")),
        "rows": 3200,
        "features": features,
        "classes": ("no", "yes"),
        "calibration": CalibrationMap(x=(0.5, 1.0), y=(0.5, 1.0), rows=2000),
        "accuracy": 0.94,
        "accuracy_rows": 7000,
        "error_design_effect": 4.0,
        "window_s": HOUR_S,
    }
    return Reference(**{**values, **changes})


def make_version(number: int = 1, **changes: Any) -> ModelVersion:
    values: dict[str, Any] = {
        "loop": "demo",
        "number": number,
        "state": "accepted",
        "run_key": f"demo-{number:012x}",
        "snapshot": f"sha256:{1:064x}",
        "onnx": f"sha256:{number:064x}",
        "reference": f"sha256:{3:064x}",
        "golden": f"sha256:{4:064x}",
    }
    return ModelVersion(**{**values, **changes})


def make_package(version: int, target: str) -> Package:
    return Package(
        loop="demo",
        version=version,
        target=target,
        platform="linux/amd64",
        runtime="onnxruntime",
        repository="edgeloop/demo",
        digest=f"sha256:{version:032x}{crc32(target.encode()):032x}",
        size_bytes=1,
    )


def make_packages(version: int) -> dict[str, Package]:
    return {f"t-{group}": make_package(version, f"t-{group}") for group in NODES}


def make_rollout(version: int = 1, previous: int | None = None, **changes: Any) -> Rollout:
    values: dict[str, Any] = {
        "loop": "demo",
        "version": version,
        "previous": previous,
        "packages": make_packages(version),
        "previous_packages": make_packages(previous) if previous else {},
        "waves": (Wave(groups=("canary",)), Wave(groups=("rest",))),
        "soak_s": HOUR_S,
    }
    return Rollout(**{**values, **changes})


def make_features(rows: int, shift: float = 0.0, **changes: Any) -> FeatureCounts:
    """`rows` values spread evenly over -16..16, moved by `shift`, counted in EDGES (quantum 1/16)."""
    counts, sums = [0] * 32, [0] * 32
    for i in range(rows):
        value = -16 + 32 * (i + 0.5) / rows + shift
        place = sum(value > edge for edge in EDGES)
        counts[place] += 1
        sums[place] += round(value * 16)
    values: dict[str, Any] = {
        "counts": tuple(counts),
        "sums": tuple(sums),
        "minimum": -16.0 + shift,
        "maximum": 16.0 + shift,
    }
    return FeatureCounts(**{**values, **changes})


def make_confidence(rows: int, confidence: float) -> dict[str, tuple[int, ...]]:
    place = min(19, int(confidence * 20))
    counts = tuple(rows if i == place else 0 for i in range(20))
    return {"confidence": counts, "confidence_sums": tuple(round(n * confidence * 1e6) for n in counts)}


def make_counts(rows: int = 144, *, labelled: int = 0, correct: int = 0, shift: float = 0.0, **changes: Any) -> Counts:
    values: dict[str, Any] = {
        "rows": rows,
        "labelled": labelled,
        "correct": correct,
        "features": {"a": make_features(rows, shift), "b": make_features(rows)},
        "classes": (rows, 0),
        **make_confidence(rows, 0.94),
    }
    return Counts(**{**values, **changes})


def make_report(
    node: str = "n1", window_s: int = 0, sequence: int = 1, counts: Counts | None = None, **changes: Any
) -> Report:
    values: dict[str, Any] = {
        "loop": "demo",
        "node": node,
        "group": next(g for g, nodes in NODES.items() if node in nodes),
        "boot": "b1",
        "sequence": sequence,
        "version": 1,
        "schema_hash": make_reference().schema_hash,
        "window_start_s": window_s,
        "window_end_s": window_s + HOUR_S,
        "counts": counts or make_counts(10),
    }
    return Report(**{**values, **changes})


def make_delivery(node: str = "n1", *reports: Report, version: int = 1, sent_s: float = 1.0) -> Delivery:
    group = next(g for g, nodes in NODES.items() if node in nodes)
    return Delivery(
        node=node, group=group, sent_s=sent_s, loaded=(Loaded(loop="demo", version=version),), reports=reports
    )


@dataclass
class World:
    """A fleet service over simulators, in event time."""

    fleet: Fleet
    cluster: SimulatedCluster
    trigger: SimulatedTrigger
    aliases: SimulatedAliases

    def heartbeat(self, version: int) -> None:
        """Every node says that it has loaded this version."""
        for node in (n for nodes in NODES.values() for n in nodes):
            self.fleet.take(make_delivery(node, version=version))

    def settle(self, version: int, now_s: float) -> None:
        """Brings a rollout of this version to its end, at event time `now_s` and later."""
        for i in range(12):
            self.fleet.clock.advance(now_s + i * HOUR_S)
            self.heartbeat(version)
            self.fleet.tick()

    def serve(self, version: int = 1, at_s: float = SERVED_S, **reference: Any) -> None:
        """Rolls a first version out until it serves."""
        self.fleet.put_rollout(make_rollout(version), make_version(version), make_reference(**reference))
        self.settle(version, at_s)

    def report_days(self, first: int, last: int, *, broken: tuple[str, ...] = (), **counts: Any) -> None:
        """A report a day of every node, in the day's last window; of nodes in `broken` feature a is mostly missing."""
        served = self.fleet.store.reference("demo", 1)
        window_s = served.window_s if served else HOUR_S
        sick = {"features": {"a": make_features(40, missing=104), "b": make_features(144)}}
        for day in range(first, last):
            for node in ("n1", "n2", "n3"):
                values = {"rows": 144, **counts, **(sick if node in broken else {})}
                end = (day + 1) * DAY_S
                report = make_report(node, end - window_s, counts=make_counts(**values), window_end_s=end)
                self.fleet.take(make_delivery(node, report))

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.fleet.store.events()]

    def texts(self) -> list[str]:
        return [event["text"] for event in self.fleet.store.events()]


def make_world(url: str, **settings: Any) -> World:
    cluster, trigger, aliases = SimulatedCluster(NODES), SimulatedTrigger(), SimulatedAliases()
    chosen = Settings(**{"clock": "reports", "tick_s": 0, **settings})
    fleet = Fleet(Store(url), chosen, trigger, Hands(cluster, aliases, simulated_render))
    return World(fleet=fleet, cluster=cluster, trigger=trigger, aliases=aliases)


@pytest.fixture
def url(tmp_path: Any) -> str:
    """A new SQLite database."""
    return f"sqlite:///{tmp_path}/fleet.db"


@pytest.fixture(params=["sqlite", "postgresql"])
def any_url(request: Any, url: str) -> str:
    """An empty database of each kind; PostgreSQL where EDGELOOP_TEST_POSTGRES names a server that may be used."""
    if request.param == "sqlite":
        return url
    server = os.environ.get("EDGELOOP_TEST_POSTGRES", "")
    if not server:
        pytest.skip("EDGELOOP_TEST_POSTGRES is not set to the SQLAlchemy URL of a PostgreSQL server for tests")
    return _fresh_database(server, "edgeloop_test_" + os.environ.get("PYTEST_XDIST_WORKER", "main"))


def _fresh_database(server: str, name: str) -> str:
    """A new database of its own for each test worker."""
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)"))
        connection.execute(sa.text(f"CREATE DATABASE {name} TEMPLATE template0"))
    engine.dispose()
    return sa.make_url(server).set(database=name).render_as_string(hide_password=False)


@pytest.fixture
def world(url: str) -> World:
    """A service that knows the loop and serves nothing yet."""
    made = make_world(url)
    made.fleet.put_loop(make_loop())
    return made


@pytest.fixture(scope="session")
def process() -> ModuleType:
    """`server_process.py`: the service as a process."""
    spec = spec_from_file_location("fleet_server_process", Path(__file__).with_name("server_process.py"))
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """The makers of this file."""
    names = ("loop", "feature", "reference", "version", "package", "packages", "rollout", "features", "confidence")
    names += ("counts", "report", "delivery", "world")
    return SimpleNamespace(
        **{name: globals()[f"make_{name}"] for name in names}, NODES=NODES, HOUR_S=HOUR_S, DAY_S=DAY_S
    )
