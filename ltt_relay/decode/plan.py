# SPDX-License-Identifier: GPL-2.0-or-later
"""From construct definitions to columns: which bytes of a record become which column.

The plan is data: arrays that the kernels of `kernels.py` follow. Members must lie at fixed offsets, but for one of
variable length at the end (text ended by NUL, or as many integers as an earlier member says); anything else is refused
by name when the format is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from ltt_relay.formats.base import Event, Format
from ltt_relay.formats.layout import (
    Blob,
    Chars,
    CString,
    Member,
    Nested,
    Padding,
    Repeat,
    Scalar,
    UnsupportedFieldError,
    members,
)

__all__ = ("BASE", "NAME_TABLES", "Column", "EventPlan", "Plan", "compile_plan")

#: The columns that every event frame begins with.
BASE: Final = ("timestamp", "cpu", "tid", "comm")
#: Name tables, in the order of the kernels.
NAME_TABLES: Final = ("task", "irq")

# Operations of the kernels: copy 1, 2, 4 or 8 bytes; keep the position of text or a list; look a name up.
COPY1, COPY2, COPY4, COPY8, PLACE, NAME = range(6)
_COPY: Final = {1: COPY1, 2: COPY2, 4: COPY4, 8: COPY8}


@dataclass(frozen=True, slots=True)
class Column:
    """A payload column.

    kind: int, enum, flags, text, bytes, list, name; offset: from the record's begin; size: bytes in the record (0: to
    its end); dtype: NumPy's for what is stored on the way; table: of a name column.
    """

    name: str
    kind: str
    offset: int
    size: int
    op: int
    dtype: np.dtype
    member: Member
    table: int = -1
    count_offset: int = -1
    count_size: int = 0


@dataclass(frozen=True, slots=True)
class EventPlan:
    """`need` is the shortest record that holds all fixed members; `tid` the offset of its own thread id, or -1."""

    event: Event
    columns: tuple[Column, ...]
    need: int
    tid: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole format; `kind_of_id` maps a record's id to an index in `events`, or -1."""

    format: Format
    events: tuple[EventPlan, ...]
    kind_of_id: np.ndarray
    names: dict[str, int]
    header: int
    switch: int
    switch_next: int


def _column_name(name: str, taken: set[str]) -> str:
    return f"event_{name}" if name in taken else name


def _fixed(member: Member, name: str, offset: int) -> Column | None:
    match member.kind:
        case Scalar(big=True):
            raise UnsupportedFieldError(f"{name}: big endian integers are not planned yet")
        case Scalar(size=size, signed=signed) as scalar:
            kind = "enum" if scalar.names is not None else "flags" if scalar.flags is not None else "int"
            return Column(name, kind, offset, size, _COPY[size], np.dtype(f"{'i' if signed else 'u'}{size}"), member)
        case Chars(size):
            return Column(name, "text", offset, size, PLACE, np.dtype("i8"), member)
        case Blob(size):
            return Column(name, "bytes", offset, size, PLACE, np.dtype("i8"), member)
        case _:
            return None


def _size(member: Member, path: str) -> int:
    match member.kind:
        case Scalar(size=size) | Chars(size) | Blob(size) | Padding(size):
            return size
        case Repeat(int() as count, item):
            return count * item.size
        case kind:
            raise UnsupportedFieldError(f"{path}: {type(kind).__name__} is possible only as the last member")


def _event_plan(event: Event, header: int) -> EventPlan:
    found = list(members(event.payload))
    columns: list[Column] = []
    taken = set(BASE)
    offset, tid = header, -1
    places: dict[str, tuple[int, int]] = {}
    for position, member in enumerate(found):
        path = f"{event.name}.{member.name}"
        if isinstance(member.kind, Nested):
            raise UnsupportedFieldError(f"{path}: nested structs are not planned yet")
        if member.name == event.tid:
            tid = offset
        name = _column_name(member.name, taken) if member.name != event.tid or member.name != "tid" else ""
        last = position == len(found) - 1
        column: Column | None = None
        match member.kind:
            case CString() if last:
                column = Column(name, "text", offset, 0, PLACE, np.dtype("i8"), member)
            case Repeat(str() as count, item) if last and places.get(count, (0, 0))[1] == 1 and item.size == 8:
                where, size = places[count]
                column = Column(
                    name, "list", offset, item.size, PLACE, np.dtype("i8"), member, count_offset=where, count_size=size
                )
            case Repeat(int(), item) if item.size == 8:
                column = Column(name, "list", offset, item.size, PLACE, np.dtype("i8"), member)
            case _:
                column = _fixed(member, name, offset)
        if column and name:
            columns.append(column)
            taken.add(name)
        if member.meta.names:
            table, text = member.meta.names
            if text not in taken:
                columns.append(
                    Column(text, "name", offset, 4, NAME, np.dtype("i4"), member, table=NAME_TABLES.index(table))
                )
                taken.add(text)
        if (
            last
            and isinstance(member.kind, CString | Repeat)
            and not isinstance(getattr(member.kind, "count", ""), int)
        ):
            break
        size = _size(member, path)
        places[member.name] = (offset, size)
        offset += size
    return EventPlan(event, tuple(columns), offset, tid)


def compile_plan(format: Format) -> Plan:  # noqa: A002
    """Return the plan of a format.

    Raises:
        UnsupportedFieldError: a member cannot be derived; the message has its path.

    """
    header = format.framing.header.sizeof()
    events = tuple(_event_plan(event, header) for event in format.events)
    kind_of_id = np.full(65536, -1, np.int32)
    for kind, plan in enumerate(events):
        kind_of_id[plan.event.id] = kind
    names = {plan.event.name: kind for kind, plan in enumerate(events)}
    switch, following = -1, -1
    if format.switch:
        switch = names[format.switch.event]
        following = next(c.offset for c in events[switch].columns if c.member.name == format.switch.next)
    return Plan(format, events, kind_of_id, names, header, switch, following)
