"""Bytes that are no HTTP, heads without end, and clients that are slow, deaf, many, or gone: the server lives and serves on."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}
BODY = json.dumps({"features": ROW}).encode()


BROKEN = [
    b"GET /v2 HTTP/1.1\r\nHost: a\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /v2HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nConnection: close\r\n\r\n",
    b"\x00\x01\x02\x03\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 80 + b"\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHo st: a\r\n\r\n",
    b"GET /v2 HTTP/1.1\r\nHost: a\x00b\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\n12345",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 5x\r\n\r\n12345",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 0x5\r\n\r\n12345",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n12345",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n123456",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n12345",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\n12345",
    b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n12345",
    b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n12345\r\n0\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n12345\r\n0\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n12345\r\n0\r\n\r\n",
    b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n12345\r\n0\r\n\r\n",
]


@pytest.mark.parametrize("raw", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_http_is_refused(served: Any, raw: bytes) -> None:
    """Malformed requests, and those whose length could be read in two ways, get 400 in JSON and a closed connection."""
    got = served.answers(served.raw(raw))
    assert [status for status, _ in got] in ([400], [501], [505])
    assert "error" in json.loads(got[0][1])
    assert served.process.child.poll() is None
    assert served.call("POST", "/score", {"features": ROW})[0] == 200


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /%ff%00 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /% HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /v2/models/%2e%2e/pump HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET //v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /v2?%00&&== HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET http://a/v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"BREW /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"HEAD /score HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade, close\r\n\r\n",
        b"GET /window?after=%00 HTTP/1.0\r\n\r\n",
        b"GET /v2 HTTP/1.1\nHost: a\nConnection: close\n\n",
        b"\r\nGET /v2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\nConnection: close\r\n\r\n",
    ],
)
def test_odd_requests_are_answered(served: Any, raw: bytes) -> None:
    """Odd paths, methods, upgrades and old line ends get an answer that is no 5xx, or a closed connection."""
    answer = served.raw(raw)
    assert not answer or answer.split(b" ")[1] == b"501" or answer.split(b" ")[1][:1] in (b"2", b"4")
    assert served.process.child.poll() is None


@pytest.mark.parametrize(
    "raw",
    [
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 4_000 + b"\r\n",
        b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v2 HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 300_000,
        b"x" * 300_000,
    ],
    ids=["long header", "many headers", "long path", "endless header", "endless line"],
)
def test_a_large_head_is_refused(served: Any, raw: bytes) -> None:
    """A request line and headers of more than 16 KiB are refused, whether they end or not, and the server lives on."""
    with served.dial() as client:
        try:
            client.sendall(raw)
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        except (ConnectionResetError, BrokenPipeError):
            answer = b""  # it was closed while we were still sending
    assert not answer or answer.split(b" ")[1] in (b"431", b"400", b"414")
    assert served.call("GET", "/v2/health/ready")[0] == 200


def test_a_head_within_the_limit(served: Any) -> None:
    """8 KiB of headers are fine."""
    assert served.call("POST", "/score", {"features": ROW}, {"X-Long": "x" * 8_000})[0] == 200


def test_many_connections(served: Any) -> None:
    """600 idle connections: each is served or sent away cleanly, and when they are gone all is well again."""
    clients = [served.dial() for _ in range(600)]
    try:
        statuses = []
        for client in clients[-20:]:
            client.settimeout(10)
            try:
                client.sendall(served.post("Connection: close"))
                answer = b"".join(iter(lambda c=client: c.recv(65536), b""))  # type: ignore[misc]
            except (ConnectionResetError, BrokenPipeError, TimeoutError):
                answer = b""
            statuses.append(answer.split(b" ")[1] if answer else b"closed")
        assert set(statuses) <= {b"200", b"503", b"closed"}
    finally:
        for client in clients:
            client.close()
    time.sleep(0.2)
    assert served.call("POST", "/score", {"features": ROW})[0] == 200


def test_clients_that_go_away(served: Any) -> None:
    """Connections that end in the middle of a request, or before the answer is read, harm nobody."""
    for data in (b"", b"POST /sc", served.post()[:-5], served.post(), served.post() * 50):
        for _ in range(5):
            with served.dial() as client:
                client.sendall(data)
    assert served.call("POST", "/score", {"features": ROW})[0] == 200


def test_a_client_that_sends_its_end_first(served: Any) -> None:
    """A client may close its sending half and still read the answer."""
    with served.dial() as client:
        client.sendall(served.post("Connection: close"))
        client.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")


def deaf(served: Any) -> socket.socket:
    """A client that sends and never reads: its receive buffer is small, and it asks for megabytes."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", served.port))
    client.setblocking(False)
    raw = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n" * 20_000
    sent = 0
    until = time.monotonic() + 2
    while sent < len(raw) and time.monotonic() < until:
        try:
            sent += client.send(raw[sent : sent + 65536])
        except BlockingIOError:
            time.sleep(0.01)
    return client


def test_a_deaf_client_holds_nobody_up(served: Any) -> None:
    """While one client asks for much and reads nothing, others are answered at once."""
    with deaf(served):
        connection = served.connection()
        slowest = 0.0
        for _ in range(50):
            began = time.monotonic()
            connection.request("POST", "/score", BODY)
            assert connection.getresponse().read()
            slowest = max(slowest, time.monotonic() - began)
        connection.close()
    assert slowest < 1.0


@pytest.mark.slow
def test_a_deaf_client_is_sent_away(served: Any) -> None:
    """A client that does not read its answers is disconnected after the time limit."""
    with deaf(served) as client:
        time.sleep(13)
        client.setblocking(True)
        client.settimeout(5)
        try:
            while client.recv(1 << 20):
                pass
        except ConnectionResetError:
            pass
    assert served.call("GET", "/v2/health/ready")[0] == 200


@pytest.mark.slow
def test_slow_clients_are_sent_away(served: Any) -> None:
    """Half a header, half a body, a byte a second, or silence is answered with 408 after 10 s; others are served on."""
    texts = [b"", b"POST /score HTTP/1.1\r\nHos", b"POST /score HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n{",
             b"POST /score HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{", b"GET /v"]  # fmt: skip
    clients = [served.dial(30) for _ in texts]
    for client, text in zip(clients, texts, strict=True):
        client.sendall(text)
    kept = served.connection()
    until, left = time.monotonic() + 13, list(b"2 HTTP/1.1\r\nX: aaaaaaaa")
    while time.monotonic() < until:
        kept.request("POST", "/score", BODY)
        assert kept.getresponse().read()
        if left and until - time.monotonic() > 3.5:
            clients[-1].sendall(bytes([left.pop(0)]))
        time.sleep(0.5)
    for client in clients:
        client.settimeout(5)
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert client.recv(1000) == b""
        client.close()
    kept.close()


@pytest.mark.slow
def test_a_kept_connection_may_rest(served: Any) -> None:
    """A connection between two requests is not a slow client: after 14 s of silence it is answered as before."""
    kept = served.connection()
    for pause_s in (14, 0):
        kept.request("POST", "/score", BODY)
        assert kept.getresponse().read()
        time.sleep(pause_s)
    kept.close()
