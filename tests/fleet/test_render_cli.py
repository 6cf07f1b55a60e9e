"""`edgeloop render`, as a person calls it."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgeloop_contracts import Needs, Package, dumps, to_json
from edgeloop_contracts.artifacts import Signature
from edgeloop_contracts.signature import image_claim
from edgeloop_pipelines.cli import main

LOOP = """\
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: power}
data: {source: rows.csv, label: y, features: [x]}
train: {estimator: sklearn.linear_model.LogisticRegression}
targets:
  - {name: gateway, nodes: {group: gateways}}
"""
PACKAGE = Package(
    loop="power", version=1, target="gateway", platform="linux/amd64", runtime="onnxruntime", repository="edgeloop/power",
    digest="sha256:" + "ab" * 32, size_bytes=1,
)  # fmt: skip
NODES = (
    "{apiVersion: v1, kind: List, items: [{kind: Node, metadata: {name: n1, labels: {edgeloop.dev/group: gateways}}}]}"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "loop.yaml").write_text(LOOP)
    (tmp_path / "packages.json").write_text(json.dumps([to_json(PACKAGE)]))
    (tmp_path / "nodes.yaml").write_text(NODES)
    return tmp_path


def render(folder: Path, *more: str) -> int:
    argv = ["render", str(folder / "loop.yaml"), "-o", str(folder / "out"), "--json", *more]
    return main([*argv, "--packages", str(folder / "packages.json"), "--nodes", str(folder / "nodes.yaml")])


def test_objects_are_written_in_the_order_in_which_to_apply_them(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object a file; endpoints before rules, groups and images before servers."""
    assert render(folder) == 0
    kinds = [Path(name).name.split("-")[0] for name in json.loads(capsys.readouterr().out)["written"]]
    assert kinds == [
        "nodegroup",
        *["ruleendpoint"] * 2,
        *["rule"] * 2,
        "daemonset",
        "imageprepulljob",
        "edgeapplication",
    ]


def test_packages_may_be_those_of_a_version_as_the_catalog_shows_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same objects as of a list."""
    assert render(folder) == 0
    written = json.loads(capsys.readouterr().out)["written"]
    text = (folder / "out" / Path(written[-1]).name).read_text()
    (folder / "packages.json").write_text(json.dumps({"version": {}, "packages": [to_json(PACKAGE)]}))
    assert render(folder) == 0
    assert json.loads(capsys.readouterr().out)["written"] == written
    assert (folder / "out" / Path(written[-1]).name).read_text() == text


def test_trusted_keys_reach_the_servers(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A public key's file is written into the pods as text; what is no public key is refused, and nothing is written."""
    from edgeloop_components.signing import new_key, read_signer

    private, public = new_key(folder / "k.key")
    assert render(folder, "--key", str(private)) == 1
    assert "found PRIVATE KEY" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (folder / "out").exists()
    assert render(folder, "--key", str(public)) == 1
    assert "group gateways: package of power@1 for gateway: image sha256:ab" in capsys.readouterr().out
    assert not (folder / "out").exists()
    claim = image_claim(PACKAGE.digest, PACKAGE.repository)
    made, payload = (base64.b64encode(data).decode() for data in (read_signer(private).sign(claim), claim))
    signed = replace(PACKAGE, signatures=(Signature(key_id="k", payload=payload, signature=made),))
    (folder / "packages.json").write_text(json.dumps([to_json(signed)]))
    assert render(folder, "--key", str(public)) == 0
    (application,) = (folder / "out").glob("edgeapplication-*.yaml")
    lines = public.read_text().splitlines()
    assert all(line in application.read_text() for line in lines)


def test_what_nodes_must_lend_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An image without Python is refused, unless nodes lend one; nothing is written then."""
    needing = replace(PACKAGE, needs=Needs(runtime="python3.11"))
    (folder / "packages.json").write_text(json.dumps([to_json(needing)]))
    monkeypatch.setenv("EDGELOOP_NODES_LEND", "")
    assert render(folder) == 1
    assert "needs python3.11 beside the image" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert not (folder / "out").exists()
    assert render(folder, "--lend", "cuda, python3.11") == 0


def test_what_is_superseded_is_named_and_removed_on_demand(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Another fleet URL leaves the old Rule in the folder, says so, and --prune removes it; other people's files stay."""
    render(folder)
    (folder / "out" / "notes.yaml").write_text("some: text")
    capsys.readouterr()
    for extra, left in (((), True), (("--prune",), False)):
        assert render(folder, "--fleet-url", "http://other.example", *extra) == 0
        (name,) = json.loads(capsys.readouterr().out)["superseded"]
        assert "rule-edgeloop-reports-" in name
        assert Path(name).exists() == left
    assert (folder / "out" / "notes.yaml").exists()


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("packages.json", "[", "Package documents"),
        ("packages.json", "[{}]", "Package documents"),
        ("packages.json", dumps(PACKAGE).replace("gateway", "other"), "targets gateway, got other"),
        ("nodes.yaml", "a: [", "Node objects"),
        ("nodes.yaml", "text", "Node objects"),
    ],
)
def test_bad_input_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], file: str, text: str, expected: str
) -> None:
    """The message names the file and what was expected; the folder does not appear."""
    (folder / file).write_text(text)
    assert render(folder) == 1
    error = json.loads(capsys.readouterr().out)["error"]["message"]
    assert expected in error
    assert file in error
    assert not (folder / "out").exists()
