"""The profile as a Job: what is rendered, that the generator takes its arguments, and how its log is read."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeloop_components.profile.job import JobError, JobPlan, profile_job, profile_of_log, rates_for
from edgeloop_components.profile.load import generator
from edgeloop_contracts import Package, ResourceProfile, Target
from edgeloop_contracts.loop import NodeSelector

GOLDEN = Path(__file__).parent.parent / "golden" / "profile" / "job.yaml"
DIGEST = "sha256:" + "ab" * 32
PACKAGE = Package(
    loop="pump", version=3, target="cab", platform="linux/arm64", runtime="native", repository="edgeloop/pump/cab",
    digest=DIGEST, size_bytes=1,
)  # fmt: skip
TARGET = Target(name="cab", nodes=NodeSelector(group="cabinets"), platform="linux/arm64", runtime="native")
PROFILE = ResourceProfile(
    loop="pump", target="cab", method="quick: on the build machine", latency_p50_ms=1.0, latency_p99_ms=2.0,
    memory_peak_mib=3.0, latency_limit_ms=50.0, rate_per_s=1000.0, cpu_us_per_request=20.0, cpu_request_m=10,
    cpu_limit_m=250, memory_request_mib=4, memory_limit_mib=16,
)  # fmt: skip
PLAN = JobPlan(
    load_image="registry.example/edgeloop/load@" + DIGEST,
    registry="registry.example",
    rates_per_s=rates_for(PROFILE, 50),
)
PORT = str(18000 + 0xABABABAB % 2000)
BODIES = [b'{"inputs":[%d]}' % i for i in range(4)]


def test_the_job_is_as_it_was(golden: Callable[[Path, str], None]) -> None:
    """ConfigMap and Job, byte for byte."""
    documents = profile_job(PACKAGE, TARGET, PROFILE, BODIES, PLAN)
    golden(GOLDEN, yaml.safe_dump_all(documents, sort_keys=False))


def test_the_server_is_told_its_threads() -> None:
    """Those that were measured, as the fleet's manifests say them; a native server has one and is told none."""
    served = {
        runtime: profile_job(replace(PACKAGE, runtime=runtime), TARGET, replace(PROFILE, threads=2), BODIES, PLAN)[1]
        for runtime in ("native", "onnxruntime")
    }
    env = {
        runtime: {one["name"]: one["value"] for one in job["spec"]["template"]["spec"]["initContainers"][0]["env"]}
        for runtime, job in served.items()
    }
    assert env["onnxruntime"] == {**env["native"], "EDGELOOP_THREADS": "2"}


def test_its_pod_is_like_those_of_the_fleet() -> None:
    """What every pod at the edge has in common is the same here; the restricted rules hold for both containers."""
    from edgeloop_fleet.render.labels import group_labels
    from edgeloop_fleet.render.pods import container_security, pod_spec

    _, job = profile_job(PACKAGE, TARGET, PROFILE, BODIES, PLAN)
    pod = job["spec"]["template"]["spec"]
    for key, value in pod_spec().items():
        ours = pod[key]
        assert (ours | value == ours) if isinstance(value, dict) else ours == value, key
    assert pod["nodeSelector"] == group_labels(TARGET)
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == container_security()
        assert "@sha256:" in container["image"]
        assert set(container["resources"]["limits"]) == {"cpu", "memory"}


def test_it_is_apart_from_the_server_in_use() -> None:
    """The loopback address, a port that follows from the image, and the pod's own run folder: the agent counts none of it."""
    _, job = profile_job(PACKAGE, TARGET, PROFILE, BODIES, PLAN)
    pod = job["spec"]["template"]["spec"]
    (server,) = pod["initContainers"]
    assert server["args"][:4] == ["--host", "127.0.0.1", "--port", PORT]
    assert all("hostPath" not in volume for volume in pod["volumes"])
    assert server["restartPolicy"] == "Always", "a sidecar: the Job ends with the load"
    assert server["resources"]["limits"] == {"cpu": "250m", "memory": "16Mi"}


def test_labels_of_the_target_select_the_node() -> None:
    """A target with labels of its own is found by those."""
    own = replace(TARGET, nodes=NodeSelector(group="cabinets", labels={"site": "north"}))
    _, job = profile_job(PACKAGE, own, PROFILE, BODIES, PLAN)
    assert job["spec"]["template"]["spec"]["nodeSelector"] == {"site": "north"}


def test_an_image_without_a_digest_is_refused() -> None:
    """A tag may be another image tomorrow."""
    with pytest.raises(JobError, match="by digest"):
        profile_job(PACKAGE, TARGET, PROFILE, BODIES, replace(PLAN, load_image="registry.example/load:v1"))


def test_wide_rows_fit_into_the_config_map() -> None:
    """A ConfigMap holds 1 MiB: as many requests as fit, at least one."""
    config, _ = profile_job(PACKAGE, TARGET, PROFILE, [b"x" * 100_000] * 50, PLAN)
    assert len(config["binaryData"]["requests"]) < 1 << 20
    one, _ = profile_job(PACKAGE, TARGET, PROFILE, [b"x" * 700_000] * 2, PLAN)
    assert len(base64.b64decode(one["binaryData"]["requests"])) > 700_000


class Answering(BaseHTTPRequestHandler):
    """Answers every request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args: Any) -> None:
        """Quiet."""


def test_the_generator_takes_the_arguments_and_its_log_is_read(tmp_path: Path) -> None:
    """The rendered arguments, run against a real server with the rendered requests: the log becomes a profile."""
    plan = replace(PLAN, rates_per_s=(50.0, 300.0), seconds=0.3)
    config, job = profile_job(PACKAGE, TARGET, PROFILE, BODIES, plan)
    (tmp_path / "requests").write_bytes(base64.b64decode(config["binaryData"]["requests"]))
    with ThreadingHTTPServer(("127.0.0.1", 0), Answering) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        words = job["spec"]["template"]["spec"]["containers"][0]["args"]
        swapped = {PORT: str(server.server_port), "/requests/requests": str(tmp_path / "requests")}
        command = [str(generator()), *(swapped.get(word, word) for word in words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
        server.shutdown()
    found = profile_of_log(PROFILE, "2026-11-24 stdout F started\n" + done.stdout, node="edge-1")
    assert [point.rate_per_s for point in found.points] == [50, 300]
    assert found.method.startswith("a Job on node edge-1, under the pod's own limits: only the load was varied")
    assert 0 < found.latency_p50_ms <= found.latency_p99_ms
    assert (found.memory_limit_mib, found.cpu_request_m) == (16, 10)


def line(rate: float, fast: int, slow: int, failed: int = 0) -> str:
    return json.dumps(
        {"rate_per_s": rate, "seconds": 5, "seed": 1, "queries": fast + slow + failed, "failed": failed, "over": slow,
         "limit_us": 50000, "errors": {"closed": failed, "status": 0}, "elapsed_s": 5.1, "cpu_s": 0.1,
         "late_p99_us": 30.0, "histogram_us": [[1000, fast], [90111, slow]]}
    )  # fmt: skip


def test_the_highest_proved_rate_is_taken() -> None:
    """Latency and rate are the node's; the first rate above that was refused is the upper end."""
    log = "\n".join([line(100, 600, 0), line(500, 2500, 3), line(900, 4000, 400), line(2000, 5000, 4000)])
    found = profile_of_log(PROFILE, log)
    assert (found.rate_per_s, found.rate_high_per_s, found.confirmed, found.limited) == (500, 900, False, True)
    assert (found.latency_p50_ms, found.latency_p99_ms) == (1.0, 1.0)
    assert found.cpu_us_per_request is None
    assert [point.ok for point in found.points] == [True, True, False, False]


def test_a_log_without_a_result_is_refused() -> None:
    """Nothing printed, a line cut off, and a server that answered nothing: each says so."""
    with pytest.raises(JobError, match="found none; it ends 'load: nobody answers"):
        profile_of_log(PROFILE, "load: nobody answers on this port")
    with pytest.raises(JobError, match="expected the generator's JSON"):
        profile_of_log(PROFILE, line(100, 600, 0)[:60])
    with pytest.raises(JobError, match="at 100 requests a second 300 of 300 queries over 50 ms, 300 closed"):
        profile_of_log(PROFILE, line(100, 0, 0, 300))


def test_rates_surround_what_is_known() -> None:
    """Around the build machine's rate; around the demand where there is none."""
    rates = rates_for(PROFILE, 50)
    assert min(rates) < 1000 < max(rates)
    assert list(rates) == sorted(rates)
    assert rates_for(replace(PROFILE, rate_per_s=None), 30) == (30, 60, 150, 300, 600)


def test_the_generators_image_is_one_file(tmp_path: Path) -> None:
    """Uncompressed, not root, the same digest twice, and below 300 KB; a generator for each platform asked for."""
    from edgeloop_components.package import layout as oci
    from edgeloop_components.package.layers import host_platform
    from edgeloop_components.profile.image import load_image

    here = [host_platform()]
    index = load_image(tmp_path / "a", here)
    assert index == load_image(tmp_path / "b", here)
    (entry,) = json.loads((tmp_path / "a" / "blobs" / "sha256" / index[7:]).read_bytes())["manifests"]
    manifest = oci.manifest(tmp_path / "a", entry["digest"])
    (layer,) = manifest["layers"]
    assert layer["size"] < 300_000
    config = json.loads((tmp_path / "a" / "blobs" / "sha256" / manifest["config"]["digest"][7:]).read_bytes())
    assert config["config"]["Entrypoint"] == ["/edgeloop/load"]
    assert config["config"]["User"].startswith("65532")
