"""The real cosign: it accepts what we sign in both formats, and refuses the rest; we accept what it signs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from skl2onnx import to_onnx

from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import blob_path, write_bytes
from edgeloop_components.package.documents import REF_NAME, add_to_index, write_blob, write_json
from edgeloop_components.registry import Settings, push
from edgeloop_components.registry.documents import signature_tag
from edgeloop_components.signing import (
    Signer,
    attest,
    attest_document,
    new_key,
    read_signer,
    read_trusted,
    sign,
    sign_file,
    verify,
)
from edgeloop_contracts.ecdsa import SignatureError

Made = tuple[Path, str]
SLSA = "https://slsa.dev/provenance/v1"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the key pairs ours.key and other.key, and a trusted root without any authority."""
    folder = tmp_path_factory.mktemp("keys")
    for name in ("ours", "other"):
        new_key(folder / f"{name}.key", "a passphrase" if name == "ours" else "")
    (folder / "root.json").write_text('{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}')
    return folder


@pytest.fixture
def signer(keys: Path) -> Signer:
    """Our key, opened with its passphrase."""
    return read_signer(keys / "ours.key", "a passphrase")


@pytest.fixture
def cosign(tools: Any, keys: Path) -> Callable[..., tuple[int, str]]:
    """Verifies as a person would; gives exit code and what was said. `form`: tag, bundle, or the predicate type."""
    offline = ["--insecure-ignore-tlog=true", "--allow-http-registry"]

    def run(name: str, form: str, key: str = "ours.pub") -> tuple[int, str]:
        tag = [tools.cosign, "verify", "--key", keys / key, *offline, name]
        kind = "https://sigstore.dev/cosign/sign/v1" if form == "bundle" else form
        attested = [tools.cosign, "verify-attestation", "--new-bundle-format", "--trusted-root", keys / "root.json"]
        attested += ["--key", keys / key, "--type", kind, *offline, name]
        done = tools.run(tag if form == "tag" else attested)
        return done.returncode, done.stdout + done.stderr

    return run


def statement(digest: str) -> dict[str, Any]:
    subject = {"name": "edge/pump", "digest": {"sha256": digest.removeprefix("sha256:")}}
    definition = {"buildType": "https://edgeloop.dev/x", "externalParameters": {"loop": "pump"}}
    predicate = {"buildDefinition": definition, "runDetails": {"builder": {"id": "https://edgeloop.dev/builder"}}}
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [subject],
        "predicateType": SLSA,
        "predicate": predicate,
    }


def test_cosign_accepts(
    made: Made, signer: Signer, keys: Path, docker_registry: Any, cosign: Callable[..., Any], settings: Settings
) -> None:
    """Index and images, in both formats, with our public key; and so does our own verification."""
    at, digest = made
    signed = sign(at, digest, "edge/pump", signer)
    children = [child["digest"] for child in oci.document(at, digest)["manifests"]]
    assert set(signed) == {digest, *children}
    push(f"oci:{at}:edge/pump:1", f"{docker_registry.host}/signed:1", settings=settings)
    for name in (":1", f"@{digest}", f"@{children[1]}"):
        for form in ("tag", "bundle"):
            code, said = cosign(f"{docker_registry.host}/signed{name}", form)
            assert code == 0, said
        _, found, _ = verify(f"{docker_registry.host}/signed{name}", read_trusted(keys / "ours.pub"), settings=settings)
        assert [one.form for one in found] == ["tag", "bundle"]


def test_cosign_asks_the_referrers_api(
    made: Made, signer: Signer, registry: Any, host: str, cosign: Callable[..., Any], tools: Any, settings: Settings
) -> None:
    """On a registry with the referrers API nothing is under a fallback tag, and cosign and oras find the signature."""
    at, digest = made
    sign(at, digest, "edge/pump", signer)
    push(f"oci:{at}:edge/pump:1", f"{host}/api:1", settings=settings)
    assert ("api", digest.replace(":", "-")) not in registry.tags
    for form in ("tag", "bundle"):
        code, said = cosign(f"{host}/api:1", form)
        assert code == 0, said
    seen = tools.run([tools.oras, "discover", "--plain-http", "--format", "json", f"{host}/api:1"])
    assert len(json.loads(seen.stdout)["manifests"]) == 1


def moved(at: Path, source: str, to: str) -> None:
    """Puts the signatures of one image under the name of another, as an attacker would."""
    stolen = next(d for name, d in oci.images(at).items() if name.endswith(signature_tag(source)))
    add_to_index(at, {**oci.descriptor(at, stolen), "annotations": {REF_NAME: f"edge/pump:{signature_tag(to)}"}})
    (bundle,) = [entry["digest"] for entry in oci.referrers(at, source)]
    body = oci.document(at, bundle)
    described = oci.descriptor(at, to)
    entry = write_json(at, oci.MANIFEST, {**body, "subject": described})
    add_to_index(at, {**entry, "artifactType": body["artifactType"], "annotations": body["annotations"]})


@pytest.mark.parametrize("form", ["tag", "bundle"])
@pytest.mark.parametrize("case", ["unsigned", "wrong key", "moved", "changed claim", "changed image"])
def test_cosign_and_we_refuse(
    made: Made,
    signer: Signer,
    keys: Path,
    docker_registry: Any,
    cosign: Callable[..., Any],
    settings: Settings,
    make_index: Callable[..., str],
    case: str,
    form: str,
) -> None:
    """An unsigned image, another key, a signature moved from another image, one changed byte: cosign and we both refuse."""
    at, digest = made
    key, name = "ours.pub", f"{docker_registry.host}/{case.replace(' ', '-')}-{form}:1"
    if case == "wrong key":
        sign(at, digest, "edge/pump", signer)
        key = "other.pub"
    elif case == "moved":
        other = make_index(at, "edge/other:1", b"another model", ("linux/arm64",))
        sign(at, other, "edge/pump", signer)
        moved(at, other, digest)
    elif case == "changed claim":
        sign(at, digest, "edge/pump", signer)
        changed(at, digest)
    elif case == "changed image":
        sign(at, digest, "edge/pump", signer)
        document = {**oci.document(at, digest), "annotations": {"one": "more"}}
        digest = write_json(at, oci.INDEX, document)["digest"]
        oci.name_image(at, digest, "edge/pump:1")
    push(f"oci:{at}@{digest}", name, settings=settings)
    code, said = cosign(name, form, key)
    assert code != 0, said
    assert {"tag": "signature", "bundle": "verif"}[form] in said.lower() or "no valid bundles" in said
    with pytest.raises(SignatureError, match="expected a signature of a trusted key"):
        verify(name, read_trusted(keys / key), settings=settings)


def changed(at: Path, digest: str) -> None:
    """Changes one byte in what was signed, in both formats, with digests that fit."""
    index = json.loads((at / "index.json").read_bytes())
    for entry in list(index["manifests"]):
        body = oci.document(at, entry["digest"])
        name = entry.get("annotations", {}).get(REF_NAME, "")
        if not (name.endswith(signature_tag(digest)) or body.get("subject", {}).get("digest") == digest):
            continue
        index["manifests"].remove(entry)
        layer = body["layers"][0]
        data = blob_path(at, layer["digest"]).read_bytes()
        other = data.replace(b'"sig":"M', b'"sig":"N').replace(b"edge/pump", b"edge/jump")
        assert other != data
        new = {**layer, **write_blob(at, layer["mediaType"], other)}
        config = body["config"]
        if name:
            settings = json.loads(blob_path(at, config["digest"]).read_bytes())
            settings["rootfs"]["diff_ids"] = [new["digest"]]
            config = write_json(at, config["mediaType"], settings)
        index["manifests"].append(
            {**entry, **write_json(at, oci.MANIFEST, {**body, "config": config, "layers": [new]})}
        )
    write_bytes(at / "index.json", json.dumps(index).encode())


def test_attestations(
    made: Made, signer: Signer, keys: Path, docker_registry: Any, cosign: Callable[..., Any], settings: Settings
) -> None:
    """Provenance and a bill of materials as signed statements: cosign finds each by its type, and so do we."""
    at, digest = made
    sign(at, digest, "edge/pump", signer)
    attest(at, digest, statement(digest), signer)
    attest_document(at, digest, "https://spdx.dev/Document", {"spdxVersion": "SPDX-2.3"}, signer, name="edge/pump")
    name = f"{docker_registry.host}/attested:1"
    push(f"oci:{at}:edge/pump:1", name, settings=settings)
    for kind in ("slsaprovenance1", SLSA, "spdxjson", "https://spdx.dev/Document"):
        code, said = cosign(name, kind)
        assert code == 0, said
        assert cosign(name, kind, "other.pub")[0] != 0
    assert cosign(name, "cyclonedx")[0] != 0
    _, _, found = verify(name, read_trusted(keys / "ours.pub"), settings=settings)
    assert sorted(one.predicate_type for one in found) == [SLSA, "https://spdx.dev/Document"]
    assert found[0].key_id == signer.public.key_id


def test_we_accept_what_cosign_signs(
    made: Made, docker_registry: Any, tools: Any, settings: Settings, tmp_path: Path, signer: Signer, keys: Path
) -> None:
    """cosign signs and attests with a key of its own: our verification takes both; ours are kept beside them."""
    at, digest = made
    name = f"{docker_registry.host}/theirs@{digest}"
    sign(at, digest, "edge/pump", signer)
    push(f"oci:{at}:edge/pump:1", f"{docker_registry.host}/theirs:1", settings=settings)
    more = {"env": {"COSIGN_PASSWORD": "x", "HOME": str(tmp_path), "PATH": "/usr/bin"}, "cwd": tmp_path}
    (tmp_path / "predicate.json").write_text(json.dumps(statement(digest)["predicate"]))
    offline = ["--tlog-upload=false", "--allow-http-registry", "--key", "cosign.key", "-y"]
    for words in (
        ["generate-key-pair"],
        ["sign", *offline, name],
        ["attest", "--new-bundle-format", *offline, "--predicate", "predicate.json", "--type", "slsaprovenance1", name],
    ):
        done = tools.run([tools.cosign, *words], **more)
        assert done.returncode == 0, done.stderr
    theirs = read_trusted(tmp_path / "cosign.pub")
    _, found, attested = verify(name, theirs, settings=settings)
    assert [one.form for one in found] == ["tag"]
    assert [one.predicate_type for one in attested] == [SLSA]
    push(f"oci:{at}:edge/pump:1", f"{docker_registry.host}/theirs:1", settings=settings)
    _, found, _ = verify(name, [*theirs, *read_trusted(keys / "ours.pub")], settings=settings)
    assert [(one.form, one.key_id) for one in found] == [
        ("tag", signer.public.key_id),
        ("tag", theirs[0].key_id),
        ("bundle", signer.public.key_id),
    ]


def test_detached_signature(signer: Signer, keys: Path, tools: Any, tmp_path: Path) -> None:
    """cosign verify-blob takes the detached signature of a file, and refuses it for a changed file."""
    binary = tmp_path / "server"
    binary.write_bytes(b"\x7fELF" * 1000)
    made = sign_file(binary, signer)
    command = [
        tools.cosign,
        "verify-blob",
        "--key",
        keys / "ours.pub",
        "--insecure-ignore-tlog=true",
        "--signature",
        made,
        binary,
    ]
    assert tools.run(command).returncode == 0
    binary.write_bytes(b"\x7fELF" * 999)
    assert tools.run(command).returncode != 0


@pytest.mark.slow
def test_cosign_finds_what_is_attested_of_a_lone_file(
    signer: Signer, docker_registry: Any, cosign: Callable[..., Any], settings: Settings, tmp_path: Path
) -> None:
    """After packing with a key and a push: signature, provenance and both bills of materials, of index and image."""
    from sklearn.linear_model import LogisticRegression

    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.package.layers import host_platform
    from edgeloop_components.package.lone import package_lone

    rows = np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32)
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    (tmp_path / "pump.onnx").write_bytes(to_onnx(fitted, rows[:1], target_opset=17).SerializeToString())
    images, lone = tmp_path / "images", read_lone(tmp_path / "pump.onnx")
    made = package_lone(lone, images, platforms=[host_platform()], runtime="native", signer=signer)
    name = f"{docker_registry.host}/edge/lone"
    push(f"oci:{images}:edgeloop/pump:1", f"{name}:1", settings=settings)
    for digest in (made.index, made.packages[0].digest):
        for form in ("tag", "bundle", SLSA, "https://spdx.dev/Document", "https://cyclonedx.org/bom"):
            code, said = cosign(f"{name}@{digest}", form)
            assert code == 0, said
            assert cosign(f"{name}@{digest}", form, "other.pub")[0] != 0
