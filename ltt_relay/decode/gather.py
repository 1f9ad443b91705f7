# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Gathering: from places in the buffer to columns of fixed size, a tight loop for each column of each kind.

Nothing here checks bounds: that a payload holds its members was proven when it was found, by `need` and `parts.fits`.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.memory import integer, load16, load32, load64, swap16, swap32, swap64
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import Column

__all__ = ("NAME_OF_TID", "Codes", "gather", "operation")

# Operations of gather: copy 1, 2, 4 or 8 bytes (0 to 3), the same in the other byte order (4 to 7); the name that an
# integer in the record has, or that of the running task; the code of an enum's value, by a table or by a search.
NAME: Final = 8
NAME_OF_TID: Final = 9
ENUM: Final = 10
ENUM_SEARCH: Final = 11

_WIDEST_TABLE: Final = 4096


class Codes:
    """The codes of all enums of a selection, as `gather` wants them: `data`, and in it by enum (first, size, low)."""

    def __init__(self) -> None:
        """Begin with none."""
        self._data: list[np.ndarray] = [np.zeros(1, np.int64)]
        self._size = 1
        self.places: list[tuple[int, int, int]] = [(0, 0, 0)]

    def add(self, column: Column) -> tuple[int, int]:
        """Return the operation and the number of an enum."""
        keys = np.array([value for value, _ in column.enum], np.int64)
        low, high = (int(keys[0]), int(keys[-1])) if keys.size else (0, -1)
        if high - low < _WIDEST_TABLE:
            values = np.full(high - low + 1, -1, np.int64)
            values[keys - low] = np.arange(keys.size)
            op = ENUM
        else:
            values, op = keys, ENUM_SEARCH
        self.places.append((self._size, values.size, low))
        self._data.append(values)
        self._size += values.size
        return op, len(self.places) - 1

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """Return places and data."""
        return np.array(self.places, np.int64), np.concatenate(self._data)


def operation(column: Column, names: Names, codes: Codes) -> tuple[int, int, np.dtype]:
    """Return the operation that stores a column of fixed size, the number of its table, and what it stores."""
    if column.kind == "name":
        return NAME, column.table, np.dtype(f"i{names.tables[column.table].width}")
    if column.kind == "enum":
        return *codes.add(column), column.dtype
    return column.size.bit_length() - 1 + 4 * column.big, 0, column.dtype


@compiled
def _lookup(
    tables: np.ndarray, starts: np.ndarray, times: np.ndarray, codes: np.ndarray, table: int, key: int, time: int
) -> int:
    """Return the code of the name that `key` has at `time`, -1 if none is known.

    tables: (first, size) in `starts` of each table; starts: for each key where its names begin in `times` and `codes`.
    """
    if key < 0 or key >= tables[table, 1] - 1:
        return -1
    first = starts[tables[table, 0] + key]
    last = starts[tables[table, 0] + key + 1] - 1
    while last >= first:
        if times[last] <= time:
            return np.int64(codes[last])
        last -= 1
    return -1


@compiled
def _code(places: np.ndarray, data: np.ndarray, table: int, value: int, search: bool) -> int:
    """Return the code of an enum's value, -1 if it has no name."""
    first, size, low = places[table, 0], places[table, 1], places[table, 2]
    if not search:
        return data[first + value - low] if low <= value < low + size else -1
    a, b = first, first + size
    while a < b:
        m = (a + b) >> 1
        if data[m] < value:
            a = m + 1
        else:
            b = m
    return a - first if a < first + size and data[a] == value else -1


@compiled
def _copy(
    buf8: np.ndarray, places: np.ndarray, f: int, n: int, o: int, t: int, code: int,
    out8: np.ndarray, out16: np.ndarray, out32: np.ndarray, out64: np.ndarray,
) -> None:  # fmt: skip
    """Copy n integers at offset o of the parts that begin at places[f …] to t and on."""
    if code == 0 or code == 4:
        for i in range(n):
            out8[t + i] = buf8[places[f + i] + o]
    elif code == 1:
        for i in range(n):
            out16[t + i] = load16(buf8, places[f + i] + o)
    elif code == 2:
        for i in range(n):
            out32[t + i] = load32(buf8, places[f + i] + o)
    elif code == 3:
        for i in range(n):
            out64[t + i] = load64(buf8, places[f + i] + o)
    elif code == 5:
        for i in range(n):
            out16[t + i] = swap16(buf8, places[f + i] + o)
    elif code == 6:
        for i in range(n):
            out32[t + i] = swap32(buf8, places[f + i] + o)
    else:
        for i in range(n):
            out64[t + i] = swap64(buf8, places[f + i] + o)


@compiled
def _gather(
    buf8: np.ndarray, places: np.ndarray, sizes: np.ndarray,
    first: np.ndarray, count: np.ndarray, row: np.ndarray, time_at: np.ndarray, tid_at: np.ndarray,
    op: np.ndarray, offset: np.ndarray, size: np.ndarray, signed: np.ndarray, big: np.ndarray, to: np.ndarray,
    table: np.ndarray, width: np.ndarray, mask: np.ndarray,
    tables: np.ndarray, starts: np.ndarray, times: np.ndarray, codes: np.ndarray,
    enum_places: np.ndarray, enum_data: np.ndarray,
    out8: np.ndarray, out16: np.ndarray, out32: np.ndarray, out64: np.ndarray,
) -> None:  # fmt: skip
    """Fill column j from row[j] on: count[j] records whose parts begin at places[first[j] …].

    mask: where in out8 to say which records lack it, -1 if none can; sizes: below 0 for parts that are absent.
    """
    for j in range(op.size):
        f = first[j]
        n = count[j]
        o = offset[j]
        t = to[j] + row[j]
        code = op[j]
        if code < 8 and mask[j] < 0:
            _copy(buf8, places, f, n, o, t, code, out8, out16, out32, out64)
            continue
        time = time_at[j] + row[j]
        for i in range(n):
            absent = mask[j] >= 0 and sizes[f + i] < 0
            if mask[j] >= 0:
                out8[mask[j] + row[j] + i] = np.uint8(absent)
            value = np.int64(0)
            if code == 9:
                value = np.int64(np.int32(out32[tid_at[j] + row[j] + i]))
            elif not absent:
                value = integer(buf8, places[f + i] + o, size[j], signed[j] != 0, big[j] != 0)
            if code >= 8:
                if absent:
                    value = -1
                elif code < 10:
                    value = _lookup(tables, starts, times, codes, table[j], value, np.int64(out64[time + i]))
                else:
                    value = _code(enum_places, enum_data, table[j], value, code == 11)
            if width[j] == 1:
                out8[t + i] = np.uint8(value)
            elif width[j] == 2:
                out16[t + i] = np.uint16(value)
            elif width[j] == 4:
                out32[t + i] = np.uint32(value)
            else:
                out64[t + i] = np.uint64(value)


#: The compiled loop; see its docstring.
gather: Any = _gather
