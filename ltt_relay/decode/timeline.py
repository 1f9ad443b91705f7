# SPDX-License-Identifier: GPL-2.0-or-later
# mypy: disable-error-code="assignment,arg-type,return-value"
"""Who ran when, by CPU: for records in other files than the switches, as LTTng before CTF has them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ltt_relay.decode.compiled import compiled

__all__ = ("Timeline", "fill_tasks", "make_timeline")


class Timeline(NamedTuple):
    """From times[i] on the task tids[i] runs; those of the i-th of `cpus` are first[i] to first[i + 1]."""

    cpus: np.ndarray
    first: np.ndarray
    times: np.ndarray
    tids: np.ndarray


def make_timeline(cpu: np.ndarray, time: np.ndarray, following: np.ndarray) -> Timeline:
    """Return the timeline of switches in order of time."""
    order = np.argsort(cpu, kind="stable")
    cpus, first = np.unique(cpu[order], return_index=True)
    bounds = np.r_[first, cpu.size].astype(np.int64)
    return Timeline(cpus.astype(np.int64), bounds, time[order].astype(np.int64), following[order].astype(np.int64))


@compiled
def _fill(
    cpu: np.ndarray, time: np.ndarray, tid: np.ndarray, cpus: np.ndarray, first: np.ndarray, times: np.ndarray,
    tids: np.ndarray,
) -> None:  # fmt: skip
    row = -1
    here = np.int64(-1)
    for i in range(cpu.size):
        if tid[i] != -2:
            continue
        if cpu[i] != here:
            here = cpu[i]
            row = -1
            for c in range(cpus.size):
                if cpus[c] == here:
                    row = c
            last = first[row] if row >= 0 else 0
        if row < 0:
            continue
        low, high = first[row], first[row + 1]
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


def fill_tasks(timeline: Timeline, cpu: np.ndarray, time: np.ndarray, tid: np.ndarray) -> None:
    """Fill in the task of records that do not know it (-2) yet."""
    _fill(cpu.astype(np.int64), time, tid, *timeline)
