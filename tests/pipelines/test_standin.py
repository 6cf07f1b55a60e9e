"""The stand-in for KubeEdge with real processes: images, surge updates, crashes, missing images, rollback, restarts."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edgeloop_fleet.ports import GroupState
from edgeloop_fleet.render import deployment_name

NODES = ("n1", "n2")


@contextmanager
def load_on(cluster: Any, node: str) -> Iterator[list[str]]:
    """Asks one after the other, each on a new connection, until the block ends; gives the list of answers and errors."""
    answers: list[str] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.01):
            try:
                answers.append(cluster.ask(node))
            except OSError as error:
                answers.append(f"error: {error!r}")

    thread = threading.Thread(target=run)
    thread.start()
    yield answers
    stop.set()
    thread.join()


def test_a_surge_update_loses_no_request_and_runs_the_images_own_code(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str]
) -> None:
    """Two nodes go from one image to the next: no request fails, the old server drains, and code comes from the layers."""
    first, second = tiny_image("one"), tiny_image("two", load_s=0.5)
    standin = start_standin()
    cluster.apply(first)
    standin.until(lambda: cluster.settled(first))
    assert cluster.answers() == ["one n1 g", "one n2 g"]
    generation = cluster.state().generation
    with load_on(cluster, "n1") as n1, load_on(cluster, "n2") as n2:
        cluster.apply(second)
        standin.until(lambda: cluster.settled(second))
        standin.until(
            lambda: len(standin.status("pod-*")) == 2
        )  # a pod that drains is not counted any more, and answers
    assert cluster.answers() == ["two n1 g", "two n2 g"]
    assert set(n1) == {"one n1 g", "two n1 g"}
    assert set(n2) == {"one n2 g", "two n2 g"}
    assert cluster.state().generation == generation + 1
    logs = [path.read_text() for path in sorted((cluster.folder / "nodes").glob("*/logs/*.log"))]
    assert sum("drained" in text for text in logs) == 2
    (ready,) = (cluster.folder / "nodes" / "n1" / "run").glob("*.ready")
    *path, model = ready.read_text().splitlines()
    assert str(cluster.folder / "rootfs") in model
    assert any(entry.endswith("usr/lib/python3/dist-packages") for entry in path)
    assert not any("site-packages" in entry for entry in path)


def test_a_node_pulls_only_what_it_has_not(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str], tmp_path: Path
) -> None:
    """Bytes are counted for each node; the same image again costs none, and its store holds verified blobs."""
    from edgeloop_components.package import layout

    digest = tiny_image("one")
    standin = start_standin()
    cluster.apply(digest)
    standin.until(lambda: cluster.settled(digest))

    def pulled() -> list[int]:
        return [int(item["metadata"]["annotations"]["edgeloop.dev/bytes-pulled"]) for item in standin.status("node-n*")]

    size = layout.image_size_bytes(tmp_path / "images", digest)
    standin.until(lambda: pulled() == [size, size])
    (job,) = standin.until(
        lambda: [j for j in standin.status("imageprepulljob-*") if j["status"]["phase"] == "Completed"]
    )
    assert {node["nodeName"]: node["phase"] for node in job["status"]["nodeStatus"]} == dict.fromkeys(
        NODES, "Successful"
    )
    layout.verify(cluster.folder / "nodes" / "n1" / "images", digest)
    standin.stop()
    standin = start_standin()
    standin.until(standin.shown)
    standin.until(lambda: cluster.settled(digest))
    assert pulled() == [size, size], "a restart neither pulls again nor forgets what was pulled"


def test_a_crash_loop_leaves_the_old_version_serving_until_it_is_rolled_back(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str]
) -> None:
    """A server that ends at its start: CrashLoopBackOff with restarts, deadline exceeded, Available still said; back in time."""
    good, bad = tiny_image("good"), tiny_image("bad", crash=7)
    standin = start_standin()
    cluster.apply(good)
    standin.until(lambda: cluster.settled(good))
    old = {item["metadata"]["uid"] for item in standin.status("pod-*")}
    cluster.apply(bad)
    state = standin.until(
        lambda: (s := cluster.state()).waiting.startswith("CrashLoopBackOff") and s.restarts >= 2 and s
    )
    assert (state.updated, state.available, state.desired_digest) == (1, 2, bad)
    assert "exit code 7" in state.waiting
    (application,) = standin.status("edgeapplication-*")
    assert {line["conditions"] for line in application["status"]["workloadStatus"]} == {"Available"}

    def reasons() -> list[str]:
        (deployment,) = standin.status(f"deployment-*{deployment_name('power', 'g')}")
        return [condition["reason"] for condition in deployment["status"]["conditions"] if "reason" in condition]

    standin.until(lambda: reasons() == ["ProgressDeadlineExceeded"])
    assert cluster.answers() == ["good n1 g", "good n2 g"]
    cluster.apply(good)
    standin.until(lambda: cluster.settled(good))
    standin.until(lambda: {item["metadata"]["uid"] for item in standin.status("pod-*")} == old)  # left as they were


def test_a_missing_image_is_said_and_comes_up_once_it_is_there(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str], tmp_path: Path
) -> None:
    """ImagePullBackOff names the digest, the pre-pull job fails with the reason, and a later push mends the pod."""
    digest = tiny_image("late")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    standin = start_standin()
    cluster.apply(digest)
    state = standin.until(lambda: (s := cluster.state()).waiting.startswith("ImagePullBackOff") and s)
    assert digest in state.waiting
    assert (state.updated, state.available) == (2, 0)
    (job,) = standin.until(
        lambda: [j for j in standin.status("imageprepulljob-*") if j["status"]["phase"] == "Failure"]
    )
    assert digest in job["status"]["nodeStatus"][0]["reason"]
    (tmp_path / "elsewhere").rename(tmp_path / "images")
    standin.until(lambda: cluster.settled(digest))


def test_a_killed_server_is_restarted_and_its_pod_stays(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str]
) -> None:
    """kill -9 of a pod's process: the same pod runs again on the same node, one restart counted."""
    digest = tiny_image("one")
    standin = start_standin()
    cluster.apply(digest)
    standin.until(lambda: cluster.settled(digest))
    pod = standin.status("pod-*")[0]
    os.kill(int(pod["metadata"]["annotations"]["edgeloop.dev/process"]), signal.SIGKILL)
    standin.until(lambda: cluster.state().restarts == 1 and cluster.settled(digest))
    again = next(item for item in standin.status("pod-*") if item["metadata"]["uid"] == pod["metadata"]["uid"])
    assert again["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == -9
    assert cluster.answers() == ["one n1 g", "one n2 g"]


def test_no_process_outlives_the_stand_in(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str]
) -> None:
    """Neither SIGTERM nor kill -9 of the stand-in leaves a server behind; a second one on the folder is refused."""
    digest = tiny_image("one")
    for number in (signal.SIGKILL, signal.SIGTERM):
        standin = start_standin()
        standin.until(standin.shown)
        cluster.apply(digest)
        standin.until(lambda: cluster.settled(digest))
        pids = [int(item["metadata"]["annotations"]["edgeloop.dev/process"]) for item in standin.status("pod-*")]
        assert len(pids) == 2
        assert start_standin().process.wait(10) == 1
        assert "another stand-in runs here" in standin.log()
        standin.process.send_signal(number)
        standin.process.wait(15)
        end = time.monotonic() + 5
        while any(Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < end:
            time.sleep(0.02)
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_broken_files_are_named_and_change_nothing(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str]
) -> None:
    """Text that is no YAML, an unknown kind and a hold annotation are refused by name; what served goes on serving."""
    digest = tiny_image("one")
    standin = start_standin()
    cluster.apply(digest)
    standin.until(lambda: cluster.settled(digest))
    apply = cluster.folder / "apply"
    application = apply / "edgeapplication-edgeloop-power.yaml"
    good = application.read_text()
    application.write_text(good + "\n  : [")
    (apply / "service-edgeloop-x.yaml").write_text(
        "{apiVersion: v1, kind: Service, metadata: {name: x, namespace: edgeloop}}"
    )
    (apply / "rule-edgeloop-r.yaml").write_text("")

    def problems() -> dict[str, str]:
        found = standin.status("standin-*")
        return found[0]["status"]["problems"] if found else {}

    seen = standin.until(lambda: len(problems()) == 3 and problems())
    assert "ParserError" in seen["edgeapplication-edgeloop-power.yaml"]
    assert "'Service'" in seen["service-edgeloop-x.yaml"]
    assert "expected one object" in seen["rule-edgeloop-r.yaml"]
    assert cluster.settled(digest)
    held = cluster.objects(digest)
    template = held[-1]["spec"]["workloadTemplate"]["manifests"][0]["spec"]["template"]
    template["metadata"]["annotations"] = {"edge.kubeedge.io/hold-upgrade": "true"}
    cluster.client.apply(held)
    standin.until(lambda: "hold is not supported" in problems()["edgeapplication-edgeloop-power.yaml"])
    assert cluster.answers() == ["one n1 g", "one n2 g"]
    for name in ("service-edgeloop-x.yaml", "rule-edgeloop-r.yaml"):
        (apply / name).unlink()
    application.write_text(good)
    standin.until(lambda: problems() == {})


def test_deleting_the_application_ends_its_pods(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str]
) -> None:
    """A removed file is a kubectl delete: the Deployment, its pods and their processes go."""
    digest = tiny_image("one")
    standin = start_standin()
    cluster.apply(digest)
    standin.until(lambda: cluster.settled(digest))
    cluster.client.delete(cluster.objects(digest))
    standin.until(lambda: not standin.status("pod-*"))
    assert cluster.state() == GroupState(group="g")
    with pytest.raises(ConnectionRefusedError):
        cluster.ask("n1")


def test_it_is_quiet_when_nothing_happens(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str]
) -> None:
    """Two idle seconds cost less than a tenth of a core, and no status file is touched."""
    digest = tiny_image("one")
    standin = start_standin()
    cluster.apply(digest)
    standin.until(lambda: cluster.settled(digest))
    time.sleep(0.5)

    def used_s() -> float:
        fields = Path(f"/proc/{standin.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    stamps = {path: path.stat().st_mtime_ns for path in (cluster.folder / "status").iterdir()}
    before = used_s()
    time.sleep(2)
    assert used_s() - before < 0.2
    assert {path: path.stat().st_mtime_ns for path in (cluster.folder / "status").iterdir()} == stamps
