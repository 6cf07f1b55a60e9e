"""The index over a version's images: written by the packing step that completes them, signed, and known to the rollout."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components import signing, wrapping
from edgeloop_components.catalog import catalog
from edgeloop_components.package import layout as oci
from edgeloop_components.package.entry import program_files
from edgeloop_components.package.layers import Build, Layer, files_layer
from edgeloop_components.packing import with_indexes
from edgeloop_components.registry import Settings, pull, push
from edgeloop_components.runtimes import RUNTIMES
from edgeloop_components.signing import Signer, new_key, read_signer, verify_layout
from edgeloop_components.steps import Step
from edgeloop_contracts import Loop, ModelVersion, Package, ParityResult, ResourceProfile, digest_of, dumps, from_json
from edgeloop_contracts.signature import SignatureError, check_image, open_statement, subjects
from edgeloop_node.verify import verify_image

ZERO = digest_of("zero")
VERSION = ModelVersion(
    loop="pump", number=3, state="accepted", run_key="r", snapshot=ZERO, onnx=ZERO, reference=ZERO, golden=ZERO
)
PLATFORMS = {
    "gateway": "linux/arm64",
    "cabinet": "linux/amd64",
    "spare": "linux/amd64",
    "meter": "linux/arm/v7",
}  # all native


def loop_of(platforms: dict[str, str]) -> Loop:
    targets = [
        {"name": name, "platform": platform, "runtime": "native", "nodes": {"group": name}}
        for name, platform in platforms.items()
    ]
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "pump"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"onnx": "m.onnx"},
        "targets": targets,
    }
    return from_json(Loop, document)


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A new key, k.key, with k.pub beside it."""
    new_key(tmp_path / "k.key")
    return read_signer(tmp_path / "k.key")


@pytest.fixture
def pack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signer: Signer) -> Callable[[Loop, str], Package]:
    """The packing step of one target, over a version whose servers differ by target."""
    monkeypatch.setattr(catalog, "put_package", lambda *_, **__: None)
    monkeypatch.setattr("edgeloop_components.stores.objects.connect", lambda: None)
    monkeypatch.setenv("EDGELOOP_IMAGES", str(tmp_path / "images"))
    monkeypatch.setenv("EDGELOOP_SIGNING_KEY", str(tmp_path / "k.key"))
    parity = ParityResult(loop="pump", target="t", runtime="native", rows=1, max_abs_difference=0, limit=1, passed=True)
    profile = ResourceProfile(
        loop="pump", target="t", method="x", latency_p50_ms=1, latency_p99_ms=1, memory_peak_mib=1, cpu_request_m=1,
        cpu_limit_m=1, memory_request_mib=1, memory_limit_mib=1,
    )  # fmt: skip

    def packed(loop: Loop, target: str, more: bytes = b"") -> Package:
        folder = tmp_path / target
        (folder / "model").mkdir(parents=True, exist_ok=True)
        for name, data in (("server", f"\x7fELF {target}"), ("reference.json", "{}"), ("golden.json", "{}")):
            (folder / "model" / name).write_bytes(data.encode() + more * (name == "server"))
        for name in ("model.onnx", "reference.json", "golden.json"):
            (folder / name).write_text("{}")
        documents = {"parity.json": parity, "profile.json": profile, "version.json": VERSION}
        for name, document in documents.items():
            (folder / name).write_text(dumps(document))
        step = Step("package", target, loop, "r")
        return wrapping.pack(step, str(folder), str(folder), str(folder), str(folder / "out"))

    return packed


def test_the_last_image_completes_the_index(
    pack: Callable[[Loop, str], Package],
    signer: Signer,
    tmp_path: Path,
    registry: object,
    host: str,
    settings: Settings,
) -> None:
    """One image a platform (of two targets of one, the first's), signed; a registry gives each engine its own by one name."""
    loop, images = loop_of(PLATFORMS), tmp_path / "images"
    made = {name: pack(loop, name) for name in ("spare", "meter", "gateway", "cabinet")}
    assert [bool(package.index) for package in made.values()] == [False, False, False, True]
    index = made["cabinet"].index
    assert oci.images(images)["edgeloop/pump:3-native"] == index
    entries = oci.document(images, index)["manifests"]
    found = {
        (entry["platform"]["architecture"], entry["platform"].get("variant")): entry["digest"] for entry in entries
    }
    assert found == {
        ("amd64", None): made["cabinet"].digest,
        ("arm64", None): made["gateway"].digest,
        ("arm", "v7"): made["meter"].digest,
    }
    assert verify_layout(images, index, [signer.public])
    assert check_image(index, made["cabinet"].signatures, [signer.public])
    assert check_image(made["cabinet"].digest, made["cabinet"].signatures, [signer.public])
    push(f"oci:{images}:edgeloop/pump:3-native", f"{host}/edgeloop/pump:3-native", settings=settings)
    for name in ("gateway", "cabinet"):
        digest = pull(
            f"{host}/edgeloop/pump:3-native", tmp_path / name / "node", platform=PLATFORMS[name], settings=settings
        )
        assert digest == made[name].digest
    indexed = with_indexes(str(images), list(made.values()))
    assert {package.index for package in indexed} == {index}
    assert [package.digest for package in indexed] == [package.digest for package in made.values()]
    assert all(check_image(index, package.signatures, [signer.public]) for package in indexed)
    again = pack(loop, "meter")  # a step that is tried again finds the set whole
    assert (again.index, again.digest) == (index, made["meter"].digest)
    assert check_image(index, again.signatures, [signer.public])


@pytest.mark.parametrize("order", list(itertools.permutations(("gateway", "cabinet", "meter")))[::2])
def test_any_order_gives_the_same_index(
    order: tuple[str, ...], pack: Callable[[Loop, str], Package], tmp_path: Path
) -> None:
    """Steps that end in another order, or at the same time, write the same bytes."""
    loop = loop_of({name: PLATFORMS[name] for name in ("gateway", "cabinet", "meter")})
    one_by_one = [pack(loop, name) for name in order][-1].index
    assert one_by_one
    (tmp_path / "images").rename(tmp_path / "before")
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda name: pack(loop, name), order))
    assert {package.index for package in with_indexes(str(tmp_path / "images"), together)} == {one_by_one}


def test_a_python_images_program_is_signed(
    pack: Callable[[Loop, str], Package], signer: Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of its script carries a signature that is the same for every version: a new model brings no new code layer."""

    def layers(folder: Path, build: Build) -> list[Layer]:
        return [Layer("code", tuple(program_files(build))), files_layer(folder, build.place)]

    monkeypatch.setitem(RUNTIMES, "onnxruntime", replace(RUNTIMES["onnxruntime"], layers=layers))
    (native,) = loop_of({"cabinet": "linux/amd64"}).targets
    loop = replace(loop_of({}), targets=(replace(native, runtime="onnxruntime"),))
    made, root = pack(loop, "cabinet"), tmp_path / "root"
    oci.unpack(tmp_path / "images", made.digest, root)
    assert verify_image(root, tmp_path / "k.pub") == signer.public
    statement, _ = open_statement(json.loads((root / "edgeloop/signature.json").read_bytes()), [signer.public])
    assert (list(subjects(statement)), statement["predicate"]) == (["server"], {})
    unsigned = program_files(Build("linux/amd64", "models/pump/3"))
    assert [file.path for file in unsigned] == ["edgeloop/server"]


def test_a_run_tried_again_leaves_one_index(pack: Callable[..., Package], signer: Signer, tmp_path: Path) -> None:
    """A step that is tried again with another image: all packages have the new index and its signature, none the old one's."""
    loop, images = loop_of({name: PLATFORMS[name] for name in ("gateway", "cabinet")}), tmp_path / "images"
    pack(loop, "gateway")
    cabinet = pack(loop, "cabinet")
    gateway = pack(loop, "gateway", b" again")
    assert "" != cabinet.index != gateway.index != ""
    assert oci.images(images)["edgeloop/pump:3-native"] == gateway.index
    for found in with_indexes(str(images), [cabinet, gateway]):
        assert found.index == gateway.index
        assert check_image(gateway.index, found.signatures, [signer.public])
        with pytest.raises(SignatureError, match="signature of another image"):
            check_image(cabinet.index, found.signatures, [signer.public])
    unclear = with_indexes(str(tmp_path / "away"), [cabinet, gateway])  # a cluster's rollout step has no layout
    assert [package.index for package in unclear] == ["", ""]


def test_the_index_is_signed_before_it_has_its_name(
    pack: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that dies while it signs leaves no unsigned index to be found by name; tried again, it names a signed one."""
    loop, images, signs = loop_of(PLATFORMS), tmp_path / "images", signing.sign
    made = [pack(loop, name) for name in ("meter", "gateway")]

    def dies(layout: Path, digest: str, *rest: Any) -> Any:
        if "manifests" in oci.document(layout, digest) and digest not in {p.modelcar for p in made}:
            raise OSError("killed")
        return signs(layout, digest, *rest)

    monkeypatch.setattr(signing, "sign", dies)
    with pytest.raises(OSError, match="killed"):
        pack(loop, "cabinet")
    assert "edgeloop/pump:3-native" not in oci.images(images)
    monkeypatch.setattr(signing, "sign", signs)
    assert pack(loop, "cabinet").index == oci.images(images)["edgeloop/pump:3-native"]


def test_steps_look_at_the_images_one_after_the_other(
    pack: Callable[..., Package], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one step joins what it saw, another with a newer image waits: the index that stays named is over the newest."""
    loop, images = loop_of({name: PLATFORMS[name] for name in ("gateway", "cabinet")}), tmp_path / "images"
    pack(loop, "gateway")
    write, pool = oci.write_index, ThreadPoolExecutor(1)
    later: list[Future[Package]] = []

    def slow(layout: Path, digests: list[str]) -> str:
        if not later:
            later.append(pool.submit(pack, loop, "gateway", b" again"))
            with pytest.raises(TimeoutError):  # it has named its image, and waits
                later[0].result(timeout=3)
        return write(layout, digests)

    monkeypatch.setattr("edgeloop_components.package.joined.write_index", slow)
    pack(loop, "cabinet")
    (gateway,) = (future.result(timeout=60) for future in later)
    named = oci.images(images)
    assert gateway.digest in {
        entry["digest"] for entry in oci.document(images, named["edgeloop/pump:3-native"])["manifests"]
    }


def test_the_index_holds_the_image_that_most_machines_can_run(pack: Callable[..., Package], tmp_path: Path) -> None:
    """Of two targets of one platform that of the least instruction set, wherever it stands in loop.yaml."""
    loop = loop_of({"new": "linux/amd64", "old": "linux/amd64", "gateway": "linux/arm64"})
    new, *rest = loop.targets
    loop = replace(loop, targets=(replace(new, has=replace(new.has, instruction_set="x86-64-v3")), *rest))
    made = {target.name: pack(loop, target.name) for target in loop.targets}
    assert made["new"].needs.instruction_set == "x86-64-v3"
    entries = oci.document(tmp_path / "images", made["gateway"].index)["manifests"]
    assert {entry["digest"] for entry in entries} == {made["old"].digest, made["gateway"].digest}


def test_one_platform_needs_no_index(pack: Callable[[Loop, str], Package], tmp_path: Path) -> None:
    """Nor do runtimes that have one each: an index cannot hold two images for a platform."""
    loop = loop_of({"cabinet": "linux/amd64", "spare": "linux/amd64"})
    assert [pack(loop, name).index for name in ("cabinet", "spare")] == ["", ""]
    assert not any(name.startswith("edgeloop/pump:3") for name in oci.images(tmp_path / "images"))
    plain = replace(pack(loop, "cabinet"), runtime="onnxruntime")
    other = replace(plain, runtime="native", index=ZERO)
    assert [package.index for package in with_indexes("", [plain, other])] == ["", ZERO]
