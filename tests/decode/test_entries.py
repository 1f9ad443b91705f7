# SPDX-License-Identifier: GPL-2.0-or-later
from __future__ import annotations

import numpy as np
import pytest

from ltt_relay.decode.entries import Order, order


@pytest.mark.parametrize("span", [1, 3000, 1 << 22, 1 << 30, 1 << 40])
def test_entries_come_by_kind_then_time_then_packet(span: int) -> None:
    """Spans of any length: none, one, two or three digits, and longer than digits are used for."""
    generator = np.random.default_rng(span)
    n, packets, kinds = 3000, 3, 5
    time = 5 + np.sort(generator.integers(0, span, (packets, n)), axis=1).reshape(-1)
    kind = generator.integers(0, kinds, packets * n).astype(np.uint32)
    cursor = np.arange(packets) * n
    last = cursor + n
    high = int(np.median(time)) + 1
    first, count = np.zeros(kinds, np.int64), np.zeros(kinds, np.int64)
    seen = 0
    for limit in (high, 1 << 62):
        room = Order.empty(packets * n)
        expected = [e for p in range(packets) for e in range(cursor[p], last[p]) if time[e] < limit]
        expected.sort(key=lambda e: (kind[e], time[e]))
        found = order(time, kind, cursor, last, limit, *room, first, count)
        assert room.found[:found].tolist() == expected
        assert count.sum() == found
        assert not found or first.tolist() == (np.cumsum(count) - count).tolist()
        seen += found
    assert seen == packets * n
