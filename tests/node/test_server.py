"""The server as a process: start, counts, run folder, limits, and an end that loses nothing."""

from __future__ import annotations

import http.client
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Report, from_json
from edgeloop_node.local import ask, servers_in

Call = Callable[..., tuple[int, Any]]
ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}


def windows(answer: Any) -> dict[int, Report]:
    return {r["window_start_s"]: from_json(Report, r) for r in answer["reports"]}


def test_a_bad_model_never_binds(node: Any, model: Path, tmp_path: Path) -> None:
    """A failed self-test ends the process with code 3 and a line that says why; nothing is announced."""
    folder = Path(shutil.copytree(model, tmp_path / "bad"))
    golden = json.loads((folder / "golden.json").read_text())
    golden["probabilities"][2].reverse()
    (folder / "golden.json").write_text(json.dumps(golden))
    process = node.start("server", "--model", folder, "--port", "0", "--run-dir", node.run_dir)
    assert process.child.wait(40) == 3
    (line,) = process.said("the model is not served")
    assert "golden row 2" in line["error"]
    assert list(node.run_dir.iterdir()) == []


def test_it_announces_itself(node: Any, model: Path, request_json: Call) -> None:
    """The run folder says what is served, and the private socket is the same application."""
    served = node.serve(model, EDGELOOP_IMAGE="sha256:abc")
    (server,) = servers_in(node.run_dir)
    document = server.document
    assert document["pid"] == served.child.pid
    assert (document["loop"], document["version"], document["image"]) == ("pump", 1, "sha256:abc")
    assert (document["window_s"], document["classes"]) == (3600, ["fault", "idle", "run"])
    assert document["port"] == served.port
    assert ask(server.socket, "/v2/health/ready").body == {"ready": True}
    assert request_json(served.port, "GET", "/v2/models/pump")[0] == 200


def test_rows_are_counted_where_they_belong(node: Any, model: Path, request_json: Call) -> None:
    """Rows with a time are counted in its window, rows without by the clock, refused requests with the newest rows."""
    served = node.serve(model, EDGELOOP_IMAGE="sha256:abc")
    rows = [{"features": {**ROW, "mode": m}, "time": 7200 + i} for i, m in enumerate(["a", "b", "new", None])]
    assert request_json(served.port, "POST", "/score", {"rows": rows})[0] == 200
    assert request_json(served.port, "POST", "/score", {"features": ROW, "time": "1970-01-01T03:00:00+01:00"})[0] == 200
    assert request_json(served.port, "POST", "/score", {"features": {"flow": "x"}})[0] == 400
    before = time.time()
    assert request_json(served.port, "POST", "/score", {"features": {}})[0] == 200
    (server,) = servers_in(node.run_dir)
    found = windows(ask(server.socket, "/window?after=0").body)
    report = found.pop(7200)
    assert (report.counts.rows, report.counts.refused, report.counts.failed) == (5, 1, 0)
    assert report.counts.features["mode"].counts == (1, 2, 0, 1)
    assert report.counts.features["mode"].missing == 1
    assert sum(report.counts.classes) == sum(report.counts.latency) == sum(report.counts.confidence) == 5
    assert (report.node, report.group, report.version, report.image) == ("n1", "g1", 1, "sha256:abc")
    ((start_s, now),) = found.items()
    assert start_s <= before < start_s + 3600 + 1
    assert [now.counts.features[name].missing for name in ("flow", "heat", "mode")] == [1, 1, 1]


def test_only_the_private_socket_confirms(node: Any, model: Path, request_json: Call) -> None:
    """A stranger who asks for /window?after=N over TCP cannot make the server forget counts."""
    served = node.serve(model)
    request_json(served.port, "POST", "/score", {"features": ROW, "time": 0})
    (server,) = servers_in(node.run_dir)
    assert request_json(served.port, "GET", "/window?after=0")[1]["sequence"] == 1
    assert request_json(served.port, "GET", "/window?after=99")[1]["reports"] == []
    assert served.stop() == 0
    final = json.loads((node.run_dir / f"{server.boot}.final.json").read_text())
    assert [r["counts"]["rows"] for r in final["reports"]] == [1]


@pytest.mark.parametrize("text", ["x", "-1", "1e3", "9" * 30, "%F0%9F"])
def test_a_bad_after_is_refused(node: Any, model: Path, request_json: Call, text: str, shared: Any) -> None:
    """`after` is a whole number."""
    assert request_json(shared.port, "GET", f"/window?after={text}")[0] == 400


@pytest.fixture(scope="module")
def shared(shared_node: Any, model: Path) -> Any:
    return shared_node.serve(model)


def test_the_end_leaves_what_was_not_read(node: Any, model: Path, request_json: Call) -> None:
    """SIGTERM: exit 0, the entry is gone, and final.json holds the windows that no reader confirmed, and only those."""
    served = node.serve(model)
    for window in range(3):
        request_json(served.port, "POST", "/score", {"features": ROW, "time": 3600 * window})
    (server,) = servers_in(node.run_dir)
    assert ask(server.socket, "/window?after=0").body["sequence"] == 3
    ask(server.socket, "/window?after=3")
    request_json(served.port, "POST", "/score", {"features": ROW, "time": 3600})
    assert served.stop() == 0
    assert [path.name for path in node.run_dir.iterdir()] == [f"{server.boot}.final.json"]
    final = windows(json.loads((node.run_dir / f"{server.boot}.final.json").read_text()))
    assert {start: (r.sequence, r.counts.rows) for start, r in final.items()} == {3600: (4, 2)}


def test_an_end_with_everything_read_leaves_nothing(node: Any, model: Path, request_json: Call) -> None:
    """When the reader has confirmed all there is no final.json."""
    served = node.serve(model)
    request_json(served.port, "POST", "/score", {"features": ROW, "time": 0})
    (server,) = servers_in(node.run_dir)
    ask(server.socket, "/window?after=0")
    ask(server.socket, "/window?after=1")
    assert served.stop() == 0
    assert list(node.run_dir.iterdir()) == []


def test_many_windows_come_in_pages(node: Any, model: Path, request_json: Call) -> None:
    """A read gives 200 windows at most and says that there is more; pages together are everything, once."""
    served = node.serve(model)
    rows = [{"features": ROW, "time": 3600 * i} for i in range(450)]
    request_json(served.port, "POST", "/score", {"rows": rows})
    (server,) = servers_in(node.run_dir)
    after, seen, more = 0, {}, True
    while more:
        page = ask(server.socket, f"/window?after={after}").body
        assert len(page["reports"]) <= 200
        after, more = page["sequence"], page["more"]
        seen.update(windows(page))
    assert sorted(seen) == [3600 * i for i in range(450)]


def test_it_answers_connection_close_while_it_drains(node: Any, model: Path) -> None:
    """A kept connection gets its answer after SIGTERM too, with `Connection: close`; new connections are refused."""
    served = node.serve(model)
    kept = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    kept.request("GET", "/v2/health/ready")
    assert kept.getresponse().read() == b'{"ready":true}'
    served.child.send_signal(signal.SIGTERM)
    served.wait_for("stopping: draining connections")
    kept.request("POST", "/score", json.dumps({"features": ROW}))
    answer = kept.getresponse()
    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    answer.read()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", served.port), 5)
    assert served.child.wait(10) == 0
    kept.close()


def test_an_idle_connection_does_not_hold_the_end_up(node: Any, model: Path) -> None:
    """A kept connection that asks nothing more is closed after a while, and the process ends."""
    served = node.serve(model)
    idle = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    idle.request("GET", "/v2")
    idle.getresponse().read()
    began = time.monotonic()
    assert served.stop() == 0
    assert time.monotonic() - began < 8
    idle.close()


def test_the_entry_comes_back(node: Any, model: Path, request_json: Call, eventually: Callable[..., Any]) -> None:
    """When the run folder is emptied under the server it announces itself again, and the new socket answers."""
    served = node.serve(model)
    for path in list(node.run_dir.iterdir()):
        path.unlink()
    (server,) = eventually(lambda: list(servers_in(node.run_dir)))
    assert ask(server.socket, "/v2/health/ready").status == 200
    assert request_json(served.port, "POST", "/score", {"features": ROW})[0] == 200
    assert served.stop() == 0


def test_a_run_folder_with_a_very_long_path(node: Any, model: Path, tmp_path: Path) -> None:
    """The private socket works where its path is longer than the kernel's limit of 107 bytes."""
    node.run_dir = tmp_path / ("long-" * 20) / ("folder-" * 12)
    node.serve(model)
    (server,) = servers_in(node.run_dir)
    assert len(str(server.socket)) > 200
    assert ask(server.socket, "/v2/health/ready").status == 200


def test_a_taken_port_is_an_error(node: Any, model: Path) -> None:
    """A port that another program holds (without SO_REUSEPORT) ends the server with code 1 and a line."""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        process = node.start("server", "--model", model, "--port", port, "--run-dir", node.run_dir)
        assert process.child.wait(40) == 1
    assert process.said("cannot serve")


@pytest.mark.slow
def test_slow_clients_are_sent_away(node: Any, model: Path, request_json: Call) -> None:
    """Half a header, half a body or silence for 10 s is answered with 408 and closed, while others are served."""
    served = node.serve(model)
    texts = [b"", b"POST /score HTTP/1.1\r\nHos", b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{"]
    clients = [socket.create_connection(("127.0.0.1", served.port), 30) for _ in texts]
    for client, text in zip(clients, texts, strict=True):
        client.sendall(text)
    kept = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
    until = time.monotonic() + 13
    while time.monotonic() < until:
        kept.request("POST", "/score", json.dumps({"features": ROW}))
        assert kept.getresponse().read()
        time.sleep(0.5)
    for client in clients:
        client.settimeout(5)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert client.recv(1000) == b""
        client.close()
    kept.close()


def test_a_single_row_costs_little(node: Any, model: Path) -> None:
    """A single-row request costs the server well under a millisecond of processor time, all its counting included."""
    served = node.serve(model)
    text = json.dumps({"features": ROW, "id": "1", "time": 7200}).encode()
    request = b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(text) + text
    with socket.create_connection(("127.0.0.1", served.port), 10) as client:
        began = processor_s(served.child.pid)
        for _ in range(2000):
            client.sendall(request)
            assert b"200 OK" in client.recv(65536)
    cost_us = (processor_s(served.child.pid) - began) / 2000 * 1e6
    assert cost_us < 500, f"{cost_us} us"  # about 65 on a quiet machine


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
