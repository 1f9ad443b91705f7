# SPDX-License-Identifier: GPL-2.0-or-later
"""The user's cache directory: kernels, module builds and the package index live there, shared by parallel runs."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ltt_relay.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("cache_dir", "locked", "staging")


def cache_dir(*parts: str) -> Path:
    """Return ``$XDG_CACHE_HOME/ltt-relay/PARTS`` (``~/.cache`` by default), made if it is missing.

    Raises:
        UserError: it cannot be made.

    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG specification: a relative path there is invalid and to be ignored.
    try:
        root = Path(base) if base.startswith("/") else Path.home() / ".cache"
    except RuntimeError:
        raise UserError("this user has no home directory for the cache: XDG_CACHE_HOME=DIR gives it a place") from None
    path = root.joinpath("ltt-relay", *parts)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"{path}: {error.strerror}: no place for the cache; XDG_CACHE_HOME=DIR gives it another"
        ) from error
    return path


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of that name against other processes and threads; waits until it is free."""
    with (cache_dir("locks") / f"{name.replace('/', '_')}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def staging(final: Path) -> Iterator[Path]:
    """Give an empty directory beside `final`; rename it to `final` on success, remove it on failure.

    What is found under the final name is therefore always complete. Call it with the lock of `final` held.
    """
    final.parent.mkdir(parents=True, exist_ok=True)
    path = Path(tempfile.mkdtemp(prefix=f".{final.name}.", dir=final.parent))
    try:
        path.chmod(0o755)
        yield path
        if final.exists():
            shutil.rmtree(final)
        path.rename(final)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
