"""The command line: `lock` resolves anew, `fetch` fills the cache, `base` writes base images into a layout."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from edgeloop_components.package.debian import ARCHITECTURES, PURPOSES
from edgeloop_components.package.debian.lock import LOCK, fetch, locked, read, resolve, write
from edgeloop_components.package.layers import PackageError

EXAMPLES = """\
examples:
  python -m edgeloop_components.package.debian lock
  python -m edgeloop_components.package.debian fetch
  python -m edgeloop_components.package.debian base --platform linux/arm64 --out images/
  python -m edgeloop_components.package.debian base --purpose steps --platform linux/amd64 --out .edgeloop/base
"""


def _lock(_: argparse.Namespace) -> None:
    before, after = set(read()) if LOCK.exists() else set(), set(resolve())
    write(list(after))
    for entry in sorted(after - before):
        print(f"{entry.package} {entry.version} {entry.architecture}")
    print(f"{LOCK}: {len(after)} packages, {len(after - before)} new")


def _fetch(options: argparse.Namespace) -> None:
    entries = {entry for platform in ARCHITECTURES for entry in locked(platform, purpose=options.purpose)}
    paths = fetch(sorted(entries))
    print(f"{len(paths)} packages, {sum(entry.size_bytes for entry in paths) / 1e6:.1f} MB, in the cache")


def _base(options: argparse.Namespace) -> None:
    from edgeloop_components.package.base import debian_image
    from edgeloop_components.package.layout import image_size_bytes

    for platform in options.platform or ARCHITECTURES:
        digest = debian_image(platform, options.out, options.purpose)
        print(f"{platform} {digest} {image_size_bytes(options.out, digest)} bytes")


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; its exit code."""
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="python -m edgeloop_components.package.debian", epilog=EXAMPLES, formatter_class=form
    )
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("lock", help="resolve the lock file anew").set_defaults(run=_lock)
    fetched = commands.add_parser("fetch", help="fetch the locked packages into the cache")
    fetched.set_defaults(run=_fetch)
    base = commands.add_parser("base", help="write the base image into a layout")
    base.add_argument("--platform", action="append", choices=list(ARCHITECTURES), help="[all]")
    base.add_argument("--out", type=Path, required=True, help="folder of the image layout")
    base.set_defaults(run=_base)
    for command in (fetched, base):
        command.add_argument("--purpose", choices=list(PURPOSES), default="server", help="of the image [server]")
    options = top.parse_args(arguments)
    try:
        options.run(options)
    except PackageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
