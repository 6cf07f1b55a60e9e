"""The load generator against servers that answer well, slowly, in pieces, or not."""

from __future__ import annotations

import json
import math
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from edgeloop_components.native.toolchain import ToolchainError
from edgeloop_components.profile import load
from edgeloop_components.profile.load import Load, LoadError, arrivals_ns, generator, http_request, offer, pack_requests

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
Answer = Callable[[socket.socket, bytes], bool]  # answers one request; False: the connection is over


class Server:
    """One thread a connection; what an answer is, the test says."""

    def __init__(self, answer: Answer) -> None:
        self.answer, self.seen, self.connections = answer, [], 0
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    seen: list[bytes]

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            data = b""
            while True:
                while b"\r\n\r\n" not in data:
                    try:
                        part = connection.recv(4096)
                    except OSError:
                        return
                    if not part:
                        return
                    data += part
                head, _, data = data.partition(b"\r\n\r\n")
                size = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
                while len(data) < size:
                    data += connection.recv(4096)
                body, data = data[:size], data[size:]
                self.seen.append(body)
                if not self.answer(connection, body):
                    return


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Callable[..., Load]]]:
    """`serve(answer)` gives a function that offers load to that server."""
    servers: list[Server] = []
    requests = tmp_path / "requests"
    requests.write_bytes(pack_requests(http_request("POST", "/", b"%03d" % i) for i in range(7)))

    def start(answer: Answer) -> Callable[..., Load]:
        servers.append(Server(answer))

        def run(**how: float) -> Load:
            plan = {"rate_per_s": 400.0, "seconds": 0.5, "seed": 1, **how}
            return offer(servers[-1].port, requests, **plan)  # type: ignore[arg-type]

        run.server = servers[-1]  # type: ignore[attr-defined]
        return run

    yield start
    for server in servers:
        server.listener.close()


def send(*parts: bytes, pause_s: float = 0.0) -> Answer:
    def answer(connection: socket.socket, _: bytes) -> bool:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause_s)
        return True

    return answer


def test_every_query_is_answered_on_kept_connections(serve: Callable[..., Callable[..., Load]]) -> None:
    """All queries of the plan, the requests in turn, over at most as many connections as asked for."""
    run = serve(send(OK))
    found = run(connections=4)
    assert len(found.latencies_ms) == len(arrivals_ns(400.0, 0.5, 1)) > 100
    assert found.errors == {}
    assert all(0 < latency < 1000 for latency in found.latencies_ms)
    server = run.server  # type: ignore[attr-defined]
    assert server.connections == 4
    assert set(server.seen) == {b"%03d" % i for i in range(7)}
    assert len(server.seen) == len(found.latencies_ms)


@pytest.mark.parametrize(
    "parts",
    [
        (OK[:30], OK[30:]),
        (OK[:-2], OK[-2:]),
        tuple(bytes([byte]) for byte in OK),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + OK,),
        (OK.replace(b"Content-Length", b"content-length").replace(b"200 OK", b"204 No Content"),),
    ],
    ids=["split in the head", "head and body apart", "byte by byte", "after 100", "small letters"],
)
def test_answers_in_pieces_are_whole_answers(
    serve: Callable[..., Callable[..., Load]], parts: tuple[bytes, ...]
) -> None:
    """However the packets are cut, nothing fails."""
    found = serve(send(*parts))(seconds=0.2)
    assert found.errors == {}
    assert math.inf not in found.latencies_ms


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (send(OK.replace(b"200 OK", b"503 Busy")), "status"),
        (send(b"HTTP/1.1 200 OK\r\n\r\nok"), "malformed"),
        (send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"), "malformed"),
        (send(OK + OK), "malformed"),
        (send(b"nonsense\r\n\r\n"), "malformed"),
        (lambda c, _: False, "closed"),
        (lambda c, _: bool(c.sendall(OK[:20])), "closed"),
        (lambda c, _: time.sleep(0.6) is None, "timeout"),
    ],
    ids=["503", "no length", "chunked", "two answers", "no http", "closed", "cut off", "silent"],
)
def test_errors_are_failed_queries(serve: Callable[..., Callable[..., Load]], answer: Answer, kind: str) -> None:
    """A query without a whole good answer is failed and named; none is left out."""
    found = serve(answer)(rate_per_s=60.0, seconds=0.4, timeout_s=0.3)
    failed = sum(latency == math.inf for latency in found.latencies_ms)
    assert kind in found.errors
    assert failed == sum(found.errors.values()) > 0


def test_resets_are_failed_queries_and_others_go_on(serve: Callable[..., Callable[..., Load]]) -> None:
    """Every fifth connection's answer is a reset; the rest is answered."""
    import struct as packing

    turn = iter(range(10**6))

    def answer(connection: socket.socket, _: bytes) -> bool:
        if next(turn) % 5 == 4:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, packing.pack("ii", 1, 0))
            return False
        connection.sendall(OK)
        return True

    found = serve(answer)()
    assert set(found.errors) <= {"closed", "queued"}
    failed = sum(latency == math.inf for latency in found.latencies_ms)
    assert 0.1 * len(found.latencies_ms) < failed < 0.5 * len(found.latencies_ms)


def test_a_server_that_closes_each_connection_is_served_anew(serve: Callable[..., Callable[..., Load]]) -> None:
    """`Connection: close` is an answer like any other."""

    def answer(connection: socket.socket, _: bytes) -> bool:
        connection.sendall(OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n"))
        return False

    found = serve(answer)(rate_per_s=100.0)
    assert found.errors == {}
    assert math.inf not in found.latencies_ms


def test_waiting_for_a_connection_counts(serve: Callable[..., Callable[..., Load]]) -> None:
    """One stall of 200 ms on the only connection delays those that came meanwhile: no coordinated omission."""
    first = iter([0.2])

    def answer(connection: socket.socket, _: bytes) -> bool:
        time.sleep(next(first, 0.0))
        connection.sendall(OK)
        return True

    found = serve(answer)(connections=1, rate_per_s=200.0)
    slow = [latency for latency in found.latencies_ms if latency > 20]
    assert found.latencies_ms[0] >= 200
    assert len(slow) > 10, "a closed loop would see one"
    arrivals = arrivals_ns(200.0, 0.5, 1)
    behind = [i for i, at in enumerate(arrivals) if at < arrivals[0] + 100e6]
    assert all(found.latencies_ms[i] >= 99 for i in behind)


def test_a_server_with_too_little_speed_fails_the_queue(serve: Callable[..., Callable[..., Load]]) -> None:
    """Overload ends in time: queries that found no connection within the time limit failed."""
    found = serve(send(OK, pause_s=0.05))(connections=2, rate_per_s=500.0, timeout_s=0.2)
    assert found.errors["queued"] > 50
    assert len(found.latencies_ms) == len(arrivals_ns(500.0, 0.5, 1))
    assert found.elapsed_s < 5


def test_arrivals_are_poisson_and_follow_the_seed() -> None:
    """The same seed gives the same times, another one others; mean and spread of the gaps are those of the rate."""
    times = arrivals_ns(2000.0, 5.0, 3)
    assert list(times) == list(arrivals_ns(2000.0, 5.0, 3))
    assert list(times) != list(arrivals_ns(2000.0, 5.0, 4))
    assert list(times) == sorted(times)
    gaps = [(b - a) / 1e9 for a, b in pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert mean == pytest.approx(1 / 2000, rel=0.05)
    assert spread == pytest.approx(mean, rel=0.06), "exponential gaps: the deviation is the mean"


def test_nobody_there_is_an_error(tmp_path: Path) -> None:
    """A port that nobody listens on ends the run with its reason, and not with a list of failures."""
    (tmp_path / "r").write_bytes(pack_requests([http_request("GET", "/", b"")]))
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with pytest.raises(LoadError, match="nobody answers"):
        offer(port, tmp_path / "r", rate_per_s=10, seconds=0.1, seed=1, timeout_s=0.1)


def test_several_rates_give_a_line_each_with_a_histogram(
    serve: Callable[..., Callable[..., Load]], tmp_path: Path
) -> None:
    """What a Job prints: exact counts over the limit, and buckets that hold every answered query."""
    run = serve(send(OK))
    requests = tmp_path / "requests"
    words = ["--port", str(run.server.port), "--requests", str(requests), "--rates", "100,300"]  # type: ignore[attr-defined]
    words += ["--seconds", "0.3", "--seed", "9", "--limit-us", "1"]
    done = subprocess.run([generator(), "run", *words], capture_output=True, text=True, check=True, timeout=30)
    first, second = map(json.loads, done.stdout.splitlines())
    assert (first["rate_per_s"], second["rate_per_s"]) == (100, 300)
    assert (first["seed"], second["seed"]) == (9, 10)
    for line in (first, second):
        assert line["over"] == line["queries"] == sum(n for _, n in line["histogram_us"])
        assert line["failed"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "--rates", "x"], "--port and --requests"),
        (["plan", "--rates", "0", "--seconds", "1", "--out", "/dev/null"], "--rates"),
        (["plan", "--rates", "5", "--fast", "1"], "--fast: no such option"),
        (["plan", "--seconds"], "expected a value"),
        (["fly"], "load run|plan"),
    ],
)
def test_wrong_usage_is_told(words: list[str], said: str) -> None:
    """Exit code 2 and what is wrong."""
    done = subprocess.run([generator(), *words], capture_output=True, text=True, timeout=30)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


def test_without_a_compiler_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No zig: the extra and the environment variable are named; the variable is obeyed."""

    def missing() -> str:
        raise ToolchainError("no ziglang", "pip install 'edgeloop[native]'")

    monkeypatch.delenv("EDGELOOP_LOAD", raising=False)
    monkeypatch.setattr(load, "version", missing)
    with pytest.raises(LoadError, match=r"pip install 'edgeloop\[native\]'.*EDGELOOP_LOAD"):
        generator()
    monkeypatch.setenv("EDGELOOP_LOAD", "/opt/load")
    assert generator() == Path("/opt/load")
    with pytest.raises(LoadError, match="is compiled for"):
        generator("linux/s390x")


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/arm/v7", "linux/riscv64"])
@pytest.mark.slow
def test_it_is_built_for_every_platform(platform: str) -> None:
    """The same plan on every platform, under emulation where there is one."""
    import shutil

    machine = {"linux/arm64": "aarch64", "linux/arm/v7": "arm", "linux/riscv64": "riscv64"}[platform]
    emulator = shutil.which(f"qemu-{machine}-static")
    if emulator is None:
        pytest.skip(f"no qemu-{machine}-static on this machine")
    program = generator(platform)
    out = program.with_suffix(f".{os.getpid()}")
    try:
        words = ["plan", "--rates", "500", "--seconds", "1", "--seed", "5", "--out", str(out)]
        subprocess.run([emulator, program, *words], check=True, timeout=60)
        assert out.read_bytes() == bytes(arrivals_ns(500.0, 1.0, 5))  # type: ignore[arg-type]
    finally:
        out.unlink(missing_ok=True)
