"""Indexes, ModelPack artifacts, modelcars, bills of materials and provenance: one blob, several manifests, same bytes twice."""

from __future__ import annotations

import json
import shutil
import subprocess
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from edgeloop_components.package import core, layers, layout, sbom
from edgeloop_components.package.blobs import read_blob
from edgeloop_components.package.layers import PackageError, Part, files_layer
from edgeloop_components.package.model import ARTIFACT, PLATFORMS, model_place, name_model, write_model
from edgeloop_components.package.provenance import builder_versions, provenance
from edgeloop_contracts import Loop, ModelVersion, Package, canonical, digest_of, from_json

CREATED = "2023-11-14T22:13:20Z"


@pytest.fixture
def version() -> ModelVersion:
    digests = {name: digest_of(name) for name in ("snapshot", "onnx", "reference", "golden")}
    return ModelVersion(
        loop="turbine",
        number=3,
        state="accepted",
        run_key="r3",
        created_s=1_700_000_000.5,
        code=digest_of("code"),
        **digests,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.onnx").write_bytes(bytes(range(256)) * 20)
    for name in ("reference.json", "golden.json"):
        (made / name).write_text("{}")
    return made


def test_one_blob_has_two_manifests(tmp_path: Path, version: ModelVersion, folder: Path) -> None:
    """The ModelPack manifest and the modelcar's images of every platform name the same plain tar, with both annotations."""
    at = tmp_path / "l"
    made = write_model(at, version, folder, created=CREATED)
    artifact = layout.document(at, made.artifact)
    assert artifact["artifactType"] == ARTIFACT
    assert artifact["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    (weight,) = artifact["layers"]
    assert weight["mediaType"] == "application/vnd.cncf.model.weight.v1.tar"
    place = {"org.cncf.model.filepath": "models/turbine/3", "org.opencontainers.image.title": "models/turbine/3"}
    assert weight["annotations"] == place
    config = json.loads(read_blob(at, artifact["config"]["digest"]))
    assert config["descriptor"] == {"name": "turbine", "version": "3", "createdAt": CREATED}
    assert config["modelfs"] == {"type": "layers", "diffIds": [made.blob]}
    children = layout.document(at, made.modelcar)["manifests"]
    platforms = [child["platform"] for child in children]
    names = ("os", "architecture", "variant")
    assert {"/".join(p[name] for name in names if name in p) for p in platforms} == set(PLATFORMS)
    for child in children:
        (part,) = layout.manifest(at, child["digest"])["layers"]
        assert (part["digest"], part["mediaType"], part["annotations"]) == (made.blob, layout.PLAIN_LAYER, place)
        assert layout.image_config(at, child["digest"])["rootfs"]["diff_ids"] == [made.blob]
    assert layout.image_size_bytes(at, made.modelcar) - (at / "blobs/sha256" / made.blob[7:]).stat().st_size < 8 << 10
    root = tmp_path / "root"
    layout.unpack(at, children[0]["digest"], root)
    assert (root / model_place(version) / "model.onnx").read_bytes() == (folder / "model.onnx").read_bytes()
    assert write_model(tmp_path / "again", version, folder, created=CREATED) == made
    (folder / "model.onnx").unlink()
    with pytest.raises(PackageError, match=r"expected model\.onnx in it"):
        write_model(at, version, folder, created=CREATED)


def test_a_servers_last_layer_is_the_same_blob(tmp_path: Path, version: ModelVersion, folder: Path) -> None:
    """An onnxruntime server's image, the ModelPack artifact and the modelcar share the model's bytes in a registry."""
    made = packed(tmp_path / "l", version, folder)
    for digest in (made.model_artifact, made.digest):
        assert layout.document(tmp_path / "l", digest)["layers"][-1]["digest"] == made.model_layer
    assert layout.images(tmp_path / "l")["edgeloop/turbine/model:3"] == made.model_artifact
    assert layout.images(tmp_path / "l")["edgeloop/turbine/model:3-modelcar"] == made.modelcar


def packed(at: Path, version: ModelVersion, folder: Path) -> Package:
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "rows.csv", "label": "y", "features": ["a"]},
        "train": {"onnx": "model.onnx"},
        "targets": [{"name": "cabinet", "platform": layers.host_platform(), "nodes": {"group": "g"}}],
    }
    loop = from_json(Loop, document)
    return core.package(loop, version, loop.targets[0], folder, at, base="")


def test_an_image_has_bills_of_materials(tmp_path: Path, version: ModelVersion, folder: Path) -> None:
    """SPDX and CycloneDX refer to the image, list every wheel, edgeloop and the model, and are the same twice."""
    at = tmp_path / "l"
    made = packed(at, version, folder)
    documents = {}
    for kind in (sbom.SPDX, sbom.CYCLONEDX):
        (entry,) = layout.referrers(at, made.digest, kind)
        manifest = layout.document(at, entry["digest"])
        assert manifest["subject"]["digest"] == made.digest
        documents[kind] = json.loads(read_blob(at, manifest["layers"][0]["digest"]))
    urls = {
        package["externalRefs"][0]["referenceLocator"]
        for package in documents[sbom.SPDX]["packages"]
        if "externalRefs" in package
    }
    assert {component["purl"] for component in documents[sbom.CYCLONEDX]["components"]} == urls
    names = {url.split("@")[0] for url in urls}
    assert {"pkg:pypi/onnxruntime", "pkg:pypi/numpy", "pkg:pypi/edgeloop", "pkg:generic/turbine"} <= names
    assert documents[sbom.SPDX]["creationInfo"]["created"] == CREATED
    assert packed(tmp_path / "again", version, folder) == made
    assert [e["digest"] for e in layout.referrers(at, made.digest)] == [
        e["digest"] for e in layout.referrers(tmp_path / "again", made.digest)
    ]


def test_bills_of_materials_follow_their_formats() -> None:
    """Every id is unique and every relationship names one; purls are escaped; what is unknown is said to be unknown."""
    parts = [
        Part("libstdc++6", "12.2.0-14+deb12u1", "deb", "0" * 64, "", "arm64", "gcc-12"),
        Part("Foo.Bar_baz", "1.0", "pypi", license="MIT OR Apache-2.0"),
    ]
    digest = digest_of("image")
    document = sbom.spdx("edgeloop/x", digest, CREATED, parts)
    ids = [package["SPDXID"] for package in document["packages"]]
    assert len(set(ids)) == len(ids) == 3
    named = {relation["relatedSpdxElement"] for relation in document["relationships"]}
    assert named == set(ids)
    assert [package.get("licenseDeclared") for package in document["packages"]] == [
        None,
        "NOASSERTION",
        "MIT OR Apache-2.0",
    ]
    assert [sbom.package_url(part) for part in parts] == [
        "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=arm64&distro=debian-12",
        "pkg:pypi/foo-bar-baz@1.0",
    ]
    other = sbom.cyclonedx("edgeloop/x", digest, CREATED, parts)
    assert uuid.UUID(other["serialNumber"].removeprefix("urn:uuid:")).version == 5
    assert canonical(other) == canonical(sbom.cyclonedx("edgeloop/x", digest, CREATED, parts))


def test_an_index_names_one_image_for_each_platform(tmp_path: Path, folder: Path) -> None:
    """Order does not matter; it is transferred with all below it, and two images of one platform are refused."""
    at, other = tmp_path / "l", tmp_path / "m"
    layer = files_layer(folder, "m")
    digests = [layout.write_image(at, [layer], platform=p, config={}) for p in ("linux/arm/v7", "linux/amd64")]
    index = layout.write_index(at, digests)
    assert index == layout.write_index(at, digests[::-1])
    platforms = [entry["platform"] for entry in layout.document(at, index)["manifests"]]
    assert {"os": "linux", "architecture": "arm", "variant": "v7"} in platforms
    layout.name_image(at, index, "x:1")
    assert layout.transfer(at, other, index) == layout.image_size_bytes(at, index)
    assert layout.images(other) == {"x:1": index}
    layout.verify(other, index)
    again = layout.write_image(at, [layer], platform="linux/amd64", config={"User": "0"})
    with pytest.raises(
        layout.LayoutError, match="expected one image for each platform, found linux/amd64, linux/amd64"
    ):
        layout.write_index(at, [digests[1], again])
    artifact = layout.write_artifact(at, "application/x", [("text/plain", b"x")])
    for other_kind in (artifact, index):
        with pytest.raises(layout.LayoutError, match=f"expected images with a platform, found none in {other_kind}"):
            layout.write_index(at, [digests[1], other_kind])


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_copies_the_index_and_reads_the_modelcar(tmp_path: Path, version: ModelVersion, folder: Path) -> None:
    """The real skopeo copies all of a modelcar's images and keeps the index's digest; it finds each platform's."""
    at = tmp_path / "l"
    made = write_model(at, version, folder, created=CREATED)
    name_model(at, version, made.artifact, made.modelcar)
    name = "edgeloop/turbine/model:3-modelcar"
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--all", "--preserve-digests"]
    subprocess.run([*copy, f"oci:{at}:{name}", f"oci:{tmp_path / 'c'}:x"], check=True, capture_output=True)
    (entry,) = json.loads((tmp_path / "c" / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == made.modelcar
    inspect = ["skopeo", "--override-arch", "riscv64", "inspect", f"oci:{at}:{name}"]
    seen = json.loads(subprocess.run(inspect, check=True, capture_output=True).stdout)
    assert (seen["Architecture"], seen["Layers"]) == ("riscv64", [made.blob])


def test_provenance_leads_from_snapshot_to_image(version: ModelVersion) -> None:
    """The statement names the image by digest, and the snapshot, code, model and run that it came from; nothing unknown."""
    package = Package(
        loop="turbine", version=3, target="cabinet", platform="linux/arm64", runtime="native", repository="edgeloop/t",
        digest=digest_of("image"), model_layer=digest_of("layer"), size_bytes=1,
    )  # fmt: skip
    builder = {"ziglang": "0.17.1", "edgeloop": "0.1.0"}
    statement = provenance(package, version, builder=builder, created=CREATED)
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"
    assert statement["subject"] == [{"name": "edgeloop/t", "digest": {"sha256": package.digest[7:]}}]
    build, run = statement["predicate"]["buildDefinition"], statement["predicate"]["runDetails"]
    found = {item["name"]: item["digest"]["sha256"] for item in build["resolvedDependencies"]}
    assert found["snapshot"] == version.snapshot[7:]
    assert found["model.onnx"] == version.onnx[7:]
    assert found["training code"] == version.code[7:]
    assert "training parameters" not in found, "it is not known here"
    assert "base image" not in found
    assert run["metadata"]["invocationId"] == "r3"
    assert run["builder"]["version"] == builder
    assert canonical(statement) == canonical(provenance(package, version, builder=builder, created=CREATED))
    based = provenance(
        replace(package, runtime="onnxruntime"), version, builder={}, created=CREATED, base=digest_of("b")
    )
    names = [item["name"] for item in based["predicate"]["buildDefinition"]["resolvedDependencies"]]
    assert names[-1] == "base image"
    assert set(builder_versions("native")) == {"python", "edgeloop", "onnx", "ziglang"}
