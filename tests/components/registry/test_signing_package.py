"""From the package step to the rollout and the node: signed where a key is configured, and refused where one is asked for."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.package import layout as oci
from edgeloop_components.rollout.core import make_rollout, signed_ones
from edgeloop_components.signing import (
    Signer,
    SigningError,
    attest,
    attestations,
    configured_signer,
    configured_trust,
    new_key,
    read_signer,
    read_trusted,
    sign,
    sign_folder,
    sign_package,
    verify_layout,
)
from edgeloop_components.signing.bundle import open_bundle
from edgeloop_contracts import Loop, ModelVersion, Package, digest_of, from_json, loads
from edgeloop_contracts.codec import dumps
from edgeloop_contracts.ecdsa import SignatureError, verify
from edgeloop_contracts.signature import check_image, open_statement, subjects
from edgeloop_node.verify import verify_image

Made = tuple[Path, str]


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A new key, k.key, with k.pub beside it."""
    new_key(tmp_path / "k.key")
    return read_signer(tmp_path / "k.key")


def package_of(at: Path, digest: str, number: int = 1) -> Package:
    return Package(
        loop="pump", version=number, target="t", platform="linux/amd64", runtime="native", repository="edge/pump",
        digest=digest, size_bytes=1, index=digest,
    )  # fmt: skip


def test_package_travels_with_its_signatures(made: Made, signer: Signer) -> None:
    """A signed package says so in its document, which still says it when it was written and read; SBOMs are attested."""
    at, index = made
    image = oci.document(at, index)["manifests"][0]["digest"]
    for kind in ("application/spdx+json", "application/vnd.cyclonedx+json"):
        oci.write_artifact(at, kind, [(kind, b'{"name": "bill"}')], subject=image)
    package = sign_package(at, replace(package_of(at, image), index=index), signer)
    read = loads(Package, dumps(package))
    assert read == package
    for digest in (image, index):
        assert check_image(digest, read.signatures, [signer.public]) == signer.public
        assert [one.form for one in verify_layout(at, digest, [signer.public])] == ["tag", "bundle"]
    found = {one.predicate_type: one.predicate for one in attestations(at, image, [signer.public])}
    assert found == {"https://spdx.dev/Document": {"name": "bill"}, "https://cyclonedx.org/bom": {"name": "bill"}}
    with pytest.raises(SignatureError, match="signature of another image"):
        check_image(digest_of("another"), read.signatures, [signer.public])


def test_signing_again_changes_nothing(made: Made, signer: Signer, tmp_path: Path) -> None:
    """The same image and key give the same signatures and the same layout; another key's signature stands beside it."""
    at, digest = made
    first = sign(at, digest, "edge/pump", signer)
    before = {path: path.read_bytes() for path in at.rglob("*") if path.is_file()}
    assert sign(at, digest, "edge/pump", signer) == first
    assert {path: path.read_bytes() for path in at.rglob("*") if path.is_file()} == before
    new_key(tmp_path / "two.key")
    two = read_signer(tmp_path / "two.key")
    sign(at, digest, "edge/pump", two)
    assert len(verify_layout(at, digest, [signer.public, two.public])) == 4
    assert len(verify_layout(at, digest, [two.public])) == 2


LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "pump"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"onnx": "m.onnx"},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    },
)


def version(number: int) -> ModelVersion:
    zero = digest_of("zero")
    return ModelVersion(
        loop="pump", number=number, state="accepted", run_key="r", snapshot=zero, onnx=zero, reference=zero, golden=zero
    )  # fmt: skip


def test_rollout_verifies(made: Made, signer: Signer, tmp_path: Path) -> None:
    """With a trusted key a package that it has not signed is refused, and no way back leads to one; without, all go out."""
    at, digest = made
    good, bad = sign_package(at, package_of(at, digest, 2), signer), package_of(at, digest, 2)
    old = package_of(at, digest, 1)
    other = replace(good, digest=digest_of("another image"))

    def roll(package: Package, previous: Package, trusted: Path | None) -> object:
        keys = read_trusted(trusted) if trusted else ()
        return make_rollout(
            LOOP, version(2), [package], previous=1, previous_packages={"t": previous}, evidence_s=0, created_s=1, trusted=keys
        )  # fmt: skip

    assert roll(bad, old, None)
    assert roll(good, replace(good, version=1), tmp_path / "k.pub")
    for package in (bad, other):
        with pytest.raises(SignatureError, match=r"package of pump@2 for t: image sha256:.* expected a signature"):
            roll(package, good, tmp_path / "k.pub")
    with pytest.raises(SignatureError, match=r"package of pump@1 for t: .* it is not signed"):
        roll(good, old, tmp_path / "k.pub")
    new_key(tmp_path / "foreign.key")
    with pytest.raises(SignatureError, match="was not made over these bytes"):
        roll(good, good, tmp_path / "foreign.pub")
    kept, why = signed_ones({"t": old, "u": good}, [signer.public])
    assert (set(kept), why.startswith("no way back on t: package of pump@1 for t")) == ({"u"}, True)
    assert signed_ones({"t": old}, ()) == ({"t": old}, "")


def test_keys(tmp_path: Path) -> None:
    """A key pair with and without a passphrase; a wrong passphrase, another kind, an open mode, an old key: refused."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    private, public = new_key(tmp_path / "a.key", "word")
    assert private.stat().st_mode & 0o777 == 0o600
    assert b"ENCRYPTED" in private.read_bytes()
    signer = read_signer(private, "word")
    assert read_trusted(public) == (signer.public,)
    verify(signer.public, b"data", signer.sign(b"data"))
    assert signer.sign(b"data") == signer.sign(b"data")
    with pytest.raises(
        SigningError, match="has a passphrase: expected it in EDGELOOP_KEY_PASSWORD, found nothing there"
    ):
        read_signer(private, "")
    with pytest.raises(SigningError, match="EDGELOOP_KEY_PASSWORD does not open it"):
        read_signer(private, "wrong")
    with pytest.raises(SigningError, match="a key is not overwritten"):
        new_key(tmp_path / "a.key")
    with pytest.raises(SigningError, match="expected a name for the private key"):
        new_key(tmp_path / "c.pub")
    assert not (tmp_path / "c.pub").exists()
    with pytest.raises(SigningError, match="No such file"):
        read_signer(tmp_path / "gone.key")
    with pytest.raises(SigningError, match="found a public key, which only verifies"):
        read_signer(_private(tmp_path / "b.key", public.read_bytes()))
    with pytest.raises(SigningError, match="expected a private key in PEM"):
        read_signer(_private(tmp_path / "b.key", b"no key"))
    for other in (ec.generate_private_key(ec.SECP384R1()), rsa.generate_private_key(65537, 2048)):
        data = other.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, form.NoEncryption())
        with pytest.raises(SigningError, match="expected an EC key on P-256, found another kind"):
            read_signer(_private(tmp_path / "b.key", data))
    new_key(tmp_path / "open.key")
    (tmp_path / "open.key").chmod(0o644)
    with pytest.raises(SigningError, match="chmod 600"):
        read_signer(tmp_path / "open.key")
    with pytest.raises(SigningError, match="found PRIVATE KEY"):
        read_trusted(tmp_path / "open.key")


def _private(path: Path, data: bytes) -> Path:
    path.touch(0o600)
    path.write_bytes(data)
    return path


def test_configuration(tmp_path: Path) -> None:
    """The variables name a key to sign with and the keys to trust, a file or a folder; without them there is neither."""
    new_key(tmp_path / "a.key", "word")
    new_key(tmp_path / "b.key")
    assert configured_signer({}) is None
    assert configured_trust({}) == ()
    signer = configured_signer({"EDGELOOP_SIGNING_KEY": str(tmp_path / "a.key"), "EDGELOOP_KEY_PASSWORD": "word"})
    assert signer is not None
    assert configured_trust({"EDGELOOP_PUBLIC_KEY": str(tmp_path / "a.pub")}) == (signer.public,)
    assert len(configured_trust({"EDGELOOP_PUBLIC_KEY": str(tmp_path)})) == 2
    with pytest.raises(SigningError, match="No such file"):
        configured_trust({"EDGELOOP_PUBLIC_KEY": str(tmp_path / "gone")})


def test_keys_in_the_environment(tmp_path: Path) -> None:
    """In a cluster the variables hold the PEM texts themselves, from a Secret and a ConfigMap; a broken one is named."""
    private, public = (path.read_text() for path in new_key(tmp_path / "a.key", "word"))
    signer = configured_signer({"EDGELOOP_SIGNING_KEY": private, "EDGELOOP_KEY_PASSWORD": "word"})
    assert signer is not None
    assert configured_trust({"EDGELOOP_PUBLIC_KEY": public}) == (signer.public,)
    with pytest.raises(SigningError, match="EDGELOOP_SIGNING_KEY: expected a private key in PEM"):
        configured_signer({"EDGELOOP_SIGNING_KEY": private.replace("A", "", 1), "EDGELOOP_KEY_PASSWORD": "word"})
    with pytest.raises(SigningError, match="EDGELOOP_PUBLIC_KEY: public key: expected a PEM block"):
        configured_trust({"EDGELOOP_PUBLIC_KEY": "-----BEGIN PUBLIC KEY-----"})


def test_what_cannot_be_signed(made: Made, signer: Signer, tmp_path: Path) -> None:
    """A statement about something else, one without a type, a folder with a link or without files: refused."""
    at, digest = made
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": "x", "digest": {"sha256": "0" * 64}}],
        "predicateType": "x",
    }
    with pytest.raises(SigningError, match="expected a statement about sha256:"):
        attest(at, digest, statement, signer)
    statement["subject"] = [{"name": "x", "digest": {"sha256": digest.removeprefix("sha256:")}}]
    assert attest(at, digest, statement, signer).startswith("sha256:")
    with pytest.raises(SigningError, match="of the type None"):
        attest(at, digest, {**statement, "predicateType": None}, signer)
    with pytest.raises(SigningError, match=r"statement\.subject"):
        attest(at, digest, {}, signer)
    with pytest.raises(SignatureError, match="it is not signed"):  # an attestation does not make a signature
        verify_layout(at, digest, [signer.public])
    (tmp_path / "empty").mkdir()
    with pytest.raises(SigningError, match="found none"):
        sign_folder(tmp_path / "empty", signer)
    (tmp_path / "empty" / "link").symlink_to("/etc/passwd")
    with pytest.raises(SigningError, match="found a link"):
        sign_folder(tmp_path / "empty", signer)


@given(st.binary(max_size=100), st.recursive(st.none() | st.text() | st.integers(), lambda i: st.lists(i) | st.dictionaries(
    st.sampled_from(["mediaType", "dsseEnvelope", "payload"]), i), max_leaves=8))  # fmt: skip
def test_any_bundle_is_read(data: bytes, value: object) -> None:
    """Whatever bytes a bundle has: an envelope or SignatureError."""
    kind = "application/vnd.dev.sigstore.bundle.v0.3+json"
    for text in (data, json.dumps(value).encode(), json.dumps({"mediaType": kind, "dsseEnvelope": value}).encode()):
        try:
            assert isinstance(open_bundle(text), dict)
        except SignatureError:
            continue


def test_signed_files_reach_the_node(signer: Signer, tmp_path: Path) -> None:
    """What is signed when a model is packed verifies on the node from the unpacked image, and not when a byte of it changed."""
    from edgeloop_components.package.core import model_folder, model_place
    from edgeloop_components.package.layers import files_layer
    from edgeloop_node.verify import verify_folder

    compiled, made = tmp_path / "compiled", version(3)
    compiled.mkdir()
    for name in ("model.onnx", "reference.json", "golden.json"):
        (compiled / name).write_text(f"content of {name}")
    with model_folder(made, compiled) as folder:
        sign_folder(folder, signer, predicate={"loop": made.loop, "version": made.number})
        layer = files_layer(folder, model_place(made))
        digest = oci.write_image(tmp_path / "l", [layer], platform="linux/arm64", config={})
    oci.unpack(tmp_path / "l", digest, tmp_path / "root")
    on_node = tmp_path / "root" / model_place(made)
    assert verify_folder(on_node, tmp_path / "k.pub") == signer.public
    (on_node / "golden.json").chmod(0o644)
    (on_node / "golden.json").write_text("content of golden.jsoN")
    with pytest.raises(SignatureError, match=r"golden\.json: expected sha256:"):
        verify_folder(on_node, tmp_path / "k.pub")


@pytest.mark.parametrize("signing", [True, False])
def test_package_step(
    signer: Signer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    signing: bool,
) -> None:
    """The pipeline's package step signs image, provenance and bills of materials when a key is configured, and says which."""
    from edgeloop_components import wrapping
    from edgeloop_components.catalog import catalog
    from edgeloop_components.steps import Step
    from edgeloop_contracts import ParityResult, ResourceProfile

    made, compiled = version(3), tmp_path / "compiled"
    (compiled / "model").mkdir(parents=True)
    for name, data in (("server", "\x7fELF"), ("reference.json", "{}"), ("golden.json", "{}")):
        (compiled / "model" / name).write_text(data)
    for name in ("model.onnx", "reference.json", "golden.json"):  # the version's folder
        (compiled / name).write_text("{}")
    documents = {
        "parity.json": ParityResult(
            loop="pump", target="t", runtime="native", rows=1, max_abs_difference=0, limit=1, passed=True
        ),
        "profile.json": ResourceProfile(
            loop="pump", target="t", method="x", latency_p50_ms=1, latency_p99_ms=1, memory_peak_mib=1, cpu_request_m=1,
            cpu_limit_m=1, memory_request_mib=1, memory_limit_mib=1,
        ),
        "version.json": made,
    }  # fmt: skip
    for name, document in documents.items():
        (compiled / name).write_text(dumps(document))
    kept: list[Package] = []
    monkeypatch.setattr(catalog, "put_package", lambda _, package, **more: kept.append(package))
    monkeypatch.setattr("edgeloop_components.stores.objects.connect", lambda: None)
    monkeypatch.setenv("EDGELOOP_IMAGES", str(tmp_path / "images"))
    monkeypatch.setenv("EDGELOOP_SIGNING_KEY", str(tmp_path / "k.key") if signing else "")
    loop = replace(LOOP, targets=(replace(LOOP.targets[0], runtime="native"),))
    step = Step("package", "t", loop, "r")
    package = wrapping.pack(step, str(compiled), str(compiled), str(compiled), str(tmp_path / "out"))
    assert kept == [package]
    assert loads(Package, (tmp_path / "out" / "package.json").read_bytes()) == package
    oci.unpack(tmp_path / "images", package.digest, tmp_path / "root")
    files = {path.name for path in (tmp_path / "root" / "edgeloop").iterdir()}
    if not signing:
        assert (package.signatures, files) == ((), {"server"})
        return
    assert files == {"server", "signature.json"}
    assert verify_image(tmp_path / "root", tmp_path / "k.pub") == signer.public
    envelope = json.loads((tmp_path / "root" / "edgeloop" / "signature.json").read_bytes())
    statement, _ = open_statement(envelope, [signer.public])
    assert (list(subjects(statement)), statement["predicate"]) == (["server"], {"loop": "pump", "version": 3})
    assert check_image(package.digest, package.signatures, [signer.public]) == signer.public
    assert verify_layout(tmp_path / "images", package.digest, [signer.public])
    kinds = {one.predicate_type for one in attestations(tmp_path / "images", package.digest, [signer.public])}
    assert kinds == {"https://slsa.dev/provenance/v1", "https://spdx.dev/Document", "https://cyclonedx.org/bom"}
    again = wrapping.pack(step, str(compiled), str(compiled), str(compiled), str(tmp_path / "out"))
    assert again == package
