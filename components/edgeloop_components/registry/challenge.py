"""Reads the header WWW-Authenticate, by which a registry says how it wants to be shown who asks (RFC 9110, section 11.6.1).

Refuses text of another form, with RegistryError: what an outsider says decides where a password goes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from edgeloop_components.registry.errors import RegistryError

__all__ = ["Challenge", "challenges"]

MOST_CHARACTERS = 8192
_WORD = r"[A-Za-z0-9!#$%&'*+.^_`|~-]+"
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_PARAMETER = re.compile(rf"\s*({_WORD})\s*=\s*({_WORD}|{_QUOTED})\s*(?:,|$)")
_SCHEME = re.compile(rf"\s*({_WORD})(?:\s+|,|$)")
_WORD68 = re.compile(r"\s*[A-Za-z0-9._~+/-]+=*\s*(?:,|$)")


@dataclass(frozen=True)
class Challenge:
    """One way to say who asks. `scheme` and the names of parameters are in small letters."""

    scheme: str
    parameters: Mapping[str, str]


def challenges(header: str) -> tuple[Challenge, ...]:
    """All challenges of a header, in its order."""
    if len(header) > MOST_CHARACTERS:
        raise RegistryError(f"WWW-Authenticate: expected at most {MOST_CHARACTERS} characters, found {len(header)}")
    found: list[Challenge] = []
    at = 0
    while header[at:].strip(" \t,"):
        scheme = _SCHEME.match(header, at)
        if scheme is None:
            raise RegistryError(f"WWW-Authenticate: expected a scheme, found {header[at : at + 60]!r}")
        parameters: dict[str, str] = {}
        at = scheme.end()
        while (parameter := _PARAMETER.match(header, at)) is not None:
            parameters[parameter[1].lower()] = _unquoted(parameter[2])
            at = parameter.end()
        if not parameters and (other := _WORD68.match(header, at)) and not _SCHEME.match(header, other.end()):
            at = other.end()  # as Negotiate has it; not a scheme that is spoken here
        found.append(Challenge(scheme[1].lower(), parameters))
    return tuple(found)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text
