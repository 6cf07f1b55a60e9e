"""FPGA boards of nodes: what a server's container gets of one, and the objects that tell KubeEdge of it.

A container without privileges may open a device only when the container engine was told to let it, which for a pod means a
device plugin: a hostPath mount shows the file and its opening is refused. So the board is an extended resource of the node,
`<settings.device_resource>/<name of the device>`, as a generic plugin such as smarter-device-manager offers; it must offer two
of each, since an update runs two pods for a moment and the new server takes the board over from the old one.

The DeviceModel and the Devices name each board to KubeEdge. No mapper is part of edgeloop: one that speaks the protocol
`edgeloop-fpga` fills the twins from the server's /v2 and /metrics; without one they stay empty, and nothing else needs them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_contracts import Target
from edgeloop_fleet.render import labels
from edgeloop_fleet.render.values import Node, Settings, bounded, checked

__all__ = ["board_environment", "board_groups", "board_objects", "board_resources", "has_board"]

MODEL, PROTOCOL = "edgeloop-fpga", "edgeloop-fpga"
API = "devices.kubeedge.io/v1beta1"
CYCLE_MS = 10_000
PROPERTIES = (  # name, type, description
    ("modelDigest", "STRING", "digest of the design that the core answers with"),
    ("ready", "BOOLEAN", "whether the server can score with the board now"),
    ("losses", "INT", "how often the board went away since the server was started"),
)


def has_board(target: Target | None) -> bool:
    """Whether the target's nodes have a board at a device; otherwise its design is simulated."""
    return target is not None and target.runtime == "fpga" and bool(target.fpga.device)


def _device(target: Target) -> str:
    return checked("device", f"target {target.name}: fpga.device", target.fpga.device)


def board_environment(target: Target | None) -> dict[str, str]:
    """Where the server finds its board; board and link speed stand in the image, which was made for them."""
    if target is None or not has_board(target):
        return {}
    return {"EDGELOOP_DEVICE": _device(target)}


def board_resources(target: Target | None, settings: Settings) -> dict[str, str]:
    """The board as an extended resource, for the container's limits."""
    if target is None or not has_board(target):
        return {}
    return {f"{settings.device_resource}/{_device(target).rpartition('/')[2]}": "1"}


def board_groups(targets: Mapping[str, Target], settings: Settings) -> dict[str, Any]:
    """What the pods' security context has more, where any target has a board: the group that owns serial devices."""
    return {"supplementalGroups": [settings.device_gid]} if any(map(has_board, targets.values())) else {}


def board_objects(
    loop: str, targets: Mapping[str, Target], nodes: Mapping[str, Sequence[Node]], settings: Settings
) -> list[dict[str, Any]]:
    """The DeviceModel and a Device for each node of the groups that have boards; nothing where none has."""
    boards = [(target, node) for group, target in targets.items() if has_board(target) for node in nodes[group]]
    return [_model(settings), *(_board(loop, target, node, settings) for target, node in boards)] if boards else []


def _model(settings: Settings) -> dict[str, Any]:
    properties = [
        {"name": name, "description": text, "type": kind, "accessMode": "ReadOnly"} for name, kind, text in PROPERTIES
    ]
    return {
        "apiVersion": API,
        "kind": "DeviceModel",
        "metadata": {"name": MODEL, "namespace": settings.namespace, "labels": labels.common("board")},
        "spec": {"protocol": PROTOCOL, "properties": properties},
    }


def _board(loop: str, target: Target, node: Node, settings: Settings) -> dict[str, Any]:
    link = {"device": _device(target), "baud": target.fpga.baud, "board": target.fpga.board, "part": target.part}
    return {
        "apiVersion": API,
        "kind": "Device",
        "metadata": {
            "name": bounded(f"{labels.application_name(loop)}-{node.name.replace('.', '-')}", 63),
            "namespace": settings.namespace,
            "labels": labels.common("board", **{labels.LOOP: loop, labels.GROUP: target.nodes.group}),
        },
        "spec": {
            "deviceModelRef": {"name": MODEL},
            "nodeName": node.name,
            "protocol": {"protocolName": PROTOCOL, "configData": link},
            "properties": [
                {
                    "name": name,
                    "collectCycle": CYCLE_MS,
                    "reportCycle": CYCLE_MS,
                    "reportToCloud": True,
                    "visitors": {"protocolName": PROTOCOL, "configData": {"port": settings.server_port}},
                }
                for name, _, _ in PROPERTIES
            ],
        },
    }
