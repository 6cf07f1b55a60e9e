"""`edgeloop model package`: a lone ONNX file as images with an index, proved first and signed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.compile.lone import read_lone
from edgeloop_components.package import layout as oci
from edgeloop_components.package.layers import PackageError, host_platform
from edgeloop_components.package.lone import package_lone
from edgeloop_components.package.place import check_place
from edgeloop_components.signing import new_key, read_signer, read_trusted, verify_layout
from edgeloop_contracts.ecdsa import SignatureError
from edgeloop_node.verify import verify_image


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A logistic regression as skl2onnx writes it."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = np.random.default_rng(0).normal(size=(200, 4)).astype(np.float32)
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    path = tmp_path_factory.mktemp("lone") / "pump.onnx"
    path.write_bytes(to_onnx(fitted, rows[:1], target_opset=17).SerializeToString())
    return path


def packed(file: Path, layout: Path, **more: Any) -> Any:
    given = {"platforms": [host_platform()], "runtime": "native", **more}
    return package_lone(read_lone(file, name="", version=0), layout, **given)


def test_a_native_image_is_one_file_under_an_index(file: Path, tmp_path: Path) -> None:
    """One plain layer with the server, parity in the package, the model beside it, and the same digests a second time."""
    made = packed(file, tmp_path / "a")
    (package,) = made.packages
    document = oci.manifest(tmp_path / "a", package.digest)
    assert len(document["layers"]) == 1
    assert package.size_bytes < 300_000
    assert (package.parity.passed, package.parity.rows) == (True, 1000)
    assert oci.images(tmp_path / "a")["edgeloop/pump:1"] == made.index == package.index
    assert "" not in (package.model_artifact, package.modelcar)
    again = packed(file, tmp_path / "b")
    assert json.dumps(again.document()) == json.dumps(made.document())


def test_a_signer_signs_index_and_images(file: Path, tmp_path: Path) -> None:
    """Index and image verify with the public key, and the program in it does on the node, until a byte of it changes."""
    private, public = new_key(tmp_path / "k.key")
    made = packed(file, tmp_path / "images", signer=read_signer(private))
    assert made.signed
    for digest in (made.index, made.packages[0].digest):
        assert verify_layout(tmp_path / "images", digest, read_trusted(public))
    oci.unpack(tmp_path / "images", made.packages[0].digest, tmp_path / "root")
    assert verify_image(tmp_path / "root", public) == read_signer(private).public
    server = tmp_path / "root" / "edgeloop" / "server"
    server.chmod(0o755)
    server.write_bytes(server.read_bytes()[:-1] + b"!")
    with pytest.raises(SignatureError, match=r"server: expected sha256:.*, as it was signed, found sha256:"):
        verify_image(tmp_path / "root", public)


def test_an_unproved_platform_is_refused(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A platform that cannot be run here is not packed: the error names the package to install."""
    foreign = "linux/riscv64" if host_platform() != "linux/riscv64" else "linux/arm64"
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(PackageError, match=rf"parity on {foreign}: not run: .*qemu"):
        packed(file, tmp_path / "images", platforms=[foreign])
    assert not (tmp_path / "images").exists()


def no_work(*_: Any, **__: Any) -> Any:
    raise AssertionError("work began before the place was looked at")


PLACES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a file": (lambda root: written(root / "out", "mine"), "expected a folder for the image layout, found a file"),
    "below a file": (lambda root: written(root / "file", "mine") / "out", "expected a folder for the image layout"),
    "another folder": (lambda root: written(root / "out" / "notes.txt", "mine").parent, "found one with notes.txt"),
    "a dangling link": (lambda root: linked(root / "out", root / "gone"), "found a file or a link"),
    "a broken layout": (
        lambda root: written(root / "out" / "index.json", "{}").parent,
        "expected the index of an image",
    ),
    "no rights": (lambda root: Path("/proc/self/out"), "/proc/self: expected a folder that can be written"),
}


def written(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def linked(path: Path, target: Path) -> Path:
    path.symlink_to(target)
    return path


@pytest.mark.parametrize("what", PLACES)
def test_a_place_that_cannot_hold_images_is_refused_at_once(
    what: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before parity or the compiler begin, with what is there; what is there stays as it is. Exit code 1."""
    from edgeloop_components.package import lone
    from edgeloop_pipelines.cli import main

    make, problem = PLACES[what]
    out = make(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("parity_lone", "build_lone"):
        monkeypatch.setattr(lone, name, no_work)
    assert main(["model", "package", str(file), "-o", str(out), "--json"]) == 1
    assert re.search(problem, json.loads(capsys.readouterr().out)["error"]["message"])
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_places_that_can_hold_images(tmp_path: Path) -> None:
    """A folder that is not there, an empty one, what an interrupted call left, and a layout with files of other tools."""
    for name in ("new/deeper", "empty", "begun", "made"):
        (tmp_path / name).mkdir(parents=True) if name != "new/deeper" else None
    for path in ("begun/blobs/sha256/x", "begun/.layers/y.json", "made/oci-layout", "made/README"):
        written(tmp_path / path, "{}")
    for name in ("new/deeper", "empty", "begun", "made"):
        check_place(tmp_path / name)
    assert not (tmp_path / "new").exists()
