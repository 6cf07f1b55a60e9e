"""The program /edgeloop/server of an image that holds Python: a script that hands over to the node's code.

A native image's /edgeloop/server is a program of its own with the same arguments, so that one probe command fits all images.
The script finds the image's packages from its own place: a probe that is started without the image's variables works, too.
"""

from __future__ import annotations

from edgeloop_components.package.layers import PYTHON, SITE, File, text_file

__all__ = ["server_script"]

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
