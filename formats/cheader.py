# SPDX-License-Identifier: GPL-2.0-or-later
"""The C header of LTT 3.0 that the kernel modules include: structs, sizes, ids, names and the metadata's text."""

from __future__ import annotations

from collections.abc import Iterable

from ltt_relay.formats import ctf, ltt3
from ltt_relay.formats.base import Event
from ltt_relay.formats.layout import (
    Blob,
    Chars,
    CString,
    Member,
    Padding,
    Repeat,
    Scalar,
    UnsupportedFieldError,
    members,
)
from ltt_relay.formats.ltt3_events import block, calls

__all__ = ("fixed_size", "header", "offsets")


def _c_type(scalar: Scalar) -> str:
    return f"{'s' if scalar.signed else 'u'}{8 * scalar.size}"


def _declaration(member: Member) -> str:
    match member.kind:
        case Scalar() as scalar:
            return f"{_c_type(scalar)} {member.name}"
        case Chars(size):
            return f"char {member.name}[{size}]"
        case CString():
            return f"char {member.name}[]"
        case Blob(size) | Padding(size):
            return f"u8 {member.name}[{size}]"
        case Repeat(count, item):
            return f"{_c_type(item)} {member.name}[{count if isinstance(count, int) else ''}]"
        case kind:
            raise UnsupportedFieldError(f"{member.name}: {type(kind).__name__} has no C type here")


def _size(member: Member) -> int | None:
    match member.kind:
        case Scalar(size=size) | Chars(size) | Blob(size) | Padding(size):
            return size
        case Repeat(int() as count, item):
            return count * item.size
        case _:
            return None


def offsets(found: Iterable[Member]) -> list[tuple[str, int]]:
    """Return name and offset of each member, as construct lays them out: without any padding of its own."""
    at = 0
    places = []
    for member in found:
        places.append((member.name, at))
        size = _size(member)
        if size is None:
            break
        at += size
    return places


def fixed_size(found: Iterable[Member]) -> int:
    """Return the bytes before the first member of variable length."""
    return sum(_size(member) or 0 for member in found)


def _comment(text: str) -> str:
    return f"/* {text} */"


def _struct(name: str, doc: str, found: list[Member]) -> list[str]:
    lines = [_comment(doc), f"struct {name} {{"]
    placed = offsets(found)
    for i, member in enumerate(found):
        # What lies behind a member of variable length has no place in C: it follows that member's end.
        text = f"{_declaration(member) + ';':<28}{_comment(member.meta.doc)}"
        lines += [f"\t{text}" if i < len(placed) else f"\t/* then {member.name}: {member.meta.doc} */"]
    lines += ["};"]
    lines += [f'_Static_assert(offsetof(struct {name}, {member}) == {at}, "{name}.{member}");' for member, at in placed]
    return [*lines, ""]


def _event(event: Event) -> list[str]:
    found = list(members(event.payload))
    upper = event.name.upper()
    lines = _struct(f"ltt3_{event.name}", event.doc, found)
    lines.insert(-1, f"#define LTT3_{upper}_SIZE {fixed_size(found)}")
    return lines


def _field_kind(member: Member) -> str | None:
    match member.kind:
        case Scalar(signed=True):
            return "SIGNED"
        case Scalar():
            return "HEX" if member.meta.hint == "hex" else "UNSIGNED"
        case Chars():
            return "CHARS"
        case CString():
            return "STRING"
        case _:
            return None


def _event_fields(event: Event) -> list[str]:
    """X(EVENT, name, kind, offset, size) of each field of a fixed place; a string's size is 0."""
    found = {member.name: member for member in members(event.payload)}
    lines = []
    for name, at in offsets(found.values()):
        kind = _field_kind(found[name]) if name else None
        if kind:
            lines.append(f"X({event.name.upper()}, {name}, {kind}, {at}, {_size(found[name]) or 0})")
    return lines


def _string(name: str, text: str) -> list[str]:
    """A macro of adjacent C strings, a line of text each."""
    lines = []
    for line in text.splitlines(keepends=True):
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\n", "\\n")
        lines.append(f'\t"{escaped}"')
    return [f"#define {name} \\", *(f"{line} \\" for line in lines[:-1]), lines[-1], ""]


def _names(kind: str, last: str, names: Iterable[str]) -> list[str]:
    """Numbers from 0 on, with the names that they have in files."""
    return [
        f"enum ltt3_{kind} {{",
        *(f"\tLTT3_{kind.upper()}_{name.upper()}," for name in names),
        f"\t{last}",
        "};",
        "",
        f"static const char * const ltt3_{kind}_names[{last}] __attribute__((unused)) = {{",
        *(f'\t"{name}",' for name in names),
        "};",
        "",
    ]


def header() -> str:
    """Return the text of kmod/include/ltt3_gen.h."""
    out = [
        "/* SPDX-License-Identifier: GPL-2.0-only */",
        "/* LTT 3.0, generated by `make generate` from formats/ltt3.py: change that, not this. */",
        "#ifndef LTT3_GEN_H",
        "#define LTT3_GEN_H",
        "",
        "#ifdef __KERNEL__",
        "#include <linux/stddef.h>",
        "#include <linux/types.h>",
        "#else",
        "#include <stddef.h>",
        "#include <stdint.h>",
        *(f"typedef {'u' * (sign == 'u')}int{bits}_t {sign}{bits};" for bits in (8, 16, 32, 64) for sign in "us"),
        "#endif",
        "",
        f"#define LTT3_MAGIC 0x{ltt3.MAGIC:08X}",
        f"#define LTT3_MAP_MAGIC 0x{ltt3.MAP_MAGIC:016X}ULL",
        f"#define LTT3_MAJOR {ltt3.FORMAT.version[0]}",
        f"#define LTT3_MINOR {ltt3.FORMAT.version[1]}",
        f"#define LTT3_HEADER_SIZE {ltt3.HEADER_SIZE}",
        f"#define LTT3_RECORD_HEADER_SIZE {ltt3.RECORD.sizeof()}",
        f"#define LTT3_MAX_RECORD 0x{ltt3.MAX_RECORD:X}",
        f"#define LTT3_COMM_LEN {ltt3.TASK_COMM_LEN}",
        f"#define LTT3_FIRST_DYNAMIC_ID {ltt3.FIRST_DYNAMIC_ID}",
        "",
        _comment("Packet flags."),
        *(f"#define LTT3_PACKET_{name.upper()} {bit}" for name, bit in ltt3.PACKET_FLAGS.items()),
        "",
        _comment("Kinds of stream."),
        *(f"#define LTT3_STREAM_{stream.name.upper()} {stream.id}" for stream in ltt3.FORMAT.streams),
        "",
        _comment("Why a record was lost, in the order of the packet header's counters."),
        *_names("lost", "LTT3_LOST_REASONS", ltt3.LOST_REASONS),
        _comment("How severe a line of a log is."),
        *_names("level", "LTT3_LEVELS", ltt3.LEVELS),
        _comment("Who logged it."),
        *_names("facility", "LTT3_FACILITIES", ltt3.FACILITIES),
        _comment("Which side logged it."),
        *(f"#define LTT3_ORIGIN_{name.upper()} {value}" for name, value in ltt3.ORIGINS.items()),
        "",
        _comment("Calling conventions."),
        *(f"#define LTT3_ABI_{name.upper()} {value}" for name, value in calls.ABIS.items()),
        "",
        _comment("What is to be done with sectors, and how."),
        *(f"#define LTT3_BLOCK_{name.upper()} {value}" for name, value in block.BLOCK_OPS.items()),
        *(f"#define LTT3_BLOCK_FLAG_{name.upper()} {value}" for name, value in block.BLOCK_FLAGS.items()),
        "",
        _comment("Why a state_task record was written."),
        *(f"#define LTT3_CAUSE_{name.upper()} {value}" for name, value in ltt3.TASK_CAUSES.items()),
        "",
        *_struct("ltt3_packet_header", "The begin of a packet.", list(members(ltt3.PACKET))),
        *_struct("ltt3_record_header", "The begin of a record.", list(members(ltt3.RECORD))),
        *_struct("ltt3_ring_map", "Where a ring's pages are in memory.", list(members(ltt3.RING_MAP))),
        "enum ltt3_id {",
        *(f"\tLTT3_ID_{event.name.upper()} = {event.id}," for event in ltt3.EVENTS),
        "};",
        "",
        *(line for event in ltt3.EVENTS for line in _event(event)),
        _comment("X(NAME, name, group, class, tracepoint): the events of the streams called events."),
        "#define LTT3_EVENTS(X) \\",
        " \\\n".join(
            f'\tX({event.name.upper()}, {event.name}, {event.group}, {event.ltt_class}, "{event.provider or ""}")'
            for event in ltt3.EVENTS
            if event.stream == 0
        ),
        "",
        _comment("X(EVENT, name, kind, offset, size): the fields of those events, as far as their place is fixed."),
        "#define LTT3_FIELDS(X) \\",
        " \\\n".join(f"\t{line}" for event in ltt3.EVENTS if event.stream == 0 for line in _event_fields(event)),
        "",
        _comment("CTF metadata: HEAD, the UUID's digits, TRACE, the environment, CLOCK, s, OFFSET, ns, BODY."),
    ]
    head, tail = ctf.trace(ltt3.FORMAT)
    before, between = ctf.clock()
    for name, text in (
        ("HEAD", head), ("TRACE", tail), ("CLOCK", before), ("OFFSET", between), ("BODY", ctf.body(ltt3.FORMAT)),
    ):  # fmt: skip
        out += _string(f"LTT3_TSDL_{name}", text)
    return "\n".join([*out, "#endif", ""])
