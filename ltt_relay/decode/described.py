# SPDX-License-Identifier: GPL-2.0-or-later
"""Arrow columns as the kernels want them: one row of integers a column, that says what it is and where it lies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ltt_relay.decode import text_rows as kernels

__all__ = ("Rows", "describe")

_INTEGERS: Final = {
    pa.int8(): kernels.I8, pa.int16(): kernels.I16, pa.int32(): kernels.I32, pa.int64(): kernels.I64,
    pa.uint8(): kernels.U8, pa.uint16(): kernels.U16, pa.uint32(): kernels.U32, pa.uint64(): kernels.U64,
}  # fmt: skip
_CODES: Final = {pa.int8(): kernels.DICT8, pa.int16(): kernels.DICT16, pa.int32(): kernels.DICT32}


def _whole(column: pa.ChunkedArray) -> Any:
    """One array out of chunks."""
    if column.num_chunks == 1:
        return column.chunk(0)
    whole = column.combine_chunks()
    return pa.concat_arrays(whole.chunks) if isinstance(whole, pa.ChunkedArray) else whole


def _hex(array: pa.Array) -> pa.Array:
    """Bytes as text, two digits each."""
    array = array.cast(pa.large_binary())
    _, offsets, data = array.buffers()
    raw = np.frombuffer(data, np.uint8) if data else np.zeros(0, np.uint8)
    digits = np.empty(2 * raw.size, np.uint8)
    kernels.hexadecimal(raw, digits)
    doubled = 2 * np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    text = pa.Array.from_buffers(pa.large_string(), len(array), [None, pa.py_buffer(doubled), pa.py_buffer(digits)])
    return pc.if_else(pc.is_valid(array), text, None) if array.null_count else text


def _known(array: Any) -> tuple[Any, bool]:
    """The same in a type that the kernels know, and whether a number (or truth value) became text by that."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        if kind.index_type not in _CODES:
            array = array.cast(pa.dictionary(pa.int32(), kind.value_type))
        return array, False
    if kind in _INTEGERS or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return array, False
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        return array, False
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        wide = pa.list_(pa.int64() if pa.types.is_signed_integer(kind.value_type) else pa.uint64())
        return array if kind == wide else array.cast(wide), False
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return _hex(array), False
    if pa.types.is_floating(kind):
        array = pc.if_else(pc.is_finite(array), array, None)  # neither format has a way to write the others
    number = pa.types.is_floating(kind) or pa.types.is_boolean(kind)
    return array.cast(pa.large_string()), number


def _address(buffer: pa.Buffer | None) -> int:
    return int(buffer.address) if buffer is not None and buffer.size else 0


def describe(column: pa.ChunkedArray, style: int, kept: list[Any]) -> np.ndarray:
    """Return the kernels' description of a column (its prefix not set); what must stay alive is added to `kept`."""
    array, number = _known(_whole(column))
    kept.append(array)
    row = np.zeros(kernels.FIELDS, np.int64)
    row[kernels.STYLE] = kernels.BARE if number and style == kernels.JSON else style
    buffers = array.buffers()
    if array.null_count:
        row[kernels.VALIDITY], row[kernels.BIT] = _address(buffers[0]), array.offset
    kind = array.type
    if pa.types.is_dictionary(kind):
        words = array.dictionary.cast(pa.large_string())
        kept.append(words)
        _, offsets, data = words.buffers()
        row[kernels.OP] = _CODES[kind.index_type]
        row[kernels.VALUES] = _address(buffers[1]) + array.offset * kind.index_type.bit_width // 8
        row[kernels.OFFSETS], row[kernels.DATA] = _address(offsets) + 8 * words.offset, _address(data)
    elif pa.types.is_list(kind):
        values = array.values
        row[kernels.OP] = kernels.LIST_SIGNED if kind.value_type == pa.int64() else kernels.LIST_UNSIGNED
        row[kernels.OFFSETS] = _address(buffers[1]) + 4 * array.offset
        row[kernels.DATA] = _address(values.buffers()[1]) + 8 * values.offset
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        wide = pa.types.is_large_string(kind)
        row[kernels.OP] = kernels.TEXT64 if wide else kernels.TEXT32
        row[kernels.OFFSETS] = _address(buffers[1]) + (8 if wide else 4) * array.offset
        row[kernels.DATA] = _address(buffers[2])
    else:
        row[kernels.OP] = kernels.TIME if pa.types.is_timestamp(kind) else _INTEGERS[kind]
        row[kernels.VALUES] = _address(buffers[1]) + array.offset * kind.bit_width // 8
    return row


#: What makes CSV quote a field.
SPECIAL: Final = frozenset('",\r\n')
_NO_ENDS: Final = np.zeros(0, np.int64)


class Rows:
    """Tables and the text around their values, as the kernel wants them."""

    def __init__(self) -> None:
        self._columns: list[np.ndarray] = []
        self._constants = bytearray()
        self._first = [0]
        self._suffix: list[tuple[int, int]] = []
        self._payload: list[int] = []
        self._quoted: list[bool] = []
        self._kept: list[Any] = []
        self._arrays: tuple[np.ndarray, ...] | None = None

    def add(self, fields: Iterable[tuple[str, pa.ChunkedArray, int]], suffix: str, payload: int = -1) -> None:
        """Add a kind: prefix, column and style of its fields; `payload` as the kernel has it, counted in the kind."""
        begin = len(self._columns)
        quoted = False
        for position, (prefix, column, style) in enumerate(fields):
            row = describe(column, style, self._kept)
            row[kernels.PREFIX], row[kernels.PREFIX_SIZE] = self._constant(prefix)
            self._columns.append(row)
            quoted |= 0 <= payload <= position and bool(set(prefix[position == payload :]) & SPECIAL)
        self._first.append(len(self._columns))
        self._suffix.append(self._constant(suffix))
        self._payload.append(begin + payload if payload >= 0 else -1)
        self._quoted.append(quoted)

    def _constant(self, text: str) -> tuple[int, int]:
        place, data = len(self._constants), text.encode()
        self._constants += data
        return place, len(data)

    def text(
        self, kinds: np.ndarray, index: np.ndarray, begin: int, end: int, out: np.ndarray, ends: np.ndarray = _NO_ENDS
    ) -> tuple[int, int]:
        """Write rows as `text_rows` does; index[i] is the row of the table kinds[i] that comes next."""
        if self._arrays is None:
            constants = np.frombuffer(bytes(self._constants) + bytes(8), np.uint8)
            self._arrays = (
                np.stack(self._columns) if self._columns else np.zeros((0, kernels.FIELDS), np.int64),
                np.array(self._first), constants, np.array(self._suffix), np.array(self._payload),
                np.array(self._quoted),
            )  # fmt: skip
        columns, first, *rest = self._arrays
        done, size = kernels.text_rows(  # type: ignore[call-arg]
            columns, first, kinds, index, begin, end, *rest, out, ends
        )
        return int(done), int(size)
