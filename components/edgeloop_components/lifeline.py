"""Ties a child process to its parent: the kernel kills it when the thread that started it ends (prctl(2), PR_SET_PDEATHSIG).

So a child must be started from a thread that lives as long as the child shall. A child that changes its user is let go.
"""

from __future__ import annotations

import ctypes
import signal

__all__ = ["die_with_parent"]

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)  # loaded before any fork: in the child there is no time for it


def die_with_parent() -> None:
    """For `preexec_fn` of subprocess.Popen: one C call, nothing that could take a lock."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
