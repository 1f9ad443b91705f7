# SPDX-License-Identifier: GPL-2.0-or-later
"""Pairing of what begins with what ends, against a loop over queues."""

from __future__ import annotations

from collections import defaultdict, deque

import numpy as np
import pytest

from ltt_relay.analysis.base import last_before, pair_queued


@pytest.mark.parametrize("seed", range(20))
def test_first_in_first_out(seed: int) -> None:
    random = np.random.default_rng(seed)
    n = int(random.integers(1, 300))
    time = np.sort(random.integers(0, 10**6, n))
    key = random.integers(0, 4, n)
    is_exit = random.random(n) < random.choice([0.3, 0.5, 0.7])
    entries, exits = np.flatnonzero(~is_exit), np.flatnonzero(is_exit)
    waiting: dict[int, deque[int]] = defaultdict(deque)
    expected = set()
    for at in np.lexsort((is_exit, time)):
        queue = waiting[int(key[at])]
        if not is_exit[at]:
            queue.append(int(at))
        elif queue:
            expected.add((queue.popleft(), int(at)))
    i, j = pair_queued(time[entries], key[entries], time[exits], key[exits])
    assert set(zip(entries[i].tolist(), exits[j].tolist(), strict=True)) == expected


@pytest.mark.parametrize("seed", range(5))
def test_the_last_before(seed: int) -> None:
    random = np.random.default_rng(seed)
    event_time, event_key = np.sort(random.integers(0, 1000, 80)), random.integers(0, 5, 80)
    time, key = random.integers(0, 1000, 60), random.integers(0, 7, 60)
    found = last_before(time, key, event_time, event_key)
    for at, wanted, place in zip(time, key, found, strict=True):
        candidates = np.flatnonzero((event_time <= at) & (event_key == wanted))
        assert place == (candidates[-1] if candidates.size else -1)
