# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Who ran when, by CPU: for records in other files than the switches, as LTTng before CTF has them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ltt_relay.decode.compiled import compiled

__all__ = ("Switches", "Timeline", "fill_tasks", "make_timeline")


class Switches(NamedTuple):
    """From `time` on the task `following` runs on `cpu`; in any order."""

    cpu: np.ndarray
    time: np.ndarray
    following: np.ndarray

    @classmethod
    def empty(cls, n: int) -> Switches:
        """Return room for n."""
        return cls(np.empty(n, np.int32), np.empty(n, np.int64), np.empty(n, np.int32))


class Timeline(NamedTuple):
    """From times[i] on the task tids[i] runs; those of the i-th of `cpus` are first[i] to first[i + 1]."""

    cpus: np.ndarray
    first: np.ndarray
    times: np.ndarray
    tids: np.ndarray


def make_timeline(switches: Sequence[Switches]) -> Timeline:
    """Return the timeline of switches."""
    cpu, time, following = (np.concatenate(arrays) for arrays in zip(Switches.empty(0), *switches, strict=True))
    order = np.lexsort((time, cpu))
    cpus, first = np.unique(cpu[order], return_index=True)
    bounds = np.r_[first, cpu.size].astype(np.int64)
    return Timeline(cpus, bounds, time[order], following[order])


@compiled
def _fill(
    pk_cpu: np.ndarray, begin: np.ndarray, end: np.ndarray, time: np.ndarray, tid: np.ndarray, cpus: np.ndarray,
    first: np.ndarray, times: np.ndarray, tids: np.ndarray,
) -> None:  # fmt: skip
    for p in range(pk_cpu.size):
        row = -1
        for c in range(cpus.size):
            if cpus[c] == pk_cpu[p]:
                row = c
        if row < 0:
            continue
        low, high = first[row], first[row + 1]
        last = low
        for i in range(begin[p], end[p]):
            if tid[i] != -2:
                continue
            # Records come nearly in order of time, so the last place is a good guess.
            if last > low and times[last - 1] > time[i]:
                last = low
            if last + 8 < high and times[last + 8] <= time[i]:
                a, b = last, high
                while a < b:
                    middle = (a + b) // 2
                    if times[middle] <= time[i]:
                        a = middle + 1
                    else:
                        b = middle
                last = a
            while last < high and times[last] <= time[i]:
                last += 1
            if last > low:
                tid[i] = tids[last - 1]


def fill_tasks(
    timeline: Timeline, cpu: np.ndarray, begin: np.ndarray, end: np.ndarray, time: np.ndarray, tid: np.ndarray
) -> None:
    """Fill in the task of entries that do not know it (-2) yet: those of packet p are begin[p] to end[p]."""
    _fill(cpu, begin, end, time, tid, *timeline)
