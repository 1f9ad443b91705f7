# SPDX-License-Identifier: GPL-2.0-or-later
"""The closed vocabulary in which formats are written.

Each function returns an ordinary construct object, so a definition parses and builds with construct alone, and a
`Field` around it carries what construct has no place for: meaning, unit, display hint, name table. The plan compiler
(`ltt_relay.decode.plan`), the C header and the CTF metadata match exactly the types made here and refuse all others by
field path, so that nothing is decoded by accident.

>>> wakeup = struct(field("pid", i32, "the task woken"), field("prio", i16, "its priority"))
>>> wakeup.parse(bytes([42, 0, 0, 0, 120, 0]))["pid"]
42
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import construct
from construct import this

__all__ = (
    "BIG", "LITTLE", "Align", "Field", "Meta", "Text", "align", "array", "blob", "chars", "cstring", "enum", "field",
    "flags", "i8", "i16", "i32", "i64", "integer", "nested", "optional", "pad", "pstring", "rest", "rest_text",
    "sequence", "sized", "sized_text", "struct", "this", "u8", "u16", "u32", "u64", "when", "when_flag",
)  # fmt: skip

LITTLE: Final = "<"
BIG: Final = ">"


@dataclass(frozen=True, slots=True)
class Meta:
    """What a field means.

    doc: one clause for the reference; unit: SI or "" ; hint: "dec" or "hex", how text output shows it;
    names: (table, column), where `table` is "task" or "irq": the decoder adds `column`, the name that this
    number has in that table at that time.
    """

    doc: str = ""
    unit: str = ""
    hint: str = "dec"
    names: tuple[str, str] | None = None


class Field(construct.Renamed):  # type: ignore[misc]  # construct has no annotations
    """A named member of a struct, with its `Meta`."""

    def __init__(self, name: str, subcon: construct.Construct, meta: Meta) -> None:
        super().__init__(subcon, newname=name, newdocs=meta.doc)
        self.meta = meta


class Text(construct.Adapter):  # type: ignore[misc]
    """Bytes as text: UTF-8, with bytes that are not shown as \\xNN, as kernels put no promise on task names.

    cut: the text ends at the first NUL, whatever the size of its field.
    """

    def __init__(self, subcon: construct.Construct, cut: bool) -> None:
        super().__init__(subcon)
        self.cut = cut

    def _decode(self, obj: bytes, context: Any, path: str) -> str:
        if self.cut:
            obj = obj.partition(b"\0")[0]
        return obj.decode("utf-8", "backslashreplace")

    def _encode(self, obj: str, context: Any, path: str) -> bytes:
        return obj.encode("utf-8")


class Align(construct.Construct):  # type: ignore[misc]
    """No member: zero bytes up to the next multiple of `modulus` bytes, counted from the payload's begin."""

    def __init__(self, modulus: int) -> None:
        super().__init__()
        self.modulus = modulus
        self.flagbuildnone = True

    def _parse(self, stream: Any, context: Any, path: str) -> None:
        construct.stream_read(stream, -stream.tell() % self.modulus, path)

    def _build(self, obj: Any, stream: Any, context: Any, path: str) -> None:
        gap = -stream.tell() % self.modulus
        construct.stream_write(stream, bytes(gap), gap, path)

    def _sizeof(self, context: Any, path: str) -> int:
        raise construct.SizeofError("what alignment takes depends on what is before it", path=path)


def integer(bits: int, signed: bool, order: str = LITTLE) -> construct.FormatField:
    """An integer of 8, 16, 32 or 64 bits in byte order `LITTLE` or `BIG`."""
    letter = {8: "B", 16: "H", 32: "L", 64: "Q"}[bits]
    return construct.FormatField(order, letter.lower() if signed else letter)


u8, u16, u32, u64 = (integer(bits, signed=False) for bits in (8, 16, 32, 64))
i8, i16, i32, i64 = (integer(bits, signed=True) for bits in (8, 16, 32, 64))


def enum(base: construct.FormatField, names: dict[str, int]) -> construct.Enum:
    """An integer with names for its values; a value without a name stays the number."""
    return construct.Enum(base, **names)


def flags(base: construct.FormatField, names: dict[str, int]) -> construct.FlagsEnum:
    """An integer of named bits."""
    return construct.FlagsEnum(base, **names)


def chars(size: int) -> construct.Construct:
    """Text in a field of `size` bytes, ended by NUL unless it fills the field."""
    return Text(construct.FixedSized(size, construct.GreedyBytes), cut=True)


def cstring() -> construct.Construct:
    """Text ended by NUL."""
    return Text(construct.NullTerminated(construct.GreedyBytes), cut=False)


def pstring(length: construct.FormatField) -> construct.Construct:
    """Text behind an integer that says its length in bytes."""
    return Text(construct.Prefixed(length, construct.GreedyBytes), cut=False)


def sized_text(length: str) -> construct.Construct:
    """Text in as many bytes as the earlier field called `length` says, ended by NUL unless it fills them."""
    return Text(construct.FixedSized(this[length], construct.GreedyBytes), cut=True)


def rest_text() -> construct.Construct:
    """Text up to a NUL or the payload's end; only as the last member."""
    return Text(construct.GreedyBytes, cut=True)


def blob(size: int) -> construct.Construct:
    """`size` bytes as they are."""
    return construct.Bytes(size)


def sized(length: str) -> construct.Construct:
    """As many bytes as the earlier field called `length` says."""
    return construct.Bytes(this[length])


def rest() -> construct.Construct:
    """Bytes up to the payload's end; only as the last member."""
    return construct.GreedyBytes


def array(count: int, item: construct.FormatField) -> construct.Array:
    """`count` integers."""
    return construct.Array(count, item)


def sequence(count: str, item: construct.FormatField) -> construct.Array:
    """As many integers as the earlier field called `count` of the same struct says."""
    return construct.Array(this[count], item)


def pad(size: int) -> construct.Construct:
    """`size` bytes without meaning, zero when written: what C puts before the next aligned member."""
    return construct.Padding(size)


def align(modulus: int) -> construct.Construct:
    """What brings the next member to a multiple of `modulus` bytes from the payload's begin."""
    return Align(modulus)


def optional(kind: construct.Construct) -> construct.Construct:
    """`kind` if the payload is long enough for it, else nothing; only others like it can follow."""
    return construct.Optional(kind)


def when(name: str, value: int | str, kind: construct.Construct) -> construct.Construct:
    """`kind` if the earlier field called `name` has this value (an enum's: its name), else nothing."""
    return construct.If(this[name] == value, kind)


def when_flag(name: str, flag: str, kind: construct.Construct) -> construct.Construct:
    """`kind` if the bit called `flag` is set in the earlier field called `name`, else nothing."""
    return construct.If(this[name][flag], kind)


def nested(*members: construct.Construct) -> construct.Struct:
    """A struct inside a struct."""
    return construct.Struct(*members)


def struct(*members: construct.Construct) -> construct.Struct:
    """The members of a header or of an event's payload, in order."""
    return construct.Struct(*members)


def field(
    name: str,
    kind: construct.Construct,
    doc: str,
    *,
    unit: str = "",
    hint: str = "dec",
    names: tuple[str, str] | None = None,
) -> Field:
    """A member called `name` of type `kind`; the rest as in `Meta`."""
    return Field(name, kind, Meta(doc, unit, hint, names))
