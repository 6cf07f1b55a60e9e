"""The platform of one machine: every part comes up, comes back after kill -9, and nothing is left when it ends."""

import contextlib
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeloop_pipelines.local import platform

NODES = (platform.NodeSpec("n1", "canary"), platform.NodeSpec("n2", "farm"))


def _answers(url: str) -> bool:
    with contextlib.suppress(OSError):
        return bool(urllib.request.urlopen(url, timeout=2).status == 200)
    return False


def _soon(ready: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ready():
            return True
        time.sleep(0.1)
    return False


def _processes_of(home: Path) -> list[int]:
    return [number for number, _, command in platform._processes() if any(str(home) in word for word in command)]


@pytest.mark.slow
def test_parts_come_back_after_kill_9_and_nothing_is_left(tmp_path: Path) -> None:
    """Each part is killed and answers again on its old address; after the block no process of this home runs."""
    home = tmp_path / "home"
    with platform.start(home, NODES) as place:
        agents = [place.agent_url(node.name) + "/v1/state" for node in NODES]
        assert _soon(lambda: all(map(_answers, agents))), "agents do not come up"
        for part in reversed(place.parts()):  # agents first: they go with the stand-in
            place.kill(part)
        assert _soon(lambda: {"objects", "broker", "standin", "fleet"} <= set(place.restarts))
        assert _soon(lambda: _answers(place.fleet_url + "/v1/health"))
        assert _soon(lambda: all(map(_answers, agents))), "agents do not come back"
    assert _soon(lambda: not _processes_of(home), 5), "processes were left behind"


def test_a_part_that_is_not_there_cannot_be_killed(tmp_path: Path) -> None:
    """A wrong name is answered with the right ones."""
    installation = platform.open_installation(tmp_path)
    place = platform.Platform(installation, NODES)
    with pytest.raises(platform.PlatformError, match=r"expected one of objects, .*agent/n2, got brokr"):
        place.kill("brokr")
    with pytest.raises(platform.PlatformError, match="no agent runs on node n1"):
        place.kill("agent/n1")


def test_an_installation_keeps_its_ports(tmp_path: Path) -> None:
    """Ports are chosen once; a second look finds the same, and what was changed is kept."""
    first = platform.open_installation(tmp_path, poll_s=0.2)
    assert platform.open_installation(tmp_path) == first
