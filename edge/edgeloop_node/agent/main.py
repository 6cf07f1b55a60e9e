"""`edgeloop-node agent`: opens the spool, joins the parts, and runs until it is told to stop."""

from __future__ import annotations

import argparse
import signal
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from edgeloop_node.agent.core import Settings
from edgeloop_node.agent.discovery import Discovery
from edgeloop_node.agent.http import serve
from edgeloop_node.agent.https import Https
from edgeloop_node.agent.labels import Node
from edgeloop_node.agent.loop import Agent
from edgeloop_node.agent.mqtt import Mqtt
from edgeloop_node.agent.spool import open_spool
from edgeloop_node.agent.transport import Transport
from edgeloop_node.log import log

__all__ = ["EXIT_CANNOT_START", "command"]

EXIT_CANNOT_START, EXIT_USAGE = 1, 2
DAY_S = 86_400
MIB = 1024 * 1024


def _mqtt(agent: Agent, options: argparse.Namespace) -> Transport:
    host, _, port = options.mqtt.rpartition(":")
    if not host or not port.isdigit():
        raise ValueError(f"--mqtt: expected HOST:PORT such as 127.0.0.1:1883, got {options.mqtt!r}")
    return Mqtt(agent.heard, host, int(port), options.namespace, options.node)


def _https(agent: Agent, options: argparse.Namespace) -> Transport:
    return Https(agent.heard, options.https, options.ca)


TRANSPORTS: dict[str, Callable[[Agent, argparse.Namespace], Transport]] = {"mqtt": _mqtt, "https": _https}


def _agent(options: argparse.Namespace) -> Agent:
    settings = Settings(
        publish_s=options.publish_s,
        heartbeat_s=options.heartbeat_s,
        retry_s=options.retry_s,
        retry_cap_s=options.retry_cap_s,
    )
    spool = open_spool(Path(options.spool))
    discovery = Discovery(Path(options.run_dir), spool)
    keep = (options.keep_days * DAY_S, int(options.spool_mib * MIB))
    return Agent(Node(options.node, options.group or ""), spool, discovery, settings, keep)


def command(options: argparse.Namespace) -> int:
    """Runs the agent. 0: ended well, 1: cannot start, 2: usage."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        agent = _agent(options)
        server = serve(options.host, options.port, agent.feedback, agent.state)
        agent.transport = TRANSPORTS["mqtt" if options.mqtt else "https"](agent, options)
    except ValueError as error:
        log("error", "the agent cannot start", error=str(error))
        return EXIT_USAGE
    except (OSError, sqlite3.Error) as error:
        log("error", "the agent cannot start", spool=options.spool, port=options.port, error=str(error))
        return EXIT_CANNOT_START
    port, waiting = server.server_address[1], agent.spool.counts()
    log("info", "agent ready", node=options.node, port=port, transport=agent.transport.describe(), **waiting)
    agent.run(stop, options.poll_s)
    server.shutdown()
    agent.transport.close()
    agent.spool.close()
    log("info", "agent stopped")
    return 0
