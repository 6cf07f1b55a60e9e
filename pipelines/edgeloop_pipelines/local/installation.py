"""What one machine's installation is: its folders and ports, kept in `<home>/installation.json` so that restarts find them.

    objects/ SeaweedFS   images/ OCI layout   cluster/ the stand-in's   runs/ one folder a run   logs/   fleet.db

A port is chosen once, when the installation is made: clients keep their addresses when a part is killed and started again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.steps import write_json
from edgeloop_fleet.render import Settings as RenderSettings
from edgeloop_fleet.render.values import AGENT_IMAGE
from edgeloop_pipelines.local import children

__all__ = ["HOME", "HOST", "LENT", "Installation", "lent", "open_installation"]

DATABASE_URL, ROUTER_URL = (
    "EDGELOOP_DATABASE_URL",
    "EDGELOOP_ROUTER_URL",
)  # on a cluster: PostgreSQL, CloudCore's router
HOME = "EDGELOOP_HOME"  # environment variable: the folder; every process of the installation carries it
HOST = "127.0.0.1"
LENT = "python3.11"  # the stand-in for KubeEdge lends images without a base this machine's Python
_PORTS = ("objects_port", "broker_port", "router_port", "fleet_port", "server_port", "feedback_port")


@dataclass(frozen=True, kw_only=True)
class Installation:
    """Folders, ports and settings of one home. Ports of servers and agents are the same on every node's address."""

    home: Path
    objects_port: int
    broker_port: int
    router_port: int
    fleet_port: int
    server_port: int
    feedback_port: int
    agent_image: str = ""
    clock: str = "wall"
    poll_s: float = 1.0
    tick_s: float = 1.0

    @property
    def images(self) -> Path:
        return self.home / "images"

    @property
    def cluster(self) -> Path:
        return self.home / "cluster"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def fleet_url(self) -> str:
        return f"http://{HOST}:{self.fleet_port}"

    @property
    def database_url(self) -> str:
        return os.environ.get(DATABASE_URL) or f"sqlite:///{self.home / 'fleet.db'}"

    @property
    def router_url(self) -> str:
        return os.environ.get(ROUTER_URL) or f"http://{HOST}:{self.router_port}"

    def render_settings(self) -> RenderSettings:
        """What the rendered manifests of this installation say of it."""
        return RenderSettings(
            agent_image=self.agent_image or AGENT_IMAGE,
            fleet_url=self.fleet_url,
            mqtt=f"{HOST}:{self.broker_port}",
            server_port=self.server_port,
            feedback_port=self.feedback_port,
            poll_s=self.poll_s,
            lent=(LENT,),
        )

    def environment(self) -> dict[str, str]:
        """Variables that tell every part where the others are (the object store's are its own, see `stores.seaweed`)."""
        return {
            HOME: str(self.home),
            "EDGELOOP_IMAGES": str(self.images),
            "EDGELOOP_FLEET_URL": self.fleet_url,
            "EDGELOOP_NODES_LEND": LENT,
            "ORT_DISABLE_TELEMETRY": "1",
            "DO_NOT_TRACK": "1",
        }


def lent() -> dict[str, str]:
    """What this machine's nodes lend to images, as a variable; none where the environment has it or names another fleet."""
    known = os.environ.get("EDGELOOP_FLEET_URL") or "EDGELOOP_NODES_LEND" in os.environ
    return {} if known else {"EDGELOOP_NODES_LEND": LENT}


def open_installation(home: Path, **changes: Any) -> Installation:
    """The installation in `home`, made with free ports when there is none; `changes` are kept in it."""
    home = home.absolute()
    path = home / "installation.json"
    known: Mapping[str, Any] = json.loads(path.read_text()) if path.exists() else _free_ports()
    installation = Installation(**{**known, **changes, "home": home})
    home.mkdir(parents=True, exist_ok=True)
    write_json(path, {name: value for name, value in asdict(installation).items() if name != "home"})
    return installation


def _free_ports() -> dict[str, int]:
    chosen: dict[str, int] = {}
    while len(chosen) < len(_PORTS):
        port = children.free_port()
        if port not in chosen.values():
            chosen[_PORTS[len(chosen)]] = port
    return chosen
