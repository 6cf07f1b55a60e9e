"""Shows a registry who asks: nothing, a password, or a token that the registry's own token service gives for it.

A registry says in a 401 what it wants (challenge.py). A password goes to the registry's own host and to the token service that it
names, never over plain HTTP to another machine, and never to where a registry redirects. Tokens are kept for as long as one
push or pull.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode, urlsplit

from edgeloop_components.registry.challenge import Challenge, challenges
from edgeloop_components.registry.credentials import Credentials
from edgeloop_components.registry.errors import DeniedError, RegistryError, UnsoundError
from edgeloop_components.registry.reference import is_loopback

__all__ = ["Access", "Fetch"]

CLIENT = "edgeloop"
Fetch = Callable[[str, str, Mapping[str, str], bytes | None], bytes]  # method, URL, headers, body -> body of a 200


class Access:
    """The Authorization headers for one registry. `fetch` asks the token service."""

    def __init__(self, registry: str, credentials: Credentials | None, fetch: Fetch, *, plain_http: bool) -> None:
        self._registry, self._known, self._fetch, self._plain = registry, credentials, fetch, plain_http
        self._headers: dict[tuple[str, ...], str] = {}

    def header(self, scopes: Sequence[str]) -> dict[str, str]:
        """What is sent along at once."""
        if self._known and self._known.registry_token:
            return {"Authorization": f"Bearer {self._known.registry_token}"}
        found = self._headers.get(tuple(scopes))
        return {"Authorization": found} if found else {}

    def answer(self, header: str, scopes: Sequence[str]) -> None:
        """Takes in the WWW-Authenticate of a 401. DeniedError when there is nothing (more) to show."""
        spoken = {challenge.scheme: challenge for challenge in reversed(challenges(header))}
        if "bearer" in spoken and not (self._known and self._known.registry_token):
            self._headers[tuple(scopes)] = f"Bearer {self._token(spoken['bearer'], scopes)}"
        elif "basic" in spoken and self._known and self._known.username:
            self._headers[tuple(scopes)] = self._basic()
        else:
            asks = ", ".join(spoken) or "nothing that is known"
            raise DeniedError(
                f"registry {self._registry}: asks for {asks}, and there are no credentials for it: "
                f"docker login {self._registry}"
            )

    def _basic(self) -> str:
        assert self._known is not None
        words = f"{self._known.username}:{self._known.password}".encode()
        return f"Basic {base64.b64encode(words).decode()}"

    def _token(self, challenge: Challenge, scopes: Sequence[str]) -> str:
        realm = self._realm(challenge.parameters.get("realm", ""))
        wanted = list(scopes) or challenge.parameters.get("scope", "").split()
        service = challenge.parameters.get("service", "")
        query = [("service", service)] if service else []
        if self._known and self._known.identity_token:
            grant = {"grant_type": "refresh_token", "client_id": CLIENT, "scope": " ".join(wanted)}
            form = urlencode([*query, *grant.items(), ("refresh_token", self._known.identity_token)]).encode()
            kind = {"Content-Type": "application/x-www-form-urlencoded"}
            return _token_of(self._fetch("POST", realm, kind, form), self._registry)
        shown = {"Authorization": self._basic()} if self._known and self._known.username else {}
        url = realm + ("&" if "?" in realm else "?") + urlencode([*query, *(("scope", scope) for scope in wanted)])
        return _token_of(self._fetch("GET", url, shown, None), self._registry)

    def _realm(self, realm: str) -> str:
        """Where tokens are to be had, when a password may be sent there."""
        try:
            parts = urlsplit(realm)
            host, _ = parts.netloc.lower(), parts.port
        except ValueError:
            host = ""
        near = self._plain and (host == self._registry or is_loopback(host))
        clean = "@" not in host and "#" not in realm and realm.isprintable() and realm.isascii()
        if host and clean and (parts.scheme == "https" or (parts.scheme == "http" and near)):
            return realm
        raise UnsoundError(
            f"registry {self._registry}: sends for a token to {realm[:200]!r}: expected an https:// address without a password"
        )


def _token_of(body: bytes, registry: str) -> str:
    try:
        document = json.loads(body)
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise ValueError("no text in token or access_token")
    except (ValueError, AttributeError, RecursionError) as error:
        raise RegistryError(f"registry {registry}: its token service gave no token") from error
    return token
