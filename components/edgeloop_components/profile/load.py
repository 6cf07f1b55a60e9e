"""Drives the load generator (`load.c`): builds it once for a platform, gives it a plan, and reads what came of it.

It is a static program in C, because the native server answers tens of thousands of requests a core and second: a generator in
Python would measure itself. It runs on this machine and, in a Job, on a node. EDGELOOP_LOAD names a ready one where no
compiler is installed. Refuses a platform without a compiler target and a generator that fails; LoadError says why.
"""

from __future__ import annotations

import array
import hashlib
import json
import math
import os
import struct
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeloop_components.native.toolchain import STATIC, ToolchainError, cache_folder, cc, target_of, version
from edgeloop_components.package.layers import host_platform

__all__ = ["CONNECTIONS", "Load", "LoadError", "arrivals_ns", "generator", "http_request", "offer", "pack_requests"]

SOURCE = Path(__file__).with_name("load.c")
READY = "EDGELOOP_LOAD"
FLAGS = ("-std=gnu11", "-O2", "-Wall", "-Wextra")
CONNECTIONS = 32
FAILED = 2**64 - 1
_GRACE_S = 30.0


class LoadError(RuntimeError):
    """No load could be offered; the message says why and what to do."""


@dataclass(frozen=True)
class Load:
    """What came of one rate. `latencies_ms` are in order of arrival; a failed query's is infinite."""

    rate_per_s: float
    seconds: float
    seed: int
    latencies_ms: Sequence[float] = field(repr=False)
    errors: Mapping[str, int]
    late_p99_ms: float  # how late the generator itself was
    generator_cpu_s: float
    elapsed_s: float


def http_request(method: str, path: str, body: bytes, content_type: str = "application/json") -> bytes:
    """One HTTP/1.1 request on a connection that is kept."""
    head = f"{method} {path} HTTP/1.1\r\nHost: edgeloop\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def pack_requests(requests: Iterable[bytes]) -> bytes:
    """Requests as the generator's file holds them; it sends them in turn."""
    return b"".join(struct.pack("<I", len(request)) + request for request in requests)


def generator(platform: str = "") -> Path:
    """The program for a platform (this machine's by default), built when it is not in the cache. LoadError."""
    if not platform and os.environ.get(READY):
        return Path(os.environ[READY])
    platform = platform or host_platform()
    try:
        return _built(platform)
    except ToolchainError as error:
        hint = f"; {error.hint}, or name a ready program in {READY}" if error.hint else ""
        raise LoadError(f"load generator: {error}{hint}") from error


def _built(platform: str) -> Path:
    source = SOURCE.read_bytes()
    key = hashlib.sha256(repr((source, target_of(platform), version(), FLAGS)).encode()).hexdigest()[:16]
    program = cache_folder().parent / "load" / f"{platform.replace('/', '-')}-{key}"
    if not program.exists():
        program.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=program.parent) as made:
            folder = Path(made)
            (folder / SOURCE.name).write_bytes(source)
            words = [*FLAGS, *STATIC, SOURCE.name, "-o", "load"]
            cc(words, folder=folder, platform=platform, what=f"load generator, {platform}")
            (folder / "load").replace(program)
    return program


def offer(
    port: int,
    requests: Path,
    *,
    rate_per_s: float,
    seconds: float,
    seed: int,
    host: str = "127.0.0.1",
    connections: int = CONNECTIONS,
    timeout_s: float = 1.0,
    wait_s: float = 0.0,
) -> Load:
    """Sends requests at Poisson times for `seconds`, and waits for what is open. LoadError when nobody accepts
    a connection within `wait_s` and the time limit."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-load-") as folder:
        out = Path(folder) / "latencies"
        words = _words(rate_per_s, seconds, seed, out)
        words += ["--host", host, "--port", str(port), "--requests", str(requests)]
        words += ["--connections", str(connections), "--timeout-s", repr(timeout_s), "--wait-s", repr(wait_s)]
        told = json.loads(_run("run", words, seconds + timeout_s + wait_s + _GRACE_S))
        latencies = [math.inf if ns == FAILED else ns / 1e6 for ns in _values(out)]
    errors = {name: times for name, times in told["errors"].items() if times}
    return Load(
        rate_per_s, seconds, seed, latencies, errors, told["late_p99_us"] / 1000, told["cpu_s"], told["elapsed_s"]
    )


def arrivals_ns(rate_per_s: float, seconds: float, seed: int) -> Sequence[int]:
    """When the queries of a plan are sent."""
    with tempfile.TemporaryDirectory(prefix="edgeloop-load-") as folder:
        out = Path(folder) / "arrivals"
        _run("plan", _words(rate_per_s, seconds, seed, out), _GRACE_S)
        return _values(out)


def _words(rate_per_s: float, seconds: float, seed: int, out: Path) -> list[str]:
    return ["--rates", repr(rate_per_s), "--seconds", repr(seconds), "--seed", str(seed), "--out", str(out)]


def _run(what: str, words: list[str], patience_s: float) -> str:
    try:
        done = subprocess.run([str(generator()), what, *words], capture_output=True, text=True, timeout=patience_s)
    except subprocess.TimeoutExpired as error:
        raise LoadError(f"load generator: expected an end within {patience_s:g} s") from error
    if done.returncode:
        raise LoadError(f"load generator ended with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def _values(path: Path) -> Sequence[int]:
    values = array.array("Q")
    values.frombytes(path.read_bytes())
    return values
