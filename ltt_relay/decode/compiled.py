# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiling what runs once per record.

Compiled functions follow a plan given as arrays, so that they are compiled once and cached on disk; each calls only
compiled functions of its own file, as the cache does not see changes in others. All of them release the GIL, and check
every offset against the packet's end before they read: a corrupt trace costs rows of `problems`, never a read out of
bounds.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

__all__ = ("compiled",)

_F = TypeVar("_F", bound=Callable[..., Any])


def _cache_directory() -> str | None:
    """Return a directory that compiled code can be kept in: the user's cache, or a temporary one, or None."""
    base = os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()
    user = os.getuid() if hasattr(os, "getuid") else 0
    for path in (Path(base, "ltt-relay", "numba"), Path(tempfile.gettempdir(), f"ltt-relay-{user}", "numba")):
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(path, os.W_OK):
            return str(path)
    return None


if "NUMBA_CACHE_DIR" not in os.environ and "numba" not in sys.modules:
    _directory = _cache_directory()
    if _directory:
        os.environ["NUMBA_CACHE_DIR"] = _directory

import numba  # noqa: E402


def compiled(function: _F) -> _F:
    """Compile with Numba: without the GIL, and kept on disk if there is a place for it."""
    try:
        return numba.njit(cache=True, nogil=True)(function)  # type: ignore[no-any-return]
    except RuntimeError:
        print("ltt-relay: no directory to keep compiled code in: every start compiles anew", file=sys.stderr)
        return numba.njit(nogil=True)(function)  # type: ignore[no-any-return]
