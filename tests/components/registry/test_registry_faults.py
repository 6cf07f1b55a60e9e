"""A registry that fails in the middle, or lies: a tag is whole or what it was before, and the error has a name."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import blob_path
from edgeloop_components.registry import RegistryError, Settings, TransientError, UnsoundError, pull, push
from edgeloop_components.registry.testing import Fault, TestRegistry, serve

Made = tuple[Path, str]

FAULTS = st.one_of(
    st.none(),
    st.none(),
    st.builds(
        Fault, status=st.sampled_from([429, 500, 502, 503, 504, 403, 400]), retry_after=st.sampled_from(["", "1"])
    ),
    st.builds(Fault, cut=st.sampled_from(["request", "answer", "body"]), at=st.integers(0, 40_000)),
    st.builds(Fault, flip=st.just(True)),
    st.builds(Fault, slow_s=st.just(0.01)),
    st.builds(Fault, header=st.sampled_from([{"Location": "ftp://x/"}, {"Location": ""}, {"Content-Length": "7"}])),
)


@pytest.fixture(scope="module")
def two_versions(
    tmp_path_factory: pytest.TempPathFactory, make_index_module: Callable[..., str]
) -> tuple[Path, str, str]:
    """A layout with m:1 and m:2, each referred to by a note, and their digests."""
    at = tmp_path_factory.mktemp("versions") / "l"
    digests = [make_index_module(at, f"m:{n}", os.urandom(60_000), ("linux/amd64",)) for n in (1, 2)]
    for digest in digests:
        oci.write_artifact(at, "application/x.note", [("text/plain", b"note")], subject=digest)
    return at, digests[0], digests[1]


def whole(registry: TestRegistry, repository: str, digest: str) -> bool:
    """Whether a registry has all of an index, every blob with its digest."""
    _, data = registry.manifests[repository, digest]
    document = json.loads(data)
    children = [child["digest"] for child in document.get("manifests", [])]
    blobs = [document["config"], *document["layers"]] if "layers" in document else []
    good = all(oci_digest(registry.blobs[repository, blob["digest"]]) == blob["digest"] for blob in blobs)
    return good and all(whole(registry, repository, child) for child in children)


def oci_digest(data: bytes) -> str:
    import hashlib

    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@given(st.lists(FAULTS, max_size=30), st.sampled_from([None, 25_000]), st.booleans())
def test_push_through_any_faults(
    two_versions: tuple[Path, str, str], faults: list[Fault | None], chunk: int | None, api: bool
) -> None:
    """After any schedule of faults the tag names the new image, whole, or the one before; without faults a push goes through."""
    at, first, second = two_versions
    settings = Settings(
        sleep=lambda _: None, timeout_s=0.5, find_credentials=lambda *_: None, chunk_bytes=chunk or 1 << 20
    )
    with serve() as registry:
        registry.referrers_api = api
        host = registry.address.partition("//")[2]
        push(f"oci:{at}:m:1", f"{host}/m:live", settings=settings)
        assert registry.tags["m", "live"] == first
        registry.faults = list(faults)
        try:
            push(f"oci:{at}:m:2", f"{host}/m:live", settings=settings)
        except RegistryError:
            assert registry.tags["m", "live"] in (first, second)
        else:
            assert registry.tags["m", "live"] == second
        assert whole(registry, "m", registry.tags["m", "live"])
        registry.faults = []
        push(f"oci:{at}:m:2", f"{host}/m:live", settings=settings)
        assert registry.tags["m", "live"] == second
        assert whole(registry, "m", second)


def test_a_registry_that_dies_in_a_push_is_given_up_soon(two_versions: tuple[Path, str, str]) -> None:
    """503 from the fifth request on: six tries of an upload, each with one look, and not tries within tries."""
    pauses: list[float] = []
    settings = Settings(sleep=pauses.append, timeout_s=0.5, find_credentials=lambda *_: None)
    with serve() as registry:
        host = registry.address.partition("//")[2]
        registry.faults = [None] * 4 + [Fault(status=503)] * 1000
        with pytest.raises(TransientError, match=r"answered 503[^;]*; gave up after 6 tries$"):
            push(f"oci:{two_versions[0]}:m:1", f"{host}/m:1", settings=settings)
    assert len(registry.requests) <= 4 + 2 * 2 * 6  # two blobs at a time
    assert len(pauses) <= 2 * 6


@given(st.lists(FAULTS, max_size=25))
def test_pull_through_any_faults(two_versions: tuple[Path, str, str], faults: list[Fault | None]) -> None:
    """After any schedule of faults the layout lists a whole image or none; called again, the pull goes through."""
    at, digest, _ = two_versions
    settings = Settings(sleep=lambda _: None, timeout_s=0.5, find_credentials=lambda *_: None)
    with serve() as registry, tempfile.TemporaryDirectory() as folder:
        host, to = registry.address.partition("//")[2], Path(folder, "to")
        push(f"oci:{at}:m:1", f"{host}/m:1", settings=settings)
        registry.faults = list(faults)
        try:
            assert pull(f"{host}/m:1", to, settings=settings, referrers=True) == digest
        except RegistryError:
            assert set(oci.images(to).values()) <= {digest}
        for found in oci.images(to).values():
            oci.verify(to, found)
        registry.faults = []
        assert pull(f"{host}/m:1", to, settings=settings, referrers=True) == digest
        oci.verify(to, digest)
        assert len(oci.referrers(to, digest)) == 1


@pytest.mark.parametrize("at", [0, 1, 30_000, 49_999])
def test_pull_goes_on_within_a_blob(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path, at: int
) -> None:
    """A blob that was cut off is asked for from where it stopped: together no byte of it crosses twice."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    digest = oci.document(*made)["manifests"][0]["digest"]
    registry.requests.clear()
    registry.sent_bytes = 0
    registry.faults = [None, None, None, Fault(cut="body", at=at)]  # manifest, config, server; then the model is cut
    pull(f"{host}/p@{digest}", tmp_path / "to", settings=settings)
    assert registry.sent_bytes == oci.image_size_bytes(tmp_path / "to", digest)
    assert len([line for line in registry.requests if "/blobs/" in line]) == 4
    oci.verify(tmp_path / "to", digest)


def test_pull_goes_on_after_the_process_died(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """The part that an earlier pull left is used, and when it is no part of the blob the blob is fetched whole."""
    at, index = made
    digest = oci.document(at, index)["manifests"][0]["digest"]
    model = oci.manifest(at, digest)["layers"][-1]
    push(f"oci:{at}", f"{host}/p:1", settings=settings)
    data = blob_path(at, model["digest"]).read_bytes()
    parts = {
        "right": data[:20_000],
        "wrong": b"x" * 20_000,
        "whole": data,
        "long": data + b"y",
        "whole-wrong": b"z" * len(data),
    }
    for name, part in parts.items():
        to = tmp_path / name
        (to / ".parts").mkdir(parents=True)
        (to / ".parts" / model["digest"].removeprefix("sha256:")).write_bytes(part)
        before = registry.sent_bytes
        pull(f"{host}/p@{digest}", to, settings=settings)
        oci.verify(to, digest)
        fetched = registry.sent_bytes - before - (oci.image_size_bytes(to, digest) - len(data))
        assert fetched == {"right": len(data) - 20_000, "whole": 0, "wrong": 2 * len(data) - 20_000}.get(
            name, len(data)
        )


def test_retry_after_is_kept(made: Made, registry: TestRegistry, host: str, settings: Settings) -> None:
    """A registry that is busy is asked again when it says, and not at all when it asks for more than the longest pause."""
    pauses: list[float] = []
    waiting = replace(settings, sleep=pauses.append)
    registry.faults = [Fault(status=429, retry_after="7"), Fault(status=503), Fault(status=429, retry_after="0")]
    push(f"oci:{made[0]}", f"{host}/p:1", settings=waiting)
    assert pauses[0] == 7.0
    assert all(0 < pause < 2 for pause in pauses[1:])
    registry.faults = [Fault(status=429, retry_after="86400")]
    with pytest.raises(TransientError, match="answered 429; gave up after 1 tries"):
        push(f"oci:{made[0]}", f"{host}/p:2", settings=waiting)


def test_gives_up(made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path) -> None:
    """A registry that stays broken, and none at all, end in an error that says how often it was tried."""
    registry.faults = [Fault(status=500)] * 6
    with pytest.raises(TransientError, match=r"HEAD .* the registry answered 500; gave up after 6 tries"):
        push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    with pytest.raises(TransientError, match=r"127\.0\.0\.1:9/v2/p/manifests/1: .*gave up after 6 tries"):
        pull("127.0.0.1:9/p:1", tmp_path / "x", settings=settings)


UNSAID = {"Docker-Content-Digest": ""}
HUGE = b'{"schemaVersion": 2, "x": "' + b"y" * (5 << 20) + b'"}'


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault(flip=True), "the registry says that it is sha256"),
        (Fault(body=b"{}", header=UNSAID), "manifests: expected a list"),
        (Fault(body=b"[1]", header=UNSAID), "expected a JSON object"),
        (Fault(body=b"\xff\xff", header=UNSAID), "bytes that are not"),
        (Fault(body=HUGE), "expected at most 4194304 bytes, got more"),
        (Fault(header={"Content-Type": "application/vnd.oci.image.manifest.v1+json"}), "found a document of the type"),
    ],
)
def test_bad_manifest(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path, fault: Fault, why: str
) -> None:
    """A manifest with other bytes than its digest, of another form, or without end, is refused at once."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    registry.faults = [fault]
    with pytest.raises(UnsoundError, match=why):
        pull(f"{host}/p:1", tmp_path / "to", settings=settings)
    assert oci.images(tmp_path / "to") == {}


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (Fault(flip=True), "blob: expected sha256:.* got .* bytes with the digest sha256"),
        (Fault(body=b"short"), "expected .* bytes, the registry has 5"),
        (Fault(body=b"x" * 9_000_000), "the registry has 9000000"),
        (Fault(status=302), "Location that is an https:// or http:// address, got ''"),
        (Fault(status=302, header={"Location": "file:///etc/passwd"}), "got 'file:///etc/passwd'"),
        (Fault(status=302, header={"Location": "http://name:word@127.0.0.1/"}), "expected a Location"),
    ],
)
def test_bad_blob(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path, fault: Fault, why: str
) -> None:
    """A blob with other bytes, a wrong size, or lying at no address that is taken: refused, and nothing of it stays."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    registry.faults = [None, None, None, fault]
    with pytest.raises(UnsoundError, match=why):
        pull(f"{host}/p:1", tmp_path / "to", settings=settings)
    assert oci.images(tmp_path / "to") == {}
    assert not [path for path in (tmp_path / "to").rglob("*") if path.is_file() and path.stat().st_size]
    pull(f"{host}/p:1", tmp_path / "to", settings=settings)
    oci.verify(tmp_path / "to", made[1])


def test_endless_body(made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path) -> None:
    """A body without an announced end stops at the size that the manifest gives."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    chunk = b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n"
    registry.faults = [None, None, None, Fault(body=chunk * 50, header={"Transfer-Encoding": "chunked"})]
    with pytest.raises(UnsoundError, match=r"expected at most .* bytes, got more"):
        pull(f"{host}/p:1", tmp_path / "to", settings=settings)


def test_redirects_have_an_end(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """A blob that lies elsewhere is fetched there; a registry that sends round and round is refused."""
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    layer = oci.manifest(made[0], oci.document(*made)["manifests"][0]["digest"])["layers"][-1]["digest"]
    elsewhere = Fault(status=307, header={"Location": f"/v2/p/blobs/{layer}"})
    registry.faults = [Fault(status=301, header={"Location": "/v2/p/manifests/1"})] * 3
    assert pull(f"{host}/p:1", tmp_path / "to", settings=settings) == made[1]
    registry.faults = [elsewhere] * 20
    with pytest.raises(UnsoundError, match="more than 5 redirects"):
        pull(f"{host}/p:1", tmp_path / "other", settings=settings)
