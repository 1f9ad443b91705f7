# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Gathering: from places in the buffer to columns of fixed size, a tight loop for each column of each kind.

Nothing here checks bounds: that a payload holds its members was proven when it was found, by `need` and `parts.fits`.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ltt_relay.decode.compiled import inlined, inner
from ltt_relay.decode.memory import (
    at,
    integer,
    load16,
    load32,
    load64,
    on_stack,
    put,
    store16,
    store32,
    store64,
    swap16,
    swap32,
    swap64,
)
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import Column

__all__ = ("CPU", "NAME_OF_TID", "NO_TID", "RANK", "TID", "TIME", "Codes", "gather", "operation")

# Operations of gather: copy 1, 2, 4 or 8 bytes (0 to 3), the same in the other byte order (4 to 7); the name that an
# integer in the record has, or that of the running task; the code of an enum's value, by a table or by a search; what
# the entry says: its time, its CPU, its task, whether it has none, its place in the order of all. Any of the first for
# members that may be missing.
NAME: Final = 8
NAME_OF_TID: Final = 9
ENUM: Final = 10
ENUM_SEARCH: Final = 11
TIME: Final = 12
CPU: Final = 13
TID: Final = 14
NO_TID: Final = 15
RANK: Final = 16

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
        return NAME, column.table, names.tables[column.table].dtype
    if column.kind == "enum":
        return *codes.add(column), column.dtype
    return column.size.bit_length() - 1 + 4 * column.big, 0, column.dtype


@inner
def _name_then(
    starts: np.ndarray, times: np.ndarray, codes: np.ndarray, place: int, time: int
) -> int:  # fmt: skip
    """Return the code of the name that the key at `place` in starts has at `time`, -1 if none is known."""
    first = starts[place]
    after, last = first, starts[place + 1]
    while after < last:
        middle = (after + last) >> 1
        if times[middle] <= time:
            after = middle + 1
        else:
            last = middle
    return np.int64(codes[after - 1]) if after > first else -1


@inlined
def _names(
    values: np.ndarray, m: int, time: np.ndarray, f: int, base: int, size: int, starts: np.ndarray,
    always: np.ndarray, times: np.ndarray, codes: np.ndarray,
) -> None:  # fmt: skip
    """Replace keys by the codes of their names, -1 if none is known; the tables are `Names.arrays`."""
    for i in range(m):
        key = at(values, i)
        if key < 0 or key >= size:
            put(values, i, -1)
            continue
        code = at(always, base + key)
        if code == -2:
            code = _name_then(starts, times, codes, base + key, at(time, f + i))
        put(values, i, code)


@inner
def _enum(values: np.ndarray, m: int, data: np.ndarray, first: int, size: int, low: int, search: bool) -> None:
    """Replace the values of an enum by their codes, -1 for those without a name."""
    for i in range(m):
        value = at(values, i)
        if not search:
            inside = low <= value < low + size
            put(values, i, at(data, first + value - low) if inside else -1)
            continue
        a, b = first, first + size
        while a < b:
            middle = (a + b) >> 1
            if data[middle] < value:
                a = middle + 1
            else:
                b = middle
        put(values, i, a - first if a < first + size and data[a] == value else -1)


@inlined
def _read(
    buf8: np.ndarray, place: np.ndarray, m: int, o: int, size: int, signed: bool, big: bool, whole: bool,
    values: np.ndarray,
) -> None:  # fmt: skip
    """Read m integers at offset o of what begins at `place`; 0 where that is below 0, if not `whole`."""
    if size == 4 and not big and whole:
        for i in range(m):
            value = np.int64(load32(buf8, at(place, i) + o))
            put(values, i, np.int64(np.int32(value)) if signed else value)
        return
    for i in range(m):
        there = whole or at(place, i) >= 0
        put(values, i, integer(buf8, at(place, i) + o, size, signed, big) if there else 0)


@inlined
def _store(values: np.ndarray, m: int, out: np.ndarray, width: int, t: int) -> None:
    """Store m integers of `width` bytes."""
    if width == 1:
        for i in range(m):
            put(out, t + i, np.uint8(at(values, i)))
    elif width == 2:
        for i in range(m):
            store16(out, 2 * (t + i), np.uint16(at(values, i)))
    elif width == 4:
        for i in range(m):
            store32(out, 4 * (t + i), np.uint32(at(values, i)))
    else:
        for i in range(m):
            store64(out, 8 * (t + i), np.uint64(at(values, i)))


@inlined
def _copy(buf8: np.ndarray, place: np.ndarray, m: int, o: int, out: np.ndarray, t: int, code: int) -> None:
    """Copy m integers at offset o of what begins at `place` to t and on."""
    if code == 2:
        for i in range(m):
            store32(out, 4 * (t + i), load32(buf8, at(place, i) + o))
    elif code == 1:
        for i in range(m):
            store16(out, 2 * (t + i), load16(buf8, at(place, i) + o))
    elif code == 3:
        for i in range(m):
            store64(out, 8 * (t + i), load64(buf8, at(place, i) + o))
    elif code == 0 or code == 4:
        for i in range(m):
            put(out, t + i, at(buf8, at(place, i) + o))
    elif code == 5:
        for i in range(m):
            store16(out, 2 * (t + i), swap16(buf8, at(place, i) + o))
    elif code == 6:
        for i in range(m):
            store32(out, 4 * (t + i), swap32(buf8, at(place, i) + o))
    else:
        for i in range(m):
            store64(out, 8 * (t + i), swap64(buf8, at(place, i) + o))


@inlined
def _base(
    f: int, m: int, code: int, offset: int, time: np.ndarray, tid: np.ndarray, entry: np.ndarray, rank: np.ndarray,
    kind: np.ndarray, out: np.ndarray, t: int,
) -> None:  # fmt: skip
    """Store what the entries from f on say themselves."""
    if code == 12:
        for i in range(m):
            store64(out, 8 * (t + i), np.uint64(at(time, f + i) + offset))
    elif code == 13:
        for i in range(m):
            store16(out, 2 * (t + i), np.uint16(at(kind, at(entry, f + i)) >> 16))
    elif code == 14:
        for i in range(m):
            store32(out, 4 * (t + i), np.uint32(at(tid, f + i)))
    elif code == 15:
        for i in range(m):
            put(out, t + i, np.uint8(at(tid, f + i) < 0))
    else:
        for i in range(m):
            store64(out, 8 * (t + i), np.uint64(at(rank, f + i) + offset))


@inner
def gather(
    buf8: np.ndarray, time: np.ndarray, place: np.ndarray, tid: np.ndarray, entry: np.ndarray, rank: np.ndarray,
    kind: np.ndarray, first: int, count: int, ranked: int, row: int, steps: np.ndarray, starts_of_parts: np.ndarray,
    sizes_of_parts: np.ndarray, tables: np.ndarray, starts: np.ndarray, always: np.ndarray, times: np.ndarray,
    codes: np.ndarray, enum_places: np.ndarray, enum_data: np.ndarray, out: np.ndarray,
) -> None:  # fmt: skip
    """Store the columns of `count` entries of one kind, those from `first` on, from `row` on.

    time to rank are in order, as `entries.Order` has them; kind is by entry, and has the CPU. steps: the kind's rows of
    `batch.Step`; ranked: records before those of this window; starts_of_parts, sizes_of_parts: of all parts but the
    first, one behind the other. A column after the other, in blocks whose records stay in the nearest cache.
    """
    here = on_stack(256)
    there = on_stack(256)
    values = on_stack(256)
    for b in range(0, count, 256):
        m = min(256, count - b)
        f = first + b
        for i in range(m):
            put(here, i, np.int64(at(place, f + i)))
        for j in range(steps.shape[0]):
            part, code, o, size, signed, big, to, table, width, mask = steps[j]
            t = to + row + b
            if code >= 12:
                _base(f, m, code, ranked if code == 16 else o, time, tid, entry, rank, kind, out, t)
                continue
            begin = here
            if part > 0:
                q = (part - 1) * count + b
                begin = there
                for i in range(m):
                    absent = mask >= 0 and sizes_of_parts[q + i] < 0
                    there[i] = -1 if absent else starts_of_parts[q + i]
                    if mask >= 0:
                        out[mask + row + b + i] = np.uint8(absent)
            if code < 8 and mask < 0:
                _copy(buf8, begin, m, o, out, t, code)
                continue
            if code == 9:
                for i in range(m):
                    put(values, i, np.int64(at(tid, f + i)))
            else:
                _read(buf8, begin, m, o, size, signed != 0, big != 0, mask < 0, values)
            if code == 8 or code == 9:
                _names(values, m, time, f, tables[table, 0], tables[table, 1], starts, always, times, codes)
            elif code >= 10:
                _enum(
                    values, m, enum_data, enum_places[table, 0], enum_places[table, 1], enum_places[table, 2],
                    code == 11,
                )  # fmt: skip
            if mask >= 0 and code >= 8:
                for i in range(m):
                    if there[i] < 0:
                        values[i] = -1
            _store(values, m, out, width, t)
