"""The program /edgeloop/server of an image that holds Python: a script that hands over to the node's code.

A native image's /edgeloop/server is a program of its own with the same arguments, so that one probe command fits all images.
The script finds the image's packages from its own place: a probe that is started without the image's variables works, too.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgeloop_components.package.layers import PYTHON, SITE, Build, File, text_file
from edgeloop_contracts.signature import SIGNATURE_FILE

__all__ = ["program_files", "server_script"]

# -s: nothing from a user's folder; -P: nothing from the working folder
_SCRIPT = """\
#!{python} -sP
import os, sys
sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), *{site!r}.split("/")))
from edgeloop_node.entry import main
sys.exit(main())
"""


def server_script(python: str = PYTHON) -> File:
    """The script as a file of a layer."""
    return text_file("edgeloop/server", _SCRIPT.format(python=python, site=SITE), 0o755)


def program_files(build: Build) -> list[File]:
    """All of an image's /edgeloop: the script and, where there is a key, the signature that whoever starts it looks at."""
    script = server_script(build.python)
    if build.sign is None:
        return [script]
    assert isinstance(script.source, bytes)  # a text file of above
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, "server").write_bytes(script.source)
        build.sign(Path(temporary))
        return [script, text_file(f"edgeloop/{SIGNATURE_FILE}", Path(temporary, SIGNATURE_FILE).read_text())]
