"""Nodes with trusted keys pull and unpack signed images and no others; nodes without keys take every image."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.package import layout
from edgeloop_components.package.blobs import blob_path
from edgeloop_components.package.layers import files_layer
from edgeloop_components.signing import Signer, new_key, read_signer, sign, sign_folder
from edgeloop_pipelines.local.standin.store import ImageStore, PullError, outcome


@pytest.fixture
def signer(tmp_path: Path) -> Signer:
    """A new key whose public key is in the cluster folder's `keys`."""
    new_key(tmp_path / "k.key")
    keys = tmp_path / "cluster" / "keys"
    keys.mkdir(parents=True)
    (tmp_path / "k.pub").rename(keys / "k.pub")
    return read_signer(tmp_path / "k.key")


def signed_image(tmp_path: Path, plain: str, signer: Signer, runtime: str = "onnxruntime") -> str:
    """The image with its program's folder and a model signed in it, and signed itself."""
    site, program, model = tmp_path / "images", tmp_path / "program", tmp_path / "signed"
    for path, content in (
        (program / "server", b"#!/usr/bin/python3\nimport tiny\n"),
        (model / "model.onnx", b"weights"),
    ):
        path.parent.mkdir()
        path.write_bytes(content)
        sign_folder(path.parent, signer)
    document, config = layout.manifest(site, plain), layout.image_config(site, plain)
    under = layout.Under(tuple(document["layers"]), tuple(config["rootfs"]["diff_ids"]))
    layers = [files_layer(program, "edgeloop"), files_layer(model, "models/power/1")]
    settings = {**config["config"], "Labels": {"dev.edgeloop.runtime": runtime}}
    digest = layout.write_image(site, layers, platform="linux/amd64", config=settings, under=under)
    sign(site, digest, "edge/tiny", signer)
    return digest


def pulled(store: ImageStore, digest: str, node: str = "n1") -> tuple[int, str]:
    future = store.pull(node, f"edge/tiny@{digest}")
    future.exception()
    return outcome(future)


def test_only_signed_images_are_unpacked(tmp_path: Path, tiny_image: Callable[..., str], signer: Signer) -> None:
    """An unsigned image is refused and not unpacked; once it is signed, it is pulled with at most 4 KiB of signatures."""
    digest, site = tiny_image("v1"), tmp_path / "images"
    store = ImageStore(tmp_path / "cluster", site, {})
    try:
        _, why = pulled(store, digest)
        assert (
            f"image {digest}: expected a signature of a trusted key ({signer.public.key_id}); it is not signed" in why
        )
        assert not store.rootfs(f"edge/tiny@{digest}").exists()
        new_key(tmp_path / "other.key")
        sign(site, digest, "edge/tiny", read_signer(tmp_path / "other.key"))
        assert "was not made over these bytes" in pulled(store, digest)[1]
        sign(site, digest, "edge/tiny", signer)
        copied, why = pulled(store, digest)
        assert (0 < copied < 4096, why) == (True, "")
        assert store.rootfs(f"edge/tiny@{digest}").is_dir()
        site.rename(tmp_path / "away")  # the site is out of reach: what the node has is enough to verify
        assert pulled(store, digest) == (0, "")
        assert "is not there" in pulled(store, digest, "n2")[1]
    finally:
        store.close()


def test_signature_of_another_image(tmp_path: Path, tiny_image: Callable[..., str], signer: Signer) -> None:
    """A signature that was moved to another image does not let it through, nor does an empty folder of keys."""
    one, two, site = tiny_image("v1"), tiny_image("v2"), tmp_path / "images"
    sign(site, one, "edge/tiny", signer)
    (signature,) = [d for name, d in layout.images(site).items() if name.endswith(".sig")]
    layout.name_image(site, signature, f"edge/tiny:{two.replace(':', '-')}.sig")
    store = ImageStore(tmp_path / "cluster", site, {})
    try:
        assert f"a signature of another image, {one}" in pulled(store, two)[1]
        next((tmp_path / "cluster" / "keys").iterdir()).unlink()
        assert "expected public keys" in pulled(store, one)[1]
        (tmp_path / "cluster" / "keys").rmdir()
        assert pulled(store, two)[1] == ""
    finally:
        store.close()


def test_what_changed_on_the_disk_is_not_started(
    cluster: Any, start_standin: Callable[..., Any], tiny_image: Callable[..., str], tmp_path: Path, signer: Signer
) -> None:
    """A signed image runs; once a byte of its unpacked model has changed, the node refuses to start it and says which file."""
    digest = signed_image(tmp_path, tiny_image("v1"), signer)
    standin = start_standin()
    cluster.apply(digest)
    standin.until(lambda: cluster.settled(digest))
    standin.stop()
    (weights,) = (cluster.folder / "rootfs").glob("*/models/power/1/model.onnx")
    weights.chmod(0o644)
    weights.write_bytes(b"weightz")
    log = cluster.folder / "standin.log"
    again = start_standin()
    again.until(lambda: "cannot start: " in log.read_text())
    assert re.search(
        r"cannot start: .*model\.onnx: expected sha256:\w+, as it was signed, found sha256:", log.read_text()
    )
    assert cluster.state().available == 0


@pytest.mark.parametrize(
    ("runtime", "alter", "why"),
    [
        ("onnxruntime", lambda root: (root / "edgeloop/evil.py").write_text(""), "evil.py: expected no such file"),
        ("onnxruntime", lambda root: shutil.rmtree(root / "edgeloop"), "expected an unpacked image of a server"),
        ("onnxruntime", lambda root: shutil.rmtree(root / "models"), "expected a model in /models"),
        ("native", lambda root: None, "expected the program of a native image, found a script"),
    ],
)
def test_what_the_signed_configuration_says_is_checked(
    tmp_path: Path,
    tiny_image: Callable[..., str],
    signer: Signer,
    runtime: str,
    alter: Callable[[Path], object],
    why: str,
) -> None:
    """What lies on the disk does not choose the check: a server that is gone, or another than the package's, is refused."""
    digest = signed_image(tmp_path, tiny_image("v1"), signer, runtime)
    store, image = ImageStore(tmp_path / "cluster", tmp_path / "images", {}), f"edge/tiny@{digest}"
    try:
        assert pulled(store, digest)[1] == ""
        if runtime != "native":
            store.check("n1", image)
        alter(store.rootfs(image))
        with pytest.raises(PullError, match=why):
            store.check("n1", image)
    finally:
        store.close()


def test_damaged_signature_documents(tmp_path: Path, tiny_image: Callable[..., str], signer: Signer) -> None:
    """A site whose signature documents are damaged gives an error that says so, and nothing is unpacked."""
    digest, site = tiny_image("v1"), tmp_path / "images"
    sign(site, digest, "edge/tiny", signer)
    for found in layout.images(site).values():
        blob_path(site, found).write_bytes(b"{}")
    store = ImageStore(tmp_path / "cluster", site, {})
    try:
        assert "damaged: expected sha256:" in pulled(store, digest)[1]
        assert not store.rootfs(f"edge/tiny@{digest}").exists()
    finally:
        store.close()
