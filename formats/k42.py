# SPDX-License-Identifier: GPL-2.0-or-later
"""LTT as the K42 project's Linux for ppc64 wrote it (2004): version 2.3 too, but with another record.

Big endian; a record is a header of 8 bytes (time u32 in us, event u8, sub-number u8, size u16 with the header in it), a
struct that is aligned as C does, and zeros to a multiple of 8 bytes. The last four bytes of a sub-buffer say how far
from its end the BUFFER_END record is.
"""

from __future__ import annotations

import functools
import struct as _struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from ltt_relay.formats.base import Event, Format, HeaderFraming, PacketClock, Stream, Switch
from ltt_relay.formats.classic_events import (
    BUFFER_END,
    BUFFER_START,
    CUSTOM,
    KINDS,
    MAGIC,
    PROGRAMS,
    START,
    Slot,
    events,
    layout,
)
from ltt_relay.formats.companion import group_files, read_proc, strangers
from ltt_relay.formats.fields import BIG, field, integer, sized, sized_text, struct
from ltt_relay.formats.layout import unpacker
from ltt_relay.formats.loaded import Loaded, LoadError, Packet, Problem

__all__ = ("HEADER", "claims", "format_of", "load")

_u8, _u16, _u32 = (integer(bits, signed=False, order=BIG) for bits in (8, 16, 32))

HEADER: Final = struct(
    field("time", _u32, "low 32 bits of the wall clock", unit="us"),
    field("event", _u16, "event << 8 | sub-number"),
    field("size", _u16, "bytes of the record, this header included", unit="B"),
)
_HEAD: Final = HEADER.sizeof()
_header: Final = unpacker(HEADER)
_BUFFER: Final = 4096
_START_SLOTS: Final = (
    Slot("magic", 4), Slot("arch_type", 4), Slot("arch_variant", 4), Slot("system_type", 4), Slot("buffer_size", 4),
    Slot("major", 1), Slot("minor", 1), Slot("use_tsc", 1), Slot("cpu_id", 1), Slot("flight_recorder", 1),
    Slot("event_mask", 8), Slot("details_mask", 8),
)  # fmt: skip


def _aligned(slots: tuple[Slot, ...]) -> tuple[Slot, ...]:
    """Put gaps where C has them; texts of characters need none."""
    found: list[Slot] = []
    at = 0
    for slot in slots:
        gap = -at % slot.size if slot.size in {2, 4, 8} else 0
        found += [Slot("", gap, True)] * bool(gap) + [slot]
        at += gap + slot.size
    return tuple(found)


def _layouts(clock: int) -> dict[int, tuple[Slot, ...]]:
    """Return the structs by number; clock: bytes of each half of a wall clock."""
    found = layout(word=8)
    found[12] = (Slot("sdata", 1), Slot("data1", 4), Slot("data2", 4))
    found[15] = (Slot("data1", 4), Slot("data2", 8))
    wall = (Slot("sec", clock), Slot("usec", clock), Slot("tsc", 4))
    found |= {START: _START_SLOTS, BUFFER_START: (*wall, Slot("buffer_id", 4)), BUFFER_END: wall}
    del found[62], found[63]
    own = {n: tuple(s for s in slots if s.name != "sub_id" and not s.pointer) for n, slots in found.items()}
    return {number: _aligned(slots) for number, slots in own.items()}


@functools.cache
def format_of(clock: int = 4, details: int = -1) -> Format:
    """Return the format; clock: bytes of each half of a wall clock, which two kinds of writer have differently."""
    layouts = _layouts(clock)
    found: list[Event] = []
    for event in events(KINDS, layouts, BIG, details, lambda: sized_text("length")):
        if event.id == CUSTOM and details >> CUSTOM & 1:
            data = field("data", sized("data_size"), "what was logged")
            event = replace(event, payload=struct(*event.payload.subcons, data))
        found.append(replace(event, id=(event.id & 0xFF) << 8 | event.id >> 8))
    framing = HeaderFraming(HEADER, id="event", length="size", time="time", align=8)
    switch = Switch("sched_switch", "prev_pid", "next_pid") if details >> 7 & 1 else None
    stream = Stream(0, "events", "what happened on one CPU")
    clock_ = PacketClock(32, 1_000_000)
    namings = (PROGRAMS,) if details >> 11 & 1 else ()
    return Format("LTT K42", (2, 3), None, framing, clock_, (stream,), tuple(found), switch=switch, namings=namings)


def _start(file: Path) -> Any | None:
    """Return START's fields, if a file begins with a sub-buffer that has it."""
    try:
        with file.open("rb") as stream:
            data = stream.read(_BUFFER)
    except OSError:
        return None
    payload = format_of().event("trace_start").payload
    at = 0
    while at + _HEAD + payload.sizeof() <= len(data):
        head = HEADER.parse(data[at:])
        if head.event == START << 8 and data[at + 8 : at + 12] == _struct.pack(">I", MAGIC):
            return payload.parse(data[at + _HEAD :])
        if head.size < _HEAD:
            return None
        at += head.size + -head.size % 8
    return None


def claims(path: Path) -> bool:
    """Return whether it is such a file, or a directory with some."""
    if path.is_file():
        return _start(path) is not None
    return path.is_dir() and any(_start(file) for file in path.iterdir() if file.is_file())


def load(path: Path) -> Loaded:
    """Return the sub-buffers of all CPUs.

    Raises:
        LoadError: there are several traces, or the files of one differ.

    """
    grouped = group_files(path, lambda file: _start(file) is not None)
    files = [file for _, file in grouped]
    starts = [_start(file) for file in files]
    first = next(iter(starts), None)
    if first is None:
        raise LoadError(f"{path}: no sub-buffer with START at its begin")
    with files[0].open("rb") as stream:
        head = HEADER.parse(stream.read(_HEAD))
    clock = 8 if head.size >= _HEAD + 24 else 4
    loaded = Loaded(format_of(clock, first.details_mask), files, [], names=read_proc(files))
    loaded.env = {"tracer_name": "LTT", "tracer_major": 2, "tracer_minor": 3, "sysname": "Linux", "arch": "ppc64"}
    loaded.details = {
        "dialect": "K42", "byte_order": "big", "clock": "microseconds", "flight_recorder": first.flight_recorder,
        "event_mask": f"0x{first.event_mask:x}", "details_mask": f"0x{first.details_mask:x}",
    }  # fmt: skip
    for cpu, file in strangers(grouped):
        left = "none: it is left out"
        loaded.problems.append(Problem(file.name, cpu, 0, 0, "packet_header", "START in the first sub-buffer", left))
    edges = _Edges.of(loaded.format)
    for number, (file, start) in enumerate(zip(files, starts, strict=True)):
        size = start.buffer_size if start and start.buffer_size >= 64 and not start.buffer_size % 8 else _BUFFER
        with file.open("rb") as stream:
            total = file.stat().st_size
            for at in range(0, total, size):
                stream.seek(at)
                found = _packet(loaded, number, start.cpu_id if start else 0, at, stream.read(size), size, edges)
                if found:
                    loaded.packets.append(found)
    return loaded


class _Edges(NamedTuple):
    """Readers of the first and last record of a sub-buffer, behind their headers, and how long those are."""

    first: Callable[..., Any]
    last: Callable[..., Any]
    first_size: int
    last_size: int

    @classmethod
    def of(cls, format: Format) -> Self:  # noqa: A002
        """Return those of a format."""
        first, last = (format.event(name).payload for name in ("buffer_start", "buffer_end"))
        return cls(unpacker(first), unpacker(last), _HEAD + first.sizeof(), _HEAD + last.sizeof())


def _packet(
    loaded: Loaded, number: int, cpu: int, at: int, data: bytes, size: int, edges: _Edges
) -> Packet | None:  # fmt: skip
    sequence = at // size
    name = loaded.files[number].name

    def problem(code: str, where: int, expected: str, found: str) -> None:
        loaded.problems.append(Problem(name, cpu, sequence, at + where, code, expected, found))

    head = _header(data) if len(data) >= edges.first_size else None
    if head is None or head.event != BUFFER_START << 8 or head.size < edges.first_size:
        problem("packet_header", 0, "BUFFER_START", "something else")
        return None
    start = edges.first(data, _HEAD)
    begin = (start.sec * 1_000_000 + start.usec) * 1000
    if not 0 <= begin < 1 << 62:
        problem("packet_header", 0, "a wall clock", f"{start.sec} s, {start.usec} us")
        return None
    content, end = len(data), None
    if len(data) == size:
        lost = _struct.unpack(">I", data[-4:])[0]
        place = size - lost
        content = size - 4
        if edges.last_size + 4 <= lost < size and not place % 8:
            tail = _header(data, place)
            if tail.event == BUFFER_END << 8 and tail.size >= edges.last_size:
                content = place + edges.last_size
                end = edges.last(data, place + _HEAD)
        if end is None:
            problem("packet_trailer", size - 4, "the distance to BUFFER_END", str(lost))
            content = _walk(data, size - 4)
    else:
        problem("truncated", 0, f"{size} bytes of sub-buffer", f"{len(data)} bytes")
    stop = None if end is None else (end.sec * 1_000_000 + end.usec) * 1000
    if stop is not None and not begin <= stop < begin + (1 << 61):
        stop = None
    return Packet(number, at, 0, content, cpu, begin, stop, sequence=start.buffer_id, ticks=head.time, scale=(1000, 1))


def _walk(data: bytes, limit: int) -> int:
    """Return where BUFFER_END ends, by the sizes of the records before it; `limit` if there is none."""
    at = 0
    while at + _HEAD <= limit:
        head = _header(data, at)
        if head.size < _HEAD:
            return limit
        if head.event == BUFFER_END << 8:
            return min(at + int(head.size), limit)
        at += head.size + -head.size % 8
    return limit
