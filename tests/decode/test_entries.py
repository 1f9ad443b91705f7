# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

from typing import Any

import numba
import numpy as np
import pytest

from ltt_relay.decode import entries as kernels
from ltt_relay.decode.entries import SPAN, Entries, Order


@numba.njit  # type: ignore[untyped-decorator]
def earliest(*given: Any) -> Any:
    return kernels.earliest(*given)


@numba.njit  # type: ignore[untyped-decorator]
def order(*given: Any) -> Any:
    return kernels.order(*given)


@pytest.mark.parametrize("span", [1, 3000, 1 << 22, 1 << 30, SPAN])
def test_entries_come_by_kind_then_time_then_packet(span: int) -> None:
    """Spans of one, two or three digits."""
    generator = np.random.default_rng(span)
    n, packets, kinds = 3000, 3, 5
    entries = Entries.empty(packets * n)
    time = 5 + np.sort(generator.integers(0, span, (packets, n)), axis=1).reshape(-1)
    kind = generator.integers(0, kinds, packets * n).astype(np.uint32)
    entries.time[:], entries.kind[:] = time, kind
    for array in (entries.place, entries.tid):
        array[:] = np.arange(packets * n)
    given = entries.time, entries.place, entries.tid, entries.kind
    cursor = np.arange(packets) * n
    last = cursor + n
    first, count = np.zeros(kinds, np.int64), np.zeros(kinds, np.int64)
    seen = 0
    for high in (int(np.median(time)) + 1, 5 + span):
        room = Order.empty(packets * n, ranked=True)
        expected = [e for p in range(packets) for e in range(cursor[p], last[p]) if time[e] < high]
        ranks = {e: rank for rank, e in enumerate(sorted(expected, key=lambda e: time[e]))}
        expected.sort(key=lambda e: (kind[e], time[e]))
        low = earliest(time, cursor, last)
        assert low == min((time[e] for e in expected), default=1 << 62)
        found = order(*given, cursor, last, low, max(high, low), *room, first, count) if expected else 0
        for array in (room.place, room.tid, room.entry):
            assert array[:found].tolist() == expected
        assert room.time[:found].tolist() == time[expected].tolist()
        assert room.rank[:found].tolist() == [ranks[e] for e in expected]
        assert count.sum() == found or not expected
        assert not found or first.tolist() == (np.cumsum(count) - count).tolist()
        seen += found
    assert seen == packets * n


def test_records_behind_a_step_back_of_time_stay_behind() -> None:
    entries = Entries.empty(4)
    entries.time[:], entries.kind[:] = [10, 30, 20, 40], 0
    entries.place[:] = np.arange(4)
    cursor, last = np.array([0]), np.array([4])
    given = entries.time, entries.place, entries.tid, entries.kind
    room, first, count = Order.empty(4, ranked=False), np.zeros(1, np.int64), np.zeros(1, np.int64)
    assert order(*given, cursor, last, 10, 25, *room, first, count) == 1
    assert order(*given, cursor, last, 30, 40, *room, first, count) == 2
    assert room.place[:2].tolist() == [1, 2]
    assert room.time[:2].tolist() == [30, 20]
