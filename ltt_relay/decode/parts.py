# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Parts of a payload whose place differs from record to record: what a member of variable length has behind it.

Part 0 is the payload's begin, with every member up to the first of variable length. Each further part is a row of a
program (dtype int64, columns below) that `fits` follows: it finds where the part begins and how long it is, and proves
that all parts lie within the payload. `plan.py` writes the program.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from ltt_relay.decode.compiled import inner
from ltt_relay.decode.memory import at, integer, load64, on_stack, put, trailing_zeros

__all__ = (
    "ABSENT", "ALIGN", "ALWAYS", "COUNTED", "CSTRING", "FIXED", "IF_EQUAL", "IF_ROOM", "MAX_PARTS", "PLACES",
    "PREFIXED", "REST", "WIDTH", "fits", "holds", "locate", "nul",
)  # fmt: skip

#: The size of a part that a record does not have.
ABSENT: Final = -1
MAX_PARTS: Final = 64
#: Room for something of each part.
PLACES: Final = MAX_PARTS + 1

# Columns of a program: what it is; its bytes, or those of an item, of the length before it, or of the alignment; that
# length's or count's sign and byte order; where the count is: part, offset, size; whether it ends at a NUL.
# Then the condition: its kind; where the integer is that decides: part, offset, size, sign, byte order; mask and value.
FIXED, CSTRING, PREFIXED, COUNTED, REST, ALIGN = range(6)
ALWAYS, IF_ROOM, IF_EQUAL = range(3)
WIDTH: Final = 16


@inner
def nul(buf8: np.ndarray, at: int, stop: int) -> int:
    """Return the place of the first NUL from `at` on, `stop` if there is none before."""
    while at < stop:
        word = load64(buf8, at)
        zero = (word - np.uint64(0x0101010101010101)) & ~word & np.uint64(0x8080808080808080)
        if zero:
            # The lowest of the bits set is that of the first NUL.
            return min(at + (np.int64(trailing_zeros(zero)) >> 3), stop)
        at += 8
    return stop


@inner
def _extent(buf8: np.ndarray, at: int, stop: int, row: np.ndarray, pos: int, starts: np.ndarray) -> tuple[int, int]:
    """Return begin and size of the part of `row` at `pos`; size -1 if it does not fit."""
    op, size = row[0], row[1]
    room = stop - pos
    if op == 0:
        return pos, size if size <= room else -1
    if op == 1:
        p = nul(buf8, pos, stop)
        return pos, p - pos + 1 if p < stop else -1
    if op == 2:
        if size > room:
            return pos, -1
        length = integer(buf8, pos, size, row[2] != 0, row[3] != 0)
        return pos + size, length if 0 <= length <= room - size else -1
    if op == 3:
        count = integer(buf8, starts[row[4]] + row[5], row[6], row[2] != 0, row[3] != 0)
        return pos, count * size if 0 <= count <= room // size else -1
    if op == 4:
        return pos, room
    gap = (at - pos) % size
    return pos, gap if gap <= room else -1


@inner
def fits(
    buf8: np.ndarray, at: int, stop: int, program: np.ndarray, first: int, last: int, starts: np.ndarray,
    sizes: np.ndarray,
) -> bool:  # fmt: skip
    """Fill starts and sizes of the parts of the payload from `at` to `stop`; False if it is too short for one.

    starts, sizes: by part, that of program[first] at 1; a part that is absent has size ABSENT. The caller has made
    sure that part 0 is there.
    """
    starts[0] = at
    pos = at + program[first, 15]
    for r in range(first, last):
        row = program[r]
        part = r - first + 1
        condition = row[8]
        if condition == 2:
            value = integer(buf8, starts[row[9]] + row[10], row[11], (row[12] & 1) != 0, (row[12] & 2) != 0)
            if value & row[13] != row[14]:
                starts[part] = pos
                sizes[part] = -1
                continue
        begin, size = _extent(buf8, at, stop, row, pos, starts)
        if size < 0:
            if condition != 1:
                return False
            starts[part] = pos
            sizes[part] = -1
            continue
        starts[part] = begin
        sizes[part] = size - 1 if row[0] == 1 else size
        pos = begin + size
        if row[7] != 0:
            sizes[part] = nul(buf8, begin, begin + size) - begin
    return True


@inner
def holds(
    buf8: np.ndarray, at: int, stop: int, program: np.ndarray, first: int, last: int, starts: np.ndarray,
    sizes: np.ndarray,
) -> bool:  # fmt: skip
    """Say what `fits` says, sooner for what most payloads have behind part 0; fills nothing.

    That is one text, list or rest, or members of fixed size of which some are there under a condition.
    """
    if last - first == 1 and program[first, 8] == 0:
        row = program[first]
        if row[0] == 1:
            if stop > at + row[15] and buf8[stop - 1] == 0:
                return True
            return bool(nul(buf8, at + row[15], stop) < stop)
        if row[0] == 3:
            count = integer(buf8, at + row[5], row[6], row[2] != 0, row[3] != 0)
            return bool(0 <= count <= (stop - at - row[15]) // row[1])
        if row[0] == 4:
            return True
    room = stop - at - program[first, 15]
    for r in range(first, last):
        if not _is_plain(program, r):
            return bool(fits(buf8, at, stop, program, first, last, starts, sizes))
        if _is_there(buf8, at, program, r):
            room -= program[r, 1]
    return bool(room >= 0)


@inner
def _is_plain(program: np.ndarray, r: int) -> bool:
    """Whether a row is of fixed size, and part 0 tells whether it is there."""
    return bool(program[r, 0] == 0 and (program[r, 8] == 0 or (program[r, 8] == 2 and program[r, 9] == 0)))


@inner
def _is_there(buf8: np.ndarray, at: int, program: np.ndarray, r: int) -> bool:
    if program[r, 8] == 0:
        return True
    signs = program[r, 12]
    value = integer(buf8, at + program[r, 10], program[r, 11], (signs & 1) != 0, (signs & 2) != 0)
    return bool((value & program[r, 13]) == program[r, 14])


@inner
def locate(
    buf8: np.ndarray, place: np.ndarray, stop: np.ndarray, entry: np.ndarray, from_: int, count: int,
    program: np.ndarray, first: int, last: int, starts: np.ndarray, sizes: np.ndarray,
) -> None:  # fmt: skip
    """Fill starts and sizes, at (part - 1) * count + i, for the payloads of `count` records that are known to fit.

    They begin at place[from_ + i] and end at stop[entry[from_ + i]].
    """
    begin = on_stack(PLACES)
    size = on_stack(PLACES)
    row = program[first]
    head = row[15]
    one = last - first == 1 and row[8] == 0
    if one and row[0] == 3 and row[7] == 0:
        # One list behind the fixed members is what most have that have any.
        for i in range(count):
            a = np.int64(at(place, from_ + i))
            items = integer(buf8, a + row[5], row[6], row[2] != 0, row[3] != 0)
            put(starts, i, a + head)
            put(sizes, i, items * row[1])
        return
    if one and row[0] == 1:
        for i in range(count):
            a = np.int64(at(place, from_ + i)) + head
            put(starts, i, a)
            put(sizes, i, nul(buf8, a, np.int64(at(stop, at(entry, from_ + i)))) - a)
        return
    if one and row[0] == 4:
        for i in range(count):
            a = np.int64(at(place, from_ + i)) + head
            end = np.int64(at(stop, at(entry, from_ + i)))
            put(starts, i, a)
            put(sizes, i, (nul(buf8, a, end) if row[7] != 0 else end) - a)
        return
    plain = True
    for r in range(first, last):
        plain = plain and _is_plain(program, r)
    if plain and last - first == 1 and not one:
        # In variables, as the compiler does not know that nothing here writes to the program.
        where, length, signs, mask, value, bytes_ = row[10], row[11], row[12], row[13], row[14], row[1]
        for i in range(count):
            a = np.int64(at(place, from_ + i))
            told = integer(buf8, a + where, length, (signs & 1) != 0, (signs & 2) != 0)
            put(starts, i, a + head)
            put(sizes, i, bytes_ if told & mask == value else -1)
        return
    if plain:
        for i in range(count):
            a = np.int64(at(place, from_ + i))
            pos = a + head
            for r in range(first, last):
                there = _is_there(buf8, a, program, r)
                to = (r - first) * count + i
                put(starts, to, pos)
                put(sizes, to, program[r, 1] if there else -1)
                pos += program[r, 1] if there else 0
        return
    for i in range(count):
        a, end = np.int64(at(place, from_ + i)), np.int64(at(stop, at(entry, from_ + i)))
        fits(buf8, a, end, program, first, last, begin, size)
        for part in range(1, last - first + 1):
            starts[(part - 1) * count + i] = begin[part]
            sizes[(part - 1) * count + i] = size[part]
