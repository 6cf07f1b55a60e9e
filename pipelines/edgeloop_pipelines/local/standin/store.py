"""Images on nodes: pulled by digest into each node's own store, verified, and unpacked once for the whole machine.

A pull copies from the site's OCI image layout what the node has not; the bytes that it copied are what the node had to
download. All nodes of the machine share one unpacked, read-only copy of an image (and of each layer) by digest, as pods on one
node do. Where the cluster folder has a folder `keys` of public keys, an image must be signed with one of them; its signatures are
pulled along, and looked at before anything of it is unpacked. What a server's image starts and the models that it loads are
verified once more each time: by then they lie unpacked on a disk. Whether an image is a server's, and of which runtime, is taken
from its configuration in the node's store, whose digest was signed.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout
from edgeloop_components.registry import RegistryError
from edgeloop_components.signing import SigningError, copy_signatures, read_trusted, verify_layout
from edgeloop_contracts.ecdsa import SignatureError
from edgeloop_node.verify import verify_image
from edgeloop_pipelines.local.standin import images
from edgeloop_pipelines.local.standin.containers import ImageConfig

__all__ = ["ImageStore", "PullError", "outcome"]


class PullError(RuntimeError):
    """An image cannot be had; the message is what the kubelet would show."""


class ImageStore:
    """The image stores of all nodes of a cluster folder. Pulls run in threads of their own.

    `pulled_bytes` is what each node has pulled so far; it starts from what is given.
    """

    def __init__(self, folder: Path, site: Path, pulled_bytes: Mapping[str, int]) -> None:
        self._folder, self._site = folder, site
        self._lock, self._unpacking = threading.Lock(), threading.Lock()
        self._pulls = ThreadPoolExecutor(2, "pull")
        self.pulled_bytes = dict(pulled_bytes)

    def pull(self, node: str, image: str) -> Future[int]:
        """Brings an image to a node and unpacks it. The future gives the bytes copied; PullError, with the reason."""
        return self._pulls.submit(self._pull, node, image, unpack=True)

    def fetch(self, node: str, image: str) -> Future[int]:
        """Brings an image to a node without unpacking it, as a pre-pull does."""
        return self._pulls.submit(self._pull, node, image, unpack=False)

    def rootfs(self, image: str) -> Path:
        """The folder of an unpacked image."""
        return self._folder / "rootfs" / images.parse(image).digest.removeprefix("sha256:")[:16]

    def config(self, node: str, image: str) -> ImageConfig:
        """How an image that the node has is run. PullError when the node does not have it."""
        config = self._config(node, image)
        return ImageConfig(
            tuple(config.get("Entrypoint") or ()), tuple(config.get("Cmd") or ()), tuple(config.get("Env") or ())
        )

    def _config(self, node: str, image: str) -> Mapping[str, Any]:
        try:
            return layout.image_config(self._store(node), images.parse(image).digest).get("config") or {}
        except (layout.LayoutError, OSError) as error:
            raise PullError(f"{image}: {error}") from error

    def check(self, node: str, image: str) -> None:
        """PullError when keys are trusted and what an unpacked server's image runs is not as one of them signed it."""
        keys = self._folder / "keys"
        if not keys.is_dir():
            return
        config = self._config(node, image)
        runtime = (config.get("Labels") or {}).get("dev.edgeloop.runtime", "")
        if not runtime and list(config.get("Entrypoint") or ())[:1] != ["/edgeloop/server"]:
            return  # the agent's, for one
        try:
            verify_image(self.rootfs(image), keys, runtime=runtime)
        except (SignatureError, OSError) as error:
            raise PullError(f"{image}: {error}") from error

    def close(self) -> None:
        """Ends the threads; a pull that has begun is finished first."""
        self._pulls.shutdown(wait=True, cancel_futures=True)

    def _store(self, node: str) -> Path:
        return self._folder / "nodes" / node / "images"

    def _pull(self, node: str, image: str, *, unpack: bool) -> int:
        digest = images.parse(image).digest
        if not digest:
            raise PullError(f"{image}: expected an image by digest (name@sha256:...): edgeloop deploys nothing else")
        store = self._store(node)
        try:
            copied = 0 if self._has(store, digest) else layout.transfer(self._site, store, digest)
            copied += self._verify(store, digest)
            if unpack:
                self._unpack(store, digest, self.rootfs(image))
        except (layout.LayoutError, SignatureError, SigningError, RegistryError, OSError) as error:
            raise PullError(f"{image}: {error}") from error
        with self._lock:
            self.pulled_bytes[node] = self.pulled_bytes.get(node, 0) + copied
        return copied

    def _verify(self, store: Path, digest: str) -> int:
        """SignatureError when keys are trusted and none has signed the image. The bytes of signatures that were fetched."""
        if not (self._folder / "keys").is_dir():
            return 0
        trusted = read_trusted(self._folder / "keys")
        try:
            verify_layout(store, digest, trusted)
        except SignatureError:  # not fetched yet, or made since
            copied = copy_signatures(self._site, store, digest)
            verify_layout(store, digest, trusted)
            return copied
        return 0

    def _has(self, store: Path, digest: str) -> bool:
        """IfNotPresent: an image that is whole is not asked for again, so a node works while the site is out of reach."""
        try:
            layout.verify(store, digest)
        except (layout.LayoutError, OSError):
            return False
        return True

    def _unpack(self, store: Path, digest: str, folder: Path) -> None:
        """The unpacked layers of all nodes are one folder, so that each layer is unpacked once on this machine."""
        shared, here = self._folder / "layers", store / ".unpacked"
        with self._unpacking:
            shared.mkdir(parents=True, exist_ok=True)
            if not here.is_symlink():
                here.symlink_to(shared.resolve(), target_is_directory=True)
            layout.unpack(store, digest, folder)


def outcome(future: Future[Any]) -> tuple[int, str]:
    """Bytes copied and '' of a pull that has ended, or 0 and why it failed."""
    error = future.exception()
    return (0, str(error)) if error else (int(future.result()), "")
