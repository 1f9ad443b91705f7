# SPDX-License-Identifier: GPL-2.0-or-later
"""From packets to raw columns: loads a window of packets, lets the walker find the records, gathers columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from ltt_relay.decode import gather
from ltt_relay.decode.names import Names
from ltt_relay.decode.packets import load
from ltt_relay.decode.plan import BASE, Column, EventPlan, Plan
from ltt_relay.decode.sink import Sink

__all__ = ("Output", "Selection", "Walker", "run")


class Walker(Protocol):
    """Finds the records of one kind of framing; see `walk_length.LengthWalker`."""

    def count(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, counts: np.ndarray, trouble: np.ndarray
    ) -> int:
        """Count the records of loaded packets."""

    def walk(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, since: int, until: int, sink: Sink
    ) -> None:
        """Give the records of loaded packets to a sink, in time order."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What is wanted: kinds (indexes into plan.events) and, for each, its base and payload columns."""

    kinds: tuple[int, ...]
    base: dict[int, tuple[str, ...]]
    columns: dict[int, tuple[Column, ...]]


@dataclass(slots=True)
class Output:
    """Columns of one event: arrays of stored values; text and lists as chunks of Arrow arrays."""

    plan: EventPlan
    rows: int
    arrays: dict[str, np.ndarray]
    chunks: dict[str, list[pa.Array]] = field(default_factory=dict)


class _Arena:
    """One allocation for all fixed-size columns, each aligned to 64 bytes."""

    def __init__(self) -> None:
        self._size = 0

    def take(self, rows: int, width: int) -> int:
        """Reserve; returns the place in units of `width`."""
        at = self._size
        self._size = (at + rows * width + 63) & ~63
        return at // width

    def allocate(self) -> np.ndarray:
        """Return the memory, as uint64; pages are touched when they are first written."""
        return np.empty(self._size // 8 + 8, np.uint64)


_BASE_TYPES: dict[str, np.dtype] = {"timestamp": np.dtype("i8"), "cpu": np.dtype("u2"), "tid": np.dtype("i4")}
_CHUNKED = frozenset({"text", "bytes", "list"})


def _views(memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return memory as unsigned integers of 1, 2, 4 and 8 bytes."""
    return memory.view(np.uint8), memory.view(np.uint16), memory.view(np.uint32), memory


class _Step(NamedTuple):
    """A column of fixed size, as the gathering loop follows it; `place`: of its row 0, in units of `width`."""

    kind: int
    op: int
    offset: int
    size: int
    big: bool
    place: int
    table: int
    width: int

    @classmethod
    def of(cls, kind: int, op: int, column: Column | None, place: int, width: int) -> _Step:
        """Make one; without a column it is the name of the running task."""
        if column is None:
            return cls(kind, op, 0, 0, False, place, 0, width)
        return cls(kind, op, column.offset, column.size, column.big, place, column.table, width)


class Writer:
    """Fills outputs, a window at a time."""

    def __init__(
        self, plan: Plan, walker: Walker, selection: Selection, names: Names, capacity: np.ndarray
    ) -> None:  # fmt: skip
        """Prepare for at most capacity[kind] rows of each wanted kind."""
        self._plan = plan
        self._walker = walker
        self._selection = selection
        self._widths, *self._tables = names.arrays()
        n = len(plan.events)
        self._wanted = np.zeros(n, np.bool_)
        self._wanted[list(selection.kinds)] = True
        self._variable = np.array([event.variable for event in plan.events], np.bool_)
        self._rows = np.zeros(n, np.int64)
        self._base = {name: np.full(n, -1, np.int64) for name in ("timestamp", "cpu", "tid")}
        arena = _Arena()
        steps: list[_Step] = []
        slots: list[tuple[int, str, int, np.dtype]] = []
        for kind in selection.kinds:
            rows = int(capacity[kind])
            columns = selection.columns[kind]
            base = selection.base[kind]
            named = "comm" in base or any(column.kind == "name" for column in columns)
            for name, dtype in _BASE_TYPES.items():
                if name in base or (named and name == "timestamp") or ("comm" in base and name == "tid"):
                    self._base[name][kind] = arena.take(rows, dtype.itemsize)
                    slots.append((kind, name, int(self._base[name][kind]), dtype))
            if "comm" in base:
                width = int(self._widths[0])
                place = arena.take(rows, width)
                steps.append(_Step.of(kind, gather.NAME_OF_TID, None, place, width))
                slots.append((kind, "comm", place, np.dtype(f"i{width}")))
            for column in columns:
                if column.kind in _CHUNKED:
                    continue
                width = int(self._widths[column.table]) if column.table >= 0 else column.dtype.itemsize
                place = arena.take(rows, width)
                steps.append(_Step.of(kind, gather.operation(column, plan), column, place, width))
                slots.append((kind, column.name, place, column.dtype if column.table < 0 else np.dtype(f"i{width}")))
        self._steps = [np.array(values, np.int64) for values in zip(*steps, strict=True)] or [np.zeros(0, np.int64)] * 8
        memory = arena.allocate()
        self._out = _views(memory)
        self.outputs = {kind: Output(plan.events[kind], 0, {}) for kind in selection.kinds}
        for kind, name, place, dtype in slots:
            rows = int(capacity[kind])
            self.outputs[kind].arrays[name] = memory.view(dtype)[place : place + rows]
        self._places = np.empty(0, np.int64)
        self._stops = np.empty(0, np.int64)

    def _sink(self, counted: np.ndarray) -> Sink:
        """Return a sink for at most `counted` records of each kind."""
        counted = np.where(self._wanted, counted, 0)
        first = np.cumsum(counted) - counted
        total = int(counted.sum())
        if self._places.size < total:
            self._places = np.empty(total, np.int64)
            self._stops = np.empty(total, np.int64)
        at = first - self._rows
        _, out16, out32, out64 = self._out
        return Sink(
            self._wanted, self._rows, self._rows + counted, self._base["timestamp"], self._base["cpu"],
            self._base["tid"], at, self._variable, out16, out32, out64, self._places, self._stops,
        )  # fmt: skip

    def window(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, counted: np.ndarray, since: int, until: int
    ) -> None:
        """Decode loaded packets (sorted by CPU, then time) from `since` up to `until`, ns of the trace's clock."""
        before = self._rows.copy()
        sink = self._sink(counted)
        first = sink.at + before
        self._walker.walk(buffer, starts, packets, since, until, sink)
        found = self._rows - before
        kind, *steps = self._steps
        gather.gather(
            *_views(buffer), self._places, first[kind], found[kind], before[kind],
            self._base["timestamp"][kind], self._base["tid"][kind], *steps, *self._tables, *self._out,
        )  # fmt: skip
        for number, output in self.outputs.items():
            output.rows = int(self._rows[number])
            rows = slice(int(first[number]), int(first[number] + found[number]))
            for column in self._selection.columns[number]:
                if column.kind in _CHUNKED:
                    make = gather.lists if column.kind == "list" else gather.text
                    chunk = make(buffer, self._places[rows], self._stops[rows], column)
                    output.chunks.setdefault(column.name, []).append(chunk)

    def finish(self) -> dict[int, Output]:
        """Cut the arrays to the rows that were found, and drop what only names needed."""
        for kind, output in self.outputs.items():
            left_out = set(BASE) - set(self._selection.base[kind])
            output.arrays = {
                name: array[: output.rows] for name, array in output.arrays.items() if name not in left_out
            }
        return self.outputs


def run(
    plan: Plan,
    walker: Walker,
    selection: Selection,
    names: Names,
    files: Sequence[Path],
    packets: np.ndarray,
    counts: np.ndarray,
    since: int,
    until: int,
    window_bytes: int = 4 << 20,
) -> dict[int, Output]:
    """Decode packets (rows of the index, sorted by CPU, then time) in windows of about `window_bytes`.

    counts: records of each kind in each of them.
    """
    writer = Writer(plan, walker, selection, names, counts.sum(axis=0))
    begin, end = packets["begin"], packets["end"]
    order = np.argsort(begin, kind="stable")
    filled = np.cumsum(packets["content"][order])
    cuts = [since]
    for i in range(1, order.size):
        if filled[i] // window_bytes != filled[i - 1] // window_bytes:
            moment = int(begin[order[i]])
            if cuts[-1] < moment < until:
                cuts.append(moment)
    cuts.append(until)
    buffer: np.ndarray | None = None
    for low, high in pairwise(cuts):
        chosen = np.flatnonzero((begin < high) & (end >= low))
        if chosen.size:
            buffer, starts = load(files, packets[chosen], buffer)
            writer.window(buffer, starts, packets[chosen], counts[chosen].sum(axis=0), low, high)
    return writer.finish()
