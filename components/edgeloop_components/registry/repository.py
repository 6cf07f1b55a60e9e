"""One repository of a registry: its documents as exact bytes, its blobs, and what refers to a document.

Follows the OCI distribution specification 1.1. A registry without the referrers API gets its fallback: an index under the tag
`sha256-<hex>`, into which new entries are merged. The specification has no compare-and-swap, so a merge is read again, and done
again when another writer was in between.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from typing import Any

from edgeloop_components.package.documents import INDEX
from edgeloop_components.registry.documents import (
    ACCEPT,
    MOST_BYTES,
    Descriptor,
    Document,
    digest_of_bytes,
    fallback_tag,
    read,
)
from edgeloop_components.registry.errors import MissingError, RegistryError, TransientError, UnsoundError
from edgeloop_components.registry.reference import Remote
from edgeloop_components.registry.transport import Answer, Settings, Transport
from edgeloop_contracts import canonical

__all__ = ["Repository"]

MOST_PAGES = 20
MERGES = 8


class Repository:
    """A repository that is read (and, with `push`, written). `mounts`: repositories that blobs may be mounted from."""

    def __init__(self, name: Remote, settings: Settings, *, push: bool = False, mounts: Sequence[str] = ()) -> None:
        self.name, self.settings = name.repository, settings
        self.transport = Transport(name.registry, name.repository, settings)
        own = f"repository:{name.repository}:{'pull,push' if push else 'pull'}"
        self.scopes = (own, *(f"repository:{other}:pull" for other in mounts))
        self.where = f"{name.registry}/{name.repository}"
        self.sent_bytes = self.got_bytes = 0

    def __enter__(self) -> Repository:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.__exit__()

    def url(self, path: str) -> str:
        return f"{self.transport.base}/v2/{self.name}/{path}"

    def manifest(self, reference: str) -> Document:
        """The document of a tag or digest. MissingError when there is none; UnsoundError when its bytes are another's."""
        return self.transport.retrying(lambda: self._manifest(reference))

    def _manifest(self, reference: str) -> Document:
        url, accept = self.url(f"manifests/{reference}"), {"Accept": ACCEPT}
        with self.transport.asking("GET", url, expected=(200,), scopes=self.scopes, headers=accept) as answer:
            data = answer.body(MOST_BYTES)
            self.got_bytes += len(data)
            digest = reference if reference.startswith("sha256:") else ""
            _agrees(answer, digest_of_bytes(data))
            return read(data, answer.header("Content-Type"), digest)

    def find(self, reference: str) -> Document | None:
        """The document of a tag or digest; None when there is none."""
        try:
            return self.manifest(reference)
        except MissingError:
            return None

    def put_manifest(self, document: Document, reference: str) -> bool:
        """Stores a document under a tag or its digest. True: the registry lists it as a referrer of its subject."""
        return self.transport.retrying(lambda: self._put_manifest(document, reference))

    def _put_manifest(self, document: Document, reference: str) -> bool:
        headers = {"Content-Type": document.media_type, "Content-Length": str(len(document.data))}
        url = self.url(f"manifests/{reference}")
        with self.transport.asking(
            "PUT",
            url,
            expected=(200, 201, 202),
            scopes=self.scopes,
            headers=headers,
            body=lambda: [document.data],
        ) as answer:
            self.sent_bytes += len(document.data)
            _agrees(answer, document.digest)
            subject = document.subject.digest if document.subject else ""
            return answer.header("OCI-Subject") == subject

    def has(self, blob: Descriptor) -> bool:
        """Whether the registry has a blob here, of the right size."""
        return self.transport.retrying(lambda: self._has(blob))

    def shows(self, blob: Descriptor) -> bool:
        """Whether it has the blob and says so when asked once: no tries within the tries of a caller."""
        with contextlib.suppress(TransientError):
            return self._has(blob)
        return False

    def _has(self, blob: Descriptor) -> bool:
        url = self.url(f"blobs/{blob.digest}")
        with self.transport.asking("HEAD", url, expected=(200, 404), scopes=self.scopes) as answer:
            return answer.status == 200 and answer.length in (None, blob.size)

    def put_bytes(self, media_type: str, data: bytes) -> Descriptor:
        """Stores a small blob; gives its descriptor."""
        blob = Descriptor(media_type, digest_of_bytes(data), len(data))
        if not self.has(blob):
            self.transport.retrying(lambda: self._put_bytes(blob, data))
        return blob

    def _put_bytes(self, blob: Descriptor, data: bytes) -> None:
        with self.transport.asking("POST", self.url("blobs/uploads/"), expected=(202,), scopes=self.scopes) as answer:
            place = self.transport.located(answer.url, answer.header("Location"))
        self.finish(place, blob, lambda: [data], blob.size)

    def finish(self, place: str, blob: Descriptor, body: Callable[[], Any], size: int) -> None:
        """Ends an upload with its last `size` bytes; the registry compares the digest."""
        url = f"{place}{'&' if '?' in place else '?'}digest={blob.digest}"
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        with self.transport.asking(
            "PUT", url, expected=(201, 204), scopes=self.scopes, headers=headers, body=body
        ) as answer:
            self.sent_bytes += size
            _agrees(answer, blob.digest)

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """What refers to a document: by the API, where the registry has it, and by the fallback tag."""
        listed = self._by_api(digest)
        if listed is None or not listed:
            tagged = self.find(fallback_tag(digest))
            listed = tagged.manifests if tagged else ()
        return listed

    def _by_api(self, digest: str) -> tuple[Descriptor, ...] | None:
        url = self.url(f"referrers/{digest}")
        found: list[Descriptor] = []
        for _ in range(MOST_PAGES):
            answered = self.transport.retrying(lambda at=url: self._page(at))  # type: ignore[misc]
            if answered is None:
                return None
            page, url = answered
            found += page
            if not url:
                return tuple(found)
        raise UnsoundError(f"{self.where}: referrers of {digest}: expected at most {MOST_PAGES} pages, got more")

    def _page(self, url: str) -> tuple[tuple[Descriptor, ...], str] | None:
        with self.transport.asking("GET", url, expected=(200, 400, 404, 405), scopes=self.scopes) as answer:
            if answer.status != 200:
                return None
            kind = answer.header("Content-Type").partition(";")[0].strip()
            if kind != INDEX:  # a page that some proxy gives for every address
                return None
            listed = read(answer.body(MOST_BYTES), kind).manifests
            link = re.match(r'\s*<([^>]*)>\s*;.*\brel="?next"?', answer.header("Link"))
            following = self.transport.located(url, link[1]) if link else ""
            if following and not following.startswith(f"{self.transport.base}/"):
                raise UnsoundError(f"{self.where}: expected the next page of referrers here, got {following[:200]!r}")
            return listed, following

    def refer(self, subject: str, referrer: Descriptor) -> None:
        """Lists a referrer of `subject` in the fallback index, beside what others have listed there."""
        tag = fallback_tag(subject)
        for attempt in range(MERGES):
            before = self.find(tag)
            if before and before.media_type != INDEX:
                raise UnsoundError(f"{self.where}:{tag}: expected an index of referrers, found a {before.media_type}")
            if before and referrer.digest in {one.digest for one in before.manifests}:
                return
            entries = [*(before.body["manifests"] if before else ()), referrer.plain]
            body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
            self.put_manifest(read(canonical(body)), tag)
            if attempt:
                self.settings.sleep(0.05 * 2**attempt * self.settings.random())
        raise TransientError(f"{self.where}:{tag}: other writers changed it {MERGES} times in between; push again")

    def check(self) -> None:
        """Whether the registry is there and lets us in. RegistryError when not."""
        try:
            self.find("edgeloop-check")
        except UnsoundError:
            raise
        except RegistryError as error:
            raise type(error)(f"{self.where}: {error}") from error


def _agrees(answer: Answer, digest: str) -> None:
    said = answer.header("Docker-Content-Digest")
    if said.startswith("sha256:") and said != digest:
        raise UnsoundError(f"{answer.url}: expected {digest}, and the registry says that it is {said[:100]}")
