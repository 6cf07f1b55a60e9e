"""What a request costs a server, ours and others', measured in turns in one run: `make bench-edge`.

Each round drives every server for a while, with one connection and with eight, in an order that rotates; what is compared
is processor time a request within a round. Also: memory, the time from start to the first answer, and whether the native
server works under a memory limit of 4 MiB. All servers run on one thread, with the same model; every row is another one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_pipelines.bench.load import LoadError, cpu_s, drive, first_answer, memory_bytes, post
from edgeloop_pipelines.bench.ratios import Spread, ratio, spread
from edgeloop_pipelines.bench.servers import MODEL, SERVERS, Command, Missing, Server, model_folder, requests_of

__all__ = ["Bar", "Figures", "main", "measured"]

PATH = f"/v2/models/{MODEL}/infer"
CONNECTIONS = (1, 8)
STARTS = {"native": 20}  # of the others only a few: each takes seconds
LIMIT_BYTES = 4 * 1024 * 1024
MEMORY_BYTES, FIRST_ANSWER_MS = 1024 * 1024, 50.0
AGREEMENT = 1e-5


@dataclass
class Figures:
    """What was measured of one server; `why` says why nothing was."""

    cpu_us: dict[int, list[float]] = field(default_factory=lambda: {c: [] for c in CONNECTIONS})
    first_answer_ms: list[float] = field(default_factory=list)
    memory: dict[str, int] = field(default_factory=dict)
    why: str = ""


@dataclass(frozen=True)
class Bar:
    """One demand: what was asked and got. `holds` is None when it could not be measured."""

    what: str
    asked: str
    got: str
    holds: bool | None


@dataclass
class _Running:
    server: Server
    child: subprocess.Popen[bytes]
    port: int


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _process(command: Command, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        environment = {**os.environ, **command.environment}
        child = subprocess.Popen(command.argv, stdout=file, stderr=file, env=environment, cwd=log.parent)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@contextlib.contextmanager
def _started(server: Server, folder: Path, request: bytes, figures: Figures) -> Iterator[_Running]:
    """A server that has given its first answer, with the time that it took. LoadError with the end of its log."""
    port, log = _free_port(), folder / f"{server.name.partition(' ')[0]}.log"
    command = server.command(folder, port)
    began_s = time.perf_counter()
    with _process(command, log) as child:
        try:
            first_answer(port, request, 120.0)
        except LoadError as error:
            raise LoadError(f"{server.name}: {error}: {log.read_text()[-500:]}") from error
        figures.first_answer_ms.append((time.perf_counter() - began_s) * 1e3)
        yield _Running(server, child, port)


def _probabilities(answer: bytes) -> list[float]:
    return [p for t in json.loads(answer)["outputs"] if t["name"] == "probabilities" for p in t["data"]]


def _agree(running: Sequence[_Running], request: bytes) -> None:
    """Every server gives the same answer. LoadError: one that answers otherwise must not be compared."""
    answers = {r.server.name: _probabilities(first_answer(r.port, request, 30.0)) for r in running}
    expected = next(iter(answers.values()))
    for name, got in answers.items():
        if len(got) != len(expected) or max(abs(a - b) for a, b in zip(got, expected, strict=True)) > AGREEMENT:
            raise LoadError(f"{name}: expected the probabilities {expected}, got {got}")


def _cost_us(running: _Running, requests: Sequence[bytes], connections: int, seconds: float) -> float:
    before_s = cpu_s(running.child.pid)
    answered = drive(running.port, requests, connections, seconds)
    return (cpu_s(running.child.pid) - before_s) / answered * 1e6


def measured(folder: Path, rounds: int, seconds: float, servers: Sequence[Server] = SERVERS) -> dict[str, Figures]:
    """Starts all servers, measures them in turns. `folder` is a model folder."""
    requests = [post(PATH, body) for body in requests_of(4096)]
    figures = {server.name: Figures() for server in servers}
    with contextlib.ExitStack() as stack:
        running = []
        for server in servers:
            try:
                for _ in range(STARTS.get(server.name, 2)):
                    with _started(server, folder, requests[0], figures[server.name]):
                        pass
                running.append(stack.enter_context(_started(server, folder, requests[0], figures[server.name])))
            except Missing as error:
                figures[server.name].why = str(error)
        _agree(running, requests[1])
        for one in running:
            drive(one.port, requests, max(CONNECTIONS), seconds / 2)  # warms it
        for turn in range(rounds):
            for connections in CONNECTIONS:
                for place in range(len(running)):
                    one = running[(place + turn) % len(running)]
                    cost_us = _cost_us(one, requests, connections, seconds)
                    figures[one.server.name].cpu_us[connections].append(cost_us)
        for one in running:
            figures[one.server.name].memory = memory_bytes(one.child.pid)
    return figures


def _best_us(figures: Figures) -> list[float]:
    """The least of each round over the numbers of connections."""
    return [min(costs) for costs in zip(*figures.cpu_us.values(), strict=True)]


def _cost_bars(figures: Mapping[str, Figures]) -> Iterator[Bar]:
    """One for each other server: each side at the number of connections that suits it best (decision 0010)."""
    native = figures["native"]
    for server in SERVERS[1:]:
        other = figures[server.name]
        what, asked = f"processor time of {server.name} / native", f">= {server.bar:g}"
        if why := native.why or other.why:
            yield Bar(what, asked, why, None)
            continue
        times = ratio(_best_us(other), _best_us(native))
        each = [f"{ratio(other.cpu_us[c], native.cpu_us[c]).shown()} with {c}" for c in CONNECTIONS]
        got = f"{times.shown()}; by number of connections {', '.join(each)}"
        yield Bar(what, asked, got, times.median >= server.bar)


def _other_bars(figures: Mapping[str, Figures], folder: Path) -> Iterator[Bar]:
    native, model_bytes = figures["native"], (folder / "model.onnx").stat().st_size
    if native.why:
        yield Bar("memory, first answer and limit of native", "", native.why, None)
        return
    pss = native.memory["pss"]
    asked = f"<= 1 MiB + {model_bytes / 1024:.0f} KiB of model"
    yield Bar(
        "memory (PSS) of native after the load", asked, f"{pss / 1024:.0f} KiB", pss <= MEMORY_BYTES + model_bytes
    )
    first = spread(native.first_answer_ms)
    got = f"{first.shown()} ms in {len(native.first_answer_ms)} starts"
    yield Bar(
        "first answer of native after its start", f"<= {FIRST_ANSWER_MS:g} ms", got, first.median <= FIRST_ANSWER_MS
    )
    yield _small(folder)


def _small(folder: Path) -> Bar:
    """The native server in a control group of 4 MiB: single rows over 8 connections, and batches."""
    from edgeloop_components.profile.cgroups import Limits, open_groups

    what, asked = "native under a memory limit", "works in 4 MiB"
    groups = open_groups()
    if isinstance(groups, str):
        return Bar(what, asked, f"not measured: {groups}", None)
    group = groups.create(Limits(memory_bytes=LIMIT_BYTES))
    single, batches = (post_all(requests_of(count, rows)) for count, rows in ((2000, 1), (20, 200)))
    server = SERVERS[0]
    limited = Server(server.name, 0.0, lambda f, p: Command(group.command(server.command(f, p).argv)))
    try:
        with _started(limited, folder, single[0], Figures()) as running:
            answered = drive(running.port, single, 8, 1.0) + drive(running.port, batches, 2, 1.0)
            usage = group.usage()
            got = f"{answered} answers, peak {usage.memory_peak_bytes / 2**20:.2f} MiB, killed {usage.oom_kills} times"
            return Bar(what, asked, got, usage.oom_kills == 0 and running.child.poll() is None)
    except (LoadError, OSError) as error:
        return Bar(what, asked, f"failed: {error}", False)
    finally:
        group.close()


def post_all(bodies: Sequence[bytes]) -> list[bytes]:
    """The requests of these bodies."""
    return [post(PATH, body) for body in bodies]


def _document(figures: Mapping[str, Figures], bars: Sequence[Bar]) -> dict[str, Any]:
    def shown(figures: Figures) -> dict[str, Any]:
        if figures.why:
            return {"why": figures.why}
        return {
            "cpu_us_per_request": {str(c): asdict(spread(v)) for c, v in figures.cpu_us.items()},
            "first_answer_ms": asdict(spread(figures.first_answer_ms)),
            "memory_bytes": figures.memory,
        }

    return {
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "kernel": platform.release()},
        "servers": {name: shown(one) for name, one in figures.items()},
        "bars": [asdict(bar) for bar in bars],
    }


def _cell(values: Spread) -> str:
    return f"{values.median:.1f} ({values.low:.1f}-{values.high:.1f})"


def _print(figures: Mapping[str, Figures], bars: Sequence[Bar]) -> None:
    columns = ("us a request, c1", "us a request, c8", "first answer ms", "RSS MiB", "PSS MiB")
    print(f"{'server (V2 JSON, perceptron 24-32-32-3)':40}" + "".join(f"{name:>26}" for name in columns))
    for name, one in figures.items():
        if one.why:
            print(f"{name:40}  not measured: {one.why}")
            continue
        cells = [_cell(spread(v)) for v in (*one.cpu_us.values(), one.first_answer_ms)]
        cells += [f"{one.memory[kind] / 2**20:.2f}" for kind in ("rss", "pss")]
        print(f"{name:40}" + "".join(f"{cell:>26}" for cell in cells))
    print()
    for bar in bars:
        verdict = {True: "holds", False: "FAILS", None: "not measured"}[bar.holds]
        print(f"{verdict:13} {bar.what}: asked {bar.asked}, got {bar.got}")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when every bar that could be measured holds, else 1."""
    parser = argparse.ArgumentParser(prog="python -m edgeloop_pipelines.bench.serving", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="rounds over all servers [5]")
    parser.add_argument("--seconds", type=float, default=2.0, help="load on each server, in each round [2]")
    parser.add_argument("--json", metavar="FILE", help="write the figures there, too")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as place:
        folder = model_folder(Path(place, "model"))
        figures = measured(folder, options.rounds, options.seconds)
        bars = [*_cost_bars(figures), *_other_bars(figures, folder)]
    _print(figures, bars)
    if options.json:
        Path(options.json).write_text(json.dumps(_document(figures, bars), indent=2) + "\n")
    return 1 if any(bar.holds is False for bar in bars) else 0


if __name__ == "__main__":
    sys.exit(main())
