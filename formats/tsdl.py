# SPDX-License-Identifier: GPL-2.0-or-later
"""Events that a session got at run time, read from the text of its `metadata`: declared ones and kprobes.

The kernel appends them to the static part (`kmod/ltt/dynamic.c`), in the few types that can be declared there:

>>> text = 'event { name = "hit"; id = 256; stream_id = 0; fields := struct { int32_t tid; uint64_hex_t ip; }; };'
>>> (hit,), _ = events(text, 256)
>>> hit.name, hit.group, hit.payload.sizeof()
('hit', 'user', 16)
"""

from __future__ import annotations

import re
from typing import Final

from ltt_relay.formats.base import Event
from ltt_relay.formats.ctf import KEYWORDS
from ltt_relay.formats.fields import Field, chars, cstring, field, integer, pad, struct
from ltt_relay.formats.layout import Scalar, resolve

__all__ = ("KPROBE", "events")

#: How the name of a kprobe's event begins; declared events are never called so.
KPROBE: Final = "kprobe_"

# The text is cut at these, one after the other: one pattern for it all would take the cube of the text's length.
_EVENT: Final = re.compile(r"\bevent\s*\{")
_FIELDS: Final = re.compile(r"\bfields\s*:=\s*struct\s*\{")
_END: Final = re.compile(r"\}\s*;\s*\}\s*;")
_NAME: Final = re.compile(r'name\s*=\s*"([^"]*)"')
_ID: Final = re.compile(r"id\s*=\s*(\d{1,9})")
_NUMBER: Final = re.compile(r"\b(id|stream_id)\s*=\s*(\d{1,9})")
_MEMBER: Final = re.compile(r"(\w+)\s+(\w+)\s*(?:\[(\d{1,9})\])?")
_INTEGER: Final = re.compile(r"(u?)int(8|16|32|64)(_hex)?_t")
_MAX_CHARS: Final = 4096
_TID: Final = Scalar(4, signed=True, big=False)
_MAX_ID: Final = 65535


def _member(text: str) -> tuple[Field, int, int]:
    """One declaration: the field, what it is aligned to, and its size (0 for a string)."""
    match = _MEMBER.fullmatch(text)
    if not match:
        raise ValueError(f"{text!r} where TYPE NAME was expected")
    kind, name, count = match.groups()
    if name.startswith("_") and name[1:] in KEYWORDS:
        name = name[1:]
    if number := _INTEGER.fullmatch(kind):
        if count:
            raise ValueError(f"{text!r}: an array, which no event of ours has")
        bits = int(number[2])
        names = ("task", "comm") if name == "tid" else None
        member = integer(bits, signed=not number[1])
        return field(name, member, "", hint="hex" if number[3] else "dec", names=names), bits // 8, bits // 8
    if kind == "utf8_t" and count and 0 < int(count) <= _MAX_CHARS:
        return field(name, chars(int(count)), ""), 1, int(count)
    if kind == "string" and not count:
        return field(name, cstring(), ""), 1, 0
    raise ValueError(f"{text!r}: not a type that can be declared")


def _payload(text: str) -> list[Field]:
    members: list[Field] = []
    at = 0
    names: set[str] = set()
    ended = False
    for declaration in filter(None, (part.strip() for part in text.split(";"))):
        member, align, size = _member(declaration)
        if ended:
            raise ValueError(f"{declaration!r} behind a string")
        ended = not size
        if member.name in names:
            raise ValueError(f"{declaration!r}: a second field of that name")
        names.add(member.name)
        if gap := -at % align:
            members.append(pad(gap))
        members.append(member)
        at += gap + size
    return members


def _event(head: str, body: str, first_id: int) -> Event | None:
    name = _NAME.search(head)
    numbers = {key: int(value) for key, value in _NUMBER.findall(head)}
    if numbers.get("id", 0) < first_id:
        return None
    if not name or not name[1] or max(numbers.values()) > _MAX_ID:
        raise ValueError("no name, or an id that does not fit into 16 bits")
    try:
        members = _payload(body)
    except ValueError as error:
        raise ValueError(f"event {name[1]!r}: {error}") from None
    kprobe = name[1].startswith(KPROBE)
    doc = f"the kernel's function {name[1].removeprefix(KPROBE)} is entered" if kprobe else "declared from user space"
    tid = "tid" if any(member.name == "tid" and resolve(member) == _TID for member in members) else None
    return Event(
        numbers["id"], name[1], "kprobe" if kprobe else "user", "custom", doc, struct(*members),
        stream=numbers.get("stream_id", 0), tid=tid,
    )  # fmt: skip


def events(text: str, first_id: int) -> tuple[list[Event], list[str]]:
    """Return the events of a metadata text with ids from `first_id` on, and what is wrong with those left out."""
    found: dict[int, Event] = {}
    wrong: list[str] = []
    names: set[str] = set()
    if all(int(number) < first_id for number in _ID.findall(text)):
        return [], []
    for described in _EVENT.split(text)[1:]:
        head, *fields = _FIELDS.split(described, maxsplit=1)
        end = _END.search(fields[0]) if fields else None
        if end is None:
            continue
        try:
            event = _event(head, fields[0][: end.start()], first_id)
        except ValueError as error:
            wrong.append(str(error))
            continue
        if event is None:
            continue
        if event.id in found or event.name in names:
            wrong.append(f"event {event.name!r}, id {event.id}: there is another of that name or id")
            continue
        found[event.id] = event
        names.add(event.name)
    return list(found.values()), wrong
