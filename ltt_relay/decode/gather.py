# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Gathering: from places in the buffer to columns, a tight loop for each column of each kind."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pyarrow as pa

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.plan import Column, Plan

__all__ = ("NAME", "NAME_OF_TID", "gather", "lists", "operation", "text")

# Operations of _gather: copy 1, 2, 4 or 8 aligned bytes (0 to 3), the same unaligned (4 to 7), unaligned and the other
# byte order (8 to 11); look up the name that an integer in the record has, or the one of the running task.
NAME: Final = 12
NAME_OF_TID: Final = 13


def operation(column: Column, plan: Plan) -> int:
    """Return the operation that stores a column of fixed size."""
    if column.kind == "name":
        return NAME
    return column.dtype.itemsize.bit_length() - 1 + (8 if column.big else 0 if plan.aligned else 4)


@compiled
def _unaligned(buf8: np.ndarray, at: int, size: int, big: bool) -> np.uint64:
    value = np.uint64(0)
    for i in range(size):
        byte = np.uint64(buf8[at + i])
        value |= byte << np.uint64(8 * (size - 1 - i if big else i))
    return value


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
def _gather(
    buf8: np.ndarray, buf16: np.ndarray, buf32: np.ndarray, buf64: np.ndarray, places: np.ndarray,
    first: np.ndarray, count: np.ndarray, row: np.ndarray, time_at: np.ndarray, tid_at: np.ndarray,
    op: np.ndarray, offset: np.ndarray, size: np.ndarray, big: np.ndarray, to: np.ndarray, table: np.ndarray,
    width: np.ndarray, tables: np.ndarray, starts: np.ndarray, times: np.ndarray, codes: np.ndarray,
    out8: np.ndarray, out16: np.ndarray, out32: np.ndarray, out64: np.ndarray,
) -> None:  # fmt: skip
    """Fill column j from row[j] on: count[j] records whose payloads begin at places[first[j] …]."""
    for j in range(op.size):
        f = first[j]
        n = count[j]
        o = offset[j]
        t = to[j] + row[j]
        code = op[j]
        if code == 0:
            for i in range(n):
                out8[t + i] = buf8[places[f + i] + o]
        elif code == 1:
            for i in range(n):
                out16[t + i] = buf16[(places[f + i] + o) >> 1]
        elif code == 2:
            for i in range(n):
                out32[t + i] = buf32[(places[f + i] + o) >> 2]
        elif code == 3:
            for i in range(n):
                out64[t + i] = buf64[(places[f + i] + o) >> 3]
        elif code < 12:
            swapped = code >= 8
            if code & 3 == 0:
                for i in range(n):
                    out8[t + i] = buf8[places[f + i] + o]
            elif code & 3 == 1:
                for i in range(n):
                    out16[t + i] = np.uint16(_unaligned(buf8, places[f + i] + o, 2, swapped))
            elif code & 3 == 2:
                for i in range(n):
                    out32[t + i] = np.uint32(_unaligned(buf8, places[f + i] + o, 4, swapped))
            else:
                for i in range(n):
                    out64[t + i] = _unaligned(buf8, places[f + i] + o, 8, swapped)
        else:
            time = time_at[j] + row[j]
            for i in range(n):
                if code == 13:
                    key = np.int64(np.int32(out32[tid_at[j] + row[j] + i]))
                else:
                    raw = _unaligned(buf8, places[f + i] + o, size[j], big[j])
                    key = np.int64(np.int32(raw)) if size[j] == 4 else np.int64(raw)
                name = _lookup(tables, starts, times, codes, table[j], key, np.int64(out64[time + i]))
                if width[j] == 1:
                    out8[t + i] = np.uint8(name)
                elif width[j] == 2:
                    out16[t + i] = np.uint16(name)
                else:
                    out32[t + i] = np.uint32(name)


#: The compiled loop; see its docstring.
gather: Any = _gather


@compiled
def _text_sizes(
    buf8: np.ndarray, at: np.ndarray, stop: np.ndarray, offset: int, size: int, sizes: np.ndarray
) -> int:  # fmt: skip
    """Measure text: from `offset` of each payload to a NUL, at most `size` bytes (0: to the payload's end)."""
    total = 0
    for i in range(at.size):
        first = at[i] + offset
        end = first + size if size else stop[i]
        p = first
        while p < end and buf8[p] != 0:
            p += 1
        sizes[i] = p - first
        total += p - first
    return total


@compiled
def _skip_texts(buf8: np.ndarray, at: np.ndarray, stop: np.ndarray, offset: int, skip: int, to: np.ndarray) -> None:
    """Find where the text behind `skip` others begins; the first is at `offset` of each payload."""
    for i in range(at.size):
        p = at[i] + offset
        left = skip
        while left and p < stop[i]:
            left -= buf8[p] == 0
            p += 1
        to[i] = p


@compiled
def _text_copy(buf8: np.ndarray, at: np.ndarray, offset: int, sizes: np.ndarray, to: np.ndarray) -> None:
    """Copy what _text_sizes measured, one behind the other."""
    n = 0
    for i in range(at.size):
        first = at[i] + offset
        for p in range(first, first + sizes[i]):
            to[n] = buf8[p]
            n += 1


@compiled
def _list_sizes(
    buf8: np.ndarray, at: np.ndarray, stop: np.ndarray, offset: int, item: int, count_at: int, count_size: int,
    count_big: bool, fixed: int, sizes: np.ndarray,
) -> int:  # fmt: skip
    """Count the items of each list: as the integer at `count_at` says (-1: `fixed`), as far as the payload goes."""
    total = 0
    for i in range(at.size):
        n = fixed
        if count_at >= 0:
            n = np.int64(_unaligned(buf8, at[i] + count_at, count_size, count_big))
            room = (stop[i] - at[i] - offset) // item
            if n < 0 or n > room:
                n = room
        sizes[i] = n
        total += n
    return total


@compiled
def _list_copy(
    buf8: np.ndarray, at: np.ndarray, offset: int, item: int, big: bool, sizes: np.ndarray, to: np.ndarray
) -> None:
    """Copy the items of all records one behind the other."""
    n = 0
    for i in range(at.size):
        first = at[i] + offset
        for j in range(sizes[i]):
            to[n] = _unaligned(buf8, first + item * j, item, big)
            n += 1


def _offsets(sizes: np.ndarray, dtype: type = np.int64) -> pa.Buffer:
    offsets: np.ndarray = np.zeros(sizes.size + 1, dtype)
    np.cumsum(sizes, out=offsets[1:])
    return pa.py_buffer(offsets)


def text(buffer: np.ndarray, at: np.ndarray, stop: np.ndarray, column: Column) -> pa.Array:
    """Return text or bytes of the payloads from `at` to `stop` as an Arrow array."""
    sizes = np.empty(at.size, np.int64)
    bytes_ = buffer.view(np.uint8)
    offset = column.offset
    if column.kind == "bytes":
        sizes[:] = column.size
        total = column.size * at.size
    else:
        if column.skip:
            behind = np.empty(at.size, np.int64)
            _skip_texts(bytes_, at, stop, column.offset, column.skip, behind)
            at, offset = behind, 0
        total = _text_sizes(bytes_, at, stop, offset, column.size, sizes)
    data = np.empty(total, np.uint8)
    _text_copy(bytes_, at, offset, sizes, data)
    kind = pa.large_binary() if column.kind == "bytes" else pa.large_string()
    array = pa.Array.from_buffers(kind, at.size, [None, _offsets(sizes), pa.py_buffer(data)])
    if column.kind == "text" and total and int(data.max()) >= 0x80:
        array = _valid_text(array)
    return array


def _valid_text(array: pa.Array) -> pa.Array:
    """Bytes that are not UTF-8 become \\xNN, as `formats.fields.Text` has them."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.cast(pa.large_binary()).to_pylist()
        return pa.array([item.decode("utf-8", "backslashreplace") for item in raw], pa.large_string())
    return array


def lists(buffer: np.ndarray, at: np.ndarray, stop: np.ndarray, column: Column) -> pa.Array:
    """Return lists of integers of the payloads from `at` to `stop` as an Arrow array."""
    sizes = np.empty(at.size, np.int64)
    bytes_ = buffer.view(np.uint8)
    count = column.count
    item = getattr(column.member.kind, "item", None)
    fixed = 0 if count else int(getattr(column.member.kind, "count", 0))
    where = (count.offset, count.size, count.big) if count else (-1, 0, False)
    total = _list_sizes(bytes_, at, stop, column.offset, column.size, *where, fixed, sizes)
    data = np.empty(total, np.uint64)
    _list_copy(bytes_, at, column.offset, column.size, bool(item and item.big), sizes, data)
    kind = pa.int64() if item is not None and item.signed else pa.uint64()
    values = pa.Array.from_buffers(kind, total, [None, pa.py_buffer(data)])
    return pa.Array.from_buffers(pa.list_(kind), at.size, [None, _offsets(sizes, np.int32)], children=[values])
