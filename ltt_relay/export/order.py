# SPDX-License-Identifier: GPL-2.0-or-later
"""Rows of many tables in one order: by time, or by time within each CPU, with the losses between them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from ltt_relay.decode.batch import RANK
from ltt_relay.decode.plan import BASE

__all__ = ("HEAD", "NO_LOSSES", "CpuOrder", "Losses", "cpu_order", "time_order")

#: Columns of a table that are no payload.
HEAD: Final = (*BASE, RANK)
_NONE: Final = np.zeros(0, np.int64)
_NEVER: Final = 1 << 62


def time_order(tables: Iterable[pa.Table]) -> tuple[np.ndarray, np.ndarray]:
    """Return which table, and which of its rows, comes next: by time, then CPU, then RANK if the tables have it."""
    chosen = list(tables)
    times = [table["timestamp"].cast(pa.int64()).to_numpy() for table in chosen]
    cpus = [table["cpu"].to_numpy().astype(np.int64) for table in chosen]
    sizes = np.array([time.size for time in times], np.int64)
    time, cpu = (np.concatenate(parts) if parts else _NONE for parts in (times, cpus))
    low = int(time.min()) if time.size else 0
    if time.size and int(time.max()) - low < 1 << 47:
        # One sort of runs that are sorted already, which a merge sort is quick with.
        key = (time - low) << 16 | cpu
        order = np.argsort(key, kind="stable")
        placed = key[order]
        tied = bool((placed[1:] == placed[:-1]).any())
    else:
        order = np.lexsort((cpu, time))
        tied = True
    if tied and all(RANK in table.column_names for table in chosen):
        # Clocks of old traces count us: what is at one time is in the order in which it was recorded.
        order = np.lexsort((np.concatenate([table[RANK].to_numpy() for table in chosen]), cpu, time))
    kinds = np.repeat(np.arange(sizes.size), sizes)[order]
    return kinds, order - (np.cumsum(sizes) - sizes)[kinds]


@dataclass(frozen=True, slots=True)
class CpuOrder:
    """Rows sorted by CPU, then time.

    kinds, index: table and row in it; places: the row's number in all tables one behind the other; times: of each row;
    runs: (cpu, first, end) of the rows of each CPU.
    """

    kinds: np.ndarray
    index: np.ndarray
    places: np.ndarray
    times: np.ndarray
    runs: list[tuple[int, int, int]]


def cpu_order(tables: list[pa.Table]) -> CpuOrder:
    """Sort the rows of tables whose `timestamp` is int64."""
    kinds, index = time_order(tables)
    sizes = np.array([0, *(table.num_rows for table in tables[:-1])])
    places = np.cumsum(sizes)[kinds] + index
    cpu = np.concatenate([table["cpu"].to_numpy() for table in tables])[places]
    by_cpu = np.argsort(cpu, kind="stable")
    kinds, index, places, cpu = kinds[by_cpu], index[by_cpu], places[by_cpu], cpu[by_cpu].astype(np.int64)
    times = np.concatenate([table["timestamp"].to_numpy() for table in tables])[places]
    edges = np.flatnonzero(np.diff(cpu, prepend=-1, append=-1)).tolist()
    runs = [(int(cpu[first]), first, end) for first, end in pairwise(edges)]
    return CpuOrder(kinds, index, places, times, runs)


class Losses:
    """The gaps of one CPU, in the trace's own time: when each ends, and how many records were lost up to then."""

    def __init__(self, begins: np.ndarray, ends: np.ndarray, counts: np.ndarray, reasons: list[str]) -> None:
        order = np.argsort(ends, kind="stable")
        self.begins, self.ends, self.counts = begins[order], ends[order], counts[order]
        self.reasons = [reasons[i] for i in order]
        self._sums = np.cumsum(self.counts)

    @classmethod
    def of(cls, gaps: pd.DataFrame, offset: int) -> dict[int, Losses]:
        """Return the losses of each CPU that has some; offset: the trace's wall-clock offset, which goes."""
        begin, end = (gaps[name].astype("datetime64[ns, UTC]").astype("int64") - offset for name in ("begin", "end"))
        reasons = gaps["reason"].astype(str)
        found = {}
        for cpu in gaps["cpu"].unique().tolist():
            of = gaps["cpu"] == cpu
            count = gaps["count"][of].to_numpy()
            found[int(cpu)] = cls(begin[of].to_numpy(), end[of].to_numpy(), count, reasons[of].tolist())
        return found

    @property
    def total(self) -> int:
        """All that was lost."""
        return int(self._sums[-1]) if self._sums.size else 0

    def until(self, time: int) -> int:
        """Return how many records were lost up to `time`."""
        place = int(np.searchsorted(self.ends, time, "right"))
        return int(self._sums[place - 1]) if place else 0

    def cut(self, times: np.ndarray, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield begin to end in pieces that no loss lies within: what tells of a loss is what comes behind it."""
        while begin < end:
            place = int(np.searchsorted(self.ends, times[begin], "right"))
            edge = int(self.ends[place]) if place < self.ends.size else _NEVER
            stop = begin + int(np.searchsorted(times[begin:end], edge, "left"))
            yield begin, stop
            begin = stop


#: Of a CPU that lost nothing.
NO_LOSSES: Final = Losses(_NONE, _NONE, _NONE, [])
