"""What the native server costs and needs: memory that never grows, no files, no root, little time to start; and its limits."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROW = json.dumps({"features": {"flow": 0.3, "heat": -1.25, "mode": "b"}, "time": 0}).encode()
NATIVE = Path(__file__).parents[3] / "edge" / "edgeloop_node" / "native"
CGROUPS = Path("/sys/fs/cgroup")


def asked(dial: Any, port: int, data: bytes) -> tuple[int, dict[str, str], bytes]:
    client = dial(port)
    with contextlib.closing(client):
        client.send(data)
        answer: tuple[int, dict[str, str], bytes] = client.answer()
        return answer


def mappings(pid: int) -> list[str]:
    return [line.split()[0] for line in Path(f"/proc/{pid}/maps").read_text().splitlines()]


def pss_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def test_nothing_is_allocated_after_start(build_native: Any, serve_native: Any, dial: Any, request_bytes: Any) -> None:
    """No mapping comes or goes over large batches, wrong requests, many windows and 600 connections; there is no heap."""
    process = serve_native(build_native().server)
    before = mappings(process.child.pid)
    assert "[heap]" not in Path(f"/proc/{process.child.pid}/maps").read_text()
    row = {"features": {"flow": 0.1, "heat": 2, "mode": "a"}, "id": "x" * 100}
    rows = [{**row, "time": 3600 * i} for i in range(1000)]
    status, _, body = asked(dial, process.port, request_bytes(json.dumps({"rows": rows}).encode()))
    assert (status, len(json.loads(body)["rows"])) == (200, 1000)
    assert asked(dial, process.port, request_bytes(b'{"rows":' + b"[" * 1_000_000))[0] == 400
    assert asked(dial, process.port, b"GET /window?after=0 HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200
    clients = [dial(process.port) for _ in range(600)]
    for client in clients[:500]:
        client.send(request_bytes(ROW))
    assert {client.answer()[0] for client in clients[:500]} == {200}
    for client in clients:
        client.close()
    assert mappings(process.child.pid) == before


def test_memory_is_given_back(
    build_native: Any, serve_native: Any, dial: Any, request_bytes: Any, eventually: Any
) -> None:
    """Small requests need less than 1 MiB beside the binary; a megabyte of a request is gone when it is answered."""
    server = build_native().server
    process = serve_native(server)
    for _ in range(50):
        assert asked(dial, process.port, request_bytes(ROW))[0] == 200
    limit_kib = 1024 + server.stat().st_size // 1024
    assert pss_kib(process.child.pid) < limit_kib
    rows = json.dumps({"rows": [{"features": {"flow": 0.1}, "id": "y" * 200}] * 1000} | {}).encode()
    for _ in range(5):
        assert asked(dial, process.port, request_bytes(rows))[0] == 200
        assert asked(dial, process.port, request_bytes(b" " * (1 << 20)))[0] == 400
    eventually(lambda: pss_kib(process.child.pid) < limit_kib)


def test_no_files_and_no_root(node: Any, build_native: Any, dial: Any, request_bytes: Any, tmp_path: Path) -> None:
    """In an empty root that it may not write, as nobody, without a run folder, it serves, and `check` finds it."""
    if os.getuid() != 0:
        pytest.skip("needs root, to change the root folder")
    root = tmp_path / "root"
    (root / "edgeloop").mkdir(parents=True)
    shutil.copy(build_native().server, root / "edgeloop" / "server")
    root.chmod(0o555)

    def within() -> None:
        os.chroot(root)
        os.chdir("/")
        os.setgid(65534)
        os.setuid(65534)

    log = tmp_path / "log"
    with log.open("wb") as file:
        child = subprocess.Popen(
            ["/edgeloop/server", "--port", "0", "--node", "n1"],
            env={},
            stderr=file,
            preexec_fn=within,  # noqa: PLW1509
        )
    try:
        until = time.monotonic() + 20
        while b'"ready"' not in log.read_bytes() and time.monotonic() < until:
            time.sleep(0.02)
        port = next(json.loads(line)["port"] for line in log.read_text().splitlines() if '"ready"' in line)
        assert asked(dial, port, request_bytes(ROW))[0] == 200
        command = ["/edgeloop/server", "check", "--pid"]
        right = subprocess.run([*command, str(child.pid)], env={}, preexec_fn=within, capture_output=True)
        wrong = subprocess.run([*command, str(os.getpid())], env={}, preexec_fn=within, capture_output=True)
        assert (right.returncode, wrong.returncode) == (0, 1)
        assert b"not ready: abstract socket: nobody listens" in wrong.stderr
    finally:
        child.terminate()
        assert child.wait(20) == 0
    assert sorted(path.name for path in root.rglob("*")) == ["edgeloop", "server"]


def first_answer_ms(server: Path, port: int) -> float:
    began = time.monotonic()
    child = subprocess.Popen([server, "--port", str(port)], stderr=subprocess.DEVNULL)
    try:
        while True:
            try:
                with socket.create_connection(("127.0.0.1", port), 1) as client:
                    client.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
                    assert client.recv(100).startswith(b"HTTP/1.1 200")
                    return (time.monotonic() - began) * 1000
            except ConnectionRefusedError:
                time.sleep(0.0005)
    finally:
        child.terminate()
        child.wait()


def test_the_first_answer_comes_soon(build_native: Any, free_port: Callable[[], int]) -> None:
    """From the start of the process to its first answer, self-test included: at most 50 ms (best of five)."""
    assert min(first_answer_ms(build_native().server, free_port()) for _ in range(5)) < 50


@contextlib.contextmanager
def limited(mib: int) -> Iterator[Path]:
    """A cgroup with a memory limit: the file that takes process ids."""
    one = CGROUPS / "memory"
    folder = (one if one.is_dir() else CGROUPS) / f"edgeloop-test-{os.getpid()}"
    limit = "memory.limit_in_bytes" if one.is_dir() else "memory.max"
    try:
        folder.mkdir()
        (folder / limit).write_text(str(mib << 20))
    except OSError as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"cgroups cannot be written here: {error}")
    try:
        yield folder / "cgroup.procs"
    finally:
        for _ in range(50):
            with contextlib.suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


def test_four_mebibytes_are_enough(
    build_native: Any, dial: Any, request_bytes: Any, free_port: Callable[[], int]
) -> None:
    """Under a limit of 4 MiB it answers small requests, large batches from many clients at once, and goes on living."""
    port = free_port()
    rows = json.dumps({"rows": [{"features": {"flow": 0.1, "heat": 1.5}, "id": "z" * 100}] * 1000}).encode()
    with limited(4) as procs:
        child = subprocess.Popen(
            [build_native().server, "--port", str(port)],
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: procs.write_text(str(os.getpid())),  # noqa: PLW1509
        )
        try:
            until = time.monotonic() + 20
            while time.monotonic() < until:
                with contextlib.suppress(OSError):
                    socket.create_connection(("127.0.0.1", port), 1).close()
                    break
            for _ in range(3):
                clients = [dial(port, 60) for _ in range(8)]
                for client in clients:
                    client.send(request_bytes(rows))
                assert {client.answer()[0] for client in clients} == {200}
                for client in clients:
                    client.close()
                assert asked(dial, port, request_bytes(ROW))[0] == 200
            assert child.poll() is None
        finally:
            child.terminate()
            assert child.wait(20) == 0


def test_large_requests_wait_for_one_another(
    build_native: Any, serve_native: Any, dial: Any, request_bytes: Any
) -> None:
    """More slow large requests than there are large buffers: each is answered in the end, and small ones at once."""
    process = serve_native(build_native().server)
    rows = json.dumps({"rows": [{"features": {"flow": 0.1}, "id": "w" * 200}] * 1000}).encode()
    whole = request_bytes(rows)
    clients = [dial(process.port, 60) for _ in range(6)]
    for client in clients:
        client.send(whole[:100_000])
    began = time.monotonic()
    assert asked(dial, process.port, request_bytes(ROW))[0] == 200
    assert time.monotonic() - began < 2
    for client in clients:
        client.send(whole[100_000:])
        assert client.answer()[0] == 200
        client.close()


def test_probabilities_must_be_sound(build_native: Any, serve_native: Any, dial: Any, request_bytes: Any) -> None:
    """A sum that is off by rounding is made 1; one that is off by more is an error of ours, and counted as failed."""
    near = serve_native(build_native(3, 1.0002).server)
    status, _, body = asked(dial, near.port, request_bytes(ROW))
    assert status == 200
    assert sum(json.loads(body)["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    wrong = serve_native(build_native(4, 1.01).server)
    status, _, body = asked(dial, wrong.port, request_bytes(ROW))
    assert status == 500
    assert "UnsoundScoreError: probabilities: expected numbers >= 0 with the sum 1" in json.loads(body)["error"]
    _, _, body = asked(dial, wrong.port, b"GET /window HTTP/1.1\r\nHost: a\r\n\r\n")
    (report,) = json.loads(body)["reports"]
    assert (report["counts"]["rows"], report["counts"]["failed"]) == (0, 1)


def test_predict_is_the_model(build_native: Any) -> None:
    """Rows on stdin give each output's bytes for all rows, one output after the other; half a row is refused."""
    built = build_native()
    golden = json.loads((built.folder / "golden.json").read_text())
    rows = [[{None: float("nan"), "inf": float("inf")}.get(value, value) for value in row] for row in golden["rows"]]
    raw = struct.pack(f"<{3 * len(rows)}f", *(value for row in rows for value in row))
    done = subprocess.run([built.server, "predict"], input=raw, capture_output=True)
    labels = struct.unpack_from(f"<{len(rows)}q", done.stdout)
    scores = struct.unpack_from(f"<{3 * len(rows)}f", done.stdout, 8 * len(rows))
    assert list(labels) == golden["labels"]
    assert list(scores) == [p for row in golden["probabilities"] for p in row]
    assert subprocess.run([built.server, "predict"], input=raw[:-2], capture_output=True).returncode == 1


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_no_warnings(build_native: Any, compiler: str, tmp_path: Path) -> None:
    """The sources are free of warnings with -Wall -Wextra, by both compilers."""
    if not shutil.which(compiler):
        pytest.skip(f"needs {compiler}")
    from edgeloop_components.native.embed import embed

    fuzz = Path(__file__).parents[2] / "fuzz" / "native"
    data = embed(build_native().folder, "test")
    (tmp_path / "data.h").write_text(data.header)
    (tmp_path / "data.c").write_text(data.source)
    flags = ("-std=gnu11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{tmp_path}", f"-I{fuzz}", f"-I{NATIVE}")
    sources = sorted(NATIVE.glob("*.c"))
    done = subprocess.run([compiler, *flags, *sources, tmp_path / "data.c"], capture_output=True, text=True)
    assert done.stderr == ""


def test_a_pipeline_of_requests(build_native: Any, serve_native: Any, dial: Any, request_bytes: Any) -> None:
    """Hundreds of requests in one go are answered in order, whatever the pieces they come in."""
    process = serve_native(build_native().server)
    client = dial(process.port)
    texts = [json.dumps({"features": {"flow": 0.1}, "id": str(i)}).encode() for i in range(400)]
    data = b"".join(map(request_bytes, texts))
    for start in range(0, len(data), 7001):
        client.send(data[start : start + 7001])
    assert [json.loads(client.answer()[2])["id"] for _ in texts] == [str(i) for i in range(400)]
    client.close()


def test_http_client_of_python(build_native: Any, serve_native: Any) -> None:
    """Expect: 100-continue is answered before the body is sent, and only where a body is wanted."""
    process = serve_native(build_native().server)
    connection = http.client.HTTPConnection("127.0.0.1", process.port, timeout=10)
    connection.putrequest("POST", "/score")
    connection.putheader("Content-Length", str(len(ROW)))
    connection.putheader("Expect", "100-continue")
    connection.endheaders()
    assert connection.sock.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
    connection.send(ROW)
    assert connection.getresponse().status == 200
    connection.close()
