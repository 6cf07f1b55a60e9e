"""One conversation with one registry over HTTP: who asks, redirects, limits, time, and trying again.

Plain HTTP is spoken with this machine only, unless it is asked for. Credentials stay with the registry's own host: where it
redirects to gets none. Whatever a registry answers is bounded in bytes and time. What may go better in a moment (429, 5xx, a
cut connection) is tried again after a pause that doubles, or that the registry asks for.

Refuses, with UnsoundError, to go from https to http, to go round in redirects, and to read more than was announced.
"""

from __future__ import annotations

import contextlib
import email.utils
import json
import random
import ssl
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgeloop_components.registry import credentials
from edgeloop_components.registry.access import Access
from edgeloop_components.registry.errors import (
    DeniedError,
    MissingError,
    RegistryError,
    TransientError,
    UnsoundError,
)
from edgeloop_components.registry.reference import is_loopback

__all__ = ["Answer", "Settings", "Transport"]

T = TypeVar("T")
MOST_ERROR_BYTES, MOST_TOKEN_BYTES = 64 << 10, 1 << 20
MOST_REDIRECTS, MOST_TRIES = 5, 200
DOCUMENT_S = 120.0  # for the whole of a small answer
LEAST_BYTES_PER_S = 2048  # of a blob; below it the connection is given up and the rest is asked for anew
PASSING = {408, 425, 429, 500, 502, 503, 504}


@dataclass(frozen=True)
class Settings:
    """How a registry is spoken with. `plain_http` None: with this machine only. `tries`: in a row without a byte moved."""

    plain_http: bool | None = None
    ca: Path | None = None
    tries: int = 6
    timeout_s: float = 30.0
    longest_pause_s: float = 60.0
    chunk_bytes: int = 16 << 20
    find_credentials: Callable[[str, str], credentials.Credentials | None] = credentials.find
    sleep: Callable[[float], None] = time.sleep
    random: Callable[[], float] = random.random


class Answer:
    """An answer whose body has not been read yet."""

    def __init__(self, response: Any, url: str) -> None:
        self._response, self.url = response, url
        self.status: int = response.status_code

    def header(self, name: str) -> str:
        """A header's value; '' when it is not there."""
        return str(self._response.headers.get(name, ""))

    @property
    def length(self) -> int | None:
        """The announced length of the body."""
        text = self.header("Content-Length")
        known = text.isascii() and text.isdigit() and len(text) < 19 and not self.header("Transfer-Encoding")
        return int(text) if known else None

    def chunks(self, most_bytes: int, deadline_s: float) -> Iterator[bytes]:
        """The body piece by piece. UnsoundError above `most_bytes`; TransientError when it takes too long or is cut."""
        left, end = most_bytes, time.monotonic() + deadline_s
        with _translated(self.url):
            for piece in self._response.iter_raw():
                left -= len(piece)
                if left < 0:
                    raise UnsoundError(f"{self.url}: expected at most {most_bytes} bytes, got more")
                if time.monotonic() > end:
                    raise TransientError(f"{self.url}: {most_bytes - left} bytes in {deadline_s:.0f} s: too slow")
                yield piece

    def body(self, most_bytes: int) -> bytes:
        """All of a small body."""
        return b"".join(self.chunks(most_bytes, DOCUMENT_S))

    def failure(self, asked: str) -> RegistryError:
        """The error that this answer is."""
        try:
            why = _words(self.body(MOST_ERROR_BYTES))
        except RegistryError:
            why = ""
        text = f"{asked}: the registry answered {self.status}{': ' + why if why else ''}"
        if self.status in PASSING:
            return TransientError(text, wait_s=_seconds(self.header("Retry-After")))
        kinds: dict[int, type[RegistryError]] = {401: DeniedError, 403: DeniedError, 404: MissingError}
        return kinds.get(self.status, RegistryError)(text)


class Transport:
    """Requests to one registry about one repository. A context manager: it holds connections."""

    def __init__(self, registry: str, repository: str, settings: Settings) -> None:
        import httpx

        plain = is_loopback(registry) and settings.ca is None if settings.plain_http is None else settings.plain_http
        self.registry, self.settings = registry, settings
        self.base = str(httpx.URL(f"{'http' if plain else 'https'}://{registry}")).rstrip("/")
        self._client = httpx.Client(
            verify=_trust(settings.ca),
            timeout=settings.timeout_s,
            headers={"Accept-Encoding": "identity", "User-Agent": "edgeloop"},
            trust_env=not is_loopback(registry),  # a proxy does not reach this machine
        )
        known = settings.find_credentials(registry, repository)
        self._access = Access(registry, known, self._fetch, plain_http=plain)

    def __enter__(self) -> Transport:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def retrying(self, operation: Callable[[], T]) -> T:
        """Calls until it goes through. TransientError, the last one, when it does not."""
        failed, settings = 0, self.settings
        for _ in range(MOST_TRIES):
            try:
                return operation()
            except TransientError as error:
                failed = 1 if error.moved else failed + 1
                pause_s = error.wait_s or min(0.25 * 2**failed, settings.longest_pause_s) * (
                    0.5 + settings.random() / 2
                )
                if failed >= settings.tries or pause_s > settings.longest_pause_s:
                    raise TransientError(f"{error}; gave up after {failed} tries", wait_s=error.wait_s) from error
                settings.sleep(pause_s)
        raise TransientError(f"{self.registry}: gave up after {MOST_TRIES} tries")

    @contextlib.contextmanager
    def asking(
        self,
        method: str,
        url: str,
        *,
        expected: Sequence[int],
        scopes: Sequence[str],
        headers: Mapping[str, str] | None = None,
        body: Callable[[], Iterable[bytes]] | None = None,
    ) -> Iterator[Answer]:
        """One request, signed in when the registry asks for it, and redirected. The answer has one of `expected` statuses."""
        answer = self._send(method, url, scopes, headers or {}, body)
        if answer.status == 401 and answer.url.startswith(f"{self.base}/"):
            self._access.answer(answer.header("WWW-Authenticate"), scopes)
            answer._response.close()
            answer = self._send(method, url, scopes, headers or {}, body)
        try:
            if answer.status not in expected:
                raise answer.failure(f"{method} {_shown(url)}")
            yield answer
        finally:
            answer._response.close()

    def _send(
        self,
        method: str,
        url: str,
        scopes: Sequence[str],
        headers: Mapping[str, str],
        body: Callable[[], Iterable[bytes]] | None,
    ) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            own = url.startswith(f"{self.base}/")
            sent = {**headers, **(self._access.header(scopes) if own else {})}
            answer = self._once(method, url, sent, body)
            moved = (301, 302, 303, 307, 308) if method in ("GET", "HEAD") else (307, 308)
            if answer.status not in moved:
                return answer
            answer._response.close()
            url = self.located(url, answer.header("Location"))
        raise UnsoundError(f"{method} {_shown(url)}: expected an answer, got more than {MOST_REDIRECTS} redirects")

    def _once(
        self, method: str, url: str, headers: Mapping[str, str], body: Callable[[], Iterable[bytes]] | None
    ) -> Answer:
        with _translated(_shown(url)):
            request = self._client.build_request(method, url, headers=dict(headers), content=body() if body else None)
            return Answer(self._client.send(request, stream=True), url)

    def located(self, url: str, location: str) -> str:
        """The address that a Location names. UnsoundError for none, for another scheme, for http after https."""
        import httpx

        with _translated(_shown(url)):
            found = httpx.URL(url).join(location) if location else None
            schemes = ("https", "http") if self.base.startswith("http://") else ("https",)
            if found is None or found.scheme not in schemes or not found.host or found.userinfo:
                wanted = " or ".join(f"{scheme}://" for scheme in schemes)
                raise UnsoundError(
                    f"{_shown(url)}: expected a Location that is an {wanted} address, got {location[:200]!r}"
                )
            return str(found.copy_with(fragment=None))

    def _fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> bytes:
        """For tokens: no redirects, so that a password goes nowhere else."""
        sized = {**headers, "Content-Length": str(len(body))} if body is not None else headers
        answer = self._once(method, url, sized, (lambda: [body]) if body is not None else None)
        try:
            if answer.status != 200:
                raise answer.failure(f"{method} {_shown(url)} for a token")
            return answer.body(MOST_TOKEN_BYTES)
        finally:
            answer._response.close()


def _trust(ca: Path | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(ca) if ca else None)
    except (OSError, ssl.SSLError) as error:
        raise RegistryError(f"certificates: {ca}: expected a PEM file of certificates: {error}") from error


@contextlib.contextmanager
def _translated(what: str) -> Iterator[None]:
    """httpx's errors as those of this package. A certificate that is not trusted does not get better in a moment."""
    import httpx

    try:
        yield
    except httpx.TransportError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, ssl.SSLCertVerificationError):
            cause = cause.__cause__ or cause.__context__
        if cause is not None:
            raise RegistryError(
                f"{what}: its certificate is not trusted: {cause}; name the authority's with --ca"
            ) from error
        raise TransientError(f"{what}: {str(error) or type(error).__name__}") from error
    except (httpx.HTTPError, httpx.InvalidURL, httpx.StreamError) as error:
        raise UnsoundError(f"{what}: an answer that is no HTTP: {error}") from error
    except (UnicodeError, ValueError) as error:
        raise UnsoundError(f"{what}: expected an address or a header of plain characters: {error}") from error


def _shown(url: str) -> str:
    """Without the query, which may hold what gives access."""
    return url.partition("?")[0][:300]


def _words(body: bytes) -> str:
    """What a registry says in its errors, as far as it can be printed."""
    try:
        errors = json.loads(body)["errors"]
        said = "; ".join(f"{error.get('code', '')} {error.get('message', '')}".strip() for error in errors[:5])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        said = body.decode("utf-8", "replace")
    return "".join(c if c.isprintable() else " " for c in said[:300]).strip()


def _seconds(retry_after: str) -> float | None:
    """Seconds of a Retry-After, given as such or as a date."""
    if retry_after.isascii() and retry_after.isdigit() and len(retry_after) < 10:
        return float(retry_after)
    try:
        return max(email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time(), 0.0)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
