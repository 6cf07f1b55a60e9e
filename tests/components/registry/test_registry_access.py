"""Who asks: passwords and tokens of docker's files, their helpers, TLS, and that nothing of them goes to anybody else."""

from __future__ import annotations

import base64
import ipaddress
import json
import os
import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.registry import DeniedError, RegistryError, Settings, UnsoundError, parse, pull, push
from edgeloop_components.registry.challenge import Challenge, challenges
from edgeloop_components.registry.credentials import Credentials, find, parse_config, parse_helper
from edgeloop_components.registry.documents import read
from edgeloop_components.registry.reference import InLayout, Remote, is_loopback
from edgeloop_components.registry.testing import Fault, TestRegistry, serve

Made = tuple[Path, str]
USER = Credentials("user", "secret")


def known(settings: Settings, credentials: Credentials | None) -> Settings:
    return replace(settings, find_credentials=lambda *_: credentials)


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("credentials", [USER, Credentials(identity_token="identity")])
def test_signed_in(
    made: Made,
    registry: TestRegistry,
    host: str,
    settings: Settings,
    tmp_path: Path,
    auth: str,
    credentials: Credentials,
) -> None:
    """A password, and a token that buys tokens, open a registry that asks for a password or for tokens of its service."""
    registry.auth = auth
    if auth == "basic" and credentials.identity_token:
        with pytest.raises(DeniedError, match="asks for basic, and there are no credentials"):
            push(f"oci:{made[0]}", f"{host}/p:1", settings=known(settings, credentials))
        return
    settings = known(settings, credentials)
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    push(f"oci:{made[0]}", f"{host}/q:1", settings=settings)
    assert len([line for line in registry.requests if "mount=" in line]) == 1
    assert pull(f"{host}/p:1", tmp_path / "to", settings=settings) == made[1]
    tokens = [line for line in registry.requests if "/token" in line]
    assert len(tokens) == (3 if auth == "bearer" else 0)  # one for each push and pull


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("credentials", [None, Credentials("user", "wrong")])
def test_denied(
    made: Made, registry: TestRegistry, host: str, settings: Settings, auth: str, credentials: Credentials | None
) -> None:
    """No credentials and wrong ones end at once in an error that says so, without the password in it."""
    registry.auth = auth
    with pytest.raises(DeniedError, match=r"401|no credentials for it: docker login") as caught:
        push(f"oci:{made[0]}", f"{host}/p:1", settings=known(settings, credentials))
    assert "wrong" not in str(caught.value)
    assert len(registry.requests) <= 3


def test_credentials_stay_with_the_registry(
    made: Made, registry: TestRegistry, host: str, settings: Settings, tmp_path: Path
) -> None:
    """Where a registry redirects to, or lets upload, gets no Authorization header; what lies there is taken all the same."""
    registry.auth = "basic"
    settings = known(settings, USER)
    push(f"oci:{made[0]}", f"{host}/p:1", settings=settings)
    with serve() as other:
        other.blobs = dict(registry.blobs)

        def elsewhere(request: str) -> Fault | None:
            moved = Fault(status=307, header={"Location": other.address + request.partition(" ")[2]})
            return moved if request.startswith("GET") and "/blobs/" in request else None

        registry.rule = elsewhere
        assert pull(f"{host}/p:1", tmp_path / "to", settings=settings) == made[1]
        assert other.requests
        assert {shown for _, shown in other.authorized} == {""}
        other.requests.clear()
        place = Fault(header={"Location": f"{other.address}/v2/p/blobs/uploads/none"})
        registry.rule = lambda request: place if request.startswith("POST") else None
        with pytest.raises(RegistryError, match=r"PUT .*/uploads/none: the registry answered 404"):
            push(f"oci:{made[0]}", f"{host}/fresh:1", settings=settings)
        assert [line for line in other.requests if line.startswith("PUT")]
        assert {shown for _, shown in other.authorized} == {""}


@pytest.mark.parametrize(
    "realm",
    [
        "http://192.0.2.7/token",
        "ftp://127.0.0.1/token",
        "//x/token",
        "",
        "http://a:b@127.0.0.1/",
        "http://[::1/",
        "https:///t",
    ],
)
def test_password_goes_to_no_open_line(
    made: Made, registry: TestRegistry, host: str, settings: Settings, realm: str
) -> None:
    """A token service over plain HTTP on another machine, or at no address, is not told the password."""
    registry.auth, registry.realm = "bearer", realm or " "
    with pytest.raises(UnsoundError, match=r"sends for a token to .* expected an https:// address"):
        push(f"oci:{made[0]}", f"{host}/p:1", settings=known(settings, USER))


def test_plain_http_is_for_this_machine(settings: Settings, tmp_path: Path) -> None:
    """Another host is spoken with over TLS unless plain HTTP is asked for; loopback addresses are told from look-alikes."""
    from edgeloop_components.registry.transport import Transport

    bases = {
        ("127.0.0.1:5000", None): "http://127.0.0.1:5000",
        ("localhost:5000", None): "http://localhost:5000",
        ("localhost:5000", False): "https://localhost:5000",
        ("registry.example", None): "https://registry.example",
        ("registry.example:443", None): "https://registry.example",
        ("registry.example:5000", True): "http://registry.example:5000",
    }
    for (registry, plain), base in bases.items():
        with Transport(registry, "x", replace(settings, plain_http=plain)) as transport:
            assert transport.base == base
    assert [is_loopback(h) for h in ("127.1.2.3:80", "[::1]:80", "LOCALHOST")] == [True] * 3
    assert [is_loopback(h) for h in ("127.0.0.1.example", "localhost.example:80", "[::2]", "1127.0.0.1")] == [False] * 4


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of 127.0.0.1 that its own key signed, with the key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(built.public_bytes(pem) + key.private_bytes(pem, form, serialization.NoEncryption()))
    return path


def test_tls_with_an_own_authority(made: Made, certificate: Path, settings: Settings, tmp_path: Path) -> None:
    """A registry with a certificate of one's own is spoken with when the authority is named, and not otherwise."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serve(context) as registry:
        host = registry.address.partition("//")[2]
        push(f"oci:{made[0]}", f"{host}/p:1", settings=replace(settings, ca=certificate))
        assert pull(f"{host}/p:1", tmp_path / "to", settings=replace(settings, ca=certificate)) == made[1]
        slept: list[float] = []
        with pytest.raises(RegistryError, match=r"its certificate is not trusted: .*--ca"):
            pull(f"{host}/p:1", tmp_path / "no", settings=replace(settings, plain_http=False, sleep=slept.append))
        assert slept == []
        registry.faults = [Fault(status=307, header={"Location": "http://127.0.0.1:9/x"})]
        with pytest.raises(UnsoundError, match="expected a Location that is an https:// address, got 'http:"):
            pull(f"{host}/p:1", tmp_path / "no", settings=replace(settings, ca=certificate))
    with pytest.raises(RegistryError, match="expected a PEM file of certificates"):
        pull("127.0.0.1:9/p:1", tmp_path / "no", settings=replace(settings, ca=tmp_path / "none.pem"))


def auth(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.fixture
def home(tmp_path: Path) -> Callable[[dict[str, Any]], dict[str, str]]:
    """Writes a docker configuration; gives the environment that finds it."""

    def write(document: dict[str, Any]) -> dict[str, str]:
        (tmp_path / ".docker").mkdir(exist_ok=True)
        (tmp_path / ".docker" / "config.json").write_text(json.dumps(document))
        return {"HOME": str(tmp_path), "PATH": str(tmp_path / "bin")}

    return write


@pytest.mark.parametrize(
    ("key", "entry", "expected"),
    [
        ("r.example", {"auth": auth("me:a:b")}, Credentials("me", "a:b")),
        ("https://r.example/v1/", {"auth": auth("me:x")}, Credentials("me", "x")),
        ("r.example", {"username": "me", "password": "x"}, Credentials("me", "x")),
        ("r.example", {"auth": auth('_json_key:{\n "a": 1}\n')}, Credentials("_json_key", '{\n "a": 1}\n')),
        ("other.example", {"auth": auth("_json_key:{\n}")}, None),
        ("r.example", {"auth": auth("me:"), "identitytoken": "t"}, Credentials("me", "", "t")),
        ("r.example", {"registrytoken": "t"}, Credentials(registry_token="t")),
        ("r.example/edge", {"auth": auth("me:x")}, Credentials("me", "x")),
        ("other.example", {"auth": auth("me:x")}, None),
        ("r.example", {}, None),
    ],
)
def test_docker_login_is_found(
    home: Callable[..., Any], key: str, entry: dict[str, str], expected: Credentials | None
) -> None:
    """What `docker login` and `podman login` write is found under each form of the registry's name."""
    assert find("r.example", "edge/pump", home({"auths": {key: entry}})) == expected


def helper(folder: Path, name: str, script: str) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    path = folder / "bin" / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_helpers_are_asked(home: Callable[..., Any], tmp_path: Path) -> None:
    """A registry's helper comes before the file, the store of all after it; a helper without an entry is no error."""
    helper(tmp_path, "one", """read host; echo "{\\"Username\\": \\"$host\\", \\"Secret\\": \\"$1\\"}" """)
    helper(tmp_path, "token", """echo '{"Username": "<token>", "Secret": "t"}'""")
    helper(tmp_path, "none", "echo credentials not found in native keychain; exit 1")
    helper(tmp_path, "broken", "echo no key ring >&2; exit 3")
    entry = {"auths": {"r.example": {"auth": auth("file:x")}}}
    assert find("r.example", "", home({**entry, "credHelpers": {"r.example": "one"}})) == Credentials(
        "r.example", "get"
    )
    assert find("r.example", "", home({**entry, "credsStore": "one"})) == Credentials("file", "x")
    assert find("r.example", "", home({"auths": {"r.example": {}}, "credsStore": "token"})) == Credentials(
        identity_token="t"
    )
    assert find("r.example", "", home({"credsStore": "none"})) is None
    with pytest.raises(RegistryError, match=r"the helper docker-credential-broken failed \(3\): no key ring"):
        find("r.example", "", home({"credsStore": "broken"}))
    with pytest.raises(RegistryError, match="docker-credential-missing cannot be asked"):
        find("r.example", "", home({"credsStore": "missing"}))


def test_places_of_the_file(home: Callable[..., Any], tmp_path: Path) -> None:
    """REGISTRY_AUTH_FILE comes first, DOCKER_CONFIG in place of the home folder; no file at all means no credentials."""
    environment = home({"auths": {"r.example": {"auth": auth("home:x")}}})
    (tmp_path / "config.json").write_text(json.dumps({"auths": {"r.example": {"auth": auth("docker:x")}}}))
    (tmp_path / "auth.json").write_text(json.dumps({"auths": {"r.example": {"auth": auth("podman:x")}}}))
    names = []
    for more in ({}, {"DOCKER_CONFIG": str(tmp_path)}, {"REGISTRY_AUTH_FILE": str(tmp_path / "auth.json")}):
        found = find("r.example", "", {**environment, **more})
        assert found is not None
        names.append(found.username)
    assert names == ["home", "docker", "podman"]
    assert find("r.example", "", {"HOME": "/nonexistent"}) is None


def test_podmans_own_places(home: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What `podman login` writes is found, in the order of containers-auth.json(5); a file that is named stands in for it."""
    places = {name: tmp_path / name for name in ("runtime", "config", "run")}
    for name, folder in places.items():
        path = folder / (str(os.getuid()) if name == "run" else "containers") / "auth.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"auths": {"r.example": {"auth": auth(f"{name}:x")}}}))
    monkeypatch.setattr("edgeloop_components.registry.credentials.RUN_FOLDER", places["run"])
    environment = home({"auths": {"r.example": {"auth": auth("docker:x")}}})
    runtime, config = {"XDG_RUNTIME_DIR": str(places["runtime"])}, {"XDG_CONFIG_HOME": str(places["config"])}
    away = {"XDG_RUNTIME_DIR": str(tmp_path / "away")}  # nobody has logged in there
    cases: dict[str, dict[str, str]] = {"runtime": {**runtime, **config}, "run": config, "config": {**away, **config}}
    found = {name: find("r.example", "", {**environment, **more}) for name, more in cases.items()}
    assert found == {name: Credentials(name, "x") for name in cases}
    named = {**environment, **runtime, "REGISTRY_AUTH_FILE": str(tmp_path / "gone")}
    assert find("r.example", "", named) == find("r.example", "", {**environment, **away}) == Credentials("docker", "x")
    home_config = tmp_path / ".config" / "containers" / "auth.json"
    home_config.parent.mkdir(parents=True)
    home_config.write_text(json.dumps({"auths": {"r.example": {"auth": auth("dot:x")}}}))
    assert find("r.example", "", {**away, "HOME": str(tmp_path)}) == Credentials("dot", "x")


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (
            'Bearer realm="https://a/t",service="s",scope="x:y:z"',
            [("bearer", {"realm": "https://a/t", "service": "s", "scope": "x:y:z"})],
        ),
        ('Basic realm="x", Bearer realm="y"', [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        ("basic", [("basic", {})]),
        ('BEARER Realm = "a\\"b" , x=1', [("bearer", {"realm": 'a"b', "x": "1"})]),
        ("Negotiate abc==", [("negotiate", {})]),
        ('Negotiate, Basic realm="x"', [("negotiate", {}), ("basic", {"realm": "x"})]),
        ("", []),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    """WWW-Authenticate in the forms that registries send."""
    assert list(challenges(header)) == [Challenge(scheme, parameters) for scheme, parameters in expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("r.example/a/b:1", Remote("r.example", "a/b", "1")),
        ("R.Example:5000/a__b-c", Remote("r.example:5000", "a__b-c")),
        (f"localhost/a@sha256:{'a' * 64}", Remote("localhost", "a", "", f"sha256:{'a' * 64}")),
        (f"[::1]:80/a:t@sha256:{'a' * 64}", Remote("[::1]:80", "a", "t", f"sha256:{'a' * 64}")),
        ("oci:folder", InLayout(Path("folder"))),
        ("oci:/x/y@z:edge/pump:1", InLayout(Path("/x/y@z"), "edge/pump:1")),
        (f"oci:/x@sha256:{'0' * 64}", InLayout(Path("/x"), "", f"sha256:{'0' * 64}")),
    ],
)
def test_names(text: str, expected: Remote | InLayout) -> None:
    """Names are read, and written again as they were but for the host's capitals."""
    assert parse(text) == expected
    assert parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "pump", "edge/pump:1", "r.example/", "r.example/A", "r.example/a:", "r.example/a:b:c", "r.example/a..b",
     "r.example/../a", "r.example:0/a", "r.example:70000/a",
     "r.example/a@sha256:12", "r.example/a@md5:1", "-r.example/a", "r.example/a?x", "oci:",
     "http://r.example/a", "user@r.example/a", "r.example/" + "a" * 300, "r.example/a" + ":" + "t" * 129, "x" * 2000],
)  # fmt: skip
def test_names_that_are_none(text: str) -> None:
    """Short names, bad characters, too long ones, addresses: refused by name."""
    with pytest.raises(RegistryError, match="expected"):
        parse(text)


SCRAPS = [
    "Bearer ",
    "realm=",
    '"',
    "\\",
    ",",
    "=",
    "sha256:" + "0" * 64,
    "r.example/",
    "oci:",
    "/",
    ":",
    "@",
    "{",
    "}",
    "<token>",
]
WILD = st.one_of(
    st.text(max_size=60), st.lists(st.sampled_from(SCRAPS) | st.text(max_size=5), max_size=12).map("".join)
)
KEYS = """auths credHelpers credsStore auth Username Secret mediaType config layers manifests subject digest size annotations
platform os artifactType urls r.example"""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WILD | st.sampled_from(["sha256:" + "0" * 64, "a/b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(KEYS.split()),
            inner,
            max_size=5,
        )
    ),
    max_leaves=15,
)


@given(WILD, VALUES, st.binary(max_size=60))
def test_only_named_errors_come_out(text: str, value: Any, data: bytes) -> None:
    """Whatever comes in as name, header, configuration, helper's output or manifest: RegistryError or a good value."""
    document = json.dumps(value).encode()
    for read_one in (
        lambda: parse(text),
        lambda: challenges(text),
        lambda: parse_config(data, "x"),
        lambda: parse_config(document, "x"),
        lambda: parse_config(json.dumps({"auths": {"r.example": value}}).encode(), "x"),
        lambda: parse_helper(data, "x"),
        lambda: parse_helper(document, "x"),
        lambda: read(data, text),
        lambda: read(document, text).descriptor,
        lambda: read(json.dumps({"config": value, "layers": [value], "subject": value}).encode()).descriptor,
        lambda: read(json.dumps({"manifests": [value], "annotations": value}).encode()).descriptor,
    ):
        try:
            read_one()
        except RegistryError:
            continue


@given(st.lists(st.builds(Fault, body=st.binary(max_size=40), header=st.dictionaries(
    st.sampled_from(["Content-Type", "Location", "Link", "Range", "Retry-After", "WWW-Authenticate", "Docker-Content-Digest"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=30), max_size=4),
    status=st.sampled_from([0, 200, 201, 204, 206, 302, 401, 404, 416, 429])), max_size=12))  # fmt: skip
def test_any_answer_is_read(two: tuple[Path, str], faults: list[Fault]) -> None:
    """Whatever a registry answers, push and pull end in a named error or are right."""
    at, digest = two
    settings = Settings(sleep=lambda _: None, timeout_s=0.5, find_credentials=lambda *_: USER, tries=3)
    with serve() as registry:
        host = registry.address.partition("//")[2]
        push(f"oci:{at}", f"{host}/m:1", settings=settings)
        registry.faults = list(faults)
        try:
            push(f"oci:{at}", f"{host}/n:1", settings=settings)
            assert registry.tags["n", "1"] == digest
        except RegistryError:
            pass


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, make_index_module: Callable[..., str]) -> tuple[Path, str]:
    """A layout with one small index."""
    at = tmp_path_factory.mktemp("two") / "l"
    return at, make_index_module(at, "m:1", b"model" * 100)
