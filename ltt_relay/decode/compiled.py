# SPDX-License-Identifier: GPL-2.0-or-later
"""Compiling what runs once per record.

Compiled functions follow a plan given as arrays, so that they are compiled once and cached on disk. The cache sees
changes in a function's own file only, so they call each other within a file, or call those of `SHARED`, whose text is
part of the cache directory's name. All of them release the GIL, and check every offset against the packet's end before
they read: a corrupt trace costs rows of `problems`, never a read out of bounds.

They count no references, which would be an atomic addition for each array of each call: as much as walking takes. So
none can make an array: they are given room, or take it from the stack (`memory.on_stack`).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, TypeVar

import numba

from ltt_relay.decode.caches import temporary_cache, user_cache, user_id

__all__ = ("compiled", "inlined", "inner")

_F = TypeVar("_F", bound=Callable[..., Any])

#: Files of this directory whose compiled functions those of other files call.
SHARED: Final = ("memory.py", "parts.py", "entries.py", "gather.py", "trouble.py")
_HOW: Final = {"nogil": True, "_nrt": False, "no_cfunc_wrapper": True}


def _cache_directory() -> Path | None:
    """Return a directory that compiled code can be kept in: the user's cache, or a temporary one, or None."""
    digest = hashlib.sha256()
    for name in SHARED:
        digest.update(Path(__file__).with_name(name).read_bytes())
    user, temporary = user_id(), temporary_cache()
    places = [user_cache() / "numba", temporary / "numba"]
    if "NUMBA_CACHE_DIR" in os.environ:
        places.insert(0, Path(os.environ["NUMBA_CACHE_DIR"]))
    for place in places:
        path = place / digest.hexdigest()[:12]
        try:
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        # What is found there is run. Among temporary files anyone may have made it, for root as well.
        anyones = temporary in path.parents
        owner = (temporary.lstat() if anyones else path.stat()).st_uid
        if os.access(path, os.W_OK) and (owner == user or (user == 0 and not anyones)):
            return path
    return None


_DIRECTORY: Final = _cache_directory()
if _DIRECTORY is None:
    print("ltt-relay: no directory to keep compiled code in: every start compiles anew", file=sys.stderr)


@contextmanager
def _kept_in(directory: Path) -> Iterator[None]:
    """Numba asks for its cache directory when a function is decorated; that of others stays as it is."""
    before = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(directory)
    try:
        yield
    finally:
        numba.config.CACHE_DIR = before


def _forgive(cache: Any) -> None:
    """What cannot be read, as the machine went down, or not be written, as the disk is full, costs a compilation."""
    load, save = cache.load_overload, cache.save_overload

    def load_if_whole(*given: Any) -> Any:
        try:
            return load(*given)
        except Exception:  # unpickling damage raises anything
            with suppress(OSError):
                cache.flush()
            return None

    def save_if_possible(*given: Any) -> None:
        with suppress(OSError):
            save(*given)

    cache.load_overload, cache.save_overload = load_if_whole, save_if_possible


def compiled(function: _F) -> _F:
    """Compile with Numba what Python calls: without the GIL, and kept on disk if there is a place for it."""
    if _DIRECTORY is not None:
        with _kept_in(_DIRECTORY), suppress(RuntimeError):  # the place has gone, or is full
            made = numba.njit(cache=True, **_HOW)(function)
            _forgive(made._cache)
            return made  # type: ignore[no-any-return]
    return numba.njit(**_HOW)(function)  # type: ignore[no-any-return]


def inner(function: _F) -> _F:
    """Compile what only compiled functions call: Python cannot, and it is kept as a part of those alone.

    Without code of its own and a way in from Python, all are compiled in three quarters of the time.
    """
    return numba.njit(no_cpython_wrapper=True, **_HOW)(function)  # type: ignore[no-any-return]


def inlined(function: _F) -> _F:
    """Compile as `inner`, into the code of each caller: for what is called so often that calling counts."""
    return numba.njit(no_cpython_wrapper=True, forceinline=True, **_HOW)(function)  # type: ignore[no-any-return]
