# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""From entries to columns, in spans of time whose records stay in the nearer caches from ordering to storing."""

from __future__ import annotations

from typing import Final

import numpy as np

from ltt_relay.decode.compiled import compiled, inner
from ltt_relay.decode.entries import SPAN, earliest, order
from ltt_relay.decode.gather import gather
from ltt_relay.decode.memory import at, put
from ltt_relay.decode.parts import locate

__all__ = ("FULL", "drain")

#: What `drain` returns if there is no room for the records of a kind.
FULL: Final = -1
#: Records that are put in order at once, about; and the longest span of time in which that is tried, in ns.
_AT_ONCE: Final = 8192
_LONGEST: Final = SPAN


@inner
def _texts(
    place: np.ndarray, from_: int, count: int, part: int, starts: np.ndarray, sizes: np.ndarray, to: int,
    text_starts: np.ndarray, text_sizes: np.ndarray,
) -> None:  # fmt: skip
    """Note where a column of no fixed size has its next items."""
    if part == 0:
        for i in range(count):
            put(text_starts, to + i, np.int64(at(place, from_ + i)))
        return
    q = (part - 1) * count
    for i in range(count):
        put(text_starts, to + i, at(starts, q + i))
        put(text_sizes, to + i, at(sizes, q + i))


@compiled
def drain(
    buf8: np.ndarray, time: np.ndarray, place: np.ndarray, stop: np.ndarray, tid: np.ndarray, kind: np.ndarray,
    cursor: np.ndarray, last: np.ndarray, high: int, state: np.ndarray, keys: np.ndarray, spare: np.ndarray,
    digits: np.ndarray, in_time: np.ndarray, in_place: np.ndarray, in_tid: np.ndarray, in_entry: np.ndarray,
    in_rank: np.ndarray, first: np.ndarray, count: np.ndarray, row: np.ndarray, limit: np.ndarray, kinds: np.ndarray,
    edges: np.ndarray, steps: np.ndarray, program: np.ndarray, part_first: np.ndarray, text_edges: np.ndarray,
    text_part: np.ndarray, starts: np.ndarray, sizes: np.ndarray, text_starts: np.ndarray, text_sizes: np.ndarray,
    filled: np.ndarray, tables: np.ndarray, names: np.ndarray, always: np.ndarray, times: np.ndarray, codes: np.ndarray,
    enum_places: np.ndarray, enum_data: np.ndarray, out: np.ndarray,
) -> int:  # fmt: skip
    """Store the columns of all entries before `high`, those of kind k from row[k] on; returns how many, or FULL.

    state: the span of time to try next, and the records so far; limit: the rows that there is room for, by kind.
    edges: the steps of kinds[i] are those from edges[i] to edges[i + 1]; text_edges: likewise its columns of no fixed
    size, of which text_part says in which part they are, and whose items are noted in text_starts, text_sizes and
    filled. The rest as `order`, `locate` and `gather` want it.
    """
    done = 0
    while True:
        low = earliest(time, cursor, last)
        if low >= high:
            return done
        upto = min(low + state[0], high)
        n = order(
            time, place, tid, kind, cursor, last, low, upto, keys, spare, digits, in_time, in_place, in_tid, in_entry,
            in_rank, first, count,
        )  # fmt: skip
        if upto < high:
            asked = state[0] * _AT_ONCE // n
            state[0] = max(min(asked, 4 * state[0], _LONGEST), state[0] // 4, 1)
        for which in range(kinds.size):
            k = kinds[which]
            m = count[k]
            if m == 0:
                continue
            f = first[k]
            if row[k] + m > limit[k]:
                return -1
            if part_first[k] < part_first[k + 1]:
                locate(
                    buf8, in_place, stop, in_entry, f, m, program, part_first[k], part_first[k + 1], starts, sizes
                )  # fmt: skip
            gather(
                buf8, in_time, in_place, in_tid, in_entry, in_rank, kind, f, m, state[1], row[k],
                steps[edges[which] : edges[which + 1]], starts, sizes, tables, names, always, times, codes,
                enum_places, enum_data, out,
            )  # fmt: skip
            for j in range(text_edges[which], text_edges[which + 1]):
                _texts(in_place, f, m, text_part[j], starts, sizes, filled[j], text_starts[j], text_sizes[j])
                filled[j] += m
            row[k] += m
        state[1] += n
        done += n
