# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Gathering what has no fixed size, text, bytes and lists, straight into the buffers of Arrow arrays."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.memory import at, load64, put, store16, store32, store64, swap16, swap32, swap64
from ltt_relay.decode.parts import nul
from ltt_relay.decode.plan import Column

__all__ = ("VARIABLE", "VariableColumn", "arrow_type")

#: Kinds of column that are stored here.
VARIABLE: Final = frozenset({"text", "bytes", "list"})

# What a kernel may write behind the last byte: it copies up to 32 bytes at a time.
_SLACK: Final = 32
#: Bytes of the first chunk, at most; each is as long as all before it. Memory is used where it is written.
_FIRST: Final = 4 << 20
_MOST_ITEMS: Final = (1 << 31) - 1


@compiled
def _measure(
    buf8: np.ndarray, starts: np.ndarray, sizes: np.ndarray, offset: int, size: int, text: bool, item: int,
    ends: np.ndarray, row: int, valid: np.ndarray,
) -> None:  # fmt: skip
    """Continue `ends`, the ends of the items, with those of the records whose parts begin at `starts`.

    size: bytes of each, 0 if `sizes` has them; text: they end at a NUL before that; valid: False where they are absent;
    item: bytes of an item, as a power of 2.
    """
    end = ends[row]
    if size == 0 and valid.size == 0:
        for i in range(starts.size):
            end += at(sizes, i) >> item
            put(ends, row + i + 1, end)
        return
    for i in range(starts.size):
        n = size or sizes[i]
        if valid.size:
            valid[row + i] = sizes[i] >= 0
            if sizes[i] < 0:
                n = 0
        if text and size and n:
            first = starts[i] + offset
            n = nul(buf8, first, first + n) - first
        end += n >> item
        ends[row + i + 1] = end


@compiled
def _copy_lists(
    buf8: np.ndarray, starts: np.ndarray, offset: int, item: int, ends: np.ndarray, row: int, out: np.ndarray
) -> None:
    """Copy lists as they are. Most fit into four words, and how many they have cannot be guessed: so all are copied.

    What is copied too much is overwritten by the next; buffers end with as many bytes to spare.
    """
    for i in range(starts.size):
        to = at(ends, row + i) << item
        stop = at(ends, row + i + 1) << item
        a = at(starts, i) + offset
        while True:
            for j in range(4):
                store64(out, to + 8 * j, load64(buf8, a + 8 * j))
            to += 32
            a += 32
            if to >= stop:
                break


@compiled
def _copy(
    buf8: np.ndarray, starts: np.ndarray, offset: int, item: int, big: bool, ends: np.ndarray, row: int, out: np.ndarray
) -> bool:
    """Copy what _measure measured; returns whether a byte of it has its highest bit set."""
    high = np.uint64(0)
    for i in range(starts.size):
        to = ends[row + i] * item
        n = ends[row + i + 1] * item - to
        a = starts[i] + offset
        if big and item > 1:
            for j in range(0, n, item):
                if item == 2:
                    store16(out, to + j, swap16(buf8, a + j))
                elif item == 4:
                    store32(out, to + j, swap32(buf8, a + j))
                else:
                    store64(out, to + j, swap64(buf8, a + j))
            continue
        j = 0
        while j + 8 <= n:
            word = load64(buf8, a + j)
            high |= word
            store64(out, to + j, word)
            j += 8
        if j < n:
            # What is copied too much is overwritten by the next; buffers end with as many bytes to spare.
            word = load64(buf8, a + j)
            high |= word & ((np.uint64(1) << np.uint64(8 * (n - j))) - np.uint64(1))
            store64(out, to + j, word)
    return bool(high & np.uint64(0x8080808080808080))


def arrow_type(column: Column) -> pa.DataType:
    """Return the Arrow type of a column of text, bytes or lists."""
    if column.kind == "text":
        return pa.large_string()
    return pa.large_binary() if column.kind == "bytes" else pa.list_(pa.from_numpy_dtype(column.dtype))


class _Chunk:
    """Room for items of at most `rows` rows."""

    def __init__(self, rows: int, size: int) -> None:
        self.ends = np.empty(rows + 1, np.int64)
        self.ends[0] = 0
        self.data = np.empty((size + 7) & ~7, np.uint8)
        self.rows = 0


class VariableColumn:
    """The buffers of one column of at most `rows` rows, in chunks, as copying what grows costs more than storing it."""

    def __init__(self, column: Column, rows: int) -> None:
        """Begin empty."""
        self._column = column
        self._item = column.dtype.itemsize
        self._left = rows
        self._valid = np.empty(rows if column.optional else 0, np.bool_)
        self._chunks = [_Chunk(rows, min(64 * rows, _FIRST) + _SLACK)]
        self._high = False
        #: Whether `append` wants to be told sizes.
        self.located = column.part > 0

    def append(self, buf8: np.ndarray, starts: np.ndarray, sizes: np.ndarray) -> None:
        """Take the next rows: where their parts begin in the buffer, and how long those are (below 0: absent)."""
        column, chunk = self._column, self._chunks[-1]
        shift = self._item.bit_length() - 1
        n, row = starts.size, chunk.rows
        valid = self._valid[sum(before.rows for before in self._chunks[:-1]) :]
        _measure(
            buf8, starts, sizes, column.offset, column.size, column.kind == "text", shift, chunk.ends, row, valid
        )  # fmt: skip
        if (int(chunk.ends[row + n]) << shift) + _SLACK > chunk.data.size:
            begin = chunk.ends[row]
            needed = int(chunk.ends[row + n] - begin) << shift
            behind = _Chunk(self._left, max(needed, sum(before.data.size for before in self._chunks)) + _SLACK)
            behind.ends[1 : n + 1] = chunk.ends[row + 1 : row + n + 1] - begin
            self._chunks.append(behind)
            chunk, row = behind, 0
        if column.kind == "list" and (self._item == 1 or not column.big):
            _copy_lists(buf8, starts, column.offset, shift, chunk.ends, row, chunk.data)
        else:
            self._high |= bool(
                _copy(buf8, starts, column.offset, self._item, column.big, chunk.ends, row, chunk.data)
            )  # fmt: skip
        chunk.rows += n
        self._left -= n

    def finish(self) -> pa.ChunkedArray:
        """Return the column."""
        kind = arrow_type(self._column)
        arrays: list[pa.Array] = []
        first = 0
        for chunk in self._chunks:
            if chunk.rows or not arrays:
                arrays += self._lists(kind, chunk, first) if self._column.kind == "list" else [
                    self._array(kind, chunk, first)
                ]  # fmt: skip
            first += chunk.rows
        return pa.chunked_array(arrays, kind)

    def _array(self, kind: pa.DataType, chunk: _Chunk, first: int) -> pa.Array:
        ends, data = pa.py_buffer(chunk.ends[: chunk.rows + 1]), pa.py_buffer(chunk.data)
        array = pa.Array.from_buffers(kind, chunk.rows, [self._mask(first, first + chunk.rows), ends, data])
        return _valid_text(array) if self._column.kind == "text" and self._high else array

    def _mask(self, first: int, last: int) -> pa.Buffer | None:
        if not self._valid.size or self._valid[first:last].all():
            return None
        return pa.py_buffer(np.packbits(self._valid[first:last], bitorder="little"))

    def _lists(self, kind: pa.DataType, chunk: _Chunk, row: int) -> list[pa.Array]:
        """Return arrays whose offsets fit into 32 bits; `row`: the chunk's first."""
        arrays: list[pa.Array] = []
        first = 0
        while first < chunk.rows or not arrays:
            begin = int(chunk.ends[first])
            last = int(np.searchsorted(chunk.ends[: chunk.rows + 1], begin + _MOST_ITEMS, "right")) - 1
            end = int(chunk.ends[last])
            data = pa.py_buffer(chunk.data[begin * self._item : end * self._item])
            values = pa.Array.from_buffers(kind.value_type, end - begin, [None, data])
            offsets = pa.py_buffer((chunk.ends[first : last + 1] - begin).astype(np.int32))
            buffers = [self._mask(row + first, row + last), offsets]
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
