# SPDX-License-Identifier: GPL-2.0-or-later
"""Where what can be made again is kept: the user's cache, and for compiled code a temporary directory of his own."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

__all__ = ("temporary_cache", "user_cache", "user_id")


def user_id() -> int:
    """Return whose process this is; 0 where there are no users."""
    return os.getuid() if hasattr(os, "getuid") else 0


def temporary_cache() -> Path:
    """Return the directory among the temporary ones that is this user's."""
    return Path(tempfile.gettempdir(), f"ltt-relay-{user_id()}")


def user_cache() -> Path:
    """Return the user's cache; for one who has no home, as a service or in a container, the temporary one."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "ltt-relay")
    except RuntimeError:
        return temporary_cache()
