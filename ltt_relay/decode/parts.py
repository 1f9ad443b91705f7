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

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.memory import integer

__all__ = (
    "ABSENT", "ALIGN", "ALWAYS", "COUNTED", "CSTRING", "FIXED", "IF_EQUAL", "IF_ROOM", "MAX_PARTS", "PREFIXED",
    "REST", "WIDTH", "fits", "locate",
)  # fmt: skip

#: The size of a part that a record does not have.
ABSENT: Final = -1
MAX_PARTS: Final = 64

# Columns of a program: what it is; its bytes, or those of an item, of the length before it, or of the alignment; that
# length's or count's sign and byte order; where the count is: part, offset, size; whether it ends at a NUL.
# Then the condition: its kind; where the integer is that decides: part, offset, size, sign, byte order; mask and value.
FIXED, CSTRING, PREFIXED, COUNTED, REST, ALIGN = range(6)
ALWAYS, IF_ROOM, IF_EQUAL = range(3)
WIDTH: Final = 16


@compiled
def _extent(buf8: np.ndarray, at: int, stop: int, row: np.ndarray, pos: int, starts: np.ndarray) -> tuple[int, int]:
    """Return begin and size of the part of `row` at `pos`; size -1 if it does not fit."""
    op, size = row[0], row[1]
    room = stop - pos
    if op == 0:
        return pos, size if size <= room else -1
    if op == 1:
        p = pos
        while p < stop and buf8[p] != 0:
            p += 1
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


@compiled
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
            end = begin + size
            p = begin
            while p < end and buf8[p] != 0:
                p += 1
            sizes[part] = p - begin
    return True


@compiled
def locate(
    buf8: np.ndarray, places: np.ndarray, stops: np.ndarray, program: np.ndarray, first: int, last: int,
    starts: np.ndarray, sizes: np.ndarray,
) -> None:  # fmt: skip
    """Fill starts[part - 1, i] and sizes[part - 1, i] for payloads that are known to fit."""
    begin = np.empty(last - first + 1, np.int64)
    size = np.empty(last - first + 1, np.int64)
    for i in range(places.size):
        fits(buf8, places[i], stops[i], program, first, last, begin, size)
        for part in range(1, begin.size):
            starts[part - 1, i] = begin[part]
            sizes[part - 1, i] = size[part]
