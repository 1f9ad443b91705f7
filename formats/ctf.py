# SPDX-License-Identifier: GPL-2.0-or-later
"""CTF 1.8 metadata (TSDL) of a format whose packets are CTF packets as they are.

CTF: Common Trace Format Specification 1.8.3 (Desnoyers, 2013). The text comes in parts, since the kernel modules print
the same parts around what only they know: the session's UUID, the environment and the clock's offset.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final
from uuid import UUID

import construct

from ltt_relay.formats.base import Event, Format, LengthFraming, Stream
from ltt_relay.formats.layout import Blob, Chars, CString, Kind, Member, Repeat, Scalar, UnsupportedFieldError, members

__all__ = ("KEYWORDS", "body", "clock", "environment", "event", "metadata", "trace")

#: What CTF's packet.header takes of a packet's header; the rest is packet.context.
HEADER_FIELDS: Final = ("uuid", "stream_id", "stream_instance_id")

#: Words of the metadata's language: a field of such a name gets a `_` in front there.
KEYWORDS: Final = frozenset(
    [
        "align",
        "base",
        "byte_order",
        "callsite",
        "char",
        "clock",
        "const",
        "double",
        "encoding",
        "enum",
        "env",
        "event",
        "float",
        "floating_point",
        "id",
        "int",
        "integer",
        "long",
        "major",
        "map",
        "minor",
        "mant_dig",
        "exp_dig",
        "name",
        "short",
        "signed",
        "size",
        "stream",
        "stream_id",
        "string",
        "struct",
        "trace",
        "typealias",
        "typedef",
        "unsigned",
        "uuid",
        "value",
        "variant",
        "void",
        "_Bool",
        "_Complex",
        "_Imaginary",
    ]
)
_CLOCK_FIELDS: Final = frozenset({"timestamp", "timestamp_begin", "timestamp_end"})


def _alias(scalar: Scalar, hint: str = "dec", mapped: bool = False) -> str:
    sign = "" if scalar.signed else "u"
    return f"{sign}int{8 * scalar.size}{'_clock' if mapped else ''}{'_hex' if hint == 'hex' else ''}_t"


def _aliases() -> str:
    lines = []
    for bits in (8, 16, 32, 64):
        for signed in (False, True):
            form = f"integer {{ size = {bits}; align = {bits}; signed = {str(signed).lower()}; base = %d; }}"
            name = f"{'' if signed else 'u'}int{bits}"
            lines.append(f"typealias {form % 10} := {name}_t;")
            lines.append(f"typealias {form % 16} := {name}_hex_t;")
    text = "integer { size = 8; align = 8; signed = false; encoding = UTF8; }"
    lines.append(f"typealias {text} := utf8_t;")
    return "\n".join(lines)


def _type(kind: Kind, member: Member, mapped: bool) -> tuple[str, str]:
    """TSDL of a member: what stands before its name and behind it."""
    match kind:
        case Scalar(names=dict() as names):
            values = ", ".join(f'"{name}" = {value}' for value, name in names.items())
            return f"enum : {_alias(kind)} {{ {values} }}", ""
        case Scalar():
            return _alias(kind, "hex" if kind.flags else member.meta.hint, mapped), ""
        case Chars(size):
            return "utf8_t", f"[{size}]"
        case CString():
            return "string", ""
        case Blob(size):
            return "uint8_t", f"[{size}]"
        case Repeat(count, item):
            return _alias(item, member.meta.hint), f"[{count}]"
        case _:
            raise UnsupportedFieldError(f"{member.name}: {type(kind).__name__} has no place in this CTF writer")


def _fields(found: Iterable[Member], indent: str, clocks: bool = False) -> str:
    lines = []
    for member in found:
        before, behind = _type(member.kind, member, clocks and member.name in _CLOCK_FIELDS)
        name = f"_{member.name}" if member.name in KEYWORDS and not clocks else member.name
        lines.append(f"{indent}{before} {name}{behind};\n")
    return "".join(lines)


def trace(format: Format) -> tuple[str, str]:  # noqa: A002
    """Return the text before and behind the UUID's digits."""
    header = [member for member in members(format.packet or construct.Struct()) if member.name in HEADER_FIELDS]
    head = f'/* CTF 1.8 */\n\n{_aliases()}\n\ntrace {{\n\tmajor = 1;\n\tminor = 8;\n\tuuid = "'
    tail = '";\n\tbyte_order = le;\n\tpacket.header := struct {\n' + _fields(header, "\t\t", True) + "\t};\n};\n\n"
    return head, tail


def environment(values: Mapping[str, str | int]) -> str:
    """Return the env block; text is escaped."""
    lines = []
    for key, value in values.items():
        if isinstance(value, str):
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            value = f'"{escaped}"'
        lines.append(f"\t{key} = {value};\n")
    return "env {\n" + "".join(lines) + "};\n\n"


def clock() -> tuple[str, str]:
    """Return the text before the offset in seconds, and behind it; between that and " ns" go the nanoseconds."""
    head = 'clock {\n\tname = "monotonic";\n\tdescription = "monotonic clock of the kernel";\n\tfreq = 1000000000;\n'
    return head + "\toffset_s = ", ";\n\toffset = "


def event(event: Event) -> str:
    """Return the block of one event."""
    fields = _fields(members(event.payload), "\t\t")
    return (
        f'event {{\n\tname = "{event.name}";\n\tid = {event.id};\n\tstream_id = {event.stream};\n'
        f"\tfields := struct {{\n{fields}\t}};\n}};\n\n"
    )


def _stream(format: Format, stream: Stream) -> str:  # noqa: A002
    framing = format.framing
    if not isinstance(framing, LengthFraming):
        raise UnsupportedFieldError(f"{format.name}: its packets are not those of CTF")
    context = [member for member in members(format.packet or construct.Struct()) if member.name not in HEADER_FIELDS]
    record = list(members(framing.header))
    tabs = "\t\t"
    return (
        f"stream {{\n\tid = {stream.id};\n\tpacket.context := struct {{\n{_fields(context, tabs, True)}\t}};\n"
        f"\tevent.header := struct {{\n{_fields(record[:2], tabs, True)}\t}} align({8 * framing.align});\n"
        f"\tevent.context := struct {{\n{_fields(record[2:], tabs)}\t}};\n}};\n\n"
    )


def body(format: Format) -> str:  # noqa: A002
    """Return what follows the clock's offset: the end of the clock, the streams and the events."""
    clocks = [
        f"typealias integer {{ size = {bits}; align = {bits}; signed = false; map = clock.monotonic.value; }} := "
        f"uint{bits}_clock_t;\n"
        for bits in (32, 64)
    ]
    streams = [_stream(format, stream) for stream in format.streams]
    return "".join([";\n};\n\n", *clocks, "\n", *streams, *map(event, format.events)])


def metadata(format: Format, uuid: UUID, env: Mapping[str, str | int], wall_offset: int) -> str:  # noqa: A002
    """Return the whole text; `wall_offset` is wall clock minus monotonic clock in ns."""
    head, tail = trace(format)
    before, between = clock()
    seconds, nanoseconds = divmod(wall_offset, 1_000_000_000)
    return f"{head}{uuid}{tail}{environment(env)}{before}{seconds}{between}{nanoseconds}{body(format)}"
