"""Arguments and settings of the tree, given to the real programs where those are at hand."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
from manifest_tree import CLOUD, EDGE, Object, namespace_of, objects, pods


def _settings(items: list[Object]) -> dict[str, str]:
    """What the fleet service is told in plain text: its ConfigMap, and its own variables."""
    (told,) = [i["data"] for i in items if i["metadata"]["name"] == "edgeloop-settings" and namespace_of(i) == CLOUD]
    (fleet,) = [pod for pod in pods(items) if pod.name == "fleet"]
    own = {v["name"]: v["value"] for v in fleet.spec["containers"][0].get("env", []) if "value" in v}
    return {**told, **own}


@pytest.mark.parametrize(
    ("case", "database"),
    [
        ("overlays/kind", "sqlite:///{home}/fleet.db"),
        ("overlays/staging", f"postgresql+psycopg://edgeloop@postgres.{CLOUD}.svc:5432/edgeloop"),
        ("overlays/production", f"postgresql+psycopg://edgeloop@postgres.{CLOUD}.svc:5432/edgeloop"),
    ],
)
def test_the_fleet_service_takes_what_it_is_told(
    case: str, database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Database, router and object store are those of the overlay; acknowledgements go to the namespace of the nodes."""
    from edgeloop_components.stores.objects import connect
    from edgeloop_fleet.settings import Settings
    from edgeloop_pipelines.local.installation import open_installation

    told = _settings(objects(case))
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    installation = open_installation(tmp_path)
    store = connect(environment={**told, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})
    assert installation.database_url == database.format(home=tmp_path)
    ack_url = installation.render_settings().ack_url(installation.router_url)
    assert ack_url == f"http://edgeloop-router.kubeedge.svc:9443/{{node}}/{EDGE}/acks/{{node}}"
    assert Settings().namespace == EDGE
    assert store.bucket == "edgeloop"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_seaweedfs_starts_with_the_arguments_of_the_option(tmp_path: Path) -> None:
    """The real server, on other ports and folders: the probe's path answers, and an account of s3.json writes and reads."""
    from edgeloop_components.stores.objects import connect
    from edgeloop_components.stores.ports import choose
    from edgeloop_components.stores.seaweed import _program

    (pod,) = [pod for pod in pods(objects("options/seaweedfs")) if pod.name == "seaweedfs"]
    container = pod.spec["containers"][0]
    (tmp_path / "data").mkdir()
    ports = choose(tmp_path, 0)
    account = {"accessKey": "key", "secretKey": "secret"}
    identity = {"name": "edgeloop", "credentials": [account], "actions": ["Admin", "Read", "Write", "List"]}
    (tmp_path / "s3.json").write_text(json.dumps({"identities": [identity]}))
    places = {
        "/data": str(tmp_path / "data"),
        "/etc/seaweedfs": str(tmp_path),
        "$(POD_IP)": "127.0.0.1",
        "0.0.0.0": "127.0.0.1",
    }
    words = [word for word in container["args"] if not word.startswith("-s3.port=")]
    for old, new in places.items():
        words = [word.replace(old, new) for word in words]
    for role, number in ports.items():
        name, _, protocol = role.partition(".")
        words.append(f"-{name}.port{'.' + protocol if protocol else ''}={number}")
    environment = {"PATH": os.defpath, "HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([_program(), *words], cwd=tmp_path, env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{ports['s3']}"
        end = time.monotonic() + 60
        while not _answers(url + container["readinessProbe"]["httpGet"]["path"]):
            assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
            assert time.monotonic() < end, (tmp_path / "log").read_text()[-2000:]
            time.sleep(0.1)
        keys = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}
        store = connect("edgeloop", environment={"AWS_ENDPOINT_URL_S3": url, **keys})
        store.make_bucket()
        store.put("a/b", b"whole")
        assert store.get("a/b") == b"whole"
    finally:
        process.kill()
        process.wait()
