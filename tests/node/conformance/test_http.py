"""HTTP as clients speak it: paths, methods, sizes, chunks, pipelines, and connections that go on or end."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}
X = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [0.3, -1.25, 1.0]}
INFER = "/v2/models/pump/infer"
BODY = json.dumps({"features": ROW}).encode()


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
    last = served.post("Connection: close", body=json.dumps({"features": ROW, "id": "last"}).encode())
    raw = (
        b"".join(served.post(body=body) for body in bodies)
        + b"GET /v2 HTTP/1.1\r\nHost: a\r\n\r\n"
        + served.post(body=b"{")
        + last
    )
    got = served.answers(served.raw(raw))
    assert [status for status, _ in got] == [200] * 61 + [400, 200]
    assert [json.loads(body)["id"] for _, body in got[:60]] == [str(i) for i in range(60)]
    assert json.loads(got[-1][1])["id"] == "last"


@pytest.mark.parametrize(
    "spoil", [b"\x00\r\n\r\n", b"GET /v2 HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"]
)
@pytest.mark.parametrize("good", [1, 3])
def test_what_came_before_bad_bytes_is_answered(served: Any, good: int, spoil: bytes) -> None:
    """Good requests in the same packet as bytes that are no HTTP get their answers first, then comes the 400."""
    got = served.answers(served.raw(served.post() * good + spoil))
    assert [status for status, _ in got] == [200] * good + [400]


@pytest.mark.parametrize("good", [1, 2, 20])
def test_what_came_before_the_end_is_answered(served: Any, good: int) -> None:
    """A client that sends several requests and closes its sending half at once gets all the answers, and then the end."""
    with served.dial() as client:
        client.sendall(served.post() * good + b"GET /v2 HTT")
        client.shutdown(socket.SHUT_WR)
        got = served.answers(b"".join(iter(lambda: client.recv(65536), b"")))
    assert [status for status, _ in got[:good]] == [200] * good
    assert len(got) <= good + 1  # the half request may be refused, or not


def test_requests_in_small_pieces(served: Any) -> None:
    """The same bytes one at a time give the same answers."""
    raw = served.post() + served.post(
        "Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY), length=False
    )
    with served.dial() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for i in range(len(raw)):
            client.sendall(raw[i : i + 1])
        client.sendall(served.post("Connection: close"))
        got = served.answers(b"".join(iter(lambda: client.recv(65536), b"")))
    assert [status for status, _ in got] == [200, 200, 200]


def test_expect_100_continue(served: Any) -> None:
    """A client that waits for leave to send its body gets it, and then the answer."""
    head, _, body = served.post("Expect: 100-continue", "Connection: close").partition(b"\r\n\r\n")
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
    raw = served.post("Transfer-Encoding: chunked", body=body, length=False) + served.post("Connection: close")
    assert [status for status, _ in served.answers(served.raw(raw))] == [200, 200]


@pytest.mark.parametrize(
    "request_line", [b"POST /score HTTP/1.0", b"POST /score HTTP/1.1"], ids=["1.0", "1.1 with Connection: close"]
)
def test_connections_that_end(served: Any, request_line: bytes) -> None:
    """HTTP/1.0, and `Connection: close` in any case, end the connection after the answer."""
    head = request_line + b"\r\nHost: a\r\n" + (b"" if b"1.0" in request_line else b"CONNECTION: Close\r\n")
    got = served.answers(served.raw(head + b"content-LENGTH:   %d  \r\n\r\n" % len(BODY) + BODY))
    assert [status for status, _ in got] == [200]


def test_what_follows_an_answer_that_closes_is_not_read(served: Any) -> None:
    """After `Connection: close` nothing more is answered: no request can hide behind another one's body."""
    got = served.answers(served.raw(served.post("Connection: close") + served.post()))
    assert [status for status, _ in got] == [200]
