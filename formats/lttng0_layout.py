# SPDX-License-Identifier: GPL-2.0-or-later
"""Layout of LTTng 0.3 to 1.0 (2005 to 2008): sub-buffer headers of each version, and the slow way through records."""

from __future__ import annotations

import functools
import struct as _struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import construct

from ltt_relay.formats.base import Event, Format, Framing
from ltt_relay.formats.fields import field, integer, struct
from ltt_relay.formats.loaded import Packet
from ltt_relay.formats.oracle import Parsed, plain

__all__ = (
    "LARGE", "MAGIC", "VERSIONS", "Layout", "LttngFraming", "Place", "empty", "header_of", "lttng_records", "places",
    "ticks", "witness",
)  # fmt: skip

MAGIC: Final = 0x00D6B7ED
VERSIONS: Final = {(0, 3), (0, 4), (0, 5), (0, 6), (0, 7), (0, 8), (1, 0)}
#: The size in a header of a payload that 16 bits cannot hold; what is described tells it.
LARGE: Final = 0xFFFF


@dataclass(frozen=True, slots=True)
class Layout:
    """A version as a machine with longs of `long` bytes wrote it."""

    version: tuple[int, int]
    order: str
    long: int

    @property
    def magic_at(self) -> int:
        """Bytes of the block header, which is before the magic number."""
        if self.version == (0, 3):
            return 40 if self.long == 4 else 56
        if self.version == (0, 4):
            return 56 if self.long == 4 else 72
        return 72 if self.version in {(0, 5), (0, 6)} else 40


def _block(layout: Layout) -> list[construct.Construct]:
    u32, u64 = (integer(bits, signed=False, order=layout.order) for bits in (32, 64))
    long = integer(8 * layout.long, signed=False, order=layout.order)
    members: list[construct.Construct] = []
    for end in ("begin", "end"):
        if layout.version <= (0, 4):
            members += [field(f"{end}_sec", long, "wall clock", unit="s"), field(f"{end}_usec", long, "and", unit="us")]
        elif layout.version <= (0, 6):
            members += [field(f"{end}_sec", u64, "wall clock", unit="s"), field(f"{end}_usec", u64, "and", unit="us")]
        members.append(field(f"{end}_cycle_count", u64, f"cycle counter at the {end}", unit="cycles"))
        if layout.version >= (0, 4):
            members.append(field(f"{end}_freq", u64, "its frequency", unit="kHz"))
    return [
        *members,
        field("lost_size", u32, "bytes at the end that are not in use", unit="B"),
        field("buf_size", u32, "bytes of the sub-buffer", unit="B"),
    ]


@functools.cache
def header_of(layout: Layout) -> construct.Struct:
    """Return the header of a sub-buffer."""
    u8, u32, u64 = (integer(bits, signed=False, order=layout.order) for bits in (8, 32, 64))
    long = integer(8 * layout.long, signed=False, order=layout.order)
    version = layout.version
    members = [
        *_block(layout),
        field("magic", u32, "0x00D6B7ED", hint="hex"),
        field("arch_type", u32, "architecture"),
        field("arch_variant", u32, "variant of it"),
        field("float_word_order", u32, "byte order of floats"),
        field("arch_size", u8, "size of a pointer", unit="B"),
        field("major", u8, "version"),
        field("minor", u8, "version"),
        field("flight_recorder", u8, "1 if old sub-buffers are overwritten"),
        field("has_heartbeat", u8, "1 if records have 32 bits of time, 0 if 64"),
        field("alignment", u8, "0 if nothing is aligned", unit="B"),
    ]
    if version <= (0, 6):
        members.append(field("has_tsc", u8, "1 if times are cycles, 0 if us since the sub-buffer's begin"))
    if version >= (0, 8):
        members += [
            field("tsc_lsb_truncate", u8, "low bits of the counter that compact records leave out"),
            field("tscbits", u8, "bits of the counter that they have"),
        ]
    if version >= (1, 0):
        members.append(field("compact_data_shift", u8, "where their data begin, in bits"))
    if version >= (0, 7):
        members.append(field("freq_scale", u32, "start_freq times this is in Hz"))
    if version >= (0, 4):
        clock = long if version == (0, 4) else u64
        members += [
            field("start_freq", u64, "frequency of the cycle counter"),
            field("start_tsc", u64, "cycle counter at the trace's begin", unit="cycles"),
            field("start_monotonic", u64, "monotonic clock then", unit="ns"),
            field("start_time_sec", clock, "wall clock then", unit="s"),
            field("start_time_usec", clock, "and", unit="us"),
        ]
    return struct(*members)


def witness(data: bytes) -> Layout | None:
    """Tell the layout from a file's first bytes: where the magic number is, and the version behind it."""
    for at in (40, 56, 72):
        for order in "<>":
            if data[at : at + 4] != _struct.pack(f"{order}I", MAGIC) or len(data) < at + 22:
                continue
            version = (data[at + 17], data[at + 18])
            for long in (4, 8):
                layout = Layout(version, order, long)
                if version in VERSIONS and layout.magic_at == at and data[at + 16] in {4, 8}:
                    # The wall clocks of the two oldest have longs; those of the others do not depend on them.
                    return Layout(version, order, long if version <= (0, 4) else data[at + 16])
    return None


@dataclass(frozen=True, slots=True)
class LttngFraming(Framing):
    """Records of LTTng before 2.0.

    order: of bytes; pointer: bytes of one; cap: largest alignment, 1 if nothing is aligned; wide: files whose records
    have 64 bits of time, as those of user space have beside a kernel's; us: times are us since the packet's begin;
    compact: files whose records have one word as their header, with `bits` of time, `truncated` of its low bits left
    out, and `id_bits` of id, to which compact_base is added.
    """

    order: str
    pointer: int
    cap: int
    wide: frozenset[int] = frozenset()
    us: bool = False
    compact: frozenset[int] = frozenset()
    bits: int = 27
    truncated: int = 0
    id_bits: int = 5
    compact_base: int = 0
    markers: bool = False

    def align(self, at: int, size: int) -> int:
        """Return the first place from `at` on where something of that size can be."""
        unit = min(self.cap, size)
        return at + -at % unit if unit > 1 else at


class Place(NamedTuple):
    """A record: its begin, id (facility << 8 | event), time as it is there, begin and end of its payload.

    code: 0, or what is wrong: 1 its size, 3 its id is not described and so nor is its size.
    """

    at: int
    id: int
    time: int
    body: int
    stop: int
    code: int = 0
    value: int = 0


#: Returns where the payload of an id at a place ends, None if that is not known or not in the packet.
Measure = Callable[[int, int, int], int | None]


def _compact(framing: LttngFraming, data: bytes, at: int) -> tuple[int, int]:
    """Return id and time of a compact record."""
    word: int = _struct.unpack_from(f"{framing.order}I", data, at)[0]
    number = (word >> framing.bits & (1 << framing.id_bits) - 1) + framing.compact_base
    return number, (word & (1 << framing.bits) - 1) << framing.truncated


def places(
    framing: LttngFraming, data: bytes, first: int, content: int, compact: bool, wide: bool, measure: Measure
) -> Iterator[Place]:  # fmt: skip
    """Yield the records of a packet; after what is wrong there are no more."""
    order = framing.order
    at = first
    size = 4 if compact else 12 if wide else 8
    while True:
        at = framing.align(at, size)
        if at + size > content:
            return
        large = compact
        length = 0
        if compact:
            number, time = _compact(framing, data, at)
            body = at + size
        else:
            time = _struct.unpack_from(f"{order}{'Q' if wide else 'I'}", data, at)[0]
            place = at + size - 4
            if framing.markers:
                number = _struct.unpack_from(f"{order}H", data, place)[0]
            else:
                number = data[place] << 8 | data[place + 1]
            length = _struct.unpack_from(f"{order}H", data, place + 2)[0]
            body = framing.align(at + size, framing.pointer)
            large = length == LARGE
        stop = measure(number, body, content) if large else body + length
        if stop is None or stop > content:
            yield Place(at, number, time, body, at, 3 if stop is None else 1, number if stop is None else length)
            return
        yield Place(at, number, time, body, stop)
        at = stop


def ticks(framing: LttngFraming, found: list[Place], begin: int, compact: bool, wide: bool) -> list[int]:
    """Return the full time of each record: cycles (`begin` is the packet's), or us since the packet's begin."""
    result = []
    now = begin
    for place in found:
        if framing.us or (wide and not compact):
            now = place.time if place.time < 1 << 63 else now
        elif not place.code:
            mask = (1 << (framing.bits + framing.truncated if compact else 32)) - 1
            low = (1 << framing.truncated) - 1 if compact else 0
            now += (place.time - (now & ~low)) & mask
        result.append(now)
    return result


def measure_of(events: dict[int, Event], data: bytes) -> Measure:
    """Return how payloads of described events are measured."""

    def measure(number: int, body: int, content: int) -> int | None:
        event = events.get(number)
        if event is None or body > content:
            return None
        shape = construct.Struct("payload" / event.payload, "end" / construct.Tell)
        try:
            return body + int(shape.parse(data[body:content]).end)
        except construct.ConstructError:
            return None

    return measure


def empty(data: bytes, first: int) -> int:
    """Return where the records end of a sub-buffer that was not closed, behind which are zeros.

    The last record may itself end with some, such as its text's NUL: three are too few to be taken for another record.
    """
    return min(max(len(data.rstrip(b"\0")) + 3, first), len(data))


def lttng_records(format: Format, data: bytes, packet: Packet) -> Iterator[Parsed]:  # noqa: A002
    """Yield the records of a packet of `LttngFraming`."""
    framing = format.framing
    assert isinstance(framing, LttngFraming)
    by_id = {event.id: event for event in format.events}
    compact, wide = packet.file in framing.compact, packet.file in framing.wide
    content = min(packet.content, len(data))
    found = list(places(framing, data, packet.first, content, compact, wide, measure_of(by_id, data)))
    for place, now in zip(found, ticks(framing, found, packet.ticks, compact, wide), strict=True):
        time = packet.begin + (now - packet.ticks) * packet.scale[0] // packet.scale[1]
        if place.code:
            what = f"{'event' if place.code == 3 else 'a size of'} {place.value}"
            yield Parsed(packet.sequence, place.at, "damage", None, packet.cpu, {"found": what})
            continue
        event = by_id.get(place.id)
        if event is None:
            yield Parsed(packet.sequence, place.at, "unknown", time, packet.cpu, {"id": place.id})
            continue
        try:
            fields: dict[str, Any] = plain(event.payload.parse(data[place.body : place.stop]))
            yield Parsed(packet.sequence, place.at, event.name, time, packet.cpu, fields)
        except construct.ConstructError as error:
            why = str(error).strip().splitlines()[-1]
            found_ = {"event": event.name, "found": why}
            yield Parsed(packet.sequence, place.at, "damage", time, packet.cpu, found_)
