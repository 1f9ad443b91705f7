# SPDX-License-Identifier: GPL-2.0-or-later
"""From packets to raw columns, a window of time after the other: read, walk, order, gather."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from ltt_relay.decode import gather
from ltt_relay.decode.drain import FULL, drain
from ltt_relay.decode.entries import Entries, Order, Wanted
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import Column, EventPlan, Plan
from ltt_relay.decode.reader import Reader
from ltt_relay.decode.variable import VARIABLE, VariableColumn, arrow_type

__all__ = (
    "AT_ONCE", "RANK", "FullError", "Job", "Output", "Selection", "Step", "Walker", "cut", "run", "run_at_once",
)  # fmt: skip

#: The first span of time whose records are put in order at once, in ns; the next are as long as they turn out to be.
_FIRST_SPAN = 1 << 20
#: Bytes of packets that are read before those of their records are decoded that no later packet can precede.
WINDOW = 1 << 21
#: Bytes of packets that are all read before room is made for their records, just as many as there are.
AT_ONCE = 6 << 20
#: The base column that says which place each record has among all that are selected from a stream; no field's name.
RANK: Final = "#rank"


Texts: TypeAlias = "dict[tuple[int, Column], VariableColumn]"


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
    """What is wanted: kinds (indexes into plan.events) and, for each, its base columns, or RANK, and its payload."""

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
    (RANK, gather.RANK, np.dtype("i8")),
)  # fmt: skip


class Layout:
    """Memory for the columns of fixed size of a selection, and the steps that fill it."""

    def __init__(self, plan: Plan, selection: Selection, names: Names, capacity: np.ndarray, offset: int) -> None:
        """Make room for capacity[kind] rows of each wanted kind; `offset` is added to their times."""
        self.plan = plan
        self.selection = selection
        self.capacity = capacity
        self.tables = names.arrays()
        self._size = 0
        self._slots: list[tuple[int, str, int, np.dtype]] = []
        self._codes = gather.Codes()
        steps: list[Step] = []
        edges = [0]
        for kind in selection.kinds:
            steps += self._lay_out(kind, selection, names, offset)
            edges.append(len(steps))
        self.kinds = np.array(selection.kinds, np.int64)
        self.edges = np.array(edges, np.int64)
        self.steps = np.array(steps, np.int64).reshape(-1, len(Step._fields))
        self.enums = self._codes.arrays()
        # Pages are touched when they are first written.
        self.out = np.empty(self._size + 64, np.uint8)

    def _take(self, kind: int, dtype: np.dtype, name: str = "") -> int:
        """Reserve memory for a column, aligned to 64 bytes; returns its place in units of its width."""
        at = self._size
        self._size = (at + int(self.capacity[kind]) * dtype.itemsize + 63) & ~63
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

    def close_up(self, rows: np.ndarray, pool: ThreadPoolExecutor) -> None:
        """Move together what parts have written: part p the rows of kind k from rows[p, 0, k] to rows[p, 1, k]."""
        base = self.out.ctypes.data
        # Ranks begin at 0 in each part.
        before = np.cumsum((rows[:, 1] - rows[:, 0]).sum(axis=1)).tolist()

        def move(slot: tuple[int, str, int, np.dtype]) -> None:
            kind, name, at, dtype = slot
            to = int(rows[0, 0, kind])
            size = dtype.itemsize
            for (first, last), ranked in zip(rows[:, :, kind].tolist(), [0, *before], strict=False):
                if to != first:
                    ctypes.memmove(base + at + to * size, base + at + first * size, (last - first) * size)
                if name == RANK:
                    self.out[at + to * size : at + (to + last - first) * size].view(dtype)[:] += ranked
                to += last - first

        list(pool.map(move, self._slots))

    def outputs(self, rows: np.ndarray, texts: Sequence[Texts]) -> dict[int, Output]:
        """Return the columns, cut to rows[kind]; `texts` has those of no fixed size, a part of the trace each."""
        outputs = {kind: Output(self.plan.events[kind], int(rows[kind]), {}) for kind in self.selection.kinds}
        for kind, name, at, dtype in self._slots:
            output = outputs[kind]
            array = self.out[at : at + output.rows * dtype.itemsize].view(dtype)
            (output.masks if dtype == np.bool_ else output.arrays)[name] = array
        for (kind, column), *parts_of in zip(texts[0], *(part.values() for part in texts), strict=True):
            chunks = [chunk for part in parts_of for chunk in part.finish().chunks]
            outputs[kind].variable[column.name] = pa.chunked_array(chunks, arrow_type(column))
        return outputs


class Writer:
    """Fills rows first[kind] to last[kind] of a layout, a window at a time."""

    def __init__(self, layout: Layout, first: np.ndarray, last: np.ndarray) -> None:
        """Begin with nothing written."""
        self._layout = layout
        self.first = first
        self.rows = first.copy()
        self._last = last
        self.texts: Texts = {
            (kind, column): VariableColumn(column, int(last[kind] - first[kind]))
            for kind in layout.selection.kinds
            for column in layout.selection.columns[kind]
            if column.kind in VARIABLE
        }
        held = [sum(kind == of for of, _ in self.texts) for kind in layout.selection.kinds]
        self._text_edges = np.cumsum([0, *held])
        self._text_part = np.array([column.part for _, column in self.texts], np.int64)
        self._filled = np.zeros(len(self.texts), np.int64)
        self._window = np.zeros((2, len(layout.plan.events)), np.int64)
        self._state = np.array([_FIRST_SPAN, 0])
        self._ranked = any(RANK in base for base in layout.selection.base.values())
        self._most = -1
        self._make_room(0)

    def add(self, reader: Reader) -> None:
        """Decode what no packet to come can precede.

        Raises:
            FullError: there is no room.

        """
        layout, plan = self._layout, self._layout.plan
        cursor, last = reader.pending()
        most = int((last - cursor).sum())
        if self._most < most:
            self._make_room(most + most // 2)
        self._filled[:] = 0
        done = drain(  # type: ignore[call-arg]
            reader.buffer, *reader.entries, cursor, last, reader.high, self._state, *self._order, *self._window,
            self.rows, self._last, layout.kinds, layout.edges, layout.steps, plan.program, plan.first,
            self._text_edges, self._text_part, *self._parts, *self._noted, self._filled, *layout.tables,
            *layout.enums, layout.out,
        )  # fmt: skip
        if done == FULL:
            raise FullError
        for text, n, starts, sizes in zip(self.texts.values(), self._filled.tolist(), *self._noted, strict=True):
            if n:
                text.append(reader.buffer, starts[:n], sizes[: n if text.located else 0])
        reader.settle(cursor)

    def _make_room(self, most: int) -> None:
        """Make room for so many entries at once; memory is used where it is written."""
        plan, kinds = self._layout.plan, self._layout.kinds
        self._most = most
        self._order = Order.empty(most, self._ranked)
        parts_of = int(np.diff(plan.first)[kinds].max(initial=0))
        self._parts = np.empty((2, parts_of * most), np.int64)
        self._noted = np.empty((2, len(self.texts), most), np.int64)


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be decoded: packets (rows of the index, sorted by CPU, then time), records from since up to until.

    offset: added to the times that are stored; window: bytes of packets to read before their records are decoded.
    """

    plan: Plan
    walker: Walker
    selection: Selection
    names: Names
    files: Sequence[Path]
    packets: np.ndarray
    since: int
    until: int
    offset: int = 0
    window: int = WINDOW

    @property
    def kinds(self) -> np.ndarray:
        """Which kinds are wanted."""
        wanted = np.zeros(len(self.plan.events), np.bool_)
        wanted[list(self.selection.kinds)] = True
        return wanted

    def reader(self, since: int, until: int) -> Reader:
        """Return a reader of a part of it."""
        rows = (self.packets["begin"] < until) & (self.packets["end"] >= since)
        return Reader(self.walker, self.files, self.packets[rows], Wanted(self.kinds, since, until))


def cut(job: Job, pieces: int) -> list[tuple[int, int]]:
    """Return ranges of time, one behind the other, in which there are about as many bytes of packets."""
    order = np.argsort(job.packets["begin"], kind="stable")
    filled = np.cumsum(job.packets["content"][order])
    places = np.searchsorted(filled, filled[-1] * np.arange(1, pieces) // pieces)
    inner = {int(time) for time in job.packets["begin"][order[places]] if job.since < time < job.until}
    return list(pairwise([job.since, *sorted(inner), job.until]))


def run(job: Job, spans: Sequence[tuple[int, int]], room: Sequence[np.ndarray]) -> dict[int, Output]:
    """Decode ranges of time, each in a thread; room: for rows of each kind in each of them.

    Raises:
        FullError: there is not enough room.

    """
    ends = np.cumsum(room, axis=0)
    layout = Layout(job.plan, job.selection, job.names, ends[-1], job.offset)
    writers = [Writer(layout, end - n, end) for end, n in zip(ends, room, strict=True)]
    if len(spans) == 1:
        _fill(job, writers[0], *spans[0])
    else:
        with ThreadPoolExecutor(len(spans)) as pool:
            list(pool.map(lambda part: _fill(job, part[0], *part[1]), zip(writers, spans, strict=True)))
            layout.close_up(np.array([(writer.first, writer.rows) for writer in writers]), pool)
    rows = np.sum([writer.rows - writer.first for writer in writers], axis=0)
    return layout.outputs(rows, [writer.texts for writer in writers])


def run_at_once(job: Job) -> dict[int, Output]:
    """Decode what fits into memory as it is: nothing is counted or sampled beforehand."""
    with job.reader(job.since, job.until) as reader:
        there = reader.advance(1 << 62)
        room = reader.kinds(len(job.plan.events))
        layout = Layout(job.plan, job.selection, job.names, room, job.offset)
        writer = Writer(layout, np.zeros_like(room), room)
        if there:
            writer.add(reader)
    return layout.outputs(writer.rows, [writer.texts])


def _fill(job: Job, writer: Writer, since: int, until: int) -> None:
    with job.reader(since, until) as reader:
        while reader.advance(job.window):
            writer.add(reader)
