# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Entries: what a walker says of each record that is wanted, and their order by time.

A packet is walked once, right behind its reading. Its entries wait until all packets that could hold earlier records
have been read; then they are put in order together with those of the other CPUs, by kind, then time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ltt_relay.decode.compiled import inner
from ltt_relay.decode.memory import at, put

__all__ = ("DIGIT", "SPAN", "Entries", "Order", "Wanted", "earliest", "order")

#: Bits of the time that are sorted at once, at most; and what a range of time that is put in order is shorter than.
DIGIT = 11
SPAN = 1 << 3 * DIGIT - 2


class Wanted(NamedTuple):
    """Which records are asked for: `kinds`, by kind, and from `since` up to `until`, ns of the trace's clock."""

    kinds: np.ndarray
    since: int
    until: int


class Entries(NamedTuple):
    """Arrays by entry.

    time: ns of the trace's clock; place, stop: begin and end of the payload, bytes in the buffer; tid: the task that
    ran; kind: the kind, and the CPU above 16 bits.
    """

    time: np.ndarray
    place: np.ndarray
    stop: np.ndarray
    tid: np.ndarray
    kind: np.ndarray

    @classmethod
    def empty(cls, n: int) -> Entries:
        """Return room for n of them."""
        return cls(*(np.empty(n, dtype) for dtype in ("i8", "u4", "u4", "i4", "u4")))

    def sort(self, first: np.ndarray, last: np.ndarray) -> None:
        """Put the entries from first[p] to last[p] of each packet in order: of a clock set back, or of damage."""
        for a, b in zip(first, last, strict=True):
            order = np.argsort(self.time[a:b], kind="stable")
            for array in self:
                array[a:b] = array[a:b][order]


class Order(NamedTuple):
    """Buffers of `order`: keys, twice; how many have each digit; and by place in the order, what most columns need.

    entry: which it is; rank: the place in time, or no room for it, if nobody asks.
    """

    keys: np.ndarray
    spare: np.ndarray
    digits: np.ndarray
    time: np.ndarray
    place: np.ndarray
    tid: np.ndarray
    entry: np.ndarray
    rank: np.ndarray

    @classmethod
    def empty(cls, n: int, ranked: bool) -> Order:
        """Return room for n entries."""
        keys, spare, time, place, tid, entry = (np.empty(n, kind) for kind in ("i8", "i8", "i8", "u4", "i4", "u4"))
        digits, rank = np.empty((3, 1 << DIGIT), np.int32), np.empty(n if ranked else 0, np.uint32)
        return cls(keys, spare, digits, time, place, tid, entry, rank)


@inner
def earliest(time: np.ndarray, cursor: np.ndarray, last: np.ndarray) -> int:
    """Return the time of the first entry that is left, 1 << 62 if there is none."""
    low = np.int64(1) << 62
    for p in range(cursor.size):
        if cursor[p] < last[p]:
            low = min(low, at(time, cursor[p]))
    return low


@inner
def _collect(
    time: np.ndarray, kind: np.ndarray, cursor: np.ndarray, last: np.ndarray, low: int, high: int, width: int,
    keys: np.ndarray, digits: np.ndarray, count: np.ndarray,
) -> tuple[int, bool]:  # fmt: skip
    """Take from each packet the entries before `high`, and count digits and kinds; returns how many, and if in order.

    A key is the time since `low`, and the entry below 32 bits. Where time steps back within a packet, the records
    behind stay behind.
    """
    n = 0
    ordered = True
    latest = low
    small, middle, large = digits[0], digits[1], digits[2]
    mask = (1 << width) - 1
    three = (high - low - 1) >> (2 * width) > 0
    for p in range(cursor.size):
        e = cursor[p]
        stop = last[p]
        now = low
        if e < stop and at(time, e) < latest:
            ordered = False
        while e < stop:
            now = max(now, at(time, e))
            if now >= high:
                break
            t = now - low
            put(keys, n, (t << 32) | e)
            put(small, t & mask, at(small, t & mask) + 1)
            put(middle, (t >> width) & mask, at(middle, (t >> width) & mask) + 1)
            if three:
                put(large, t >> (2 * width), at(large, t >> (2 * width)) + 1)
            k = np.int64(at(kind, e) & 65535)
            put(count, k, at(count, k) + 1)
            n += 1
            e += 1
            latest = now
        cursor[p] = e
    return n, ordered


@inner
def order(
    time: np.ndarray, place: np.ndarray, tid: np.ndarray, kind: np.ndarray, cursor: np.ndarray, last: np.ndarray,
    low: int, high: int, keys: np.ndarray, spare: np.ndarray, digits: np.ndarray, in_time: np.ndarray,
    in_place: np.ndarray, in_tid: np.ndarray, in_entry: np.ndarray, in_rank: np.ndarray, first: np.ndarray,
    count: np.ndarray,
) -> int:  # fmt: skip
    """Put the entries of packets from `low`, the earliest, to before `high` in order, and step over them; how many.

    cursor, last: ranges of entries by packet, sorted by CPU, then place, which is the order of equal times; high - low
    is at most SPAN. The entries in order are by kind, then time; first, count: where those of each kind are.
    """
    count[:] = 0
    bits = 1
    while (high - low - 1) >> bits:
        bits += 1
    passes = (bits + 10) // 11
    width = (bits + passes - 1) // passes
    size = 1 << width
    digits[:, :size] = 0
    n, ordered = _collect(time, kind, cursor, last, low, high, width, keys, digits, count)
    # A digit of the time after the other, from the last on: each pass keeps the order that those before made.
    a, b = keys, spare
    for which in range(0 if ordered else passes):
        shift = 32 + width * which
        digit = digits[which]
        total = np.int32(0)
        for d in range(size):
            here = digit[d]
            digit[d] = total
            total += here
        for i in range(n):
            key = at(a, i)
            d = (key >> shift) & (size - 1)
            to = np.int64(at(digit, d))
            put(digit, d, np.int32(to + 1))
            put(b, to, key)
        a, b = b, a
    total_of_kinds = np.int64(0)
    for k in range(count.size):
        first[k] = total_of_kinds
        total_of_kinds += count[k]
    for i in range(n):
        e = at(a, i) & 4294967295
        k = np.int64(at(kind, e) & 65535)
        to = at(first, k)
        put(first, k, to + 1)
        put(in_time, to, at(time, e))
        put(in_place, to, at(place, e))
        put(in_tid, to, at(tid, e))
        put(in_entry, to, np.uint32(e))
        if in_rank.size:
            put(in_rank, to, np.uint32(i))
    for k in range(count.size):
        first[k] -= count[k]
    return n
