"""`python -m edgeloop_pipelines.local.standin`: runs the stand-in for KubeEdge until it is stopped."""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from edgeloop_pipelines.local.standin.engine import Engine, Options

__all__ = ["main", "run"]


def _say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)


def _address(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit()):
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, got {text!r}")
    return host, int(port)


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(
        prog="edgeloop standin", description="A stand-in for KubeEdge: does what manifests say to node processes."
    )
    parser.add_argument(
        "--folder", type=Path, required=True, help="cluster folder: nodes.yaml, apply/, status/, nodes/"
    )
    parser.add_argument("--images", type=Path, required=True, help="OCI image layout that nodes pull from")
    parser.add_argument("--broker", type=_address, required=True, metavar="HOST:PORT", help="MQTT broker of the nodes")
    parser.add_argument(
        "--router-port", type=int, default=0, help="port of the router's HTTP side on 127.0.0.1; 0: any"
    )
    parser.add_argument("--back-off-s", type=float, default=10.0, help="first delay of restarts and pulls [10]")
    given = parser.parse_args(arguments)
    return Options(
        given.folder.resolve(), given.images.resolve(), given.broker, given.router_port, back_off_s=given.back_off_s
    )


def run(options: Options) -> int:
    """Runs until SIGTERM or SIGINT. 0; 1 when another stand-in has the folder."""
    for part in ("apply", "status", "nodes"):
        (options.folder / part).mkdir(parents=True, exist_ok=True)
    with (options.folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"error: {options.folder}: another stand-in runs here; stop it first", file=sys.stderr)
            return 1
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        Engine(options, _say).run(stop)
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    return run(_options(arguments))


if __name__ == "__main__":
    sys.exit(main())
