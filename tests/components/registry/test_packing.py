"""The index over a version's images: written by the packing step that completes them, signed, and known to the rollout."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgeloop_components import wrapping
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
from edgeloop_contracts.signature import check_image, open_statement, subjects
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

    def packed(loop: Loop, target: str) -> Package:
        folder = tmp_path / target
        (folder / "model").mkdir(parents=True, exist_ok=True)
        for name, data in (("server", f"\x7fELF {target}"), ("reference.json", "{}"), ("golden.json", "{}")):
            (folder / "model" / name).write_text(data)
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
    indexed = with_indexes(list(made.values()))
    assert {package.index for package in indexed} == {index}
    assert [package.digest for package in indexed] == [package.digest for package in made.values()]
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
    assert {package.index for package in with_indexes(together)} == {one_by_one}


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


def test_one_platform_needs_no_index(pack: Callable[[Loop, str], Package], tmp_path: Path) -> None:
    """Nor do runtimes that have one each: an index cannot hold two images for a platform."""
    loop = loop_of({"cabinet": "linux/amd64", "spare": "linux/amd64"})
    assert [pack(loop, name).index for name in ("cabinet", "spare")] == ["", ""]
    assert not any(name.startswith("edgeloop/pump:3") for name in oci.images(tmp_path / "images"))
    plain = replace(pack(loop, "cabinet"), runtime="onnxruntime")
    other = replace(plain, runtime="native", index=ZERO)
    assert [package.index for package in with_indexes([plain, other])] == ["", ZERO]
