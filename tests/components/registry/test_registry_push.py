"""Push and pull with a registry that works: every byte arrives, nothing is sent twice, order and limits are kept."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import LayoutError, blob_path
from edgeloop_components.package.documents import usual_platform, write_json
from edgeloop_components.registry import InLayout, RegistryError, Settings, parse, pull, push
from edgeloop_components.registry.testing import Fault, TestRegistry

Made = tuple[Path, str]


def test_round_trip(made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path) -> None:
    """An index goes to a registry and back with the same digest; the tag names it, and every blob is whole."""
    at, digest = made
    lines: list[str] = []
    pushed = push(f"oci:{at}:edge/pump:1", f"{host}/edge/pump:1", settings=settings, say=lines.append)
    assert pushed.digest == registry.tags["edge/pump", "1"] == digest
    assert pushed.sent_bytes == oci.image_size_bytes(at, digest) + len(blob_path(at, digest).read_bytes())  # tag too
    assert lines[-1].startswith(f"{host}/edge/pump:1: pushed ")
    assert pull(f"{host}/edge/pump:1", tmp_path / "back", settings=settings) == digest
    oci.verify(tmp_path / "back", digest)
    assert oci.images(tmp_path / "back") == {"edge/pump:1": digest}


def test_order(made: Made, registry: TestRegistry, host: str, settings: Settings) -> None:
    """Blobs go first, then the images, then their index by digest, and the tag is the last request."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    puts = [line.split("?")[0].rpartition("/")[2] for line in registry.requests if line.startswith("PUT ")]
    children = [child["digest"] for child in oci.document(*made)["manifests"]]
    assert puts[-4:] == [*children, made[1], "1"]
    assert registry.requests[-1] == "PUT /v2/p/manifests/1"


def test_second_push_sends_no_blob(made: Made, registry: TestRegistry, host: str, settings: Settings) -> None:
    """What the registry has is not sent again; in another repository it is mounted, without a byte of the layers."""
    name = f"oci:{made[0]}"
    first = push(name, f"{host}/one:1", settings=settings)
    registry.requests.clear()
    again = push(name, f"{host}/one:1", settings=settings)
    assert not [line for line in registry.requests if line.startswith(("POST", "PATCH"))]
    assert (again.digest, again.there_bytes) == (first.digest, first.sent_bytes - again.sent_bytes)
    mounted = push(name, f"{host}/two/three:1", settings=settings)
    assert len([line for line in registry.requests if "mount=" in line]) == 1  # the model; the rest is small
    assert mounted.there_bytes > 50_000
    assert registry.tags["two/three", "1"] == made[1]


def test_chunks(make_index: Callable[..., str], registry: TestRegistry, host: str, tmp_path: Path) -> None:
    """A blob larger than a chunk goes in pieces; the registry has the same bytes in the end."""
    settings = Settings(chunk_bytes=10_000, find_credentials=lambda *_: None)
    digest = make_index(tmp_path / "l", "m:1", os.urandom(95_000))
    push(f"oci:{tmp_path / 'l'}", f"{host}/m:1", settings=settings)
    assert len([line for line in registry.requests if line.startswith("PATCH")]) >= 9
    pull(f"{host}/m:1", tmp_path / "back", settings=settings)
    oci.verify(tmp_path / "back", digest)


def test_chunk_goes_on_where_it_was_cut(
    make_index: Callable[..., str], registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """After a cut within a chunk the registry is asked how far it got, and only the rest is sent."""
    make_index(tmp_path / "l", "m:1", os.urandom(95_000), ("linux/amd64",))
    document = oci.document(tmp_path / "l", oci.images(tmp_path / "l")["m:1"])
    model = oci.manifest(tmp_path / "l", document["manifests"][0]["digest"])["layers"][-1]

    patches: list[str] = []

    def cut_third(request: str) -> Fault | None:
        patches.extend([request] if request.startswith("PATCH") else [])
        return Fault(cut="request", at=4_000) if len(patches) == 3 and request.startswith("PATCH") else None

    registry.rule = cut_third
    push(f"oci:{tmp_path / 'l'}", f"{host}/m:1", settings=replace(settings, chunk_bytes=30_000))
    assert registry.blobs["m", model["digest"]] == blob_path(tmp_path / "l", model["digest"]).read_bytes()
    assert len([line for line in registry.requests if line.startswith("GET /v2/m/blobs/uploads/")]) == 1
    assert len([line for line in registry.requests if line.startswith("POST")]) == 3  # config, server, model: once each


def test_one_platform(made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path) -> None:
    """A node pulls the image for its platform alone; another platform is refused with what there is."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    digest = pull(f"{host}/p:1", tmp_path / "node", platform="linux/arm64", settings=settings)
    assert oci.image_config(tmp_path / "node", digest)["architecture"] == "arm64"
    assert digest != made[1]
    oci.verify(tmp_path / "node", digest)
    with pytest.raises(RegistryError, match="for linux/riscv64, found linux/amd64, linux/arm64"):
        pull(f"{host}/p:1", tmp_path / "node", platform="linux/riscv64", settings=settings)


def test_arm64_is_v8() -> None:
    """Indexes that say the variant v8 of arm64 have an image for linux/arm64, and the other way round."""
    assert usual_platform("linux/arm64/v8") == usual_platform("linux/arm64") == "linux/arm64"
    assert usual_platform("linux/arm/v7") == "linux/arm/v7"


def test_what_the_layout_has_is_not_asked_for(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """A pull by digest of an image that is whole asks the registry nothing, so a node works while it is away."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    pull(f"{host}/p@{made[1]}", tmp_path / "node", settings=settings)
    registry.requests.clear()
    assert pull(f"{host}/p@{made[1]}", tmp_path / "node", settings=settings) == made[1]
    assert registry.requests == []


@pytest.mark.parametrize("api", [True, False])
def test_referrers(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path, *, api: bool
) -> None:
    """What refers to an image goes along and comes back: by the API (page by page), or by the fallback tag."""
    at, digest = made
    registry.referrers_api = api
    children = [child["digest"] for child in oci.document(at, digest)["manifests"]]
    artifacts = [
        oci.write_artifact(at, "application/x.note", [("text/plain", f"note {i}".encode())], subject=subject)
        for i, subject in enumerate([digest, digest, digest, children[0]])
    ]
    above = oci.write_artifact(at, "application/x.note", [("text/plain", b"of a note")], subject=artifacts[0])
    pushed = push(f"oci:{at}:edge/pump:1", f"{host}/p:1", settings=settings)
    assert pushed.referrers == 5
    assert (("p", digest.replace(":", "-")) in registry.tags) is not api
    pull(f"{host}/p:1", tmp_path / "back", settings=settings, referrers=True)
    found = {entry["digest"] for entry in oci.referrers(tmp_path / "back", digest)}
    assert found == set(artifacts[:3])
    assert [entry["digest"] for entry in oci.referrers(tmp_path / "back", artifacts[0])] == [above]
    assert pull(f"{host}/p:1", tmp_path / "bare", settings=settings) == digest
    assert oci.referrers(tmp_path / "bare", digest) == []


def test_writers_at_the_same_time(
    make_index: Callable[..., str], registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """Eight pushes at once, each with a note and a signature of its own: none of what was pushed one after another is lost."""
    registry.referrers_api = False
    model, layouts, notes = os.urandom(1000), [tmp_path / f"l{i}" for i in range(8)], []
    for i, at in enumerate(layouts):
        digest = make_index(at, "m:1", model, ("linux/amd64",))
        notes.append(oci.write_artifact(at, "application/x.note", [("text/plain", b"%d" % i)], subject=digest))
    with ThreadPoolExecutor(8) as pool:
        together = [pool.submit(push, f"oci:{at}:m:1", f"{host}/m:1", settings=settings) for at in layouts]
    assert {one.result().digest for one in together} == {digest}
    for at in layouts:
        push(f"oci:{at}:m:1", f"{host}/m:1", settings=settings)
    document = json.loads(registry.manifests["m", registry.tags["m", digest.replace(":", "-")]][1])
    assert sorted(entry["digest"] for entry in document["manifests"]) == sorted(notes)


def test_index_in_the_place_of_an_artifact(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """An index may refer to an image, too; indexes without end, and more referrers than any image has, are refused."""
    at, digest = made
    push(f"oci:{at}:edge/pump:1", f"{host}/p:1", settings=settings)
    inner = oci.write_artifact(at, "application/x.note", [("text/plain", b"n")])
    body = {**oci.document(at, digest), "manifests": [oci.descriptor(at, inner)], "subject": oci.descriptor(at, digest)}
    entry = write_json(at, oci.INDEX, body)
    oci.name_image(at, entry["digest"], "edge/about:1")
    push(f"oci:{at}:edge/about:1", f"{host}/p:about", settings=settings)
    pull(f"{host}/p:1", tmp_path / "back", settings=settings, referrers=True)
    assert [one["digest"] for one in oci.referrers(tmp_path / "back", digest)] == [entry["digest"]]
    assert blob_path(tmp_path / "back", inner).exists()
    last = digest
    for _ in range(5):
        last = write_json(at, oci.INDEX, {**oci.document(at, digest), "manifests": [oci.descriptor(at, last)]})[
            "digest"
        ]
    with pytest.raises(RegistryError, match="at most 4 indexes in one another"):
        push(f"oci:{at}@{last}", f"{host}/p:deep", settings=settings)


def test_fallback_index_is_merged(made: Made, registry: TestRegistry, host: str, settings: Settings) -> None:
    """Referrers that somebody else listed under the fallback tag stay when ours are added, and ours are added once."""
    at, digest = made
    registry.referrers_api = False
    push(f"oci:{at}:edge/pump:1", f"{host}/p:1", settings=settings)
    tag = digest.replace(":", "-")
    listed = []
    for word in (b"one", b"two"):
        listed.append(oci.write_artifact(at, "application/x.note", [("text/plain", word)], subject=digest))
        for _ in range(2):
            push(f"oci:{at}:edge/pump:1", f"{host}/p:1", settings=settings)
        document = json.loads(registry.manifests["p", registry.tags["p", tag]][1])
        assert [entry["digest"] for entry in document["manifests"]] == listed
        assert document["manifests"][0]["artifactType"] == "application/x.note"


def test_between_layouts(made: Made, tmp_path: Path) -> None:
    """A layout is a destination and a source as a registry is, with what refers to the image."""
    at, digest = made
    note = oci.write_artifact(at, "application/x.note", [("text/plain", b"n")], subject=digest)
    pushed = push(f"oci:{at}:edge/pump:1", f"oci:{tmp_path / 'two'}:there:9")
    assert (pushed.digest, oci.images(tmp_path / "two")) == (digest, {"there:9": digest})
    oci.verify(tmp_path / "two", digest)
    assert [entry["digest"] for entry in oci.referrers(tmp_path / "two", digest)] == [note]
    assert push(f"oci:{at}:edge/pump:1", f"oci:{tmp_path / 'two'}:there:9").sent_bytes == 0
    child = pull(f"oci:{tmp_path / 'two'}:there:9", tmp_path / "three", platform="linux/arm64")
    oci.verify(tmp_path / "three", child)
    assert oci.images(tmp_path / "three") == {"there:9": child}


def test_names_are_found_or_refused(made: Made, host: str, settings: Settings, tmp_path: Path) -> None:
    """A name that the layout has not, a push out of a registry, another digest than asked for: refused, with what there is."""
    at, _ = made
    with pytest.raises(LayoutError, match="expected one of edge/pump:1, found no such name"):
        push(f"oci:{at}:x", f"{host}/p:1", settings=settings)
    with pytest.raises(RegistryError, match="expected an image in a layout"):
        push(f"{host}/p:1", f"oci:{tmp_path / 'x'}", settings=settings)
    with pytest.raises(RegistryError, match="the destination asks for sha256:0000"):
        push(InLayout(at), parse(f"{host}/p@sha256:{'0' * 64}"), settings=settings)
    with pytest.raises(RegistryError, match="expected a tag or a digest"):
        pull(f"{host}/p", tmp_path / "x", settings=settings)
    with pytest.raises(RegistryError, match=r"GET .*/v2/p/manifests/9: the registry answered 404: MANIFEST_UNKNOWN"):
        pull(f"{host}/p:9", tmp_path / "x", settings=settings)


def test_damaged_layout_is_not_pushed(made: Made, registry: TestRegistry, host: str, settings: Settings) -> None:
    """A blob that changed on disk never gets under a tag: refused by its size, or by the registry that compares digests."""
    at, digest = made
    config = oci.manifest(at, oci.document(at, digest)["manifests"][0]["digest"])["config"]["digest"]
    path = blob_path(at, config)
    good = path.read_bytes()
    path.write_bytes(good + b" ")
    with pytest.raises(LayoutError, match=r"damaged: expected .* bytes"):
        push(f"oci:{at}", f"{host}/p:1", settings=settings)
    path.write_bytes(good.replace(b"65532", b"00000"))
    with pytest.raises(RegistryError, match="400: DIGEST_INVALID"):
        push(f"oci:{at}", f"{host}/p:1", settings=settings)
    assert registry.tags == {}
