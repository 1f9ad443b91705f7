# SPDX-License-Identifier: GPL-2.0-or-later
"""From packets to raw columns, a window of time after the other: read, walk, order, gather."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from ltt_relay.decode import gather, parts
from ltt_relay.decode.entries import Entries, Wanted
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import BASE, Column, EventPlan, Plan
from ltt_relay.decode.reader import Reader
from ltt_relay.decode.variable import VARIABLE, VariableColumn

__all__ = ("FullError", "Output", "Selection", "Step", "Walker", "run")

#: Bytes of packets that are read before those of their records are decoded that no later packet can precede.
WINDOW = 1 << 20


class FullError(Exception):
    """There are more records of a kind than there is room for."""


class Walker(Protocol):
    """Finds the records of one kind of framing; see `walk_length.LengthWalker`."""

    shortest: int

    def count(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, counts: np.ndarray, trouble: np.ndarray
    ) -> int:
        """Count the records of loaded packets."""

    def enter(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, wanted: Wanted, first: np.ndarray,
        entries: Entries,
    ) -> np.ndarray:  # fmt: skip
        """Write entries for the wanted records of packet p of those loaded from first[p] on; returns where they end.

        There is room for as many as the packet can hold if each record has `shortest` bytes.
        """


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


class Step(NamedTuple):
    """A column of fixed size, as the gathering loop follows it.

    place, mask: of its row 0 in the arena, in units of `width` and bytes; mask is -1 for what every record has.
    """

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


_BASE_STEPS = (
    ("timestamp", gather.TIME, np.dtype("i8")), ("cpu", gather.CPU, np.dtype("u2")),
    ("tid", gather.TID, np.dtype("i4")), ("tid", gather.NO_TID, np.dtype(np.bool_)),
)  # fmt: skip


class Writer:
    """Fills outputs, a window at a time."""

    def __init__(
        self, plan: Plan, selection: Selection, names: Names, capacity: np.ndarray, offset: int
    ) -> None:  # fmt: skip
        """Prepare for at most capacity[kind] rows of each wanted kind; `offset` is added to their times."""
        self._plan = plan
        self._capacity = capacity
        self._tables = names.arrays()
        self._rows = np.zeros(len(plan.events), np.int64)
        self._size = 0
        self._texts: list[tuple[int, Column, VariableColumn]] = []
        self._slots: list[tuple[int, str, int, np.dtype]] = []
        self._codes = gather.Codes()
        steps: list[Step] = []
        edges = [0]
        for kind in selection.kinds:
            steps += self._lay_out(kind, selection, names, offset)
            edges.append(len(steps))
        self._kinds = np.array(selection.kinds, np.int64)
        self._edges = np.array(edges, np.int64)
        self._steps = np.array(steps, np.int64).reshape(-1, len(Step._fields))
        self._enums = self._codes.arrays()
        # Pages are touched when they are first written.
        self._out = np.empty(self._size + 64, np.uint8)
        self.outputs = {kind: Output(plan.events[kind], 0, {}) for kind in selection.kinds}

    def _take(self, kind: int, dtype: np.dtype, name: str = "") -> int:
        """Reserve memory for a column, aligned to 64 bytes; returns its place in units of its width."""
        at = self._size
        self._size = (at + int(self._capacity[kind]) * dtype.itemsize + 63) & ~63
        if name:
            self._slots.append((kind, name, at, dtype))
        return at // dtype.itemsize

    def _lay_out(self, kind: int, selection: Selection, names: Names, offset: int) -> Iterator[Step]:
        """Reserve memory for the columns of one kind."""
        base = selection.base[kind]
        for name, op, dtype in _BASE_STEPS:
            if name in base:
                place = self._take(kind, dtype, name)
                yield Step(0, op, offset, 0, False, False, place, 0, dtype.itemsize, -1)
        if "comm" in base:
            dtype = names.tables[0].dtype
            place = self._take(kind, dtype, "comm")
            yield Step(0, gather.NAME_OF_TID, 0, 0, False, False, place, 0, dtype.itemsize, -1)
        for column in selection.columns[kind]:
            if column.kind in VARIABLE:
                self._texts.append((kind, column, VariableColumn(column, int(self._capacity[kind]))))
                continue
            op, table, dtype = gather.operation(column, names, self._codes)
            place = self._take(kind, dtype, column.name)
            # Codes tell by themselves what is missing.
            told = column.name if column.kind in {"int", "flags"} else ""
            mask = self._take(kind, np.dtype(np.bool_), told) if column.optional else -1
            yield Step(
                column.part, op, column.offset, column.size, column.scalar.signed, column.big, place, table,
                dtype.itemsize, mask,
            )  # fmt: skip

    def add(self, reader: Reader) -> None:
        """Decode what the reader has put in order.

        Raises:
            FullError: there is no room.

        """
        if (self._rows + reader.count > self._capacity)[self._kinds].any():
            raise FullError
        entries, found = reader.entries, reader.found
        buf8 = reader.buffer
        starts, sizes, located = self._locate(reader)
        gather.gather(
            buf8, entries.time, entries.place, entries.tid, entries.kind, found, reader.first, reader.count,
            self._rows, self._kinds, self._edges, located, starts, sizes, self._steps, *self._tables, *self._enums,
            self._out,
        )  # fmt: skip
        for kind, column, text in self._texts:
            n = int(reader.count[kind])
            if not n:
                continue
            if column.part:
                at = int(located[kind]) + (column.part - 1) * n
                text.append(buf8, starts[at : at + n], sizes[at : at + n])
            else:
                at = int(reader.first[kind])
                text.append(buf8, entries.place[found[at : at + n]].astype(np.int64), sizes[:0])
        self._rows[self._kinds] += reader.count[self._kinds]

    def _locate(self, reader: Reader) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return begins and sizes of all parts but the first, those of a kind together; and where each kind's are."""
        plan = self._plan
        rows = np.diff(plan.first) * reader.count
        located = np.cumsum(rows) - rows
        starts, sizes = np.empty((2, int(rows.sum())), np.int64)
        for kind in self._kinds[rows[self._kinds] > 0]:
            n, a, b = int(reader.count[kind]), int(located[kind]), int(located[kind] + rows[kind])
            at = int(reader.first[kind])
            parts.locate(
                reader.buffer, reader.found[at : at + n], reader.entries.place, reader.entries.stop, plan.program,
                int(plan.first[kind]), int(plan.first[kind + 1]), starts[a:b].reshape(-1, n), sizes[a:b].reshape(-1, n),
            )  # fmt: skip
        return starts, sizes, located

    def finish(self) -> dict[int, Output]:
        """Cut the arrays to the rows that were found."""
        for kind, name, at, dtype in self._slots:
            output = self.outputs[kind]
            output.rows = int(self._rows[kind])
            array = self._out[at : at + output.rows * dtype.itemsize].view(dtype)
            (output.masks if dtype == np.bool_ else output.arrays)[name] = array
        for kind, column, text in self._texts:
            self.outputs[kind].rows = int(self._rows[kind])
            self.outputs[kind].variable[column.name] = text.finish()
        return self.outputs


def run(
    plan: Plan,
    walker: Walker,
    selection: Selection,
    names: Names,
    files: Sequence[Path],
    packets: np.ndarray,
    capacity: np.ndarray,
    since: int,
    until: int,
    offset: int = 0,
    window: int = WINDOW,
) -> dict[int, Output]:
    """Decode packets (rows of the index, sorted by CPU, then time), records from `since` up to `until`.

    capacity: room for rows of each kind; offset: added to the times that are stored.

    Raises:
        FullError: there is not enough room.

    """
    wanted = np.zeros(len(plan.events), np.bool_)
    wanted[list(selection.kinds)] = True
    writer = Writer(plan, selection, names, capacity, offset)
    with Reader(walker, files, packets, Wanted(wanted, since, until)) as reader:
        while reader.advance(window):
            writer.add(reader)
    return writer.finish()


assert BASE == ("timestamp", "cpu", "tid", "comm")
