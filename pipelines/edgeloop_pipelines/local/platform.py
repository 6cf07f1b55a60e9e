"""The whole platform on one machine: object store, MQTT broker, stand-in for KubeEdge, and fleet service, as child processes.

    with platform.start(home, nodes=[NodeSpec("n1", "canary")]) as p: ...

A part that dies is started again on its old port within a second, as a kubelet would. Leaving the block stops everything,
pipeline runs included, and then looks for any process that still carries this home in its environment. The parts are real,
but for the stand-in, which says what it leaves out (`standin.LIMITS`).
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from edgeloop_pipelines.local import broker, children
from edgeloop_pipelines.local.installation import HOME, HOST, Installation, open_installation

__all__ = ["NodeSpec", "Platform", "PlatformError", "start"]

_WATCH_S = 0.3
_GRACE_S = 10.0

PlatformError = children.ChildError


class Part(Protocol):
    """A running part, whoever started it."""

    @property
    def pid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    def kill(self) -> None: ...

    def stop(self) -> None: ...


@dataclass(frozen=True)
class NodeSpec:
    """An edge node that the stand-in shall have."""

    name: str
    group: str


class Platform:
    """The running parts. Made by `start`."""

    def __init__(self, installation: Installation, nodes: Sequence[NodeSpec]) -> None:
        self.installation, self.nodes = installation, tuple(nodes)
        self.env: dict[str, str] = installation.environment()
        self._addresses = {node.name: f"127.0.1.{i}" for i, node in enumerate(nodes, start=1)}
        self._parts: dict[str, Part] = {}
        # One thread starts and stops everything and lives as long as the platform: children die with the thread that
        # started them.
        self._keeper = ThreadPoolExecutor(1, thread_name_prefix="platform")
        self._ended = threading.Event()
        self.restarts: list[str] = []

    @property
    def home(self) -> Path:
        return self.installation.home

    @property
    def fleet_url(self) -> str:
        return self.installation.fleet_url

    def server_url(self, node: str) -> str:
        """Where applications on the node ask for scores."""
        return f"http://{self._addresses[node]}:{self.installation.server_port}"

    def agent_url(self, node: str) -> str:
        """Where labels are brought to the node's agent."""
        return f"http://{self._addresses[node]}:{self.installation.feedback_port}"

    def parts(self) -> tuple[str, ...]:
        """What `kill` takes."""
        return (*_STARTERS, *(f"agent/{node.name}" for node in self.nodes))

    def kill(self, part: str) -> None:
        """kill -9 of a part; it comes back by itself. PlatformError when it is not running."""
        kind, _, node = part.partition("/")
        if kind == "agent":
            os.kill(self._agent_pid(node), signal.SIGKILL)
        elif kind in self._parts:
            os.killpg(self._parts[kind].pid, signal.SIGKILL)
        else:
            raise PlatformError(f"expected one of {', '.join(self.parts())}, got {part}")

    def _agent_pid(self, node: str) -> int:
        """The agent's process, told by the node's own folder on its command line (pods get a clean environment)."""
        folder = str(self.installation.cluster / "nodes" / node) + "/"
        found = [
            process
            for process, _, command in _processes()
            if {"edgeloop_node", "agent"} <= set(command) and any(word.startswith(folder) for word in command)
        ]
        if not found:
            raise PlatformError(f"no agent runs on node {node}")
        return found[0]

    def up(self) -> None:
        """Starts every part, in order, and begins to watch them. PlatformError when one does not come up."""
        for name in _STARTERS:
            self._keeper.submit(self._start, name).result()
        threading.Thread(target=self._watch, daemon=True, name="platform-watch").start()

    def _start(self, name: str) -> None:
        self._parts[name] = _STARTERS[name](self)

    def _watch(self) -> None:
        while not self._ended.wait(_WATCH_S):
            with contextlib.suppress(RuntimeError):  # the keeper is shut down
                self._keeper.submit(self.watch).result()

    def watch(self) -> None:
        """Starts again what has died. A part that does not come up is tried again at the next look."""
        for name, part in list(self._parts.items()):
            if not part.alive and not self._ended.is_set():
                self.restarts.append(name)
                with contextlib.suppress(PlatformError, OSError):
                    self._start(name)

    def down(self) -> None:
        """Stops everything; safe to call twice."""
        if self._ended.is_set():
            return
        self._ended.set()
        self._keeper.submit(self._stop_all).result()
        self._keeper.shutdown()
        _sweep(self.home)

    def _stop_all(self) -> None:
        from edgeloop_pipelines.local.runfolder import stop_all

        fleet_first = sorted(self._parts, key=lambda name: name != "fleet")
        for name in fleet_first:
            if name != "fleet":
                stop_all(self.home)  # nobody starts runs any more
            with contextlib.suppress(OSError, PlatformError):
                self._parts[name].stop()


@contextlib.contextmanager
def start(
    home: Path, nodes: Sequence[NodeSpec], *, clock: str = "reports", poll_s: float = 0.3, tick_s: float = 1.0
) -> Iterator[Platform]:
    """The platform, up and ready; stopped on leaving, whatever the reason.

    `clock` is the fleet service's (wall, or reports for event time), `poll_s` how often agents look at their servers,
    `tick_s` how often the fleet service judges and steps by itself (0: only when it is told to).
    """
    _sweep(home.absolute())  # what an earlier one could not stop
    installation = open_installation(home, clock=clock, poll_s=poll_s, tick_s=tick_s)
    platform = Platform(_with_agent_image(installation), nodes)
    try:
        platform.up()
        yield platform
    finally:
        platform.down()


def _with_agent_image(installation: Installation) -> Installation:
    from edgeloop_components.package.core import agent_image

    image = agent_image(installation.images)
    name = f"{installation.render_settings().registry}/{image.repository}@{image.digest}"
    return open_installation(installation.home, agent_image=name)


def _objects(platform: Platform) -> Part:
    from edgeloop_components.stores import objects, seaweed

    running = seaweed.start(platform.home / "objects", port=platform.installation.objects_port)
    platform.env.update(running.env())
    objects.connect(environment=platform.env).make_bucket()
    return running


def _broker(platform: Platform) -> Part:
    return broker.start(platform.home / "broker", platform.installation.broker_port)


def _standin(platform: Platform) -> Part:
    from edgeloop_fleet.clusters.folder import FolderCluster, node_document, read_nodes, write_nodes
    from edgeloop_fleet.render import render_platform

    place, folder = platform.installation, platform.installation.cluster
    write_nodes(
        folder, [node_document(n.name, group=n.group, address=platform._addresses[n.name]) for n in platform.nodes]
    )
    FolderCluster(folder).apply(render_platform(read_nodes(folder / "nodes.yaml"), place.render_settings()))
    argv = ["-m", "edgeloop_pipelines.local.standin", "--folder", folder, "--images", place.images]
    argv += ["--broker", f"{HOST}:{place.broker_port}", "--router-port", place.router_port]
    child = _python(platform, "standin", argv)
    _ready(child, place.router_port)
    return child


def _fleet(platform: Platform) -> Part:
    place = platform.installation
    child = _python(platform, "fleet", ["-m", "edgeloop_pipelines.cli", "fleet", "serve", "--home", place.home])
    _ready(child, place.fleet_port)
    return child


_STARTERS: Mapping[str, Callable[[Platform], Part]] = {
    "objects": _objects,
    "broker": _broker,
    "standin": _standin,
    "fleet": _fleet,
}


def _python(platform: Platform, name: str, argv: Sequence[Any]) -> children.Child:
    log = platform.installation.logs / f"{name}.log"
    return children.start(name, [sys.executable, *map(str, argv)], log=log, env=platform.env)


def _ready(child: children.Child, port: int) -> None:
    try:
        children.wait_ready(child, lambda: children.listening(HOST, port), timeout_s=30)
    except children.ChildError:
        child.stop()
        raise


def _processes() -> Iterator[tuple[int, dict[str, str], list[str]]]:
    """Id, environment and command line of every other process that this user may look into."""
    for folder in Path("/proc").glob("[0-9]*"):
        if int(folder.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            pairs = (item.partition(b"=") for item in (folder / "environ").read_bytes().split(b"\0"))
            environment = {key.decode(errors="replace"): value.decode(errors="replace") for key, _, value in pairs}
            command = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            yield int(folder.name), environment, command


def _sweep(home: Path) -> None:
    """SIGKILL to every process of this home that is not an ancestor of this one.

    A part carries the home in its environment; what runs in the stand-in's pods has it on its command line only.
    """
    ancestors, folder = set(_ancestors()), f"{home}/"
    for process, environment, command in _processes():
        in_a_pod = "edgeloop_node" in command and any(word.startswith(folder) for word in command)
        if (environment.get(HOME) == str(home) or in_a_pod) and process not in ancestors:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)


def _ancestors() -> Iterator[int]:
    process = os.getpid()
    while process > 1:
        yield process
        stat = Path(f"/proc/{process}/stat").read_text()
        process = int(stat.rpartition(")")[2].split()[1])
