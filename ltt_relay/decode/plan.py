# SPDX-License-Identifier: GPL-2.0-or-later
"""From construct definitions to columns: which bytes of a record become which column.

The plan is data: arrays that the kernels of `gather.py` follow. A member of a nested struct becomes a column of its
own, called outer_inner. Members up to the first of variable length lie at fixed offsets; where the others lie is found
per record by a program, see `parts.py`. What cannot be derived is refused by its path when the format is loaded.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import construct
import numpy as np
import pandas as pd

from ltt_relay.decode import parts
from ltt_relay.decode.names import code_dtype
from ltt_relay.formats.base import Event, Format
from ltt_relay.formats.layout import (
    Alignment,
    Blob,
    Chars,
    Condition,
    CString,
    Kind,
    Maybe,
    Member,
    Nested,
    Padding,
    PString,
    Repeat,
    Rest,
    Scalar,
    Sized,
    UnsupportedFieldError,
    members,
)

__all__ = (
    "BASE", "NAME_TABLES", "Column", "EventPlan", "Place", "Plan", "compile_plan", "member_place", "word",
)  # fmt: skip

#: The columns that every event frame begins with.
BASE: Final = ("timestamp", "cpu", "tid", "comm")
#: Name tables, in the order of the kernels.
NAME_TABLES: Final = ("task", "irq")


def word(value: int) -> int:
    """Return the value as a signed integer of 64 bits."""
    return value - (1 << 64) if value >= 1 << 63 else value


@dataclass(frozen=True, slots=True)
class Place:
    """Where an integer lies: bytes from the begin of a part, which is the payload's begin for part 0."""

    offset: int
    size: int
    signed: bool
    big: bool
    part: int = 0


@dataclass(frozen=True)
class Column:
    """A payload column.

    kind: int, enum, flags, text, bytes, list, name; part, offset: where it lies; size: its bytes in the record, 0 if
    they are all of its part; dtype: NumPy's for what is stored: an enum's and a name's are codes of categories, a
    list's is of its items; table: of a name column; optional: whether a record may lack it.
    """

    name: str
    kind: str
    offset: int
    size: int
    dtype: np.dtype
    member: Member
    big: bool = False
    table: int = -1
    part: int = 0
    optional: bool = False

    @property
    def scalar(self) -> Scalar:
        """What an int, enum, flags or name column is in the record."""
        kind = self.member.kind
        kind = kind.kind if isinstance(kind, Maybe) else kind
        assert isinstance(kind, Scalar)
        return kind

    @property
    def enum(self) -> list[tuple[int, str]]:
        """Values and names of an enum, in the order of its codes."""
        return sorted((word(value), name) for value, name in (self.scalar.names or {}).items())

    @functools.cached_property
    def categories(self) -> pd.CategoricalDtype:
        """Of an enum."""
        return pd.CategoricalDtype([name for _, name in self.enum])


@dataclass(frozen=True, slots=True)
class EventPlan:
    """One event; kind is its index in `Plan.events`.

    need: bytes of the shortest payload that holds part 0; tid: its own thread id, if it has one.
    program: the rows of `parts.fits`, none if there is only part 0; variable: whether there are some.
    """

    kind: int
    event: Event
    columns: tuple[Column, ...]
    need: int
    tid: Place | None
    program: np.ndarray

    @property
    def variable(self) -> bool:
        """Whether the payload's end is needed to read it."""
        return bool(len(self.program))


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole format; `kind_of_id` maps a record's id of 16 bits to an index in `events`, or -1.

    switch: the kind that tells of the next task, or -1. program: those of all events, kind k's being rows first[k] to
    first[k + 1].
    """

    format: Format
    events: tuple[EventPlan, ...]
    kind_of_id: np.ndarray
    names: dict[str, int]
    switch: int
    switch_next: Place | None
    program: np.ndarray
    first: np.ndarray


#: The condition columns of a program's row for what every record has.
_ALWAYS: Final = (parts.ALWAYS, *[0] * 7)


@dataclass(frozen=True, slots=True)
class _Known:
    """An earlier integer, and under which condition it is there."""

    place: Place
    scalar: Scalar
    condition: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Scope:
    """The struct that a member is in: its path, the prefix of its columns, its earlier integers, its condition."""

    path: str
    prefix: str
    condition: tuple[int, ...]
    known: dict[str, _Known]


class _Builder:
    """Lays out one event, member by member."""

    def __init__(self, event: Event) -> None:
        self._event = event
        self._columns: list[Column] = []
        self._taken = set(BASE)
        self._program: list[list[int]] = []
        self._condition: tuple[int, ...] = _ALWAYS  # of the last row
        self._need = 0
        self._tid: Place | None = None
        self._tail = ""  # path of a member that may be missing at the payload's end: only its like can follow
        self._greedy = ""  # path of a member that takes all the rest

    def plan(self, kind: int) -> EventPlan:
        event = self._event
        self._struct(members(event.payload, event.name), _Scope(event.name, "", _ALWAYS, {}))
        if event.tid and self._tid is None:
            raise UnsupportedFieldError(f"{event.name}.{event.tid}: an integer at a fixed offset was expected")
        if len(self._program) > parts.MAX_PARTS:
            raise UnsupportedFieldError(f"{event.name}: more than {parts.MAX_PARTS} parts whose places differ")
        if self._program:
            self._program[0][15] = self._need
        program = np.array(self._program, np.int64).reshape(-1, parts.WIDTH)
        return EventPlan(kind, event, tuple(self._columns), self._need, self._tid, program)

    def _struct(self, found: Iterable[Member], scope: _Scope) -> None:
        for member in found:
            path = f"{scope.path}.{member.name}"
            if self._greedy:
                raise UnsupportedFieldError(f"{path}: {self._greedy} before it takes all bytes to the payload's end")
            kind, condition = member.kind, scope.condition
            if isinstance(kind, Maybe):
                if condition is not _ALWAYS:
                    raise UnsupportedFieldError(f"{path}: a condition within a condition")
                condition, kind = self._conditional(kind, path, scope)
            if condition[0] == parts.IF_ROOM:
                self._tail = self._tail or path
            elif self._tail:
                raise UnsupportedFieldError(f"{path}: it must be there, but {self._tail} before it need not")
            self._member(member, kind, path, scope, condition)

    def _conditional(self, maybe: Maybe, path: str, scope: _Scope) -> tuple[tuple[int, ...], Kind]:
        kind = maybe.kind
        if isinstance(kind, Maybe | Alignment):
            raise UnsupportedFieldError(f"{path}: {type(kind).__name__} under a condition")
        if maybe.condition is not None:
            return self._decides(maybe.condition, path, scope), kind
        if isinstance(kind, Nested) and not all(isinstance(m.kind, _FIXED_KINDS) for m in kind.members):
            raise UnsupportedFieldError(f"{path}: a struct that may be missing holds a member of variable length")
        # A tuple of its own each time: members with the same one share a part, and are there or not together.
        return (parts.IF_ROOM, *[0] * 7), kind

    def _decides(self, asked: Condition, path: str, scope: _Scope) -> tuple[int, ...]:
        by = self._reference(asked.field, path, scope, _ALWAYS)
        scalar, value = by.scalar, asked.value
        mask = -1
        if asked.flag is not None:
            mask = value = _value(scalar.flags, asked.flag, path, asked.field)
        elif isinstance(value, str):
            value = _value(scalar.names, value, path, asked.field)
        elif scalar.names is not None or scalar.flags is not None:
            raise UnsupportedFieldError(f"{path}: {asked.field} has names, and is to be compared by them")
        place = by.place
        signs = place.signed + 2 * place.big
        return (parts.IF_EQUAL, place.part, place.offset, place.size, signs, word(mask), word(value), 0)

    def _reference(self, name: str, path: str, scope: _Scope, condition: tuple[int, ...]) -> _Known:
        known = scope.known.get(name)
        if known is None:
            raise UnsupportedFieldError(f"{path}: no earlier integer called {name} in its struct")
        if known.condition is not _ALWAYS and known.condition is not condition:
            raise UnsupportedFieldError(f"{path}: {name} need not be there")
        return known

    def _member(self, member: Member, kind: Kind, path: str, scope: _Scope, condition: tuple[int, ...]) -> None:
        name = scope.prefix + member.name
        match kind:
            case Nested(inner):
                prefix = f"{name}_" if member.name else scope.prefix
                self._struct(inner, _Scope(path, prefix, condition, {}))
            case Alignment(modulus) if not self._program and condition is _ALWAYS:
                self._need += -self._need % modulus
            case Alignment(modulus):
                self._row(condition, parts.ALIGN, modulus)
            case Scalar() | Chars() | Blob() | Padding() | Repeat(count=int()):
                self._fixed(member, kind, path, name, scope, condition)
            case _:
                self._variable(member, kind, path, name, scope, condition)

    def _row(self, condition: tuple[int, ...], op: int, size: int, *more: int) -> int:
        """Begin a part; returns its number."""
        row = [op, size, *more]
        self._program.append([*row, *[0] * (8 - len(row)), *condition])
        self._condition = condition
        return len(self._program)

    def _reserve(self, size: int, condition: tuple[int, ...]) -> tuple[int, int]:
        """Return part and offset of the next member of fixed size."""
        if not self._program and condition is _ALWAYS:
            self._need += size
            return 0, self._need - size
        if self._program and self._condition is condition and self._program[-1][0] == parts.FIXED:
            offset = self._program[-1][1]
            self._program[-1][1] += size
            return len(self._program), offset
        return self._row(condition, parts.FIXED, size), 0

    def _fixed(
        self, member: Member, kind: Kind, path: str, name: str, scope: _Scope, condition: tuple[int, ...]
    ) -> None:
        size = _fixed_size(kind, path)
        if not size:
            raise UnsupportedFieldError(f"{path}: it has no bytes")
        part, offset = self._reserve(size, condition)
        optional = condition is not _ALWAYS
        match kind:
            case Scalar(_, signed, big):
                place = Place(offset, size, signed, big, part)
                scope.known[member.name] = _Known(place, kind, condition)
                if scope.prefix == "" and member.name == self._event.tid and part == 0:
                    self._tid = place
                dtype, what = np.dtype(f"{'i' if signed else 'u'}{size}"), "int"
                if kind.names is not None:
                    dtype, what = code_dtype(len(kind.names)), "enum"
                elif kind.flags is not None:
                    what = "flags"
                if member.name != self._event.tid or name != "tid":
                    self._column(Column(name, what, offset, size, dtype, member, big, -1, part, optional), path)
                if member.meta.names:
                    table, text = member.meta.names
                    if text not in self._taken:
                        index = NAME_TABLES.index(table)
                        found = Column(text, "name", offset, size, dtype, member, big, index, part, optional)
                        self._column(found, path)
            case Chars():
                self._column(Column(name, "text", offset, size, _BYTE, member, False, -1, part, optional), path)
            case Blob():
                self._column(Column(name, "bytes", offset, size, _BYTE, member, False, -1, part, optional), path)
            case Repeat(item=item):
                dtype = _item_dtype(item, path)
                self._column(Column(name, "list", offset, size, dtype, member, item.big, -1, part, optional), path)

    def _variable(
        self, member: Member, kind: Kind, path: str, name: str, scope: _Scope, condition: tuple[int, ...]
    ) -> None:
        what, dtype, big = "text", _BYTE, False
        match kind:
            case CString():
                part = self._row(condition, parts.CSTRING, 0)
            case PString(length):
                part = self._row(condition, parts.PREFIXED, length.size, length.signed, length.big)
            case Sized(count, text):
                part = self._counted(condition, 1, self._reference(count, path, scope, condition), path, text)
                what = "text" if text else "bytes"
            case Rest(text):
                part = self._row(condition, parts.REST, 0, 0, 0, 0, 0, 0, text)
                what = "text" if text else "bytes"
                self._greedy = path
            case Repeat(str() as count, item):
                part = self._counted(condition, item.size, self._reference(count, path, scope, condition), path, False)
                what, dtype, big = "list", _item_dtype(item, path), item.big
            case _:
                raise UnsupportedFieldError(f"{path}: {type(kind).__name__} cannot be decoded")
        optional = condition is not _ALWAYS
        self._column(Column(name, what, 0, 0, dtype, member, big, -1, part, optional), path)

    def _counted(self, condition: tuple[int, ...], size: int, by: _Known, path: str, text: bool) -> int:
        if by.scalar.names is not None or by.scalar.flags is not None:
            raise UnsupportedFieldError(f"{path}: its length is an enum or a set of flags")
        place = by.place
        return self._row(
            condition, parts.COUNTED, size, place.signed, place.big, place.part, place.offset, place.size, text
        )

    def _column(self, column: Column, path: str) -> None:
        if not column.name:
            return
        while column.name in self._taken:
            column = replace(column, name=f"event_{column.name}")
        self._taken.add(column.name)
        self._columns.append(column)


_BYTE: Final = np.dtype("u1")
_FIXED_KINDS: Final = (Scalar, Chars, Blob, Padding)


def _value(names: dict[int, str] | None, name: str, path: str, field: str) -> int:
    for value, known in (names or {}).items():
        if known == name:
            return value
    raise UnsupportedFieldError(f"{path}: {field} has no {name!r}")


def _item_dtype(item: Scalar, path: str) -> np.dtype:
    if item.names is not None or item.flags is not None:
        raise UnsupportedFieldError(f"{path}: items that are enums or sets of flags")
    return np.dtype(f"{'i' if item.signed else 'u'}{item.size}")


def _fixed_size(kind: Kind, path: str) -> int:
    match kind:
        case Scalar(size=size) | Chars(size) | Blob(size) | Padding(size):
            return size
        case Repeat(int() as count, item):
            return count * item.size
    raise UnsupportedFieldError(f"{path}: {type(kind).__name__} has no fixed size")


def member_place(struct: construct.Struct, name: str) -> Place:
    """Return where an integer member of a struct lies, of which all before it have a fixed size.

    Raises:
        UnsupportedFieldError: there is no such integer.

    """
    offset = 0
    for member in members(struct):
        if member.name == name:
            if not isinstance(member.kind, Scalar):
                raise UnsupportedFieldError(f"{name}: an integer was expected")
            return Place(offset, member.kind.size, member.kind.signed, member.kind.big)
        offset += _fixed_size(member.kind, member.name)
    raise UnsupportedFieldError(f"{name}: there is no such member")


def compile_plan(format: Format) -> Plan:  # noqa: A002
    """Return the plan of a format.

    Raises:
        UnsupportedFieldError: a member cannot be derived; the message has its path.

    """
    events = tuple(_Builder(event).plan(kind) for kind, event in enumerate(format.events))
    kind_of_id = np.full(65536, -1, np.int32)
    for kind, plan in enumerate(events):
        if plan.event.id < kind_of_id.size:
            kind_of_id[plan.event.id] = kind
    names = {plan.event.name: kind for kind, plan in enumerate(events)}
    switch, following = -1, None
    if format.switch:
        switch = names[format.switch.event]
        path = f"{format.switch.event}.{format.switch.next}"
        found = [c for c in events[switch].columns if c.member.name == format.switch.next and c.kind == "int"]
        if not found or found[0].part:
            raise UnsupportedFieldError(f"{path}: an integer at a fixed offset was expected")
        column = found[0]
        following = Place(column.offset, column.size, column.dtype.kind == "i", column.big)
    program = np.concatenate([plan.program for plan in events]) if events else np.zeros((0, parts.WIDTH), np.int64)
    first = np.cumsum([0, *(len(plan.program) for plan in events)]).astype(np.int64)
    return Plan(format, events, kind_of_id, names, switch, following, program, first)
