"""A base image of Debian packages, assembled without root, dpkg or chroot: what Python and a wheel need, and no more.

`bookworm.lock` names every package by version and sha256, for each architecture. `python -m
edgeloop_components.package.debian lock` resolves it anew, through a private apt configuration made of the Debian sources
of this machine; `... fetch` brings the packages into the cache (`edgeloop/debs`), and `... base` writes the base image.

Two purposes have a base of their own: a server's image, and the image of the pipeline's steps, which are started through a
shell, are built with pip (ensurepip is kept for that), and run foreign servers in qemu.
"""

RELEASE = "bookworm"
ARCHITECTURES = {"linux/amd64": "amd64", "linux/arm64": "arm64"}
PACKAGES = (
    "base-files",
    "ca-certificates",
    "libbz2-1.0",
    "libc6",
    "libcrypt1",
    "libexpat1",
    "libffi8",
    "libgcc-s1",
    "liblzma5",
    "libpython3.11-minimal",
    "libpython3.11-stdlib",
    "libsqlite3-0",
    "libssl3",
    "libstdc++6",
    "libuuid1",
    "media-types",
    "netbase",
    "python3.11-minimal",
    "tzdata",
    "zlib1g",
)
STEPS = (
    *PACKAGES,
    "coreutils",
    "dash",
    "libacl1",
    "libattr1",
    "libgmp10",
    "libpcre2-8-0",
    "libselinux1",
    "python3-pip-whl",
    "python3-setuptools-whl",
    "python3.11-venv",
    "qemu-user-static",
)
PURPOSES = {"server": PACKAGES, "steps": STEPS}
