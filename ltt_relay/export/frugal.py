# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is freed goes back to the machine at once, so that a conversion has no more than it uses at a time.

By itself glibc keeps what was freed, up to 64 MiB in one piece, Arrow's allocator likewise, and NumPy asks for pages
of 2 MiB, of which the columns of hundreds of kinds of events fill a small part each. Together that is more than twice
as much memory, and no time is won by it. What is smaller than 4 MiB glibc may keep: giving back all of 256 KiB takes
30 MiB less a process, and a tenth of the time more.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

__all__ = ("SMALL_PAGES", "frugal")

#: In the environment of a process that is to be frugal, before it imports NumPy.
SMALL_PAGES: Final = ("NUMPY_MADVISE_HUGEPAGE", "0")
#: malloc.h of glibc; other C libraries have no such call, or need none.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_THRESHOLD: Final = 4 << 20


def frugal() -> None:
    """Make this process frugal, and those that it starts."""
    os.environ.setdefault(*SMALL_PAGES)
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    if os.name == "posix" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(_M_TRIM_THRESHOLD, 4 * _THRESHOLD)
        libc.mallopt(_M_MMAP_THRESHOLD, _THRESHOLD)
