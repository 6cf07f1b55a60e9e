"""Finds the credentials of a registry where `docker login` and `podman login` leave them, and asks their helpers.

Looked at, in the order of podman and skopeo: the file that REGISTRY_AUTH_FILE names, or where it names none containers/auth.json
in XDG_RUNTIME_DIR (else /run/containers/<uid>/auth.json) and in XDG_CONFIG_HOME or ~/.config; then config.json in the folder
DOCKER_CONFIG or ~/.docker. In each: the helper of that registry (credHelpers), the entry in `auths`, the store of all
(credsStore). A password is never printed, nor put on a command line.

Refuses, with RegistryError: a file that is not such a configuration, a helper's name that is a path, a helper that fails.
"""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_components.registry.errors import RegistryError

__all__ = ["Config", "Credentials", "find", "parse_config", "parse_helper"]

MOST_BYTES = 1 << 20
HELPER_TIMEOUT_S = 30.0
RUN_FOLDER = Path("/run/containers")  # where podman keeps a user's login without XDG_RUNTIME_DIR
_NO_CREDENTIALS = "credentials not found"


@dataclass(frozen=True)
class Credentials:
    """What is shown to a registry: a name and password, a token that buys tokens, or a token for the registry itself."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)


@dataclass(frozen=True)
class Config:
    """A docker configuration, as far as it is about credentials."""

    auths: Mapping[str, Credentials] = field(default_factory=dict)
    helpers: Mapping[str, str] = field(default_factory=dict)
    store: str = ""


def find(registry: str, repository: str = "", environment: Mapping[str, str] | None = None) -> Credentials | None:
    """The credentials of `registry` (host[:port]); None: there are none, and it is asked without."""
    known = os.environ if environment is None else environment
    for path in _files(known):
        try:
            text = path.read_bytes()[: MOST_BYTES + 1]
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RegistryError(f"credentials: {path}: {error.strerror}") from error
        found = _from_config(parse_config(text, str(path)), registry, repository, known)
        if found is not None:
            return found
    return None


def _files(environment: Mapping[str, str]) -> list[Path]:
    """Where they may be, in the order in which podman and skopeo look (containers-auth.json(5)); docker knows the last alone."""
    home = environment.get("HOME") or str(Path.home())
    docker = Path(environment.get("DOCKER_CONFIG") or Path(home, ".docker"), "config.json")
    if environment.get("REGISTRY_AUTH_FILE"):
        return [Path(environment["REGISTRY_AUTH_FILE"]), docker]
    runtime, settings = environment.get("XDG_RUNTIME_DIR"), environment.get("XDG_CONFIG_HOME") or Path(home, ".config")
    login = Path(runtime, "containers") if runtime else RUN_FOLDER / str(os.getuid())
    return [login / "auth.json", Path(settings, "containers", "auth.json"), docker]


def _from_config(config: Config, registry: str, repository: str, environment: Mapping[str, str]) -> Credentials | None:
    if helper := config.helpers.get(registry):
        return _ask(helper, registry, environment)
    names = [f"{registry}/{repository}".rstrip("/")]
    while "/" in names[-1]:  # podman keeps credentials for namespaces, too
        names.append(names[-1].rpartition("/")[0])
    known = {_host(name): credentials for name, credentials in config.auths.items()}
    found = next((known[name] for name in names if name in known), None)
    if found is not None and found != Credentials():
        return found
    return _ask(config.store, registry, environment) if config.store else None


def _host(key: str) -> str:
    """`https://host/v1/` and `host` are one."""
    return re.sub(r"/v[12]/?$", "", re.sub(r"^https?://", "", key)).rstrip("/").lower()


def parse_config(text: bytes, where: str) -> Config:
    """Reads a docker configuration. RegistryError when it is none."""
    try:
        if len(text) > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} bytes")
        document = json.loads(text)
        auths = {str(key): _auth(entry) for key, entry in _mapping(document, "auths").items()}
        helpers = {str(key).lower(): _name(name) for key, name in _mapping(document, "credHelpers").items()}
        store = _name(document["credsStore"]) if document.get("credsStore") else ""
    except (ValueError, RecursionError) as error:
        raise RegistryError(f"credentials: {where}: expected a docker configuration: {error}") from error
    return Config(auths, helpers, store)


def _mapping(document: Any, key: str) -> Mapping[str, Any]:
    found = document.get(key) or {} if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise ValueError(f"{key}: expected a JSON object")
    return found


def _name(helper: Any) -> str:
    if not isinstance(helper, str) or not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", helper):
        raise ValueError(f"expected the name of a credential helper, found {str(helper)[:60]!r}")
    return helper


def _auth(entry: Any) -> Credentials:
    if not isinstance(entry, dict):
        raise ValueError("auths: expected a JSON object for each registry")
    fields = ("username", "password", "auth", "identitytoken", "registrytoken")
    words = {name: entry.get(name) or "" for name in fields}
    if not all(isinstance(word, str) for word in words.values()):
        raise ValueError("auths: expected texts")
    if not all(words[name].isprintable() for name in ("username", "identitytoken", "registrytoken")):
        raise ValueError("auths: expected names and tokens without line breaks")
    username, password = words["username"], words["password"]
    if words["auth"]:
        plain = base64.b64decode(words["auth"], validate=True).decode()
        username, colon, password = plain.partition(":")
        if not colon or not username.isprintable():  # a password may have lines: a JSON key is one
            raise ValueError("auths: expected name:password in base64")
    return Credentials(username, password.rstrip("\0"), words["identitytoken"], words["registrytoken"])


def _ask(helper: str, registry: str, environment: Mapping[str, str]) -> Credentials | None:
    command = f"docker-credential-{helper}"
    try:
        done = subprocess.run(
            [command, "get"],
            input=registry.encode(),
            capture_output=True,
            timeout=HELPER_TIMEOUT_S,
            env=dict(environment),
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RegistryError(f"credentials of {registry}: the helper {command} cannot be asked: {error}") from error
    if done.returncode and _NO_CREDENTIALS in done.stdout.decode("utf-8", "replace"):
        return None
    if done.returncode:
        why = (done.stderr or done.stdout).decode("utf-8", "replace").strip()[-300:]
        raise RegistryError(f"credentials of {registry}: the helper {command} failed ({done.returncode}): {why}")
    return parse_helper(done.stdout, command)


def parse_helper(text: bytes, command: str) -> Credentials:
    """Reads what a credential helper printed. The user name `<token>` marks a token that buys tokens."""
    try:
        document = json.loads(text[:MOST_BYTES])
        username, secret = (document[key] for key in ("Username", "Secret"))
        token = username == "<token>"
        if not isinstance(secret, str) or not username.isprintable() or (token and not secret.isprintable()):
            raise ValueError("Username and Secret must be texts, names and tokens without line breaks")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        kind = type(error).__name__  # not the text: it may hold what the helper printed
        raise RegistryError(f"credentials: {command}: expected JSON with Username and Secret ({kind})") from error
    return Credentials(identity_token=secret) if token else Credentials(username, secret)
