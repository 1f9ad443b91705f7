# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Gathering what has no fixed size, text, bytes and lists, straight into the buffers of Arrow arrays."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.memory import load64, store64, swap16, swap32, swap64
from ltt_relay.decode.parts import nul
from ltt_relay.decode.plan import Column

__all__ = ("VARIABLE", "VariableColumn", "arrow_type")

#: Kinds of column that are stored here.
VARIABLE: Final = frozenset({"text", "bytes", "list"})

# What a kernel may write behind the last byte: it copies 8 bytes at a time.
_SLACK: Final = 8
_MOST_ITEMS: Final = (1 << 31) - 1


@compiled
def _measure(
    buf8: np.ndarray, starts: np.ndarray, sizes: np.ndarray, offset: int, size: int, text: bool, item: int,
    ends: np.ndarray, row: int, valid: np.ndarray,
) -> None:  # fmt: skip
    """Continue `ends`, the ends of the items, with those of the records whose parts begin at `starts`.

    size: bytes of each, 0 if `sizes` has them; text: they end at a NUL before that; valid: False where they are absent.
    """
    end = ends[row]
    for i in range(starts.size):
        n = size or sizes[i]
        if valid.size:
            valid[row + i] = sizes[i] >= 0
            if sizes[i] < 0:
                n = 0
        if text and size and n:
            first = starts[i] + offset
            n = nul(buf8, first, first + n) - first
        end += n // item
        ends[row + i + 1] = end


@compiled
def _copy(
    buf8: np.ndarray, starts: np.ndarray, offset: int, item: int, big: bool, ends: np.ndarray, row: int, out: np.ndarray
) -> bool:
    """Copy what _measure measured; returns whether a byte of it has its highest bit set."""
    high = np.uint64(0)
    for i in range(starts.size):
        to = ends[row + i] * item
        n = ends[row + i + 1] * item - to
        at = starts[i] + offset
        if big and item > 1:
            out16, out32, out64 = out.view(np.uint16), out.view(np.uint32), out.view(np.uint64)
            for j in range(n // item):
                if item == 2:
                    out16[(to >> 1) + j] = swap16(buf8, at + 2 * j)
                elif item == 4:
                    out32[(to >> 2) + j] = swap32(buf8, at + 4 * j)
                else:
                    out64[(to >> 3) + j] = swap64(buf8, at + 8 * j)
            continue
        j = 0
        while j + 8 <= n:
            word = load64(buf8, at + j)
            high |= word
            store64(out, to + j, word)
            j += 8
        if j < n:
            # What is copied too much is overwritten by the next; buffers end with as many bytes to spare.
            word = load64(buf8, at + j)
            high |= word & ((np.uint64(1) << np.uint64(8 * (n - j))) - np.uint64(1))
            store64(out, to + j, word)
    return bool(high & np.uint64(0x8080808080808080))


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column of text, bytes or lists."""
    if column.kind == "text":
        return pa.large_string()
    return pa.large_binary() if column.kind == "bytes" else pa.list_(pa.from_numpy_dtype(column.dtype))


class VariableColumn:
    """The buffers of one column of at most `rows` rows; they grow with the data."""

    def __init__(self, column: Column, rows: int) -> None:
        """Begin empty."""
        self._column = column
        self._item = column.dtype.itemsize
        self._ends = np.empty(rows + 1, np.int64)
        self._ends[0] = 0
        self._valid = np.ones(rows if column.optional else 0, np.bool_)
        self._data = np.empty(_SLACK, np.uint8)
        self._rows = 0
        self._high = False
        #: Whether `append` wants to be told sizes.
        self.located = column.part > 0

    def append(self, buf8: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> None:
        """Take the next rows: where their parts begin in the buffer, and how long those are (below 0: absent)."""
        column, row = self._column, self._rows
        _measure(
            buf8, starts, sizes, column.offset, column.size, column.kind == "text", self._item, self._ends, row,
            self._valid,
        )  # fmt: skip
        self._rows += starts.size
        needed = int(self._ends[self._rows]) * self._item + _SLACK
        if needed > self._data.size:
            grown = np.empty((needed + needed // 2 + 7) & ~7, np.uint8)
            used = int(self._ends[row]) * self._item
            grown[:used] = self._data[:used]
            self._data = grown
        self._high |= bool(
            _copy(buf8, starts, column.offset, self._item, column.big, self._ends, row, self._data)
        )  # fmt: skip

    def finish(self) -> pa.ChunkedArray:
        """Return the column."""
        kind = arrow_type(self._column)
        if self._column.kind == "list":
            return pa.chunked_array(self._lists(kind), kind)
        ends, data = pa.py_buffer(self._ends[: self._rows + 1]), pa.py_buffer(self._data)
        array = pa.Array.from_buffers(kind, self._rows, [self._mask(0, self._rows), ends, data])
        if self._column.kind == "text" and self._high:
            array = _valid_text(array)
        return pa.chunked_array([array], kind)

    def _mask(self, first: int, last: int) -> pa.Buffer | None:
        if not self._valid.size or self._valid[first:last].all():
            return None
        return pa.py_buffer(np.packbits(self._valid[first:last], bitorder="little"))

    def _lists(self, kind: pa.DataType) -> list[pa.Array]:
        """Return arrays whose offsets fit into 32 bits."""
        arrays: list[pa.Array] = []
        first = 0
        while first < self._rows or not arrays:
            begin = int(self._ends[first])
            last = int(np.searchsorted(self._ends[: self._rows + 1], begin + _MOST_ITEMS, "right")) - 1
            end = int(self._ends[last])
            data = pa.py_buffer(self._data[begin * self._item : end * self._item])
            values = pa.Array.from_buffers(kind.value_type, end - begin, [None, data])
            offsets = pa.py_buffer((self._ends[first : last + 1] - begin).astype(np.int32))
            buffers = [self._mask(first, last), offsets]
            arrays.append(pa.Array.from_buffers(kind, last - first, buffers, children=[values]))
            first = last
        return arrays


def _valid_text(array: pa.Array) -> pa.Array:
    """Bytes that are not UTF-8 become \\xNN, as `formats.fields.Text` has them."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.cast(pa.large_binary()).to_pylist()
        return pa.array(
            [None if item is None else item.decode("utf-8", "backslashreplace") for item in raw], pa.large_string()
        )
    return array
