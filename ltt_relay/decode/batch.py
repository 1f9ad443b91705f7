# SPDX-License-Identifier: GPL-2.0-or-later
"""From packets to raw columns: loads a window of packets, lets the walker find the records, gathers columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from ltt_relay.decode import gather, parts
from ltt_relay.decode.names import Names
from ltt_relay.decode.packets import load
from ltt_relay.decode.plan import BASE, Column, EventPlan, Plan
from ltt_relay.decode.sink import Sink
from ltt_relay.decode.variable import VARIABLE, VariableColumn

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
    """Columns of one event: arrays of stored values, which of them are missing, and text, bytes and lists."""

    plan: EventPlan
    rows: int
    arrays: dict[str, np.ndarray]
    masks: dict[str, np.ndarray] = field(default_factory=dict)
    variable: dict[str, pa.ChunkedArray] = field(default_factory=dict)


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


def _views(memory: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return memory as unsigned integers of 1, 2, 4 and 8 bytes."""
    return memory.view(np.uint8), memory.view(np.uint16), memory.view(np.uint32), memory


class _Step(NamedTuple):
    """A column of fixed size, as the gathering loop follows it.

    place, mask: of its row 0 in the arena, in units of `width` and bytes; mask is -1 for what every record has.
    """

    kind: int
    part: int
    op: int
    offset: int
    size: int
    signed: bool
    big: bool
    place: int
    table: int
    width: int
    mask: int


class Writer:
    """Fills outputs, a window at a time."""

    def __init__(
        self, plan: Plan, walker: Walker, selection: Selection, names: Names, capacity: np.ndarray
    ) -> None:  # fmt: skip
        """Prepare for at most capacity[kind] rows of each wanted kind."""
        self._plan = plan
        self._walker = walker
        self._selection = selection
        self._tables = names.arrays()
        n = len(plan.events)
        self._wanted = np.zeros(n, np.bool_)
        self._wanted[list(selection.kinds)] = True
        self._variable = np.array([event.variable for event in plan.events], np.bool_)
        self._rows = np.zeros(n, np.int64)
        self._base = {name: np.full(n, -1, np.int64) for name in ("timestamp", "cpu", "tid")}
        self._texts: list[tuple[int, Column, VariableColumn]] = []
        self._arena = _Arena()
        self._slots: list[tuple[int, str, int, np.dtype]] = []
        steps: list[_Step] = []
        codes = gather.Codes()
        for kind in selection.kinds:
            steps += self._lay_out(kind, int(capacity[kind]), names, codes)
        self._steps = [np.array(values, np.int64) for values in zip(*steps, strict=True)] or [
            np.zeros(0, np.int64)
        ] * 11
        self._codes = codes.arrays()
        memory = self._arena.allocate()
        self._out = _views(memory)
        self.outputs = {kind: Output(plan.events[kind], 0, {}) for kind in selection.kinds}
        for kind, name, place, dtype in self._slots:
            array = memory.view(dtype)[place : place + int(capacity[kind])]
            (self.outputs[kind].masks if dtype == np.bool_ else self.outputs[kind].arrays)[name] = array
        self._places = np.empty(0, np.int64)
        self._stops = np.empty(0, np.int64)

    def _take(self, kind: int, name: str, rows: int, dtype: np.dtype) -> int:
        place = self._arena.take(rows, dtype.itemsize)
        self._slots.append((kind, name, place, dtype))
        return place

    def _lay_out(self, kind: int, rows: int, names: Names, codes: gather.Codes) -> Iterator[_Step]:
        """Reserve memory for the columns of one kind."""
        columns, base = self._selection.columns[kind], self._selection.base[kind]
        named = "comm" in base or any(column.kind == "name" for column in columns)
        for name, dtype in _BASE_TYPES.items():
            if name in base or (named and name == "timestamp") or ("comm" in base and name == "tid"):
                self._base[name][kind] = self._take(kind, name, rows, dtype)
        if "comm" in base:
            dtype = np.dtype(f"i{names.tables[0].width}")
            place = self._take(kind, "comm", rows, dtype)
            yield _Step(kind, 0, gather.NAME_OF_TID, 0, 0, False, False, place, 0, dtype.itemsize, -1)
        for column in columns:
            if column.kind in VARIABLE:
                self._texts.append((kind, column, VariableColumn(column, rows)))
                continue
            op, table, dtype = gather.operation(column, names, codes)
            place = self._take(kind, column.name, rows, dtype)
            mask = self._arena.take(rows, 1) if column.optional else -1
            if column.optional and column.kind in {"int", "flags"}:
                self._slots.append((kind, column.name, mask, np.dtype(np.bool_)))
            yield _Step(
                kind, column.part, op, column.offset, column.size, column.scalar.signed, column.big, place, table,
                dtype.itemsize, mask,
            )  # fmt: skip

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
        buf8 = buffer.view(np.uint8)
        places, sizes, parts_at = self._locate(buf8, first, found)
        kind, part, *steps = self._steps
        begin = parts_at[kind] + (part - 1) * found[kind]
        gather.gather(
            buf8, places, sizes, np.where(part > 0, begin, first[kind]), found[kind], before[kind],
            self._base["timestamp"][kind], self._base["tid"][kind], *steps, *self._tables, *self._codes, *self._out,
        )  # fmt: skip
        for number, column, text in self._texts:
            at = int(parts_at[number] + (column.part - 1) * found[number]) if column.part else int(first[number])
            rows = slice(at, at + int(found[number]))
            text.append(buf8, places[rows], sizes[rows])
        for number, output in self.outputs.items():
            output.rows = int(self._rows[number])

    def _locate(
        self, buf8: np.ndarray, first: np.ndarray, found: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the places of payloads and, behind them, of their further parts; their sizes; where those begin."""
        plan = self._plan
        rows = np.diff(plan.first) * np.where(self._wanted, found, 0)
        total = int((first + found).max(initial=0))
        at = total + np.cumsum(rows) - rows
        places, sizes = self._places, self._stops
        if rows.any():
            places = np.empty(total + int(rows.sum()), np.int64)
            places[:total] = self._places[:total]
            sizes = np.empty_like(places)
            for kind in np.flatnonzero(rows):
                n, a, b = int(found[kind]), int(at[kind]), int(at[kind] + rows[kind])
                payloads = slice(int(first[kind]), int(first[kind]) + n)
                parts.locate(
                    buf8, self._places[payloads], self._stops[payloads], plan.program, int(plan.first[kind]),
                    int(plan.first[kind + 1]), places[a:b].reshape(-1, n), sizes[a:b].reshape(-1, n),
                )  # fmt: skip
        return places, sizes, at

    def finish(self) -> dict[int, Output]:
        """Cut the arrays to the rows that were found, and drop what only names needed."""
        for kind, output in self.outputs.items():
            left_out = set(BASE) - set(self._selection.base[kind])
            output.arrays = {
                name: array[: output.rows] for name, array in output.arrays.items() if name not in left_out
            }
            output.masks = {name: array[: output.rows] for name, array in output.masks.items()}
        for kind, column, text in self._texts:
            self.outputs[kind].variable[column.name] = text.finish()
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
