"""What tests share: the flag that regenerates golden files, and the stand-in for KubeEdge with tiny images in it.

Only the standard library, pytest and hypothesis are imported here: contracts and node tests run where nothing else is installed.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings

REPOSITORY = Path(__file__).resolve().parent.parent
CRDS = "EDGELOOP_CRDS"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--regenerate", action="store_true", help="write golden files anew instead of comparing with them")
    parser.addoption("--long", action="store_true", help="tests that take minutes, too")
    parser.addoption("--fpga-matrix", action="store_true", help="tests of the FPGA flow that take minutes, too")
    parser.addoption(
        "--sanitized", action="store_true", help="the conformance suite over a native server under ASan and UBSan"
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--regenerate") and os.environ.get("CI"):
        raise pytest.UsageError(
            "--regenerate is refused when CI is set: golden files are changed by people, and reviewed"
        )
    if (
        signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    ):  # a shell's background job; what the tests start would inherit it
        signal.signal(signal.SIGINT, signal.default_int_handler)
    settings.register_profile(
        "edgeloop",
        max_examples=25,
        deadline=None,  # machines are noisy
        derandomize=bool(os.environ.get("CI")),  # CI answers the same to the same commit; people search on
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    settings.load_profile("edgeloop")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no worker is left alone with a long file at the end."""
    for marker, option, target in (("long", "--long", "test-long"), ("fpga_matrix", "--fpga-matrix", "test-fpga")):
        for item in items:
            if item.get_closest_marker(marker) and not config.getoption(option):
                item.add_marker(pytest.mark.skip(reason=f"takes minutes: make {target}"))
    long = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in long)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One layout for a module's tests: layers with wheels (130 MB) are made once, and not kept."""
    folder = tmp_path_factory.mktemp("images")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[Path, str], None]:
    """Compares text with a golden file; with --regenerate it writes the file instead."""

    def compare(path: Path, text: str) -> None:
        if request.config.getoption("--regenerate"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        assert path.is_file(), f"{path}: no such golden file; write it with: pytest --regenerate {request.node.nodeid}"
        assert text == path.read_text(), f"{path} differs; if the change is meant: pytest --regenerate"

    return compare


@pytest.fixture
def small_network(tmp_path: Path) -> Path:
    """An ONNX file: a classifier of four features and three classes, in the convention's form."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    weights = numpy_helper.from_array(np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), "W")
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["s"]),
        helper.make_node("Softmax", ["s"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
    ]
    value = helper.make_tensor_value_info
    outputs = [value("label", TensorProto.INT64, ["N"]), value("probabilities", TensorProto.FLOAT, ["N", 3])]
    graph = helper.make_graph(nodes, "g", [value("X", TensorProto.FLOAT, ["N", 4])], outputs, [weights])
    path = tmp_path / "small.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="session")
def crd_folder() -> Path:
    """The folder with the CustomResourceDefinitions, or a skip."""
    places = [REPOSITORY.parent / "shared" / "crds", Path(os.environ.get(CRDS) or "/nonexistent")]
    found = next((place for place in places if place.is_dir()), None)
    if found is None:
        pytest.skip(f"no CRDs: neither ../shared/crds nor the folder that {CRDS} names is there")
    return found


TINY = """
import os, pathlib, signal, socket, sys, threading, time

VERSION, LOAD_S, CRASH = {version!r}, {load_s!r}, {crash!r}


def option(name):
    return sys.argv[sys.argv.index("--" + name) + 1]


run = pathlib.Path(option("run-dir"))
if sys.argv[1] == "check":
    sys.exit(not (run / (option("pid") + ".ready")).exists())
if CRASH:
    sys.exit(CRASH)
time.sleep(LOAD_S)
listener = socket.create_server((option("host"), int(option("port"))), reuse_port=True)
stopping = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stopping.set())


def answer(connection):
    with connection:
        connection.recv(4096)
        body = "{{}} {{}} {{}}".format(VERSION, os.environ["EDGELOOP_NODE"], os.environ.get("EDGELOOP_GROUP", "")).encode()
        connection.sendall(b"HTTP/1.0 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body) + body)


ready = run / (str(os.getpid()) + ".ready")
ready.write_text("\\n".join(sys.path) + "\\n" + os.environ["TINY_MODEL"])
listener.settimeout(0.02)
while True:
    try:
        answer(listener.accept()[0])
    except TimeoutError:
        if stopping.is_set():
            break
listener.close()
ready.unlink()
print("drained", flush=True)
"""


@pytest.fixture
def tiny_image(tmp_path: Path) -> Callable[..., str]:
    """Writes an image of a small server into `tmp_path/images`; gives its digest. A server answers `version node group`."""
    from edgeloop_components.package import layout
    from edgeloop_components.package.layers import files_layer

    def make(version: str, *, load_s: float = 0.0, crash: int = 0) -> str:
        source = tmp_path / "source" / version
        for name, text in (
            ("code/tiny.py", TINY.format(version=version, load_s=load_s, crash=crash)),
            ("model/m", version),
            ("entry/server", "#!/usr/bin/python3\nimport tiny\n"),
        ):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_text(text)
        places = {"code": "usr/lib/python3/dist-packages", "entry": "edgeloop", "model": "model"}
        layers = [files_layer(source / folder, place) for folder, place in places.items()]
        config = {"Entrypoint": ["/edgeloop/server"], "Env": ["TINY_MODEL=/model"]}
        return layout.write_image(tmp_path / "images", layers, platform="linux/amd64", config=config)

    return make


@dataclass
class StandIn:
    """A running stand-in, and its cluster folder."""

    folder: Path
    process: subprocess.Popen[bytes]
    broker_port: int

    def status(self, pattern: str) -> list[dict[str, Any]]:
        """The objects that it shows in files of that pattern."""
        import yaml

        found = []
        for path in sorted((self.folder / "status").glob(f"{pattern}.yaml")):
            try:
                found.append(yaml.safe_load(path.read_text()))
            except FileNotFoundError:
                continue
        return found

    def shown(self) -> bool:
        """Whether the status is this process's own, and not what an earlier one left."""
        return [item["status"]["process"] for item in self.status("standin-*")] == [self.process.pid]

    def until(self, true: Callable[[], Any], timeout_s: float = 20.0) -> Any:
        """Waits until `true` gives something true, and gives it; AssertionError with the log otherwise."""
        end = time.monotonic() + timeout_s
        while not (value := true()):
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < end, f"not within {timeout_s} s:\n{self.log()}"
            time.sleep(0.03)
        return value

    def log(self) -> str:
        return (self.folder / "standin.log").read_text()

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(15)


@pytest.fixture
def broker_port(tmp_path: Path) -> Iterator[int]:
    """A real MQTT broker."""
    from edgeloop_pipelines.local import broker, children

    port = children.free_port()
    child = broker.start(tmp_path / "broker", port)
    yield port
    child.stop()


@pytest.fixture
def start_standin(tmp_path: Path, broker_port: int) -> Iterator[Callable[..., StandIn]]:
    """Starts the stand-in over `tmp_path/cluster`; all that were started are stopped in the end."""
    started: list[StandIn] = []
    folder = tmp_path / "cluster"

    def start(*, router_port: int = 0) -> StandIn:
        folder.mkdir(exist_ok=True)
        argv = [sys.executable, "-m", "edgeloop_pipelines.local.standin", "--folder", str(folder)]
        argv += ["--images", str(tmp_path / "images"), "--broker", f"127.0.0.1:{broker_port}", "--back-off-s", "0.4"]
        with (folder / "standin.log").open("ab") as log:
            process = subprocess.Popen([*argv, "--router-port", str(router_port)], stdout=log, stderr=log)
        started.append(StandIn(folder, process, broker_port))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


class TinyCluster:
    """A cluster folder with the nodes n1 and n2 of the group g, a loop `power`, and the Cluster port over it."""

    addresses: ClassVar[dict[str, str]] = {"n1": "127.0.1.1", "n2": "127.0.1.2"}

    def __init__(self, folder: Path, port: int) -> None:
        from edgeloop_fleet.clusters.folder import FolderCluster, node_document, write_nodes

        self.folder, self.port = folder, port
        write_nodes(folder, [node_document(name, group="g", address=at) for name, at in self.addresses.items()])
        self.client = FolderCluster(folder)

    def objects(self, digest: str) -> list[dict[str, Any]]:
        """What is rendered, with a short deadline, and without rules and agent."""
        from edgeloop_contracts import Loop, Package, from_json
        from edgeloop_fleet.clusters.folder import read_nodes
        from edgeloop_fleet.render import Settings, render_loop

        loop = {
            "apiVersion": "edgeloop.dev/v1alpha1",
            "kind": "Loop",
            "metadata": {"name": "power"},
            "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
            "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
            "targets": [{"name": "t", "nodes": {"group": "g"}}],
        }
        package = Package(
            loop="power", version=1, target="t", platform="linux/amd64", runtime="onnxruntime",
            repository="edgeloop/power", digest=digest, size_bytes=1,
        )  # fmt: skip
        nodes = read_nodes(self.folder / "nodes.yaml")
        found = render_loop(from_json(Loop, loop), {"g": package}, nodes, Settings(server_port=self.port))
        kept = [item for item in found if item["kind"] in ("NodeGroup", "ImagePrePullJob", "EdgeApplication")]
        deployment = kept[-1]["spec"]["workloadTemplate"]["manifests"][0]["spec"]
        deployment["progressDeadlineSeconds"] = 2
        return kept

    def apply(self, digest: str) -> None:
        self.client.apply(self.objects(digest))

    def state(self) -> Any:
        return self.client.observe("power", ["g"])["g"]

    def settled(self, digest: str) -> bool:
        """Done as a rollout controller has to see it."""
        state = self.state()
        seen = state.observed_generation == state.generation > 0 and state.desired_digest == digest
        return bool(seen and state.replicas == state.updated == state.available == len(self.addresses))

    def answers(self) -> list[str]:
        """What each node's server says."""
        return [self.ask(name) for name in self.addresses]

    def ask(self, node: str) -> str:
        connection = http.client.HTTPConnection(self.addresses[node], self.port, timeout=5)
        try:
            connection.request("GET", "/")
            return connection.getresponse().read().decode()
        finally:
            connection.close()


@pytest.fixture
def cluster(tmp_path: Path) -> TinyCluster:
    """Two nodes without anything on them."""
    from edgeloop_pipelines.local import children

    return TinyCluster(tmp_path / "cluster", children.free_port("127.0.1.1"))
