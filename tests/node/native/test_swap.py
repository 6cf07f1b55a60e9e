"""A native server becomes another binary in place: no request is lost, no count is lost, a bad binary is refused."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from edgeloop_node.local import ask, servers_in

ROW = json.dumps({"features": {"flow": 0.3, "heat": -1.25, "mode": "b"}, "time": 0}).encode()


def put(source: Path, place: Path) -> None:
    """Puts a binary over another one, which may be running."""
    new = place.with_name(f".{place.name}.new")
    shutil.copyfile(source, new)
    new.chmod(0o755)
    new.replace(place)


def hung_up(client: Any) -> None:
    """Closes a connection, where there is one."""
    if client:
        client.close()


class Asker(threading.Thread):
    """Asks on and on, over one connection or a new one each time; counts the versions that answered."""

    def __init__(self, dial: Any, port: int, request: bytes, keep: bool, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.dial, self.port, self.request, self.keep, self.stop = dial, port, request, keep, stop
        self.versions: Counter[int] = Counter()
        self.errors: list[str] = []

    def run(self) -> None:
        client = None
        while not self.stop.is_set():
            try:
                client = client or self.dial(self.port)
                client.send(self.request)
                status, _, body = client.answer()
                assert status == 200, body
                self.versions[json.loads(body)["version"]] += 1
            except Exception as error:
                self.errors.append(repr(error))
                client = hung_up(client)
            if not self.keep:
                client = hung_up(client)
            time.sleep(0.0003)
        hung_up(client)


def readies(process: Any) -> int:
    """How many binaries have said that they are ready; the log may be in the middle of a line."""
    return int(process.log.read_bytes().count(b'"what":"ready"'))


def swapped(process: Any, times: int) -> None:
    """Waits until so many binaries have said that they are ready."""
    until = time.monotonic() + 20
    while readies(process) <= times:
        assert time.monotonic() < until, process.log.read_text()[-2000:]
        assert process.child.poll() is None, process.log.read_text()[-2000:]
        time.sleep(0.002)


@pytest.mark.slow
def test_fifty_swaps_lose_nothing(
    node: Any, build_native: Any, serve_native: Any, dial: Any, request_bytes: Any, tmp_path: Path
) -> None:
    """At least 10,000 requests over 50 swaps, kept and new connections: none fails, each row is counted once."""
    binaries = [build_native(1).server, build_native(2).server]
    place = tmp_path / "server"
    put(binaries[0], place)
    process = serve_native(place)
    stop = threading.Event()
    askers = [Asker(dial, process.port, request_bytes(ROW), keep, stop) for keep in (True, True, False, False)]
    for asker in askers:
        asker.start()
    swaps = 0
    while swaps < 50 or sum(sum(asker.versions.values()) for asker in askers) < 10_000:
        swaps += 1
        put(binaries[swaps % 2], place)
        process.child.send_signal(signal.SIGHUP)
        swapped(process, swaps)
        time.sleep(0.05)
    stop.set()
    for asker in askers:
        asker.join(10)
    assert [error for asker in askers for error in asker.errors] == []
    answered = sum((asker.versions for asker in askers), Counter())
    assert answered.total() >= 10_000
    assert min(answered[1], answered[2]) > 100
    assert process.stop() == 0
    counted: Counter[int] = Counter()
    for path in node.run_dir.glob("*.final.json"):
        for report in json.loads(path.read_text())["reports"]:
            counted[report["version"]] += report["counts"]["rows"]
    assert counted == answered


@pytest.fixture
def one(build_native: Any, serve_native: Any, tmp_path: Path) -> tuple[Any, Path]:
    """A server of version 1 and the path of its binary."""
    place = tmp_path / "server"
    put(build_native(1).server, place)
    return serve_native(place), place


def swap(process: Any, place: Path, binary: Path) -> None:
    ready = readies(process)
    put(binary, place)
    process.child.send_signal(signal.SIGHUP)
    swapped(process, ready)


def test_the_process_stays(node: Any, one: Any, build_native: Any, dial: Any) -> None:
    """Same process id and port, a new boot id, one entry in the run folder, which says the new version."""
    process, place = one
    (before,) = servers_in(node.run_dir)
    swap(process, place, build_native(2).server)
    (after,) = servers_in(node.run_dir)
    assert (after.pid, after.document["port"], after.version) == (before.pid, before.document["port"], 2)
    assert after.boot != before.boot
    assert ask(after.socket, "/v2/health/ready").status == 200
    assert not before.socket.exists()


def test_a_stop_while_a_binary_is_tested_still_drains(
    one: Any, build_native: Any, dial: Any, request_bytes: Any
) -> None:
    """SIGHUP, then SIGTERM: nothing takes over, and who is in the middle of a request gets the answer.

    The server is halted meanwhile: it finds both signals, the lower number first, before the self-test can have ended.
    """
    process, place = one
    client, whole = dial(process.port), request_bytes(ROW)
    client.send(whole[:-5])
    time.sleep(0.1)
    put(build_native(2).server, place)
    for number in (signal.SIGSTOP, signal.SIGHUP, signal.SIGTERM, signal.SIGCONT):
        process.child.send_signal(number)
    time.sleep(0.2)
    client.send(whole[-5:])
    status, _, body = client.answer()
    assert (status, json.loads(body)["version"]) == (200, 1)
    assert process.child.wait(20) == 0


def test_connections_of_another_layout_end(one: Any) -> None:
    """What a binary hands over that keeps connections otherwise cannot be read: the clients are told so by the end."""
    _, place = one
    door, ours = socket.create_server(("127.0.0.1", 0)), socket.socketpair()
    door.setblocking(False)  # as every door of a server is
    private_door = door.dup()
    public, private = door.fileno(), private_door.fileno()
    header = struct.pack("=IIiiI16s", 1, 999, public, private, 1, b"another boot") + os.fsencode(place)
    memory = os.memfd_create("edgeloop", 0)
    os.write(memory, header.ljust(36 + 4096, b"\0") + bytes(2000))
    os.lseek(memory, 0, os.SEEK_SET)
    kept = [public, private, memory, ours[0].fileno()]
    environment = {**os.environ, "EDGELOOP_SWAP": str(memory)}
    command = [str(place), "serve", "--port", "0"]
    with subprocess.Popen(command, env=environment, pass_fds=kept, stderr=subprocess.PIPE) as child:
        os.close(memory)
        for end in (door, private_door, ours[0]):
            end.close()
        with ours[1] as client:
            client.settimeout(20)
            try:
                assert client.recv(1) == b""
            finally:
                child.terminate()
        assert b"they end" in child.stderr.read()


def test_tiny_chunks_without_end_are_refused(one: Any, dial: Any) -> None:
    """Each chunk moves what lies behind it: thousands of a byte each would keep everybody else waiting."""
    process, _ = one
    client = dial(process.port)
    head = b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    client.send(head + b"1\r\nx\r\n" * 5000)
    status, _, body = client.answer()
    assert (status, b"expected chunks of 64 bytes" in body) == (400, True)


def test_half_a_request_goes_over(one: Any, build_native: Any, dial: Any, request_bytes: Any) -> None:
    """What was received of a request before the swap is not asked again: head, length-delimited and chunked bodies."""
    process, place = one
    whole = request_bytes(ROW)
    chunked = b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
        len(ROW),
        ROW,
    )
    cases = [
        (whole, 10),
        (whole, len(whole) - 5),
        (chunked, 70),
        (chunked, len(chunked) - 3),
        (chunked, len(chunked) - 20),
    ]
    clients = [dial(process.port) for _ in cases]
    for client, (text, cut) in zip(clients, cases, strict=True):
        client.send(text[:cut])
    time.sleep(0.1)
    swap(process, place, build_native(2).server)
    for client, (text, cut) in zip(clients, cases, strict=True):
        client.send(text[cut:])
        status, _, body = client.answer()
        assert (status, json.loads(body)["version"]) == (200, 2)


def test_an_answer_that_was_not_taken_goes_over(one: Any, build_native: Any, dial: Any, request_bytes: Any) -> None:
    """A client that reads late gets the old binary's answer whole, and the new one's next."""
    process, place = one
    row = json.dumps({"features": {"flow": 0.3}, "id": "x" * 200})
    body = ('{"rows":[' + ",".join([row] * 1000) + "]}").encode()
    client = dial(process.port)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    for _ in range(12):
        client.send(request_bytes(body))
        time.sleep(0.05)
        if process.child.poll() is not None:
            break
    swap(process, place, build_native(2).server)
    versions = [json.loads(client.answer()[2])["rows"][999]["version"] for _ in range(12)]
    assert versions == sorted(versions)
    assert versions[0] == 1


def test_a_bad_binary_is_refused(
    one: Any, build_native: Any, dial: Any, request_bytes: Any, tmp_path: Path, eventually: Any
) -> None:
    """A binary that fails its self-test, is none, or is not there is refused with a log line; the old one goes on."""
    process, place = one
    wrong = tmp_path / "wrong"
    spoiled = bytearray(build_native(2).server.read_bytes())
    golden = build_native(2).folder / "golden.json"
    first = json.loads(golden.read_text())["probabilities"][0][0]
    found = spoiled.find(struct.pack("<f", first))
    assert found > 0
    spoiled[found : found + 4] = struct.pack("<f", first + 0.1)
    client = dial(process.port)
    for content in (bytes(spoiled), b"no binary", None):
        if content is None:
            place.unlink()
        else:
            wrong.write_bytes(content)
            put(wrong, place)
        told = len(process.said("the new binary is refused: the old one goes on"))
        process.child.send_signal(signal.SIGHUP)
        eventually(lambda told=told: len(process.said("the new binary is refused: the old one goes on")) > told)
        client.send(request_bytes(ROW))
        assert json.loads(client.answer()[2])["version"] == 1
    assert process.stop() == 0


def test_read_counts_are_not_left_behind(node: Any, one: Any, build_native: Any, dial: Any, request_bytes: Any) -> None:
    """What a reader has confirmed before the swap is not in the final report; what came after is."""
    process, place = one
    client = dial(process.port)
    client.send(request_bytes(ROW))
    client.answer()
    (server,) = servers_in(node.run_dir)
    sequence = ask(server.socket, "/window?after=0").body["sequence"]
    ask(server.socket, f"/window?after={sequence}")
    swap(process, place, build_native(2).server)
    assert list(node.run_dir.glob("*.final.json")) == []
    client.send(request_bytes(ROW))
    assert json.loads(client.answer()[2])["version"] == 2
    swap(process, place, build_native(1).server)
    (final,) = node.run_dir.glob("*.final.json")
    (report,) = json.loads(final.read_text())["reports"]
    assert (report["version"], report["counts"]["rows"]) == (2, 1)


def test_the_probe_holds_over_swaps(node: Any, one: Any, build_native: Any) -> None:
    """`check --pid` says ready before, during and after swaps."""
    process, place = one
    results: list[int] = []
    stop = threading.Event()

    def probe() -> None:
        command = [build_native(1).server, "check", "--run-dir", node.run_dir, "--pid", str(process.child.pid)]
        while not stop.is_set():
            results.append(subprocess.run(command, capture_output=True).returncode)

    prober = threading.Thread(target=probe, daemon=True)
    prober.start()
    for i in range(10):
        swap(process, place, build_native(1 + i % 2).server)
    stop.set()
    prober.join(10)
    assert len(results) > 10
    assert set(results) == {0}


def test_open_files_do_not_pile_up(one: Any, build_native: Any) -> None:
    """Each swap leaves as many open files as there were, once the process rests."""
    process, place = one
    fds = Path(f"/proc/{process.child.pid}/fd")

    def resting() -> int:
        time.sleep(0.3)  # a binary that has just come still writes its entry and greets who waits at the old door
        return len(list(fds.iterdir()))

    swap(process, place, build_native(2).server)
    before = resting()
    for i in range(4):
        swap(process, place, build_native(1 + i % 2).server)
    assert resting() == before
