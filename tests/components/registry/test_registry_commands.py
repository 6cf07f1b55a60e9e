"""The commands as a person calls them: keys new, model push, pull and verify."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgeloop_components.package import layout as oci
from edgeloop_components.package.model import name_model, write_model
from edgeloop_components.registry.testing import Fault, TestRegistry
from edgeloop_contracts import ModelVersion, digest_of
from edgeloop_pipelines.cli import keys
from edgeloop_pipelines.cli.models import push, verify

Made = tuple[Path, str]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    """Runs `edgeloop WORDS` in this process; exit code, standard output, standard error."""
    from edgeloop_pipelines.cli.console import guarded

    app = typer.Typer()
    model = typer.Typer()
    model.command("push")(push.command)
    model.command("pull")(push.pull_command)
    model.command("verify")(verify.command)
    app.add_typer(model, name="model")
    app.add_typer(keys.app, name="keys")
    for name in ("EDGELOOP_SIGNING_KEY", "EDGELOOP_PUBLIC_KEY", "EDGELOOP_KEY_PASSWORD", "REGISTRY_AUTH_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")

    def call(*words: str | Path) -> tuple[int, str, str]:
        said: list[int] = []

        def once() -> int:
            done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True)
            said.append(done.exit_code)
            outputs[:] = [done.stdout, done.stderr]
            if done.exception and not isinstance(done.exception, SystemExit):
                raise done.exception
            return done.exit_code

        outputs = ["", ""]
        return guarded(once, as_json=False), outputs[0], outputs[1]

    return call


def test_from_key_to_verified(
    run: Callable[..., tuple[int, str, str]],
    made: Made,
    registry: TestRegistry,
    host: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A new key signs while pushing; the image is verified in the registry and after a pull, and not with another key."""
    at, digest = made
    code, out, _ = run("keys", "new", tmp_path / "a.key", "--json")
    assert (code, json.loads(out)["encrypted"]) == (0, False)
    assert run("keys", "new", tmp_path / "b.key")[0] == 0
    name = f"{host}/edge/pump:7"
    code, out, _ = run("model", "push", f"oci:{at}:edge/pump:1", name, "--key", tmp_path / "a.key", "--json")
    assert code == 0
    pushed = json.loads(out)
    assert (pushed["digest"], pushed["referrers"]) == (digest, 6)  # index and two images, in two formats
    code, out, _ = run("model", "verify", name, "--key", tmp_path / "a.pub", "--json")
    assert code == 0
    assert [one["form"] for one in json.loads(out)["signatures"]] == ["tag", "bundle"]
    assert run("model", "pull", name, "-o", tmp_path / "back")[0] == 0
    assert run("model", "verify", f"oci:{tmp_path / 'back'}:edge/pump:7", "--key", tmp_path)[0] == 0
    code, _, _ = run("model", "verify", name, "--key", tmp_path / "b.pub")
    assert (code, "was not made over these bytes" in capsys.readouterr().err) == (1, True)
    code, _, _ = run(
        "model", "verify", name, "--key", tmp_path / "a.pub", "--attestation", "https://slsa.dev/provenance/v1"
    )
    assert (code, "expected signed statements of the type https://slsa.dev" in capsys.readouterr().err) == (1, True)
    code, _, _ = run("model", "pull", name, "--platform", "linux/arm64", "--no-referrers", "-o", tmp_path / "node")
    assert code == 0


def test_files_are_signed_for_nodes(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    """`keys sign` makes what `edgeloop-node verify` asks for: a detached signature of a file, and one of a model folder."""
    from edgeloop_node.verify import verify_file, verify_folder

    (tmp_path / "model").mkdir()
    for name in ("server", "model/model.onnx"):
        (tmp_path / name).write_bytes(b"bytes")
    assert run("keys", "new", tmp_path / "a.key")[0] == 0
    for name in ("server", "model"):
        assert run("keys", "sign", tmp_path / name, "--key", tmp_path / "a.key")[0] == 0
    verified = verify_file(tmp_path / "server", tmp_path / "server.sig", tmp_path / "a.pub")
    assert verify_folder(tmp_path / "model", tmp_path / "a.pub") == verified
    assert run("keys", "sign", tmp_path / "gone", "--key", tmp_path / "a.key")[0] == 1


def test_failures_have_exit_codes(
    run: Callable[..., tuple[int, str, str]],
    made: Made,
    registry: TestRegistry,
    host: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is wrong is 1, a registry that does not answer is 3, each in one line that says what and where."""
    assert run("model", "push", f"oci:{made[0]}", "pump:1")[0] == 1
    assert "expected host[:port]/repository" in capsys.readouterr().err
    registry.faults = [Fault(status=503, retry_after="9000")]
    assert run("model", "push", f"oci:{made[0]}", f"{host}/p:1")[0] == 3
    assert "the registry answered 503" in capsys.readouterr().err
    assert run("model", "verify", f"oci:{made[0]}", "--key", tmp_path / "none.pub")[0] == 1
    assert "a key cannot be read: No such file" in capsys.readouterr().err
    registry.auth = "basic"
    assert run("model", "pull", f"{host}/p:1", "-o", tmp_path / "x")[0] == 1
    assert f"docker login {host}" in capsys.readouterr().err
    (tmp_path / "config.json").write_text(json.dumps({"auths": {host: {"username": "user", "password": "secret"}}}))
    assert run("model", "push", f"oci:{made[0]}", f"{host}/p:1")[0] == 0
    assert os.environ["DOCKER_CONFIG"] == str(tmp_path)


Run = Callable[..., tuple[int, str, str]]


def test_without_a_name_the_image_is_meant(
    run: Run,
    registry: TestRegistry,
    host: str,
    make_index: Callable[..., str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not its model, modelcar or base, which lie beside it, as `model package` writes them; of two images neither is."""
    at, model = tmp_path / "images", tmp_path / "model"
    model.mkdir()
    for name in ("model.onnx", "reference.json", "golden.json"):
        (model / name).write_text("{}")
    zero = digest_of("zero")
    version = ModelVersion(
        loop="pump", number=1, state="accepted", run_key="r", snapshot=zero, onnx=zero, reference=zero, golden=zero
    )
    beside = write_model(at, version, model, created="1970-01-01T00:00:00Z")
    name_model(at, version, beside.artifact, beside.modelcar)
    base = oci.write_image(at, [], platform="linux/amd64", config={})
    oci.name_image(at, base, "edgeloop/base:amd64")
    notes = {"org.opencontainers.image.base.digest": base}
    images = [oci.write_image(at, [], platform="linux/amd64", config={"User": "1"}, annotations=notes)]
    digest = oci.write_index(at, images)
    oci.name_image(at, digest, "edgeloop/pump:1")
    assert len(oci.images(at)) == 4
    code, out, _ = run("model", "push", f"oci:{at}", f"{host}/edge/pump:1", "--json")
    assert (code, json.loads(out)["digest"]) == (0, digest)
    assert run("keys", "new", tmp_path / "a.key")[0] == 0
    assert run("model", "push", f"oci:{at}", f"oci:{tmp_path / 'stick'}:p:1", "--key", tmp_path / "a.key")[0] == 0
    assert run("model", "verify", f"oci:{at}", "--key", tmp_path / "a.pub")[0] == 0
    make_index(at, "edgeloop/other:1", b"other")
    assert run("model", "push", f"oci:{at}", f"{host}/edge/pump:1")[0] == 1
    assert "found several: edgeloop/other:1, edgeloop/pump:1\n" in capsys.readouterr().err


NO_LAYOUTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda at: None, "expected the folder of an image layout at {at}, found nothing there"),
    "a file": (lambda at: at.write_text("x"), "expected the folder of an image layout at {at}, found something else"),
    "an empty folder": (lambda at: at.mkdir(), "found no file {at}/oci-layout"),
}


@pytest.mark.parametrize("what", NO_LAYOUTS)
@pytest.mark.parametrize("command", ["push", "pull", "verify"])
def test_what_is_no_layout_is_refused_by_its_name(
    command: str, what: str, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By every command that reads one, whether or not a name is given."""
    make, said = NO_LAYOUTS[what]
    make(at := tmp_path / "at")
    assert run("keys", "new", tmp_path / "a.key")[0] == 0
    more = {
        "push": [f"oci:{tmp_path / 'to'}:p:1"],
        "pull": ["-o", tmp_path / "to"],
        "verify": ["--key", tmp_path / "a.pub"],
    }[command]
    for name in ("", ":pump:1", f"@{digest_of('x')}"):
        assert run("model", command, f"oci:{at}{name}", *more)[0] == 1
        assert said.format(at=at) in capsys.readouterr().err
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("text", [None, "no JSON", "[]", "{}", '{"imageLayoutVersion":"2.0.0"}'])
def test_a_layout_needs_its_mark(
    text: str | None, run: Run, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The file oci-layout with the version of the form: other tools refuse the folder without it, and so do we."""
    mark = made[0] / "oci-layout"
    mark.unlink() if text is None else mark.write_text(text)
    assert run("keys", "new", tmp_path / "a.key")[0] == 0
    assert run("model", "verify", f"oci:{made[0]}", "--key", tmp_path / "a.pub")[0] == 1
    assert str(mark) in capsys.readouterr().err


def test_keys_that_cannot_sign_say_why(
    run: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A public key, whatever its mode; an encrypted one without its passphrase, and with a wrong one."""
    monkeypatch.setenv("EDGELOOP_KEY_PASSWORD", "right")
    assert run("keys", "new", tmp_path / "a.key")[0] == 0
    push = ("model", "push", f"oci:{made[0]}", f"oci:{tmp_path / 'to'}:p:1", "--key")
    (tmp_path / "a.pub").chmod(0o644)
    assert run(*push, tmp_path / "a.pub")[0] == 1
    assert "a.pub: expected a private key to sign with, found a public key" in capsys.readouterr().err
    monkeypatch.delenv("EDGELOOP_KEY_PASSWORD")
    assert run(*push, tmp_path / "a.key")[0] == 1
    assert "has a passphrase: expected it in EDGELOOP_KEY_PASSWORD, found nothing there" in capsys.readouterr().err
    monkeypatch.setenv("EDGELOOP_KEY_PASSWORD", "wrong")
    assert run(*push, tmp_path / "a.key")[0] == 1
    assert "the passphrase in EDGELOOP_KEY_PASSWORD does not open it" in capsys.readouterr().err
