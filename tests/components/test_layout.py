"""Deterministic layers and the image layout: same input same digest, nothing half written, nothing unsafe unpacked."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import multiprocessing
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from edgeloop_components.package import archive, layers, layout
from edgeloop_components.package.blobs import blob_path
from edgeloop_components.package.layers import File, Layer, PackageError, files_layer, write_tar
from edgeloop_contracts import canonical

CONFIG = {"User": "65532:65532", "Entrypoint": ["/run"]}


def folder_of(root: Path, files: dict[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def sha(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@pytest.fixture
def base(tmp_path: Path) -> Layer:
    """A compressed lower layer."""
    return files_layer(folder_of(tmp_path / "base", {"lib/a.txt": b"a" * 5000, "b.txt": b"b"}), "usr", compressed=True)


@pytest.fixture
def model(tmp_path: Path) -> Layer:
    """A plain model layer."""
    return files_layer(folder_of(tmp_path / "model", {"model.onnx": os.urandom(3000)}), "model")


def image(at: Path, *parts: Layer, name: str = "x:1") -> str:
    digest = layout.write_image(at, parts, platform="linux/amd64", config=CONFIG)
    layout.name_image(at, digest, name)
    return digest


def test_tar_is_deterministic(tmp_path: Path) -> None:
    """Order of creation, times, owners and the umask leave no trace in a layer; the executable bit does."""
    one, two = tmp_path / "one", tmp_path / "two"
    files = {"z": b"1", "a/b": b"2", "a.b": b"3"}
    folder_of(one, files)
    folder_of(two, dict(reversed(files.items())))
    os.utime(two / "z", (1, 1))
    (two / "a/b").chmod(0o600)
    outs = []
    for folder in (one, two):
        out = io.BytesIO()
        write_tar(files_layer(folder, "m"), out)
        outs.append(out.getvalue())
    assert outs[0] == outs[1]
    with tarfile.open(fileobj=io.BytesIO(outs[0])) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == ["m", "m/a", "m/a.b", "m/a/b", "m/z"]
    assert {(m.uid, m.gid, m.mtime, m.uname) for m in members} == {(0, 0, 0, "")}
    (two / "z").chmod(0o755)
    assert files_layer(two, "m").key != files_layer(one, "m").key


def test_layer_refuses_links_and_changes(tmp_path: Path) -> None:
    """A link in the folder, an empty folder, and a file that changed after it was described are errors that name it."""
    folder = folder_of(tmp_path / "f", {"a": b"1"})
    layer = files_layer(folder, "m")
    (folder / "a").write_bytes(b"2")
    with pytest.raises(PackageError, match="a: changed since"):
        write_tar(layer, io.BytesIO())
    (folder / "link").symlink_to("/etc/passwd")
    with pytest.raises(PackageError, match="link: expected a plain file"):
        files_layer(folder, "m")
    (tmp_path / "empty").mkdir()
    with pytest.raises(PackageError, match="found none"):
        files_layer(tmp_path / "empty", "m")


def test_same_input_same_digest(tmp_path: Path, base: Layer, model: Layer) -> None:
    """The same layers and config give the same image in another layout; another config gives another."""
    first, second = image(tmp_path / "1", base, model), image(tmp_path / "2", base, model)
    assert first == second
    other = layout.write_image(tmp_path / "2", (base, model), platform="linux/amd64", config={"User": "0"})
    assert other != first


def test_layout_follows_the_specification(tmp_path: Path, base: Layer, model: Layer) -> None:
    """oci-layout, index.json, manifest and config have the fields of the OCI image specification, all digests true."""
    digest = image(tmp_path, base, model, name="edgeloop/x:1")
    assert json.loads((tmp_path / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    (entry,) = json.loads((tmp_path / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == digest
    assert entry["size"] == blob_path(tmp_path, digest).stat().st_size
    assert entry["annotations"] == {"org.opencontainers.image.ref.name": "edgeloop/x:1"}
    assert entry["platform"] == {"os": "linux", "architecture": "amd64"}
    document, config = layout.manifest(tmp_path, digest), layout.image_config(tmp_path, digest)
    types = [part["mediaType"].removeprefix("application/vnd.oci.image.") for part in document["layers"]]
    assert types == ["layer.v1.tar+gzip", "layer.v1.tar"]
    packed, plain = (blob_path(tmp_path, part["digest"]).read_bytes() for part in document["layers"])
    assert config["rootfs"] == {"type": "layers", "diff_ids": [sha(gzip.decompress(packed)), sha(plain)]}
    assert config["config"] == CONFIG
    sizes = [len(packed), len(plain), document["config"]["size"], entry["size"]]
    assert layout.image_size_bytes(tmp_path, digest) == sum(sizes)
    for path in (tmp_path / "blobs" / "sha256").iterdir():
        assert sha(path.read_bytes()) == f"sha256:{path.name}"
    layout.verify(tmp_path, digest)


def test_known_layer_is_not_written_again(tmp_path: Path, base: Layer, model: Layer) -> None:
    """A layer whose key is known is neither read nor compressed again; when its blob is gone, it is."""
    at = tmp_path / "layout"
    blob = layout.write_layer(at, base)
    before = blob_path(at, blob.digest).stat()
    shutil.rmtree(tmp_path / "base")  # reading the files would fail
    assert layout.write_layer(at, base) == blob
    after = blob_path(at, blob.digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    blob_path(at, blob.digest).unlink()
    with pytest.raises(FileNotFoundError):
        layout.write_layer(at, base)


def test_names_move(tmp_path: Path, base: Layer, model: Layer) -> None:
    """A name belongs to its newest image; the one before stays in the layout, listed without it."""
    first, second = image(tmp_path, base), image(tmp_path, base, model)
    image(tmp_path, base, name="y:1")
    assert layout.images(tmp_path) == {"x:1": second, "y:1": first}
    layout.verify(tmp_path, first)
    assert layout.images(tmp_path / "none") == {}


def add_images(at: Path, start: int) -> None:
    for i in range(start, start + 5):
        name = f"file-{i}"
        data = folder_of(at.parent / name, {name: name.encode()})
        image(at, files_layer(data, "m"), name=f"x:{i}")


def test_racing_writers_lose_nothing(tmp_path: Path) -> None:
    """Three processes that add images at once all find theirs in index.json."""
    context = multiprocessing.get_context("spawn")
    at = tmp_path / "layout"
    children = [context.Process(target=add_images, args=(at, 10 * i)) for i in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert sorted(layout.images(at)) == sorted(f"x:{10 * i + k}" for i in range(3) for k in range(5))
    assert not list(at.rglob(".new-*"))


def test_damage_is_found(tmp_path: Path, base: Layer, model: Layer) -> None:
    """A changed, cut or missing blob is named by verify, by reading and by unpacking, with what to do."""
    digest = image(tmp_path / "l", base, model)
    path = blob_path(tmp_path / "l", layout.manifest(tmp_path / "l", digest)["layers"][1]["digest"])
    whole = path.read_bytes()
    for damaged in (whole[:-512], whole[:700] + b"X" + whole[701:]):
        path.write_bytes(damaged)
        with pytest.raises(layout.LayoutError, match=f"{path.name}: damaged.*pull it again"):
            layout.verify(tmp_path / "l", digest)
        with pytest.raises(layout.LayoutError, match=path.name):
            layout.unpack(tmp_path / "l", digest, tmp_path / "root")
        assert not (tmp_path / "root").exists()
    path.unlink()
    with pytest.raises(layout.LayoutError, match="is not there"):
        layout.verify(tmp_path / "l", digest)
    blob_path(tmp_path / "l", digest).write_bytes(b"{}")
    with pytest.raises(layout.LayoutError, match="damaged"):
        layout.manifest(tmp_path / "l", digest)
    with pytest.raises(layout.LayoutError, match="expected a digest"):
        layout.manifest(tmp_path / "l", "sha256:../../etc/passwd")


def test_transfer_ships_what_is_missing(tmp_path: Path, base: Layer, model: Layer) -> None:
    """The first pull costs the whole image, a second nothing, and that of a new model its layer and two documents."""
    source, node = tmp_path / "source", tmp_path / "node"
    first = image(source, base, model)
    newer = files_layer(folder_of(tmp_path / "model2", {"model.onnx": os.urandom(3000)}), "model")
    second = image(source, base, newer, name="x:2")
    assert layout.transfer(source, node, first) == layout.image_size_bytes(source, first)
    assert layout.transfer(source, node, first) == 0
    document = layout.manifest(source, second)
    own = document["layers"][1]["size"] + document["config"]["size"] + blob_path(source, second).stat().st_size
    assert layout.transfer(source, node, second) == own
    assert layout.images(node) == {"x:1": first, "x:2": second}
    layout.verify(node, second)


def test_transfer_goes_on_where_it_stopped(tmp_path: Path, model: Layer) -> None:
    """The part that an interrupted pull left is used; a part that is something else is thrown away."""
    source = tmp_path / "source"
    digest = image(source, model)
    path = blob_path(source, layout.manifest(source, digest)["layers"][0]["digest"])
    whole, total = path.read_bytes(), layout.image_size_bytes(source, digest)
    for part, saved in ((whole[:1000], 1000), (b"junk" * 100, 0)):
        node = tmp_path / f"node-{saved}"
        folder_of(node, {f".parts/{path.name}": part})
        assert layout.transfer(source, node, digest) == total - saved
        layout.verify(node, digest)


def test_transfer_of_damage_leaves_no_image(tmp_path: Path, base: Layer, model: Layer) -> None:
    """A damaged source is refused: the node has no such blob and no such image; after the repair the pull succeeds."""
    source, node = tmp_path / "source", tmp_path / "node"
    digest = image(source, base, model)
    path = blob_path(source, layout.manifest(source, digest)["layers"][1]["digest"])
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + b"X")
    with pytest.raises(layout.LayoutError, match="damaged"):
        layout.transfer(source, node, digest)
    assert not blob_path(node, f"sha256:{path.name}").exists()
    assert layout.images(node) == {}
    path.write_bytes(whole)
    layout.transfer(source, node, digest)
    layout.verify(node, digest)


def test_unpack(tmp_path: Path, base: Layer) -> None:
    """The layers' files lie in the folder, higher layers over lower ones, read-only, executables executable; a second
    call does nothing, and a folder that holds something else is refused."""
    top = folder_of(tmp_path / "top", {"b.txt": b"new", "run": b"#!"})
    (top / "run").chmod(0o755)
    at, root = tmp_path / "l", tmp_path / "nodes" / "root"
    digest = image(at, base, files_layer(top, "usr"))
    layout.unpack(at, digest, root)
    files = {p.relative_to(root).as_posix(): p for p in root.rglob("*") if p.is_file()}
    assert {name: path.read_bytes()[:3] for name, path in files.items() if name != ".edgeloop-image"} == {
        "usr/b.txt": b"new",
        "usr/lib/a.txt": b"aaa",
        "usr/run": b"#!",
    }
    assert files["usr/run"].stat().st_mode & 0o777 == 0o555
    assert files["usr/b.txt"].stat().st_mode & 0o777 == 0o444
    inode = root.stat().st_ino
    layout.unpack(at, digest, root)
    assert root.stat().st_ino == inode
    with pytest.raises(layout.LayoutError, match=f"expected no folder or image .*found {digest}"):
        layout.unpack(at, image(at, base), root)


def test_unpacked_images_share_their_layers(tmp_path: Path, base: Layer, model: Layer) -> None:
    """Two images with the same lower layer hold one copy of its files on disk."""
    at = tmp_path / "l"
    for name, parts in (("1", (base, model)), ("2", (base,))):
        layout.unpack(at, image(at, *parts), tmp_path / name)
    assert (tmp_path / "1/usr/b.txt").samefile(tmp_path / "2/usr/b.txt")


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, 1 if kind == tarfile.REGTYPE else 0
    return info


def hostile_image(at: Path, *members: tarfile.TarInfo) -> str:
    """An image as an attacker would write it: all digests true, the archive not."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for info in members:
            tar.addfile(info, io.BytesIO(b"x"))
    data = out.getvalue()
    config = canonical({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": [sha(data)]}})
    part = {"mediaType": layout.PLAIN_LAYER, "digest": sha(data), "size": len(data)}
    head = {"mediaType": layout.CONFIG, "digest": sha(config), "size": len(config)}
    document = canonical({"schemaVersion": 2, "mediaType": layout.MANIFEST, "config": head, "layers": [part]})
    folder_of(at, {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (data, config, document)})
    return sha(document)


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ([member("/etc/evil")], "an absolute path"),
        ([member("a/../../evil")], "a path with '..'"),
        ([member("..")], "a path with '..'"),
        ([member("a", tarfile.SYMTYPE, "/"), member("a/evil")], "one through a link"),
        ([member("a", tarfile.LNKTYPE, "../evil")], "one to '../evil'"),
        ([member("a", tarfile.LNKTYPE, "/etc/passwd")], "one to '/etc/passwd'"),
        ([member("a", tarfile.SYMTYPE, "../evil")], "one to '../evil'"),
        ([member("d/a", tarfile.SYMTYPE, "../b/../../evil")], "one to '../b/../../evil'"),
        ([member("fine2", tarfile.SYMTYPE, "fine"), member("a", tarfile.LNKTYPE, "fine2")], "one to 'fine2'"),
        ([member("dev", tarfile.CHRTYPE)], "a special file"),
        ([member("pipe", tarfile.FIFOTYPE)], "a special file"),
        ([member("m/.wh.model.onnx")], "a whiteout"),
        ([member("a\\..\\b")], "a path with a NUL or backslash"),
    ],
)
def test_hostile_archives_are_refused(tmp_path: Path, members: list[tarfile.TarInfo], problem: str) -> None:
    """An archive that would write outside, or make what is no plain file, unpacks nothing at all."""
    before = sorted(tmp_path.parent.iterdir())
    digest = hostile_image(tmp_path / "l", member("fine"), *members)
    with pytest.raises(layout.LayoutError, match=f"found {problem.replace('.', '[.]')}"):
        layout.unpack(tmp_path / "l", digest, tmp_path / "node" / "root")
    assert not list((tmp_path / "node").rglob("*"))
    assert not list((tmp_path / "l" / ".unpacked").rglob("*"))
    assert sorted(tmp_path.parent.iterdir()) == before


def test_an_image_cannot_write_through_the_note_of_its_digest(tmp_path: Path) -> None:
    """A link, symbolic or hard, where the digest is noted goes; what it leads to, a file of the shared layer, stays as it was."""
    at = tmp_path / "l"
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
        digest, root = (
            hostile_image(at, member("fine"), member(".edgeloop-image", kind, "fine")),
            tmp_path / kind.decode(),
        )
        layout.unpack(at, digest, root)
        assert ((root / "fine").read_text(), (root / ".edgeloop-image").read_text()) == ("x", digest)
        layout.unpack(at, digest, root)


def test_damaged_documents_are_named(tmp_path: Path, base: Layer) -> None:
    """An index.json that is no index, and an image whose settings know no layers: an error that says which."""
    at = tmp_path / "l"
    digest = image(at, base)
    for text in ("", "{}", "[]", '{"manifests": [{}]}', '{"manifests": [{"digest": 1}]}'):
        (at / "index.json").write_text(text)
        with pytest.raises(layout.LayoutError, match=r"index\.json: expected the index of an image layout"):
            layout.images(at)
    document = json.loads(blob_path(at, digest).read_bytes())
    config = canonical({"os": "linux", "architecture": "amd64"})
    document["config"] = {"mediaType": layout.CONFIG, "digest": sha(config), "size": len(config)}
    poor = canonical(document)
    folder_of(at, {f"blobs/sha256/{hashlib.sha256(blob).hexdigest()}": blob for blob in (config, poor)})
    with pytest.raises(layout.LayoutError, match="expected a diff_id for each layer"):
        layout.unpack(at, sha(poor), tmp_path / "root")


def test_archive_bomb_is_refused(tmp_path: Path, base: Layer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer that unpacks to more than the limit is refused before it fills the disk."""
    monkeypatch.setattr(archive, "MOST_BYTES", 4000)
    with pytest.raises(layout.LayoutError, match="more than 4000 bytes"):
        layout.unpack(tmp_path / "l", image(tmp_path / "l", base), tmp_path / "root")


def test_image_index_is_refused(tmp_path: Path) -> None:
    """An image index where a manifest is expected is an error that says so."""
    data = canonical({"schemaVersion": 2, "mediaType": layout.INDEX, "manifests": []})
    folder_of(tmp_path, {f"blobs/sha256/{hashlib.sha256(data).hexdigest()}": data})
    with pytest.raises(layout.LayoutError, match=r"expected an image manifest, found .*index"):
        layout.manifest(tmp_path, sha(data))


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_it(tmp_path: Path, base: Layer, model: Layer) -> None:
    """The real skopeo inspects the image and copies it, with every blob verified, to a layout of its own.

    Without --preserve-digests it would compress the plain model layer, and the image would have another digest.
    """
    digest = image(tmp_path / "l", base, model, name="edgeloop/x:1")
    at = f"oci:{tmp_path / 'l'}:edgeloop/x:1"
    seen = json.loads(subprocess.run(["skopeo", "inspect", at], capture_output=True, check=True).stdout)
    assert seen["Digest"] == digest
    assert seen["Layers"] == [part["digest"] for part in layout.manifest(tmp_path / "l", digest)["layers"]]
    copy = ["skopeo", "--insecure-policy", "copy", "-q", "--preserve-digests", at, f"oci:{tmp_path / 'copy'}:x"]
    subprocess.run(copy, check=True, capture_output=True)
    (entry,) = json.loads((tmp_path / "copy" / "index.json").read_bytes())["manifests"]
    assert entry["digest"] == digest


def test_platform_of_this_machine() -> None:
    """The machine's platform is one that a target may name."""
    assert layers.host_platform() in ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64")


def test_layer_key_says_all(tmp_path: Path) -> None:
    """Content, path, mode and compression each change the key; where the file lies does not."""
    file = File("m/a", tmp_path / "a", "00", 1)
    key = Layer("c", (file,)).key
    assert Layer("other comment", (File("m/a", tmp_path / "elsewhere", "00", 1),)).key == key
    others = [
        File("m/b", file.source, "00", 1),
        File("m/a", file.source, "01", 1),
        File("m/a", file.source, "00", 1, 0o755),
    ]
    keys = {Layer("c", (other,)).key for other in others} | {Layer("c", (file,), compressed=False).key}
    assert len(keys | {key}) == 5
