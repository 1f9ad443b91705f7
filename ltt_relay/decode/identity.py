# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a trace the one that it was before; and traces that stay open between the tasks of one process."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ltt_relay.decode.trace import FormatName, Trace

__all__ = ("identity", "reopen")


def identity(path: Path) -> dict[str, list[int]]:
    """Return name, size and time of last change (ns) of a trace's files: all below it, or for a file all beside it."""
    directory = path.parent if path.is_file() else path
    inside = directory.iterdir() if path.is_file() else directory.rglob("*")
    files = sorted(entry for entry in inside if entry.is_file())
    return {str(f.relative_to(directory)): [f.stat().st_size, f.stat().st_mtime_ns] for f in files}


def reopen(path: Path, format: FormatName = None) -> Trace:  # noqa: A002
    """Return the trace, with what it has counted for this process already as long as it has not changed."""
    return _open(path, format, str(identity(path)))


@functools.lru_cache(maxsize=4)
def _open(path: Path, format: FormatName, state: str) -> Trace:  # noqa: A002
    from ltt_relay.decode.trace import Trace

    return Trace(path, format)
