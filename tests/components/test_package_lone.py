"""`edgeloop model package`: a lone ONNX file as images with an index, proved first and signed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.compile.lone import read_lone
from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import StorageError
from edgeloop_components.package.layers import Layer, PackageError, Part, host_platform
from edgeloop_components.package.lone import package_lone
from edgeloop_components.package.place import check_place
from edgeloop_components.package.proved import check_proved
from edgeloop_components.package.wheels import LOCK, entries_of
from edgeloop_components.registry import InLayout
from edgeloop_components.registry.layouts import locate
from edgeloop_components.signing import attestations, new_key, read_signer, read_trusted, verify_layout
from edgeloop_contracts.ecdsa import SignatureError
from edgeloop_contracts.signature import check_image
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


KINDS = ("https://slsa.dev/provenance/v1", "https://spdx.dev/Document", "https://cyclonedx.org/bom")
TWO = ["linux/amd64", "linux/arm64"]


@pytest.fixture(scope="module")
def two(file: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """A layout signed with a new key for two platforms, the public key, and what was made."""
    root = tmp_path_factory.mktemp("two")
    private, public = new_key(root / "k.key")
    return root / "images", public, packed(file, root / "images", platforms=TWO, signer=read_signer(private))


def test_a_native_image_is_one_file_under_an_index(file: Path, two: tuple[Path, Path, Any], tmp_path: Path) -> None:
    """One plain layer with the server and its signature, parity in the package, the model beside it; and a second time the
    same digests, signatures, attestations and bills of materials, byte for byte."""
    images, public, made = two
    for package in made.packages:
        document = oci.manifest(images, package.digest)
        assert len(document["layers"]) == 1
        assert package.size_bytes < 300_000
        assert (package.parity.passed, package.parity.rows) == (True, 1000)
        assert "" not in (package.model_artifact, package.modelcar)
    assert oci.images(images)["edgeloop/pump:1"] == made.index == made.packages[0].index
    again = packed(file, tmp_path / "images", platforms=TWO, signer=read_signer(public.with_suffix(".key")))
    assert json.dumps(again.document()) == json.dumps(made.document())
    blobs = [{path.name for path in (at / "blobs" / "sha256").iterdir()} for at in (images, tmp_path / "images")]
    assert blobs[0] == blobs[1]


def test_the_program_in_a_signed_image_is_signed(two: tuple[Path, Path, Any], tmp_path: Path) -> None:
    """It verifies on the node with the public key, until a byte of it changes."""
    images, public, made = two
    assert made.signed
    oci.unpack(images, made.packages[0].digest, tmp_path / "root")
    assert verify_image(tmp_path / "root", public) == read_trusted(public)[0]
    server = tmp_path / "root" / "edgeloop" / "server"
    server.chmod(0o755)
    server.write_bytes(server.read_bytes()[:-1] + b"!")
    with pytest.raises(SignatureError, match=r"server: expected sha256:.*, as it was signed, found sha256:"):
        verify_image(tmp_path / "root", public)


def test_everything_of_a_lone_file_is_signed(two: tuple[Path, Path, Any]) -> None:
    """Index, images, the model's artifact and the modelcar with its images; and each package carries its own signatures."""
    images, public, made = two
    keys = read_trusted(public)
    named = oci.images(images)
    for name in ("edgeloop/pump:1", "edgeloop/pump/model:1", "edgeloop/pump/model:1-modelcar"):
        assert [one.form for one in verify_layout(images, named[name], keys)] == ["tag", "bundle"]
    for package in made.packages:
        for digest in (package.digest, package.index, package.model_artifact, package.modelcar):
            assert verify_layout(images, digest, keys)
            assert check_image(digest, package.signatures, keys)


def test_what_is_known_of_a_lone_file_is_attested(file: Path, two: tuple[Path, Path, Any]) -> None:
    """Index and images: provenance from the file's digest, which names no snapshot and no run, and both bills of materials."""
    images, public, made = two
    onnx = hashlib.sha256(file.read_bytes()).hexdigest()
    for digest in (made.index, *(package.digest for package in made.packages)):
        found = {one.predicate_type: one.predicate for one in attestations(images, digest, read_trusted(public))}
        assert sorted(found) == sorted(KINDS)
        build, run = found[KINDS[0]]["buildDefinition"], found[KINDS[0]]["runDetails"]
        assert build["resolvedDependencies"] == [{"name": "pump.onnx", "digest": {"sha256": onnx}}]
        assert build["externalParameters"]["file"] == "pump.onnx"
        assert "metadata" not in run or "invocationId" not in run["metadata"]
        assert found[KINDS[1]]["packages"][0]["versionInfo"] == digest
        assert found[KINDS[2]]["metadata"]["component"]["version"] == digest
    index = {one.predicate_type: one.predicate for one in attestations(images, made.index, read_trusted(public))}
    built = {entry["digest"]["sha256"] for entry in index[KINDS[0]]["runDetails"]["byproducts"]}
    assert built == {package.digest[7:] for package in made.packages}
    held = index[KINDS[1]]["packages"]
    assert {one["versionInfo"] for one in held} >= {package.digest for package in made.packages}
    assert len({one["SPDXID"] for one in held}) == len(held)
    assert {one["version"] for one in index[KINDS[2]]["components"]} == {package.digest for package in made.packages}
    assert all(
        {"ziglang", "musl"} & {part["name"] for part in one["components"]} for one in index[KINDS[2]]["components"]
    )


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


NAMES = {
    "a version below 0": (["--version", "-3"], "--version", 2),
    "no model's name": (["--name", "Bad Name/.."], "--name", 2),
    "no repository": (["--repository", "UPPER/x"], "--repository", 2),
}


@pytest.mark.parametrize("command", ["compile", "package"])
@pytest.mark.parametrize("what", NAMES)
def test_names_that_are_none_are_refused_at_once(
    what: str, command: str, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By their option, before anything is read: the file is none."""
    from edgeloop_pipelines.cli import main

    words, option, code = NAMES[what]
    if (command, option) == ("compile", "--repository"):
        return
    (tmp_path / "m.onnx").write_text("no model")
    assert main(["model", command, str(tmp_path / "m.onnx"), "-o", str(tmp_path / "out"), *words]) == code
    assert option in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_name_in_the_file_that_is_none_is_refused_before_parity(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As are repositories, when it is called from Python."""
    from edgeloop_components.package import lone

    monkeypatch.setattr(lone, "parity_lone", no_work)
    taken = replace(read_lone(file), name="Bad Name/..")
    given: Any = {"platforms": [host_platform()], "runtime": "native"}
    with pytest.raises(
        PackageError, match=r"pump\.onnx: model's name: expected small letters.*'Bad Name/\.\.'.*--name"
    ):
        package_lone(taken, tmp_path / "images", **given)
    with pytest.raises(PackageError, match=r"repository: expected small letters.*'UPPER/x'"):
        package_lone(read_lone(file), tmp_path / "images", repository="UPPER/x", **given)


def test_a_full_disk_is_named_and_nothing_is_left(file: Path, small_disk: Any, tmp_path: Path) -> None:
    """The image, the file and the way out; the folder is as empty as it was, and no name leads to half an image."""
    with small_disk(tmp_path / "full", 60 << 10, "disk"):
        with pytest.raises(
            StorageError, match=r"^package edgeloop/pump:1: .*/full/blobs/.* cannot be written: No space"
        ) as caught:
            packed(file, tmp_path / "full")
        assert list((tmp_path / "full").iterdir()) == []
    assert "make room there" in caught.value.hint


def test_onnxruntime_images_of_other_platforms_are_proved_here(file: Path) -> None:
    """By this machine's onnxruntime, as in a loop's compile step; the output says so, and so does the package's parity."""
    from importlib.metadata import version

    from edgeloop_components.package import lone

    said: list[str] = []
    proofs = lone._proofs(read_lone(file), TWO, "onnxruntime", 0, said.append)
    assert [(proof.passed, proof.target, *proof.platforms) for proof in proofs.values()] == [
        (True, platform.replace("/", "-"), host_platform()) for platform in TWO
    ]
    (foreign,) = [platform for platform in TWO if platform != host_platform()]
    shown = f"{foreign}: parity was shown by onnxruntime {version('onnxruntime')} on this machine ({host_platform()})"
    assert [line for line in said if line.startswith(shown)]


def test_an_image_holds_the_onnxruntime_that_showed_parity() -> None:
    """The locked version is the one that is installed here; an image with another is refused, in a loop and for a lone file."""
    from importlib.metadata import version

    here = version("onnxruntime")
    assert f"onnxruntime=={here}" in entries_of(LOCK.read_text())["onnxruntime"].split()
    check_proved([Layer("wheels", (), parts=(Part("onnxruntime", here, "pypi"),)), Layer("model", ())], "t")
    other = Layer("wheels", (), parts=(Part("onnxruntime", "0.1", "pypi"),))
    with pytest.raises(PackageError, match=rf"target t: .*onnxruntime 0\.1, parity was shown by {re.escape(here)}"):
        check_proved([other], "t")


@pytest.mark.slow
@pytest.mark.long
def test_an_onnxruntime_image_of_another_platform(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`edgeloop model package --runtime onnxruntime --base debian` for a platform that this machine cannot run."""
    from edgeloop_components.package import wheels
    from edgeloop_components.package.debian import lock
    from edgeloop_pipelines.cli import main

    (foreign,) = [platform for platform in TWO if platform != host_platform()]
    try:
        lock.fetch(lock.locked(foreign))
        wheels.fetch(foreign)
    except PackageError as error:
        pytest.skip(f"the locked packages are not to be had here: {error}")
    words = ["--runtime", "onnxruntime", "--platform", foreign, "--base", "debian", "-o", str(tmp_path / "o"), "--json"]
    assert main(["model", "package", str(file), *words]) == 0
    printed = capsys.readouterr()
    (package,) = json.loads(printed.out)["packages"]
    assert f"{foreign}: parity was shown by onnxruntime" in printed.err
    assert list(package["parity"]["platforms"]) == [host_platform()]
    settings = oci.image_config(tmp_path / "o", package["digest"])
    assert f"{settings['os']}/{settings['architecture']}" == foreign
    assert locate(InLayout(tmp_path / "o")) == package["index"], "its base, model and modelcar lie beside it"


def test_places_that_can_hold_images(tmp_path: Path) -> None:
    """A folder that is not there, an empty one, what an interrupted call left, and a layout with files of other tools."""
    for name in ("new/deeper", "empty", "begun", "made"):
        (tmp_path / name).mkdir(parents=True) if name != "new/deeper" else None
    for path in ("begun/blobs/sha256/x", "begun/.layers/y.json", "made/oci-layout", "made/README"):
        written(tmp_path / path, "{}")
    for name in ("new/deeper", "empty", "begun", "made"):
        check_place(tmp_path / name)
    assert not (tmp_path / "new").exists()
