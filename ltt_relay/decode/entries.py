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

from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.memory import at, put

__all__ = ("Entries", "Order", "Wanted", "order")


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


class Order(NamedTuple):
    """Buffers of `order`: keys, twice, and what it finds: entries by kind, then time."""

    keys: np.ndarray
    spare: np.ndarray
    found: np.ndarray

    @classmethod
    def empty(cls, n: int) -> Order:
        """Return room for n entries."""
        return cls(*(np.empty(n, np.int64) for _ in range(3)))


@compiled
def _collect(
    time: np.ndarray, kind: np.ndarray, cursor: np.ndarray, last: np.ndarray, high: int, keys: np.ndarray,
    times: np.ndarray, count: np.ndarray,
) -> tuple[int, int, int, bool]:  # fmt: skip
    """Take from each packet the entries before `high`; returns how many, their first and last time, and if in order.

    Where time steps back within a packet, the records behind stay behind.
    """
    n = 0
    first = np.int64(1) << 62
    latest = -(np.int64(1) << 62)
    ordered = True
    for p in range(cursor.size):
        e = cursor[p]
        if e == last[p]:
            continue
        now = at(time, e)
        if now < first:
            first = now
        if now < latest and now < high:
            ordered = False
        while e < last[p]:
            t = at(time, e)
            if t > now:
                now = t
            if now >= high:
                break
            if now > latest:
                latest = now
            put(keys, n, e)
            put(times, n, now)
            k = np.int64(at(kind, e) & 65535)
            put(count, k, at(count, k) + 1)
            n += 1
            e += 1
        cursor[p] = e
    return n, first, latest, ordered


@compiled
def order(
    time: np.ndarray, kind: np.ndarray, cursor: np.ndarray, last: np.ndarray, high: int, keys: np.ndarray,
    spare: np.ndarray, found: np.ndarray, first: np.ndarray, count: np.ndarray,
) -> int:  # fmt: skip
    """Put the entries of packets before the time `high` in order, and step over them; returns how many.

    cursor, last: ranges of entries by packet, sorted by CPU, then place, which is the order of equal times.
    first, count: where those of each kind are in `found`.
    """
    count[:] = 0
    n, begin, end, ordered = _collect(time, kind, cursor, last, high, keys, spare, count)
    if n == 0:
        return 0
    a, b = keys, spare
    if ordered:
        # One CPU, or packets that follow each other: however long it lasts, nothing is to be sorted.
        pass
    elif end - begin >= 1 << 31:
        ranked = np.argsort(spare[:n], kind="mergesort")
        for i in range(n):
            spare[i] = keys[ranked[i]]
        a = spare
    else:
        # A digit of the time after the other, from the last on: each pass keeps the order that those before made.
        digits = np.zeros((3, 2048), np.int64)
        low, middle, top = digits
        for i in range(n):
            t = at(spare, i) - begin
            put(keys, i, (t << 32) | at(keys, i))
            put(low, t & 2047, at(low, t & 2047) + 1)
            put(middle, (t >> 11) & 2047, at(middle, (t >> 11) & 2047) + 1)
            put(top, t >> 22, at(top, t >> 22) + 1)
        for which in range(3):
            shift = 32 + 11 * which
            if (end - begin) >> (11 * which) == 0:
                break
            digit = digits[which]
            total = np.int64(0)
            for d in range(2048):
                total += digit[d]
                digit[d] = total - digit[d]
            for i in range(n):
                key = at(a, i)
                d = (key >> shift) & 2047
                to = at(digit, d)
                put(digit, d, to + 1)
                put(b, to, key)
            a, b = b, a
    total = np.int64(0)
    for k in range(count.size):
        first[k] = total
        total += count[k]
    for i in range(n):
        e = at(a, i) & 4294967295
        k = np.int64(at(kind, e) & 65535)
        to = at(first, k)
        put(first, k, to + 1)
        put(found, to, e)
    for k in range(count.size):
        first[k] -= count[k]
    return n
