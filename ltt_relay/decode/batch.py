# SPDX-License-Identifier: GPL-2.0-or-later
"""From packets to raw columns: reads a window of packets and lets the kernels write it out in time order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa

from ltt_relay.decode import kernels
from ltt_relay.decode.names import Names
from ltt_relay.decode.plan import Column, EventPlan, Plan

__all__ = ("Output", "Selection", "load", "run")

_NO_TIME = 1 << 62


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


def load(files: Sequence[Path], packets: np.ndarray, buffer: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Read packets (rows of the index) into one buffer.

    Returns the buffer (uint64) and where in it each packet begins, in bytes; what a file no longer has is zero, which
    no record is.
    """
    sizes = (packets["content"] + 7) & ~7
    ends = np.cumsum(sizes)
    starts = ends - sizes
    total = int(ends[-1]) if sizes.size else 0
    if buffer is None or buffer.nbytes < total:
        buffer = np.empty(total // 8 + 1, np.uint64)
    view = buffer.view(np.uint8).data
    order = np.lexsort((packets["offset"], packets["file"]))
    current, handle = -1, None
    try:
        for i in order:
            number = int(packets["file"][i])
            if number != current:
                if handle:
                    handle.close()
                handle, current = files[number].open("rb", buffering=0), number
            assert handle is not None
            begin, want = int(starts[i]), int(packets["content"][i])
            handle.seek(int(packets["offset"][i]))
            done = 0
            while done < want:
                n = handle.readinto(view[begin + done : begin + want])
                if not n:
                    view[begin + done : begin + want] = bytes(want - done)
                    break
                done += n
    finally:
        if handle:
            handle.close()
    return buffer, starts


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


class Writer:
    """Fills outputs, a window at a time."""

    def __init__(self, plan: Plan, selection: Selection, names: Names, capacity: np.ndarray) -> None:
        """Prepare for at most capacity[kind] rows of each wanted kind."""
        self._plan = plan
        self._selection = selection
        self._capacity = capacity
        n = len(plan.events)
        self._widths, self._tables, self._starts, self._times, self._codes = names.arrays()
        self._header = plan.header
        self._need = np.array([event.need for event in plan.events], np.int64)
        self._tid = np.array([event.tid for event in plan.events], np.int64)
        self._wanted = np.zeros(n, np.bool_)
        self._base = np.full((n, 4), -1, np.int64)
        self._rows = np.zeros(n, np.int64)
        arena = _Arena()
        columns: list[Column] = []
        places: list[int] = []
        first = np.zeros(n + 1, np.int64)
        slots: list[tuple[int, str, int, np.dtype]] = []
        for kind in range(n):
            if kind in selection.columns:
                rows = int(capacity[kind])
                self._wanted[kind] = True
                widths = (8, 2, 4, int(self._widths[0]))
                types = ("i8", "u2", "i4", f"i{int(self._widths[0])}")
                for i, name in enumerate(("timestamp", "cpu", "tid", "comm")):
                    if name in selection.base[kind]:
                        self._base[kind, i] = arena.take(rows, widths[i])
                        slots.append((kind, name, int(self._base[kind, i]), np.dtype(types[i])))
                for column in selection.columns[kind]:
                    dtype = column.dtype if column.table < 0 else np.dtype(f"i{int(self._widths[column.table])}")
                    place = arena.take(rows, dtype.itemsize)
                    columns.append(column)
                    places.append(place)
                    slots.append((kind, column.name, place, dtype))
            first[kind + 1] = len(columns)
        self._col_first = first
        self._col_op = np.array([column.op for column in columns] or [0], np.int64)
        self._col_offset = np.array([column.offset for column in columns] or [0], np.int64)
        self._col_table = np.array([column.table for column in columns] or [0], np.int64)
        self._col_base = np.array(places or [0], np.int64)
        memory = arena.allocate()
        self._out = tuple(memory.view(f"u{width}") for width in (1, 2, 4, 8))
        self.outputs = {kind: Output(plan.events[kind], 0, {}) for kind in selection.kinds}
        for kind, name, place, dtype in slots:
            rows = int(capacity[kind])
            self.outputs[kind].arrays[name] = memory.view(dtype)[place : place + rows]

    def window(
        self, buffer: np.ndarray, starts: np.ndarray, packets: np.ndarray, since: int, until: int, switches: int
    ) -> None:
        """Decode loaded packets (sorted by CPU, then time) from `since` up to `until`, monotonic ns."""
        cpus, first = np.unique(packets["cpu_id"], return_index=True)
        last = np.r_[first[1:], len(packets)]
        tid = np.where(packets["flags"] & switches, packets["tid"].astype(np.int64), -2)
        before = self._rows.copy()
        plan = self._plan
        kernels.merge(
            buffer.view(np.uint8), buffer.view(np.uint16), buffer.view(np.uint32), buffer,
            first.astype(np.int64), last.astype(np.int64), cpus.astype(np.int64),
            starts + packets["header_size"].astype(np.int64), starts + packets["content"],
            packets["timestamp_begin"].astype(np.int64), tid,
            since, until, self._header, plan.kind_of_id, self._need, self._tid, plan.switch, plan.switch_next,
            self._wanted, self._base, self._rows, self._capacity,
            self._col_first, self._col_op, self._col_offset, self._col_base, self._col_table,
            self._widths, self._tables, self._starts, self._times, self._codes, *self._out,
        )  # fmt: skip
        for kind, output in self.outputs.items():
            rows = slice(int(before[kind]), int(self._rows[kind]))
            output.rows = rows.stop
            for column in self._selection.columns[kind]:
                if column.kind in {"text", "bytes"}:
                    chunk = _text(buffer, output.arrays[column.name][rows], column)
                elif column.kind == "list":
                    chunk = _lists(buffer, output.arrays[column.name][rows], column)
                else:
                    continue
                output.chunks.setdefault(column.name, []).append(chunk)

    def finish(self) -> dict[int, Output]:
        """Cut the arrays to the rows that were found."""
        for output in self.outputs.values():
            output.arrays = {name: array[: output.rows] for name, array in output.arrays.items()}
        return self.outputs


def _offsets(sizes: np.ndarray, dtype: type = np.int64) -> pa.Buffer:
    offsets: np.ndarray = np.zeros(sizes.size + 1, dtype)
    np.cumsum(sizes, out=offsets[1:])
    return pa.py_buffer(offsets)


def _text(buffer: np.ndarray, at: np.ndarray, column: Column) -> pa.Array:
    sizes = np.empty(at.size, np.int64)
    bytes_ = buffer.view(np.uint8)
    if column.kind == "bytes":
        sizes[:] = column.size
        total = column.size * at.size
    else:
        total = kernels.text_sizes(bytes_, buffer.view(np.uint16), at, column.offset, column.size, sizes)
    data = np.empty(total, np.uint8)
    kernels.text_copy(bytes_, at, column.offset, sizes, data)
    kind = pa.large_binary() if column.kind == "bytes" else pa.large_string()
    array = pa.Array.from_buffers(kind, at.size, [None, _offsets(sizes), pa.py_buffer(data)])
    if column.kind == "text" and total and int(data.max()) >= 0x80:
        array = _valid_text(array)
    return array


def _valid_text(array: pa.Array) -> pa.Array:
    """Bytes that are not UTF-8 become \\xNN, as `formats.fields.Text` has them."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        raw = array.cast(pa.large_binary()).to_pylist()
        return pa.array([text.decode("utf-8", "backslashreplace") for text in raw], pa.large_string())
    return array


def _lists(buffer: np.ndarray, at: np.ndarray, column: Column) -> pa.Array:
    sizes = np.empty(at.size, np.int64)
    fixed = getattr(column.member.kind, "count", 0) if column.count_offset < 0 else 0
    total = kernels.list_sizes(
        buffer.view(np.uint8), buffer.view(np.uint16), at, column.offset, 8, column.count_offset, fixed, sizes
    )
    data = np.empty(total, np.uint64)
    kernels.list_copy(buffer, at, column.offset, sizes, data)
    item = getattr(column.member.kind, "item", None)
    kind = pa.int64() if item is not None and item.signed else pa.uint64()
    values = pa.Array.from_buffers(kind, total, [None, pa.py_buffer(data)])
    return pa.Array.from_buffers(pa.list_(kind), at.size, [None, _offsets(sizes, np.int32)], children=[values])


def run(
    plan: Plan,
    selection: Selection,
    names: Names,
    files: Sequence[Path],
    packets: np.ndarray,
    capacity: np.ndarray,
    since: int,
    until: int,
    switches: int,
    window_bytes: int = 32 << 20,
) -> dict[int, Output]:
    """Decode packets (rows of the index, sorted by cpu_id, then seq) in windows of about `window_bytes`."""
    writer = Writer(plan, selection, names, capacity)
    begin = packets["timestamp_begin"].astype(np.int64)
    end = packets["timestamp_end"].astype(np.int64)
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
        chosen = packets[(begin < high) & (end >= low)]
        if chosen.size:
            buffer, starts = load(files, chosen, buffer)
            writer.window(buffer, starts, chosen, low, high, switches)
    return writer.finish()
