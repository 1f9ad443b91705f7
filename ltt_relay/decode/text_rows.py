# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""The compiled part: rows of text and of CTF, written from columns of many types at once.

A column is a row of `columns`: an operation, and the addresses of its Arrow buffers (see `described.py`,
which keeps the buffers alive meanwhile). Nothing is written beyond `room`: a row that does not fit is taken back, and
its number returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np

# isort: split  (the import above chooses Numba's cache directory)
from numba import types
from numba.extending import intrinsic

from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.memory import on_stack

# Operations: integers by width and sign; a time; text and bytes between two offsets; a dictionary's code; a list of 64
# bits a member.
I8, I16, I32, I64, U8, U16, U32, U64, TIME, TEXT32, TEXT64, DICT8, DICT16, DICT32, LIST_SIGNED, LIST_UNSIGNED = range(
    16
)
# What a column's row says.
OP, VALUES, OFFSETS, DATA, VALIDITY, BIT, STYLE, PREFIX, PREFIX_SIZE = range(9)
FIELDS: Final = 9
# Styles: a field of CSV; a JSON value; the same, of text that is no string; a value in the payload of a merged row of
# CSV, which is quoted as a whole; the same, never quoted.
CSV, JSON, BARE, RAW, PLAIN = range(5)

_MARGIN: Final = 64
_POWERS: Final = np.array([10**i for i in range(20)], np.uint64)
_PAIRS: Final = np.frombuffer("".join(f"{i:02d}" for i in range(100)).encode(), "<u2").astype(np.uint16)
_HEX: Final = np.frombuffer(b"0123456789abcdef", np.uint8).copy()


def _loader(kind: Any) -> Any:
    """Return, for compiled code, a function that gives the `kind` at an address."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load(typing_context: Any, address: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
            return builder.load(pointer, align=1)

        return kind(types.int64), generate

    return load


def _storer(kind: Any) -> Any:
    """Return, for compiled code, a function that puts a `kind` at an address."""

    @intrinsic  # type: ignore[untyped-decorator]
    def store(typing_context: Any, address: Any, value: Any) -> tuple[Any, Callable[..., Any]]:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], context.get_value_type(kind).as_pointer())
            builder.store(arguments[1], pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, kind), generate

    return store


_i8, _i16, _i32, _i64 = (_loader(kind) for kind in (types.int8, types.int16, types.int32, types.int64))
_u8, _u16, _u32, _u64 = (_loader(kind) for kind in (types.uint8, types.uint16, types.uint32, types.uint64))
_set8, _set16, _set32, _set64 = (_storer(kind) for kind in (types.uint8, types.uint16, types.uint32, types.uint64))


@inner
def _digits(value: np.uint64) -> int:
    n = 1
    while n < 20 and value >= _POWERS[np.uint64(n)]:
        n += 1
    return n


@inner
def _put_unsigned(to: int, value: np.uint64) -> int:
    """Write digits at the address `to`; returns the address behind them, as all _put_* do."""
    end = to + _digits(value)
    p = end
    while value >= np.uint64(100):
        rest = value // np.uint64(100)
        p -= 2
        _set16(p, _PAIRS[value - rest * np.uint64(100)])
        value = rest
    if value >= np.uint64(10):
        _set16(p - 2, _PAIRS[value])
    else:
        _set8(p - 1, np.uint8(value + np.uint64(48)))
    return end


@inner
def _put_signed(to: int, value: np.int64) -> int:
    if value < 0:
        _set8(to, 45)
        return _put_unsigned(to + 1, np.uint64(0) - np.uint64(value))
    return _put_unsigned(to, np.uint64(value))


@inner
def _put_second(to: int, second: np.int64) -> None:
    """YYYY-MM-DDTHH:MM:SS. of seconds since 1970, 20 bytes."""
    days = second // 86400
    rest = np.uint64(second - days * 86400)
    # Days to civil date, after H. Hinnant's algorithm for the proleptic Gregorian calendar.
    z = days + 719468
    era = z // 146097
    doe = z - era * 146097
    yoe = (doe - doe // 1460 + doe // 36524 - doe // 146096) // 365
    doy = doe - (365 * yoe + yoe // 4 - yoe // 100)
    mp = (5 * doy + 2) // 153
    month = mp + 3 if mp < 10 else mp - 9
    year = np.uint64(yoe + era * 400 + (1 if month <= 2 else 0))
    _set16(to, _PAIRS[year // np.uint64(100)])
    _set16(to + 2, _PAIRS[year % np.uint64(100)])
    _set8(to + 4, 45)
    _set16(to + 5, _PAIRS[np.uint64(month)])
    _set8(to + 7, 45)
    _set16(to + 8, _PAIRS[np.uint64(doy - (153 * mp + 2) // 5 + 1)])
    _set8(to + 10, 84)
    _set16(to + 11, _PAIRS[rest // np.uint64(3600)])
    _set8(to + 13, 58)
    _set16(to + 14, _PAIRS[rest // np.uint64(60) % np.uint64(60)])
    _set8(to + 16, 58)
    _set16(to + 17, _PAIRS[rest % np.uint64(60)])
    _set8(to + 19, 46)


@inner
def _put_time(to: int, time: np.int64, last: int, text: int) -> int:
    """Write 30 bytes; `text` holds the 20 of the second `last`, which most records share."""
    second = time // 1_000_000_000
    if second != last:
        _put_second(text, second)
    _set64(to, _u64(text))
    _set64(to + 8, _u64(text + 8))
    _set32(to + 16, _u32(text + 16))
    ns = np.uint64(time - second * 1_000_000_000)
    high = ns // np.uint64(10)
    _set8(to + 28, np.uint8(np.uint64(48) + ns - high * np.uint64(10)))
    for i in range(4):
        rest = high // np.uint64(100)
        _set16(to + 26 - 2 * i, _PAIRS[high - rest * np.uint64(100)])
        high = rest
    _set8(to + 29, 90)
    return to + 30


@inner
def _copy(to: int, address: int, size: int) -> None:
    """Copy in steps of 8 bytes, up to 7 more than `size`: both sides must have them."""
    for i in range(0, size, 8):
        _set64(to + i, _u64(address + i))


@inner
def _put_text(to: int, address: int, size: int) -> bool:
    """Copy; returns whether CSV has to quote what was copied."""
    special = np.uint8(0)
    for i in range(size):
        c = _u8(address + i)
        _set8(to + i, c)
        special |= np.uint8((c == 34) | (c == 44) | (c == 10) | (c == 13))
    return bool(special != 0)


@inner
def _quote(first: int, end: int) -> int:
    """Put the field from `first` to `end` into quotes, those inside it doubled."""
    inside = 0
    for p in range(first, end):
        inside += _u8(p) == 34
    to = end + inside + 2
    p = to - 1
    _set8(p, 34)
    for i in range(end - 1, first - 1, -1):
        c = _u8(i)
        p -= 1
        _set8(p, c)
        if c == 34:
            p -= 1
            _set8(p, 34)
    _set8(first, 34)
    return to


@inner
def _put_json(to: int, address: int, size: int) -> int:
    _set8(to, 34)
    to += 1
    for i in range(size):
        c = _u8(address + i)
        if c >= 32 and c != 34 and c != 92:
            _set8(to, c)
            to += 1
        elif c == 34 or c == 92:
            _set8(to, 92)
            _set8(to + 1, c)
            to += 2
        else:
            _set32(to, 0x3030755C)
            _set8(to + 4, _HEX[c >> 4])
            _set8(to + 5, _HEX[c & 15])
            to += 6
    _set8(to, 34)
    return to + 1


@inner
def _put_integer(to: int, op: int, values: int, row: int) -> int:
    if op == I32:
        return _put_signed(to, np.int64(_i32(values + 4 * row)))
    if op == U16:
        return _put_unsigned(to, np.uint64(_u16(values + 2 * row)))
    if op == I16:
        return _put_signed(to, np.int64(_i16(values + 2 * row)))
    if op == U64:
        return _put_unsigned(to, _u64(values + 8 * row))
    if op == I64:
        return _put_signed(to, _i64(values + 8 * row))
    if op == U32:
        return _put_unsigned(to, np.uint64(_u32(values + 4 * row)))
    if op == U8:
        return _put_unsigned(to, np.uint64(_u8(values + row)))
    return _put_signed(to, np.int64(_i8(values + row)))


@inner
def _put_list(to: int, signed: bool, values: int, first: int, last: int, style: int) -> int:
    """Members with blanks between, in brackets but for CSV; JSON has commas."""
    if style != CSV:
        _set8(to, 91)
        to += 1
    for i in range(first, last):
        if i > first:
            _set8(to, 44 if style == JSON else 32)
            to += 1
        to = _put_signed(to, _i64(values + 8 * i)) if signed else _put_unsigned(to, _u64(values + 8 * i))
    if style != CSV:
        _set8(to, 93)
        to += 1
    return to


@inner
def _entry(op: int, values: int, row: int) -> int:
    """Which text: the row's own, or that of its dictionary code."""
    if op == DICT8:
        return np.int64(_i8(values + row))
    if op == DICT16:
        return np.int64(_i16(values + 2 * row))
    if op == DICT32:
        return np.int64(_i32(values + 4 * row))
    return row


@inner
def _span(op: int, offsets: int, entry: int) -> tuple[int, int]:
    """Return where an entry's text or list begins and ends; offsets of lists have 32 bits."""
    if op == TEXT32 or op >= LIST_SIGNED:
        return np.int64(_i32(offsets + 4 * entry)), np.int64(_i32(offsets + 4 * entry + 4))
    return _i64(offsets + 8 * entry), _i64(offsets + 8 * entry + 8)


@compiled
def text_rows(
    columns: np.ndarray, first: np.ndarray, kinds: np.ndarray, index: np.ndarray, begin: int, end: int,
    constants: np.ndarray, suffix: np.ndarray, payload: np.ndarray, quoted: np.ndarray, out: np.ndarray,
    ends: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Write the rows begin to end; returns the first that did not fit, and how many bytes were written.

    ends[i - begin + 1]: where row i ends in `out`, if `ends` is not empty.

    columns[first[k]:first[k + 1]] are those of kind k; row i is row index[i] of kind kinds[i], or row i of kind 0 if
    those are empty. Before a column's value goes its prefix, from `constants` (7 bytes longer than it would have to
    be), behind the row suffix[k] (place, size). payload[k]: the column with which a field of CSV begins that takes all
    that follow (behind its prefix's first byte, the comma), or -1; it is put into quotes if it needs them, or if
    quoted[k].
    """
    base = np.int64(out.ctypes.data)
    room = base + out.size - _MARGIN
    seconds = on_stack(3)
    second_text = np.int64(seconds.ctypes.data)
    second = np.int64(-(1 << 62))
    fixed = np.int64(constants.ctypes.data)
    to = base
    for i in range(begin, end):
        k = np.int64(kinds[i]) if kinds.size else 0
        row = np.int64(index[i]) if index.size else i
        start = to
        field = 0
        special = quoted[k]
        for j in range(first[k], first[k + 1]):
            size = columns[j, PREFIX_SIZE]
            if to + size + _MARGIN > room:
                return i, start - base
            if j == payload[k]:
                field = to + 1
            _copy(to, fixed + columns[j, PREFIX], size)
            to += size
            op, style, values = columns[j, OP], columns[j, STYLE], columns[j, VALUES]
            if columns[j, VALIDITY]:
                bit = columns[j, BIT] + row
                if not (_u8(columns[j, VALIDITY] + (bit >> 3)) >> (bit & 7)) & 1:
                    if style in (JSON, BARE):
                        _set32(to, 0x6C6C756E)
                        to += 4
                    elif style in (RAW, PLAIN):
                        _set8(to, 63)
                        to += 1
                    continue
            if op < TIME:
                to = _put_integer(to, op, values, row)
            elif op == TIME:
                time = _i64(values + 8 * row)
                marks = 1 if style == JSON else 0
                _set8(to, 34)
                to = _put_time(to + marks, time, second, second_text)
                _set8(to, 34)
                to += marks
                second = time // 1_000_000_000
            elif op >= LIST_SIGNED:
                low, high = _span(op, columns[j, OFFSETS], row)
                if to + 21 * (high - low) > room:
                    return i, start - base
                to = _put_list(to, op == LIST_SIGNED, columns[j, DATA], low, high, style)
            else:
                low, high = _span(op, columns[j, OFFSETS], _entry(op, values, row))
                size = high - low
                if to + 6 * size > room:
                    return i, start - base
                if style == JSON:
                    to = _put_json(to, columns[j, DATA] + low, size)
                else:
                    dirty = _put_text(to, columns[j, DATA] + low, size)
                    to += size
                    if style == RAW:
                        special |= dirty
                    elif style == CSV and (dirty or size == 0):
                        to = _quote(to - size, to)
        if to + suffix[k, 1] + (to - field if special else 0) > room:
            return i, start - base
        if special:
            to = _quote(field, to)
        _copy(to, fixed + suffix[k, 0], suffix[k, 1])
        to += suffix[k, 1]
        if ends.size:
            ends[i - begin + 1] = to - base
    return end, to - base


@inner
def _set_integer(to: int, op: int, values: int, row: int, known: bool) -> int:
    """Put an integer as it is, all bits set if it is not known."""
    if op in (I8, U8):
        _set8(to, _u8(values + row) if known else 0xFF)
        return to + 1
    if op in (I16, U16):
        _set16(to, _u16(values + 2 * row) if known else 0xFFFF)
        return to + 2
    if op in (I32, U32):
        _set32(to, _u32(values + 4 * row) if known else 0xFFFFFFFF)
        return to + 4
    _set64(to, _u64(values + 8 * row) if known else ~np.uint64(0))
    return to + 8


@inner
def _set_string(to: int, address: int, size: int) -> int:
    """Put text and a NUL; a NUL inside becomes \\x00, as a string cannot hold it."""
    for i in range(size):
        c = _u8(address + i)
        if c:
            _set8(to, c)
            to += 1
        else:
            _set32(to, 0x3030785C)
            to += 4
    _set8(to, 0)
    return to + 1


@compiled
def binary_rows(
    columns: np.ndarray, first: np.ndarray, kinds: np.ndarray, index: np.ndarray, ids: np.ndarray, times: np.ndarray,
    begin: int, end: int, out: np.ndarray, at: int,
) -> tuple[int, int]:  # fmt: skip
    """Write the rows begin to end behind the first `at` bytes: id (4 bytes), time (8), and the columns, unaligned.

    Integers have their own width, text ends with NUL, lists begin with their length (4 bytes). Rows, columns and
    result are as with `text_rows`.
    """
    base = np.int64(out.ctypes.data)
    room = base + out.size - _MARGIN
    to = base + at
    for i in range(begin, end):
        k = kinds[i]
        row = np.int64(index[i])
        start = to
        if to + 12 > room:
            return i, start - base
        _set32(to, np.uint32(ids[i]))
        _set64(to + 4, np.uint64(times[i]))
        to += 12
        for j in range(first[k], first[k + 1]):
            if to > room:
                return i, start - base
            op, values = columns[j, OP], columns[j, VALUES]
            known = True
            if columns[j, VALIDITY]:
                bit = columns[j, BIT] + row
                known = ((_u8(columns[j, VALIDITY] + (bit >> 3)) >> (bit & 7)) & 1) != 0
            if op <= TIME:
                to = _set_integer(to, op, values, row, known)
                continue
            low = high = np.int64(0)
            if known:
                low, high = _span(op, columns[j, OFFSETS], _entry(op, values, row))
            if to + 8 * (high - low) > room:
                return i, start - base
            if op >= LIST_SIGNED:
                _set32(to, np.uint32(high - low))
                to += 4
                for item in range(low, high):
                    _set64(to, _u64(columns[j, DATA] + 8 * item))
                    to += 8
            else:
                to = _set_string(to, columns[j, DATA] + low, high - low)
    return end, to - base


@compiled
def hexadecimal(data: np.ndarray, out: np.ndarray) -> None:
    """Two digits a byte."""
    for i in range(data.size):
        out[2 * i] = _HEX[data[i] >> 4]
        out[2 * i + 1] = _HEX[data[i] & 15]
