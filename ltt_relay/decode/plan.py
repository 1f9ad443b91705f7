# SPDX-License-Identifier: GPL-2.0-or-later
"""From construct definitions to columns: which bytes of a record become which column.

The plan is data: arrays that the kernels of `gather.py` follow. Members must lie at fixed offsets, but for one of
variable length at the end (text ended by NUL, or as many integers as an earlier member says); anything else is refused
by name when the format is loaded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import construct
import numpy as np

from ltt_relay.formats.base import Event, Format, LengthFraming
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

__all__ = ("BASE", "NAME_TABLES", "Column", "EventPlan", "Place", "Plan", "compile_plan", "member_place")

#: The columns that every event frame begins with.
BASE: Final = ("timestamp", "cpu", "tid", "comm")
#: Name tables, in the order of the kernels.
NAME_TABLES: Final = ("task", "irq")


@dataclass(frozen=True, slots=True)
class Place:
    """Where an integer lies: bytes from the payload's begin."""

    offset: int
    size: int
    signed: bool
    big: bool


@dataclass(frozen=True, slots=True)
class Column:
    """A payload column.

    kind: int, enum, flags, text, bytes, list, name; offset: from the payload's begin; size: bytes in the record (0: to
    its end); dtype: NumPy's for what is stored; table: of a name column; count: where a list's length is, if not fixed;
    skip: texts between `offset` and this one.
    """

    name: str
    kind: str
    offset: int
    size: int
    dtype: np.dtype
    member: Member
    big: bool = False
    table: int = -1
    count: Place | None = None
    skip: int = 0


@dataclass(frozen=True, slots=True)
class EventPlan:
    """need: bytes of the shortest payload that holds all fixed members; tid: its own thread id, if it has one.

    variable: the payload's end is needed to read it.
    """

    event: Event
    columns: tuple[Column, ...]
    need: int
    tid: Place | None
    variable: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole format; `kind_of_id` maps a record's id to an index in `events`, or -1.

    aligned: every integer lies on a multiple of its size; switch: the kind that tells of the next task, or -1.
    """

    format: Format
    events: tuple[EventPlan, ...]
    kind_of_id: np.ndarray
    names: dict[str, int]
    aligned: bool
    switch: int
    switch_next: Place | None


def _column_name(name: str, taken: set[str]) -> str:
    return f"event_{name}" if name in taken else name


def _fixed(member: Member, name: str, offset: int) -> Column | None:
    match member.kind:
        case Scalar(size=size, signed=signed, big=big) as scalar:
            kind = "enum" if scalar.names is not None else "flags" if scalar.flags is not None else "int"
            return Column(name, kind, offset, size, np.dtype(f"{'i' if signed else 'u'}{size}"), member, big)
        case Chars(size):
            return Column(name, "text", offset, size, np.dtype("i8"), member)
        case Blob(size):
            return Column(name, "bytes", offset, size, np.dtype("i8"), member)
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


def _place(member: Member, offset: int, path: str) -> Place:
    if not isinstance(member.kind, Scalar):
        raise UnsupportedFieldError(f"{path}: an integer was expected")
    return Place(offset, member.kind.size, member.kind.signed, member.kind.big)


def member_place(struct: construct.Struct, name: str) -> Place:
    """Return where an integer member of a struct lies, of which all before it have a fixed size.

    Raises:
        UnsupportedFieldError: there is no such integer.

    """
    offset = 0
    for member in members(struct):
        if member.name == name:
            return _place(member, offset, name)
        offset += _size(member, member.name)
    raise UnsupportedFieldError(f"{name}: there is no such member")


def _event_plan(event: Event) -> EventPlan:
    found = list(members(event.payload))
    columns: list[Column] = []
    taken = set(BASE)
    offset = 0
    tid: Place | None = None
    variable = False
    places: dict[str, Place] = {}
    for position, member in enumerate(found):
        path = f"{event.name}.{member.name}"
        if isinstance(member.kind, Nested):
            raise UnsupportedFieldError(f"{path}: nested structs are not planned yet")
        if member.name and member.name == event.tid:
            tid = _place(member, offset, path)
        name = _column_name(member.name, taken) if member.name != event.tid or member.name != "tid" else ""
        last = position == len(found) - 1
        column: Column | None = None
        match member.kind:
            case CString() if all(isinstance(behind.kind, CString) for behind in found[position:]):
                columns += [
                    Column(_column_name(text.name, taken), "text", offset, 0, np.dtype("i8"), text, skip=skip)
                    for skip, text in enumerate(found[position:])
                ]
                variable = True
            case Repeat(str() as count, item) if last and count in places and item.size == 8:
                column = Column(name, "list", offset, item.size, np.dtype("i8"), member, count=places[count])
                variable = True
            case Repeat(int(), item) if item.size == 8:
                column = Column(name, "list", offset, item.size, np.dtype("i8"), member)
            case _:
                column = _fixed(member, name, offset)
        if column and name:
            columns.append(column)
            taken.add(name)
        if member.meta.names:
            table, text = member.meta.names
            if text not in taken:
                named = Column(text, "name", offset, 4, np.dtype("i4"), member, table=NAME_TABLES.index(table))
                columns.append(named)
                taken.add(text)
        if variable:
            break
        size = _size(member, path)
        if isinstance(member.kind, Scalar):
            places[member.name] = _place(member, offset, path)
        offset += size
    return EventPlan(event, tuple(columns), offset, tid, variable)


def _aligned(events: tuple[EventPlan, ...]) -> bool:
    columns = [column for event in events for column in event.columns]
    return not any(c.big or c.offset % c.dtype.itemsize for c in columns if c.kind in {"int", "enum", "flags", "name"})


def compile_plan(format: Format) -> Plan:  # noqa: A002
    """Return the plan of a format.

    Raises:
        UnsupportedFieldError: a member cannot be derived; the message has its path.

    """
    events = tuple(_event_plan(event) for event in format.events)
    kind_of_id = np.full(65536, -1, np.int32)
    for kind, plan in enumerate(events):
        kind_of_id[plan.event.id] = kind
    names = {plan.event.name: kind for kind, plan in enumerate(events)}
    switch, following = -1, None
    if format.switch:
        switch = names[format.switch.event]
        column = next(c for c in events[switch].columns if c.member.name == format.switch.next)
        following = Place(column.offset, column.size, True, column.big)
    framing = format.framing
    aligned = isinstance(framing, LengthFraming) and framing.align % 8 == 0 and _aligned(events)
    return Plan(format, events, kind_of_id, names, aligned, switch, following)
