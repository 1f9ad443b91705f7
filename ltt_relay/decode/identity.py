# SPDX-License-Identifier: GPL-2.0-or-later
"""What makes a trace the one that it was before; and traces that stay open between the tasks of one process."""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ltt_relay.decode.trace import FormatName, Trace

__all__ = ("identity", "reopen")

#: What is below a directory with this file is a conversion's output, and no part of a trace.
_CONVERSION: Final = "manifest.jsonl"


def identity(path: Path) -> dict[str, list[int]]:
    """Return name, size and time of last change (ns) of a trace's files: all below it, or for a file all beside it."""
    directory = path.parent if path.is_file() else path
    found = {}
    for folder, below, names in os.walk(directory):
        below.sort()
        converted = _CONVERSION in names and Path(folder) != directory
        if path.is_file() or converted:
            below.clear()
        for name in sorted(names) if not converted else ():
            file = Path(folder, name)
            with suppress(OSError):  # a link to nothing, or a file that has gone meanwhile: no part of a trace
                found[str(file.relative_to(directory))] = [file.stat().st_size, file.stat().st_mtime_ns]
    return found


def reopen(path: Path, format: FormatName = None) -> Trace:  # noqa: A002
    """Return the trace, with what it has counted for this process already as long as it has not changed."""
    return _open(path, format, str(identity(path)))


@functools.lru_cache(maxsize=4)
def _open(path: Path, format: FormatName, state: str) -> Trace:  # noqa: A002
    from ltt_relay.decode.trace import Trace

    return Trace(path, format)
