"""The server as a process: start and refusal, run folder, probe, and an end that loses nothing."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Report, from_json
from edgeloop_node.local import servers_in

ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}


def windows(answer: Any) -> dict[int, Report]:
    return {r["window_start_s"]: from_json(Report, r) for r in answer["reports"]}


def spoiled(model: Path, folder: Path) -> Path:
    """A copy of a model folder whose third golden row expects another answer."""
    shutil.copytree(model, folder)
    golden = json.loads((folder / "golden.json").read_text())
    golden["probabilities"][2].reverse()
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


def test_a_bad_model_never_binds(
    node: Any, runtime: Any, launch: Callable[..., Any], model: Path, tmp_path: Path
) -> None:
    """A failed self-test ends the process with code 3 and a line that says which row; nothing is announced."""
    program = runtime.program(spoiled(model, tmp_path / "bad"))
    process = launch(program)
    assert process.child.wait(40) == 3
    (line,) = process.said("the model is not served")
    assert "golden row 2" in line["error"]
    assert list(node.run_dir.iterdir()) == []
    done = program.run("selftest")
    assert (done.returncode, "golden row 2: expected" in done.stderr) == (3, True)


def test_selftest_and_info(runtime: Any, model: Path) -> None:
    """`selftest` ends with 0 for a sound model; `info` says in JSON what the image serves."""
    program = runtime.program(model)
    assert program.run("selftest").returncode == 0
    done = program.run("info")
    document = json.loads(done.stdout)
    reference = json.loads((model / "reference.json").read_text())
    assert (done.returncode, document["loop"], document["version"], document["runtime"]) == (0, "pump", 1, runtime.name)
    assert document["schema_hash"] == reference["schema_hash"]
    assert document["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}]
    assert [tensor["name"] for tensor in document["outputs"]] == ["label", "probabilities"]
    assert all(size > 0 for size in document["sizes"].values())


@pytest.mark.parametrize(
    "arguments",
    [["--port", "x"], ["serve", "--node", "a b"], ["serve", "--no-such"], ["check", "--pid", "x"],
     ["check", "--pid", "1", "--boot", "b"]],
)  # fmt: skip
def test_wrong_usage(runtime: Any, model: Path, arguments: list[str]) -> None:
    """Wrong arguments end with code 2 and say something on stderr."""
    done = runtime.program(model).run(*arguments)
    assert (done.returncode, bool(done.stderr)) == (2, True)


def test_it_announces_itself(serve: Callable[..., Any], node: Any, runtime: Any) -> None:
    """The run folder says what is served, and the private socket is the same application."""
    served = serve(EDGELOOP_IMAGE="sha256:abc")
    (server,) = servers_in(node.run_dir)
    document = server.document
    assert document["pid"] == served.process.child.pid
    assert (document["loop"], document["version"], document["image"]) == ("pump", 1, "sha256:abc")
    assert (document["node"], document["group"], document["runtime"]) == ("n1", "g1", runtime.name)
    assert (document["window_s"], document["classes"]) == (3600, ["fault", "idle", "run"])
    assert [(f["name"], f["kind"]) for f in document["features"]][1:] == [("heat", "number"), ("mode", "category")]
    assert document["port"] == served.port
    assert abs(document["started_s"] - time.time()) < 60
    assert served.private("/v2/health/ready").body == {"ready": True}
    assert served.call("GET", "/v2/models/pump")[0] == 200


def test_rows_are_counted_where_they_belong(serve: Callable[..., Any]) -> None:
    """Rows with a time are counted in its window, rows without by the clock, refused requests with the newest rows."""
    served = serve(EDGELOOP_IMAGE="sha256:abc")
    rows = [{"features": {**ROW, "mode": m}, "time": 7200 + i} for i, m in enumerate(["a", "b", "new", None])]
    assert served.call("POST", "/score", {"rows": rows})[0] == 200
    assert served.call("POST", "/score", {"features": ROW, "time": "1970-01-01T03:00:00+01:00"})[0] == 200
    assert served.call("POST", "/score", {"features": {"flow": "x"}})[0] == 400
    before = time.time()
    assert served.call("POST", "/score", {"features": {}})[0] == 200
    found = windows(served.private("/window?after=0").body)
    report = found.pop(7200)
    assert (report.counts.rows, report.counts.refused, report.counts.failed) == (5, 1, 0)
    assert report.counts.features["mode"].counts == (1, 2, 0, 1)
    assert report.counts.features["mode"].missing == 1
    assert sum(report.counts.classes) == sum(report.counts.latency) == sum(report.counts.confidence) == 5
    assert (report.node, report.group, report.version, report.image) == ("n1", "g1", 1, "sha256:abc")
    ((start_s, now),) = found.items()
    assert start_s <= before < start_s + 3600 + 1
    assert [now.counts.features[name].missing for name in ("flow", "heat", "mode")] == [1, 1, 1]


def test_only_the_private_socket_confirms(serve: Callable[..., Any], node: Any) -> None:
    """A stranger who asks for /window?after=N over TCP cannot make the server forget counts."""
    served = serve()
    served.call("POST", "/score", {"features": ROW, "time": 0})
    boot = served.entry().boot
    assert served.call("GET", "/window?after=0")[1]["sequence"] == 1
    assert served.call("GET", "/window?after=99")[1]["reports"] == []
    assert served.process.stop() == 0
    final = json.loads((node.run_dir / f"{boot}.final.json").read_text())
    assert [r["counts"]["rows"] for r in final["reports"]] == [1]


@pytest.mark.parametrize("text", ["x", "-1", "1e3", "9" * 30, "%F0%9F", "%2B1", "0x1"])
def test_a_bad_after_is_refused(served: Any, text: str) -> None:
    """`after` is a whole number."""
    status, answer = served.call("GET", f"/window?after={text}")
    assert (status, answer["error"][:37]) == (400, "after: expected a whole number >= 0, ")


def test_the_end_leaves_what_was_not_read(serve: Callable[..., Any], node: Any) -> None:
    """SIGTERM: exit 0, the entry is gone, and final.json holds the windows that no reader confirmed, and only those."""
    served = serve()
    for window in range(3):
        served.call("POST", "/score", {"features": ROW, "time": 3600 * window})
    boot = served.entry().boot
    assert served.private("/window?after=0").body["sequence"] == 3
    served.private("/window?after=3")
    served.call("POST", "/score", {"features": ROW, "time": 3600})
    assert served.process.stop() == 0
    assert [path.name for path in node.run_dir.iterdir()] == [f"{boot}.final.json"]
    final = windows(json.loads((node.run_dir / f"{boot}.final.json").read_text()))
    assert {start: (r.sequence, r.counts.rows) for start, r in final.items()} == {3600: (4, 2)}
    (line,) = served.process.said("stopped")
    assert (line["rows"], line["reports_left"]) == (4, 1)


def test_an_end_with_everything_read_leaves_nothing(serve: Callable[..., Any], node: Any) -> None:
    """When the reader has confirmed all there is no final.json; SIGINT ends it as SIGTERM does."""
    served = serve()
    served.call("POST", "/score", {"features": ROW, "time": 0})
    served.private("/window?after=0")
    served.private("/window?after=1")
    assert served.process.stop(signal.SIGINT) == 0
    assert list(node.run_dir.iterdir()) == []


def test_it_answers_connection_close_while_it_drains(serve: Callable[..., Any]) -> None:
    """A kept connection gets its answer after SIGTERM too, with `Connection: close`; new connections are refused."""
    served = serve()
    kept = served.connection()
    kept.request("GET", "/v2/health/ready")
    assert json.loads(kept.getresponse().read()) == {"ready": True}
    served.process.child.send_signal(signal.SIGTERM)
    served.process.wait_for("stopping: draining connections")
    kept.request("POST", "/score", json.dumps({"features": ROW}))
    answer = kept.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    answer.read()
    with pytest.raises(ConnectionRefusedError):
        served.dial(5)
    assert served.process.child.wait(10) == 0
    kept.close()


def test_it_is_not_ready_while_it_drains(serve: Callable[..., Any], node: Any) -> None:
    """After SIGTERM readiness is 503, so that nobody is sent there any more."""
    served = serve()
    kept = served.connection()
    kept.request("GET", "/v2")
    kept.getresponse().read()
    served.process.child.send_signal(signal.SIGTERM)
    served.process.wait_for("stopping: draining connections")
    kept.request("GET", "/v2/models/pump/ready")
    answer = kept.getresponse()
    assert (answer.status, json.loads(answer.read())) == (503, {"name": "pump", "ready": False})
    kept.close()
    assert served.process.child.wait(10) == 0


def test_an_idle_connection_does_not_hold_the_end_up(serve: Callable[..., Any]) -> None:
    """A kept connection that asks nothing more is closed after a while, and the process ends."""
    served = serve()
    idle = served.connection()
    idle.request("GET", "/v2")
    idle.getresponse().read()
    began = time.monotonic()
    assert served.process.stop() == 0
    assert time.monotonic() - began < 8
    idle.close()


def test_the_entry_comes_back(serve: Callable[..., Any], node: Any, eventually: Callable[..., Any]) -> None:
    """When the run folder is emptied under the server it announces itself again, and the new socket answers."""
    served = serve()
    for path in list(node.run_dir.iterdir()):
        path.unlink()
    eventually(lambda: list(servers_in(node.run_dir)))
    assert served.private("/v2/health/ready").status == 200
    assert served.call("POST", "/score", {"features": ROW})[0] == 200
    assert served.process.stop() == 0


def test_a_run_folder_with_a_very_long_path(serve: Callable[..., Any], node: Any, tmp_path: Path) -> None:
    """The private socket works where its path is longer than the kernel's limit of 107 bytes, for the probe too."""
    node.run_dir = tmp_path / ("long-" * 20) / ("folder-" * 12)
    served = serve()
    assert len(str(served.entry().socket)) > 200
    assert served.private("/v2/health/ready").status == 200
    assert served.program.run("check", "--run-dir", node.run_dir).returncode == 0


def test_a_taken_port_is_an_error(node: Any, runtime: Any, launch: Callable[..., Any], model: Path) -> None:
    """A port that another program holds (without SO_REUSEPORT) ends the server with code 1 and a line."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        process = launch(runtime.program(model), port=other.getsockname()[1])
        assert process.child.wait(40) == 1
    assert process.said("cannot serve")
    assert list(node.run_dir.glob("*.json")) == []


def test_a_run_folder_that_cannot_be_is_an_error(
    node: Any, runtime: Any, launch: Callable[..., Any], model: Path
) -> None:
    """A run folder that is a file ends the server with code 1 and a line."""
    node.run_dir = node.folder / "file"
    node.run_dir.write_text("")
    process = launch(runtime.program(model))
    assert process.child.wait(40) == 1
    assert process.said("cannot serve")


def test_the_probe_asks_this_server(serve: Callable[..., Any], node: Any, eventually: Callable[..., Any]) -> None:
    """While two servers share port and folder, each one's probe asks only its own process; a stopped one is not ready."""
    old = serve()
    new = serve(port=old.port)

    def probe(*arguments: str) -> int:
        return int(old.program.run("check", "--run-dir", node.run_dir, *arguments).returncode)

    old_pid, new_pid = str(old.process.child.pid), str(new.process.child.pid)
    assert probe("--pid", old_pid) == probe("--pid", new_pid) == 0
    assert probe("--boot", new.process.extra["boot"]) == 0
    assert probe() == 1  # which of the two?
    assert probe("--pid", str(os.getpid())) == probe("--boot", "nobody") == 1
    new.process.child.send_signal(signal.SIGSTOP)
    assert probe("--pid", new_pid) == 1
    new.process.child.send_signal(signal.SIGCONT)
    assert old.process.stop() == 0
    assert probe("--pid", old_pid) == 1
    assert probe() == 0


def test_a_killed_server_is_not_ready(serve: Callable[..., Any], node: Any) -> None:
    """kill -9 leaves an entry behind; the probe says that nobody listens."""
    served = serve()
    served.process.child.kill()
    served.process.child.wait()
    done = served.program.run("check", "--run-dir", node.run_dir, "--boot", served.process.extra["boot"])
    assert (done.returncode, done.stderr[:9]) == (1, "not ready")


def test_a_single_row_costs_little(serve: Callable[..., Any]) -> None:
    """A single-row request costs the server well under a millisecond of processor time, all its counting included."""
    served = serve()
    text = json.dumps({"features": ROW, "id": "1", "time": 7200}).encode()
    request = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(text) + text
    with served.dial() as client:
        began = processor_s(served.process.child.pid)
        for _ in range(2000):
            client.sendall(request)
            assert b"200 OK" in client.recv(65536)
    cost_us = (processor_s(served.process.child.pid) - began) / 2000 * 1e6
    assert cost_us < 500, f"{cost_us} us"  # about 65 in Python on a quiet machine


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_ipv6_where_the_machine_has_it(node: Any, runtime: Any, launch: Callable[..., Any], model: Path) -> None:
    """`--host ::1` listens there."""
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("no IPv6 on this machine")
    process = launch(runtime.program(model), "--host", "::1")
    port = process.wait_for("ready")["port"]
    connection = http.client.HTTPConnection("::1", port, timeout=10)
    connection.request("GET", "/v2/health/ready")
    assert connection.getresponse().status == 200
    connection.close()
