"""HTTP as servers on open ports meet it: paths, methods, limits, pipelines, and bytes that are wrong or hostile."""

from __future__ import annotations

import json
import socket
import time
from typing import Any

import pytest

ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}
X = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [0.3, -1.25, 1.0]}
INFER = "/v2/models/pump/infer"
BODY = json.dumps({"features": ROW}).encode()


def post(*headers: str, body: bytes = BODY, length: bool = True) -> bytes:
    lines = ["POST /score HTTP/1.1", "Host: a", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answers(raw: bytes) -> list[tuple[int, bytes]]:
    """The answers in a connection's bytes, each by its Content-Length."""
    found = []
    while raw:
        head, _, raw = raw.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        size = int(fields[b"content-length"])
        assert len(raw) >= size, "an answer that breaks off"
        found.append((int(head.split(b" ")[1]), raw[:size]))
        raw = raw[size:]
    return found


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v3", 404),
        ("POST", "/v2/models/pumps/infer", 404),
        ("GET", "/v2/models/pump/versions/2", 404),
        ("POST", "/v2/models/pump/versions/2/infer", 404),
        ("GET", "/v2/models/pump/versions/2/ready", 404),
        ("GET", "/v2/models/%70ump/ready", 200),
        ("GET", INFER, 405),
        ("GET", "/score", 405),
        ("PUT", "/score", 405),
        ("DELETE", "/v2/models/pump", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_paths_and_methods(served: Any, method: str, path: str, status: int) -> None:
    """Unknown models, versions and paths are 404, wrong methods 405."""
    assert served.call(method, path)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity"}, 200),
        ({"Content-Type": "application/octet-stream"}, 200),
    ],
)
def test_headers(served: Any, headers: dict[str, str], status: int) -> None:
    """Compressed bodies are refused cleanly; the content type decides nothing."""
    assert served.call("POST", INFER, {"inputs": [X]}, headers)[0] == status


def test_a_large_body_is_refused(served: Any) -> None:
    """More than 1 MiB is 413, said by Content-Length or not (chunked)."""
    big = b'{"features": {}, "id": "' + b"x" * (1024 * 1024) + b'"}'
    assert served.call("POST", "/score", big)[0] == 413
    connection = served.connection()
    connection.request("POST", "/score", iter([big[:500_000], big[500_000:]]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"][:5]) == (413, "body:")
    connection.close()


def test_chunked_bodies_are_read(served: Any) -> None:
    """A body without a length is read to its end."""
    connection = served.connection()
    text = json.dumps({"features": ROW}).encode()
    connection.request("POST", "/score", iter([text[:10], text[10:]]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 200
    connection.close()


def test_the_largest_body_is_read(served: Any) -> None:
    """A body of exactly 1 MiB is read: it is refused for what is in it, not for its size."""
    start = b'{"features": {}, "id": "'
    body = start + b"x" * (1024 * 1024 - len(start) - 2) + b'"}'
    status, answer = served.call("POST", "/score", body)
    assert (status, answer["error"][:10]) == (400, "id: expect")


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "GET"])
def test_405_says_what_is_allowed(served: Any, method: str) -> None:
    """A wrong method's answer names the right one, and the connection goes on."""
    connection = served.connection()
    connection.request(method, "/score")
    answer = connection.getresponse()
    assert (answer.status, answer.headers["Allow"]) == (405, "POST")
    answer.read()
    connection.request("POST", "/score", BODY)
    assert connection.getresponse().status == 200
    connection.close()


def test_head_has_no_body(served: Any) -> None:
    """HEAD gets 405 without a body, and the connection ends."""
    answer = served.raw(b"HEAD /v2/health/ready HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert answer.endswith(b"\r\n\r\n")
    assert answer.count(b"\r\n\r\n") == 1


def test_a_connection_is_used_again(served: Any) -> None:
    """Hundreds of requests, right and wrong, over one connection."""
    connection = served.connection()
    for i in range(300):
        right = i % 3 != 0
        connection.request("POST", "/score", BODY if right else b"{")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (200 if right else 400)
    connection.close()


def test_pipelined_requests_are_answered_in_order(served: Any) -> None:
    """Requests that come in one packet are answered one after the other, each by itself."""
    bodies = [json.dumps({"features": ROW, "id": str(i)}).encode() for i in range(60)]
    last = post("Connection: close", body=json.dumps({"features": ROW, "id": "last"}).encode())
    raw = b"".join(post(body=body) for body in bodies) + b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n" + post(body=b"{") + last
    got = answers(served.raw(raw))
    assert [status for status, _ in got] == [200] * 61 + [400, 200]
    assert [json.loads(body)["id"] for _, body in got[:60]] == [str(i) for i in range(60)]
    assert json.loads(got[-1][1])["id"] == "last"


@pytest.mark.parametrize(
    "spoil", [b"\x00\r\n\r\n", b"GET /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"]
)
@pytest.mark.parametrize("good", [1, 3])
def test_what_came_before_bad_bytes_is_answered(served: Any, good: int, spoil: bytes) -> None:
    """Good requests in the same packet as bytes that are no HTTP get their answers first, then comes the 400."""
    got = answers(served.raw(post() * good + spoil))
    assert [status for status, _ in got] == [200] * good + [400]


@pytest.mark.parametrize("good", [1, 2, 20])
def test_what_came_before_the_end_is_answered(served: Any, good: int) -> None:
    """A client that sends several requests and closes its sending half at once gets all the answers, and then the end."""
    with served.dial() as client:
        client.sendall(post() * good + b"GET /v2 HTT")
        client.shutdown(socket.SHUT_WR)
        got = answers(b"".join(iter(lambda: client.recv(65536), b"")))
    assert [status for status, _ in got[:good]] == [200] * good
    assert len(got) <= good + 1  # the half request may be refused, or not


def test_requests_in_small_pieces(served: Any) -> None:
    """The same bytes one at a time give the same answers."""
    raw = post() + post("Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), length=False)
    with served.dial() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(raw)):
            client.sendall(raw[i : i + 1])
        client.sendall(post("Connection: close"))
        got = answers(b"".join(iter(lambda: client.recv(65536), b"")))
    assert [status for status, _ in got] == [200, 200, 200]


def test_expect_100_continue(served: Any) -> None:
    """A client that waits for leave to send its body gets it, and then the answer."""
    head, _, body = post("Expect: 100-continue", "Connection: close").partition(b"\r\n\r\n")
    with served.dial() as client:
        client.sendall(head + b"\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        rest = b"".join(iter(lambda: client.recv(65536), b""))
    assert rest.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "body",
    [
        b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
        b"5;name=value\r\n%s\r\n%X\r\n%s\r\n0\r\n\r\n" % (BODY[:5], len(BODY) - 5, BODY[5:]),
        b"000%x\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(BODY), BODY),
        b"".join(b"1\r\n%c\r\n" % byte for byte in BODY) + b"0\r\n\r\n",
    ],
)
def test_chunks_of_all_kinds(served: Any, body: bytes) -> None:
    """Chunks of any size, with extensions, leading zeros and trailers; the next request is read where this one ends."""
    raw = post("Transfer-Encoding: chunked", body=body, length=False) + post("Connection: close")
    assert [status for status, _ in answers(served.raw(raw))] == [200, 200]


@pytest.mark.parametrize(
    "request_line", [b"POST /score HTTP/1.0", b"POST /score HTTP/1.1"], ids=["1.0", "1.1 with Connection: close"]
)
def test_connections_that_end(served: Any, request_line: bytes) -> None:
    """HTTP/1.0, and `Connection: close` in any case, end the connection after the answer."""
    head = request_line + b"\r\nHost: a\r\n" + (b"" if b"1.0" in request_line else b"CONNECTION: Close\r\n")
    got = answers(served.raw(head + b"content-LENGTH:   %d  \r\n\r\n" % len(BODY) + BODY))
    assert [status for status, _ in got] == [200]


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
    got = answers(served.raw(raw))
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


def test_what_follows_an_answer_that_closes_is_not_read(served: Any) -> None:
    """After `Connection: close` nothing more is answered: no request can hide behind another one's body."""
    got = answers(served.raw(post("Connection: close") + post()))
    assert [status for status, _ in got] == [200]


def test_many_connections(served: Any) -> None:
    """600 idle connections: each is served or sent away cleanly, and when they are gone all is well again."""
    clients = [served.dial() for _ in range(600)]
    try:
        statuses = []
        for client in clients[-20:]:
            client.settimeout(10)
            try:
                client.sendall(post("Connection: close"))
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
    for data in (b"", b"POST /sc", post()[:-5], post(), post() * 50):
        for _ in range(5):
            with served.dial() as client:
                client.sendall(data)
    assert served.call("POST", "/score", {"features": ROW})[0] == 200


def test_a_client_that_sends_its_end_first(served: Any) -> None:
    """A client may close its sending half and still read the answer."""
    with served.dial() as client:
        client.sendall(post("Connection: close"))
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
