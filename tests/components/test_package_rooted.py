"""Images from outside: documents of another shape, bases whose Python is gone, and layers of a base beyond the limits."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.package import archive, rooted
from edgeloop_components.package import layout as oci
from edgeloop_components.package.base import Base, base_for
from edgeloop_components.package.blobs import LayoutError
from edgeloop_components.package.documents import CONFIG, GZIP_LAYER, MANIFEST, PLAIN_LAYER, write_blob, write_json
from edgeloop_components.package.layers import PackageError
from edgeloop_components.package.rooted import Root
from edgeloop_components.package.tarstream import Member

Change = Callable[[dict[str, Any]], dict[str, Any]]
PYTHON = "usr/bin/python3.11"


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def link(name: str, target: str) -> tarfile.TarInfo:
    return member(name, tarfile.SYMTYPE, target)


def tar(*members: tarfile.TarInfo) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as written:
        for one in members:
            written.addfile(one)
    return out.getvalue()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def image(at: Path, *layers: bytes, manifest: Change = dict, config: Change = dict, packed: bool = False) -> str:
    """An image of plain tars, whose documents may be changed; its digest."""
    stored = [gzip.compress(layer, mtime=0) if packed else layer for layer in layers]
    blobs = [write_blob(at, GZIP_LAYER if packed else PLAIN_LAYER, layer) for layer in stored]
    settings = {
        "os": "linux",
        "architecture": "amd64",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": [sha256(layer) for layer in layers]},
    }
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": write_json(at, CONFIG, config(settings)),
        "layers": blobs,
    }
    return str(write_json(at, MANIFEST, manifest(document))["digest"])


def base(at: Path, *layers: bytes, **more: Any) -> Base | None:
    return base_for(f"oci:{at}@{image(at, *layers, **more)}", "linux/amd64", at.parent / "made")


WITHOUT = {
    "taken away later": (tar(member(PYTHON)), tar(member("usr/bin/.wh.python3.11"))),
    "its folder taken away": (tar(member(PYTHON)), tar(member(".wh.usr"))),
    "an opaque folder": (tar(member(PYTHON)), tar(member("usr/bin/.wh..wh..opq"))),
    "an opaque folder above": (tar(member(PYTHON)), tar(member("usr/.wh..wh..opq"))),
    "a file where its folder was": (tar(member(PYTHON)), tar(member("usr/bin"))),
    "a dangling link": (tar(link(PYTHON, "nowhere")),),
    "a link to itself": (tar(link(PYTHON, "python3.11")),),
    "a link through a file": (tar(link(PYTHON, "x/y"), member("usr/bin/x"), member("y")),),
    "a folder": (tar(member(PYTHON, tarfile.DIRTYPE)),),
    "a device": (tar(member(PYTHON, tarfile.CHRTYPE)),),
    "another name": (tar(member("usr/bin/python3.12")),),
}
WITH = {
    "a file": ((tar(member(PYTHON)),), f"/{PYTHON}"),
    "the dot of some tools": ((tar(member(f"./{PYTHON}")),), f"/{PYTHON}"),
    "back again": (
        (tar(member(PYTHON)), tar(member("usr/bin/.wh.python3.11")), tar(member(PYTHON))),
        f"/{PYTHON}",
    ),
    "a whiteout of lower layers alone": (
        (tar(member(PYTHON)), tar(member("usr/bin/.wh..wh..opq"), member(PYTHON))),
        f"/{PYTHON}",
    ),
    "a link to a file": ((tar(link(PYTHON, "../../opt/py"), member("opt/py")),), f"/{PYTHON}"),
    "an absolute link": ((tar(link(PYTHON, "/opt/py"), member("opt/py")),), f"/{PYTHON}"),
    "a linked folder": ((tar(link("opt/bin", "x"), link(PYTHON, "/opt/bin/p"), member("opt/x/p")),), f"/{PYTHON}"),
    "a hard link whose other name went": (
        (tar(member("opt/py"), member(PYTHON, tarfile.LNKTYPE, "opt/py")), tar(member("opt/.wh.py"))),
        f"/{PYTHON}",
    ),
    "the first of the path": ((tar(member(PYTHON), member("usr/local/bin/python3.11")),), "/usr/local/bin/python3.11"),
    "at the root": ((tar(member("bin/python3.11")),), "/bin/python3.11"),
}


@pytest.mark.parametrize("what", WITHOUT)
def test_a_base_that_holds_no_python_is_refused(what: str, tmp_path: Path) -> None:
    """A member of that name is not enough: it must be there, as a file, when all layers are laid over one another."""
    with pytest.raises(PackageError, match=r"expected Python 3\.11 .*, found none"):
        base(tmp_path / "l", *WITHOUT[what])


@pytest.mark.parametrize("what", WITH)
def test_a_base_that_holds_python(what: str, tmp_path: Path) -> None:
    """Directly, or through links as an engine would follow them."""
    layers, python = WITH[what]
    found = base(tmp_path / "l", *layers)
    assert found is not None
    assert found.python == python


def test_layers_of_a_base_have_the_limits_of_unpacking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes of a layer and of all, members, what is stored, both digests, and paths that lead out: LayoutError."""
    data = member("data")
    data.size = 3000
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as written:
        written.addfile(member(PYTHON))
        written.addfile(data, io.BytesIO(bytes(3000)))
    layer = whole.getvalue()
    assert base(tmp_path / "sound", layer, packed=True)
    for name, value, why in (
        ("MOST_BYTES", 2999, "expected at most 2999 bytes of files"),
        ("MOST_IMAGE_BYTES", 2999, "expected at most 2999 bytes of files"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(f"edgeloop_components.package.base.{name}", value)
            with pytest.raises(LayoutError, match=why):
                base(tmp_path / name, layer)
    with monkeypatch.context() as patch:
        patch.setattr(archive, "FREE_BYTES", 1000)
        patch.setattr(archive, "MOST_TIMES", 2)
        with pytest.raises(LayoutError, match="bytes unpacked, found more"):
            base(tmp_path / "times", layer, packed=True)
    with monkeypatch.context() as patch:
        patch.setattr(rooted, "MOST_MEMBERS", 1)
        with pytest.raises(LayoutError, match="expected at most 1 members"):
            base(tmp_path / "members", layer)
    other: Change = lambda settings: {**settings, "rootfs": {"diff_ids": ["sha256:" + "0" * 64]}}  # noqa: E731
    with pytest.raises(LayoutError, match=r"damaged: expected sha256:000.* of the plain layer"):
        base(tmp_path / "diff", layer, config=other)
    for name in ("../x", "/x"):
        with pytest.raises(LayoutError, match="expected a path inside"):
            base(tmp_path / "out", tar(member(PYTHON), member(name)))


def test_links_are_followed_only_so_often() -> None:
    """A chain of links as long as Linux follows is followed, a longer one is not."""
    for length, expected in ((40, True), (41, False)):
        root = Root()
        chain = [Member(f"l{i}", "link", 0, f"l{i + 1}") for i in range(length)]
        root.add([*chain, Member(f"l{length}", "file", 0)])
        assert root.is_file("l0") == expected


LAYER = tar(member(PYTHON))
SHAPES: dict[str, tuple[dict[str, Change], str]] = {
    "a layer without a type": (
        {"manifest": lambda m: {**m, "layers": [{"digest": m["layers"][0]["digest"], "size": 1}]}},
        r"layers\[0\]\.mediaType: expected text, found nothing",
    ),
    "a type that is a list": (
        {"manifest": lambda m: {**m, "layers": [{**m["layers"][0], "mediaType": []}]}},
        r"layers\[0\]\.mediaType: expected text, found list",
    ),
    "a digest that is a number": (
        {"manifest": lambda m: {**m, "layers": [{**m["layers"][0], "digest": 5}]}},
        r"layers\[0\]\.digest: expected text, found int",
    ),
    "a layer without a size": (
        {"manifest": lambda m: {**m, "layers": [{k: v for k, v in m["layers"][0].items() if k != "size"}]}},
        r"layers\[0\]\.size: expected a whole number, found nothing",
    ),
    "a manifest's type": ({"manifest": lambda m: {**m, "mediaType": []}}, "mediaType: expected text, found list"),
    "layers that are a number": ({"manifest": lambda m: {**m, "layers": 5}}, "layers: expected a list, found int"),
    "a config that is a list": ({"manifest": lambda m: {**m, "config": []}}, "config: expected an object, found list"),
    "images that are a number": ({"manifest": lambda _: {"manifests": 5}}, "manifests: expected a list, found int"),
    "an image without a digest": (
        {"manifest": lambda _: {"manifests": [{}]}},
        r"manifests\[0\]\.digest: expected text, found nothing",
    ),
}
CONFIGS: dict[str, tuple[dict[str, Change], str]] = {
    "a diff_id that is a number": (
        {"config": lambda c: {**c, "rootfs": {"diff_ids": [5]}}},
        r"rootfs\.diff_ids\[0\]: expected text, found int",
    ),
    "no diff_ids": (
        {"config": lambda c: {**c, "rootfs": {"diff_ids": []}}},
        "expected a diff_id for each layer, found 0 for 1",
    ),
    "no rootfs": (
        {"config": lambda c: {k: v for k, v in c.items() if k != "rootfs"}},
        "expected a diff_id for each layer, found 0 for 1",
    ),
    "a platform that is a list": ({"config": lambda c: {**c, "os": ["linux"]}}, "os: expected text, found list"),
    "a variable that is a number": (
        {"config": lambda c: {**c, "config": {"Env": [5]}}},
        r"config\.Env\[0\]: expected text, found int",
    ),
}
USES: dict[str, Callable[[Path, str], object]] = {
    "unpack": lambda at, digest: oci.unpack(at, digest, at.parent / "root"),
    "base": lambda at, digest: base_for(f"oci:{at}@{digest}", "linux/amd64", at.parent / "made"),
    "verify": oci.verify,
    "name": lambda at, digest: oci.name_image(at, digest, "x:1"),
}


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("what", SHAPES)
def test_documents_of_another_shape_are_refused_by_field(what: str, use: str, tmp_path: Path) -> None:
    """A manifest or index that is not OCI's shape: LayoutError with the field, whoever reads it."""
    change, why = SHAPES[what]
    with pytest.raises(LayoutError, match=why):
        USES[use](tmp_path / "l", image(tmp_path / "l", LAYER, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("use", ["unpack", "base"])
@pytest.mark.parametrize("what", CONFIGS)
def test_configurations_of_another_shape_are_refused_by_field(what: str, use: str, tmp_path: Path) -> None:
    """The same for an image's configuration, where it is read."""
    change, why = CONFIGS[what]
    with pytest.raises(LayoutError, match=why):
        USES[use](tmp_path / "l", image(tmp_path / "l", LAYER, **change))  # type: ignore[arg-type]


def test_what_go_writes_for_nothing_is_taken(tmp_path: Path) -> None:
    """null in place of lists and objects that are empty."""
    nothing: Change = lambda c: {**c, "config": {"Env": None, "Entrypoint": None, "Labels": None}, "history": None}  # noqa: E731
    assert base(tmp_path / "l", LAYER, config=nothing)
    assert base(tmp_path / "m", LAYER, config=lambda c: {**c, "config": None})
