"""The commands as a person calls them: keys new, model push, pull and verify."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from edgeloop_components.registry.testing import Fault, TestRegistry
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
