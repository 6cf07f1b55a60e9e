"""The MQTT broker of one machine: mosquitto where it is installed, else amqtt from the Python package index.

Both are real brokers and run as a child process. `python -m edgeloop_pipelines.local.broker --port P` runs amqtt in the
foreground. Nothing is kept over a restart, as in the brokers that stand on edge nodes: agents send again what the fleet
service has not acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path

from edgeloop_pipelines.local import children

__all__ = ["start"]

_MOSQUITTO = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
max_queued_messages 10000
message_size_limit 1048576
"""
# As root, mosquitto changes to a user of its own, and a process that changes its user outlives its parent (prctl(2)).
_AS_ROOT = "user root\n"


def start(folder: Path, port: int, *, kind: str = "") -> children.Child:
    """Starts a broker on 127.0.0.1:`port` and waits until it listens. `kind`: mosquitto, amqtt, or empty for the best here."""
    mosquitto = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    chosen = kind or ("mosquitto" if mosquitto else "amqtt")
    if chosen == "mosquitto" and not mosquitto:
        raise children.ChildError("broker: mosquitto is not installed here (Debian: apt-get install mosquitto)")
    folder.mkdir(parents=True, exist_ok=True)
    argv = _mosquitto(str(mosquitto), folder, port) if chosen == "mosquitto" else _amqtt(port)
    child = children.start(f"broker ({chosen})", argv, log=folder / "broker.log")
    try:
        children.wait_ready(child, lambda: children.listening("127.0.0.1", port), timeout_s=20)
    except children.ChildError:
        child.stop()
        raise
    return child


def _mosquitto(program: str, folder: Path, port: int) -> list[str]:
    config = folder / "mosquitto.conf"
    config.write_text(_MOSQUITTO.format(port=port) + (_AS_ROOT if os.geteuid() == 0 else ""))
    return [program, "-c", str(config)]


def _amqtt(port: int) -> list[str]:
    return [sys.executable, "-m", "edgeloop_pipelines.local.broker", "--port", str(port)]


async def _run_amqtt(port: int) -> None:
    from amqtt.broker import Broker

    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    await asyncio.Event().wait()


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Runs the amqtt broker on 127.0.0.1 until it is stopped.")
    parser.add_argument("--port", type=int, required=True)
    asyncio.run(_run_amqtt(parser.parse_args(arguments).port))


if __name__ == "__main__":
    main(sys.argv[1:])
