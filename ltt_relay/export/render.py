# SPDX-License-Identifier: GPL-2.0-or-later
"""Times as text, fast: YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ, 30 bytes each, straight into an Arrow column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from ltt_relay.decode.compiled import compiled

__all__ = ("render_utc",)

_WIDTH = 30


def _digits(to: np.ndarray, at: int, value: int, n: int) -> None:
    for i in range(n):
        to[at + n - 1 - i] = 48 + value % 10
        value //= 10


_put: Any = compiled(_digits)


def _render(times: np.ndarray, to: np.ndarray) -> None:
    last_second = np.int64(-(1 << 62))
    for i in range(times.size):
        at = i * 30
        second = times[i] // 1_000_000_000
        if second == last_second:
            # Most records share their second with the one before.
            for j in range(20):
                to[at + j] = to[at - 30 + j]
        else:
            last_second = second
            days = second // 86400
            rest = second - days * 86400
            # Days to civil date, after H. Hinnant's algorithm for the proleptic Gregorian calendar.
            z = days + 719468
            era = z // 146097
            doe = z - era * 146097
            yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
            doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
            mp = (5 * doy + 2) // 153
            day = doy - (153 * mp + 2) // 5 + 1
            month = mp + 3 if mp < 10 else mp - 9
            year = yoe + era * 400 + (1 if month <= 2 else 0)
            _put(to, at, year, 4)
            to[at + 4] = 45
            _put(to, at + 5, month, 2)
            to[at + 7] = 45
            _put(to, at + 8, day, 2)
            to[at + 10] = 84
            _put(to, at + 11, rest // 3600, 2)
            to[at + 13] = 58
            _put(to, at + 14, rest // 60 % 60, 2)
            to[at + 16] = 58
            _put(to, at + 17, rest % 60, 2)
            to[at + 19] = 46
        _put(to, at + 20, times[i] - second * 1_000_000_000, 9)
        to[at + 29] = 90


_compiled: Any = compiled(_render)


def render_utc(times: np.ndarray) -> pa.Array:
    """Return wall-clock ns (int64, years 0 to 9999) as text."""
    data = np.empty(times.size * _WIDTH, np.uint8)
    _compiled(np.ascontiguousarray(times), data)
    offsets = np.arange(times.size + 1, dtype=np.int64) * _WIDTH
    return pa.Array.from_buffers(pa.large_string(), times.size, [None, pa.py_buffer(offsets), pa.py_buffer(data)])
