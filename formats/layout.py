# SPDX-License-Identifier: GPL-2.0-or-later
"""What the constructs of `fields.py` are made of: the one place that looks into construct objects.

>>> from ltt_relay.formats.fields import u16
>>> resolve(u16)
Scalar(size=2, signed=False, big=False, names=None, flags=None)
"""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

import construct
from construct.expr import Path

from ltt_relay.formats.fields import Meta, Text

__all__ = (
    "Blob", "CString", "Chars", "Kind", "Member", "Nested", "PString", "Padding", "Repeat", "Scalar",
    "UnsupportedFieldError", "members", "resolve",
)  # fmt: skip


class UnsupportedFieldError(ValueError):
    """A construct outside the vocabulary of `ltt_relay.formats.fields`; the message has the field's path."""


@dataclass(frozen=True, slots=True)
class Scalar:
    """An integer of `size` bytes; `names` are an enum's (value to name), `flags` a flag set's (bit mask to name)."""

    size: int
    signed: bool
    big: bool
    names: dict[int, str] | None = None
    flags: dict[int, str] | None = None


@dataclass(frozen=True, slots=True)
class Chars:
    """Text in `size` bytes, ended by NUL unless it fills them."""

    size: int


@dataclass(frozen=True, slots=True)
class CString:
    """Text ended by NUL."""


@dataclass(frozen=True, slots=True)
class PString:
    """Text behind its length."""

    length: Scalar


@dataclass(frozen=True, slots=True)
class Blob:
    """`size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class Padding:
    """`size` bytes without meaning."""

    size: int


@dataclass(frozen=True, slots=True)
class Repeat:
    """`count` integers, or as many as the earlier field of that name says."""

    count: int | str
    item: Scalar


@dataclass(frozen=True, slots=True)
class Nested:
    """A struct."""

    members: tuple[Member, ...]


Kind: TypeAlias = "Scalar | Chars | CString | PString | Blob | Padding | Repeat | Nested"


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a struct: its name ("" for padding), what it is, and what it means."""

    name: str
    kind: Kind
    meta: Meta


def _scalar(con: Any, path: str) -> Scalar:
    if type(con) is construct.Enum:
        base = _scalar(con.subcon, path)
        names = {int(value): str(name) for name, value in con.encmapping.items() if isinstance(value, int)}
        return Scalar(base.size, base.signed, base.big, names=names)
    if type(con) is construct.FlagsEnum:
        base = _scalar(con.subcon, path)
        return Scalar(base.size, base.signed, base.big, flags={int(bit): str(name) for name, bit in con.flags.items()})
    if type(con) is not construct.FormatField:
        raise UnsupportedFieldError(f"{path}: an integer was expected, not {type(con).__name__}")
    letter = con.fmtstr[-1]
    if letter.upper() not in "BHLQ":
        raise UnsupportedFieldError(f"{path}: {con.fmtstr!r} is not an integer of 8, 16, 32 or 64 bits")
    return Scalar(_struct.calcsize(con.fmtstr), letter.islower(), con.fmtstr[0] == ">")


def resolve(con: Any, path: str = "") -> Kind:
    """Return what a construct of the vocabulary is.

    Raises:
        UnsupportedFieldError: it is not of the vocabulary.

    """
    match con:
        case construct.Renamed():
            return resolve(con.subcon, path or con.name)
        case Text():
            inner = con.subcon
            if type(inner) is construct.FixedSized and isinstance(inner.length, int):
                return Chars(inner.length)
            if type(inner) is construct.NullTerminated:
                return CString()
            if type(inner) is construct.Prefixed:
                return PString(_scalar(inner.lengthfield, path))
        case construct.Bytes() if isinstance(con.length, int):
            return Blob(con.length)
        case construct.Padded() if isinstance(con.length, int):
            return Padding(con.length)
        case construct.Array():
            item = _scalar(con.subcon, path)
            if isinstance(con.count, int):
                return Repeat(con.count, item)
            if isinstance(con.count, Path):
                return Repeat(str(con.count.__getfield__()), item)
        case construct.Struct():
            return Nested(tuple(members(con, path)))
        case construct.FormatField() | construct.Enum() | construct.FlagsEnum():
            return _scalar(con, path)
    raise UnsupportedFieldError(f"{path or con!r}: {type(con).__name__} is not in ltt_relay.formats.fields")


def members(struct: construct.Struct, path: str = "") -> Iterator[Member]:
    """Yield the members of a struct in order.

    Raises:
        UnsupportedFieldError: one is not of the vocabulary.

    """
    for con in struct.subcons:
        name = con.name or ""
        yield Member(name, resolve(con, f"{path}.{name}" if path else name), getattr(con, "meta", Meta()))
