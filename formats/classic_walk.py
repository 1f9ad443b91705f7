# SPDX-License-Identifier: GPL-2.0-or-later
"""Finding records that do not say where they end in their header: LTT's, and those of LTTV's first container.

A record is [cpu u8], id, time u32, the struct of its id, text or data if its id has some, [size u16]. Forwards one must
know every struct; backwards from the last record the sizes lead the way, which is how what is broken is passed over.
The functions here are the slow ones, for the oracle and for the odd packet; the decoder has its own.
"""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ltt_relay.formats.base import Format, Framing
from ltt_relay.formats.classic_events import BUFFER_END, BUFFER_START, CUSTOM, CUSTOM_IDS, MAGIC, START
from ltt_relay.formats.loaded import Packet
from ltt_relay.formats.oracle import Parsed, payload

__all__ = ("HALF", "ClassicFraming", "Place", "Shape", "classic_records", "cycles", "find_end", "interpolate", "places")

#: A step back of a 32-bit time that is larger than this is a wrap.
HALF = 1 << 31


@dataclass(frozen=True, slots=True)
class Shape:
    """How long records of an id are: `size` bytes of struct, and what is behind it.

    sub: the struct begins with a sub-number. length_at: where in the struct the length of what is behind it is, to
    which `extra` is added (-1: nothing is behind it), for sub-numbers whose bit is set in `subs` (-1: for all). text: a
    text ended by NUL is behind it, and behind that are `tail` bytes.
    """

    size: int
    sub: bool = False
    length_at: int = -1
    extra: int = 0
    subs: int = -1
    text: bool = False
    tail: int = 0


@dataclass(frozen=True, slots=True)
class ClassicFraming(Framing):
    """Records of LTT.

    order: byte order; shapes: by id; id_size: bytes of an id; cpu: records begin with their CPU's number; sizes: they
    end with their size; end_size: the last one of a packet does so, too; cycles: times are the low half of a counter
    of cycles, else us since the packet's begin; cpus: those that share a file (each has a packet of the same bytes).
    """

    order: str
    shapes: dict[int, Shape]
    id_size: int = 1
    cpu: bool = False
    sizes: bool = True
    end_size: bool = True
    cycles: bool = False
    cpus: tuple[int, ...] = ()

    @property
    def head(self) -> int:
        """Bytes before the struct, without a CPU's number."""
        return self.id_size + 4

    def length(self, number: int) -> int:
        """Bytes of a record of that id with nothing behind its struct and no CPU's number."""
        tail = 2 if self.sizes and (number != BUFFER_END or self.end_size) else 0
        return self.head + self.shapes[number].size + tail


class Place(NamedTuple):
    """A record: its begin, id, time as it is there, struct's begin, end of what is behind it, CPU (-1: not told).

    code: 0, or what is wrong: 1 its size, 3 its id; `value` is that size or id.
    """

    at: int
    id: int
    delta: int
    body: int
    stop: int
    cpu: int
    code: int = 0
    value: int = 0


def _starts(framing: ClassicFraming, data: bytes, at: int) -> bool:
    """Whether a START record is there, which has no CPU's number."""
    head = framing.head
    if at != framing.length(BUFFER_START) or data[at : at + 1] != bytes([START]) or not framing.sizes:
        return False
    return data[at + head : at + head + 4] == _struct.pack(f"{framing.order}I", MAGIC)


def _behind(framing: ClassicFraming, shape: Shape, data: bytes, body: int, content: int) -> int:
    """Return the bytes behind the struct; more than there is room for if that is damaged."""
    if shape.text:
        end = data.find(b"\0", body + shape.size, content)
        return end + 1 - body - shape.size + shape.tail if end >= 0 else content
    if shape.length_at < 0 or body + shape.size > content:
        return 0
    if shape.sub and shape.subs >= 0 and not (data[body] < 32 and shape.subs >> data[body] & 1):
        return 0
    length: int = _struct.unpack_from(f"{framing.order}I", data, body + shape.length_at)[0]
    return length + shape.extra


def places(framing: ClassicFraming, data: bytes, content: int, *, searching: bool = False) -> Iterator[Place]:
    """Yield the records of a packet that ends, with its last record, at `content`; what is wrong has a code.

    searching: the end is not known; the first BUFFER_END is it.
    """
    order, small = framing.order, framing.id_size == 1
    read_id, read_time, read_size = (_struct.Struct(order + c).unpack_from for c in ("B" if small else "H", "I", "H"))
    borders: list[int] | None = None
    at = 0
    while at + framing.head <= content:
        skip = int(framing.cpu and at > 0 and not _starts(framing, data, at))
        body = at + skip + framing.head
        code = value = stop = behind = 0
        if body > content:
            number = delta = 0
            code = 1
        else:
            number, delta = read_id(data, at + skip)[0], read_time(data, at + skip + framing.id_size)[0]
            shape = framing.shapes.get(number)
            if shape is None:
                code, value = 3, number
            else:
                stop = body + shape.size + _behind(framing, shape, data, body, content)
                tail = 2 if framing.sizes and (number != BUFFER_END or framing.end_size) else 0
                behind = stop + tail
                if behind > content or (number == BUFFER_END and not searching and behind != content):
                    code, value = 1, behind - at
                elif tail and number != BUFFER_END and read_size(data, stop)[0] != behind - at:
                    code, value = 1, read_size(data, stop)[0]
        if code:
            yield Place(at, number, delta, body, at, -1, code, value)
            if searching:
                return
            borders = _borders(framing, data, content) if borders is None else borders
            after = [border for border in borders if border > at]
            if not after:
                return
            at = after[-1]
            continue
        yield Place(at, number, delta, body, stop, data[at] if skip else -1)
        if number == BUFFER_END:
            return
        at = behind


def _borders(framing: ClassicFraming, data: bytes, content: int) -> list[int]:
    """Return where records begin, from the last one back as far as their sizes lead."""
    last = content - framing.length(BUFFER_END) - framing.cpu
    first = framing.length(BUFFER_START)
    if not framing.sizes or last < first or data[last + framing.cpu] != BUFFER_END:
        return []
    found = [last]
    while found[-1] - 2 >= first:
        size = _struct.unpack_from(f"{framing.order}H", data, found[-1] - 2)[0]
        if size < framing.head + 2 or found[-1] - size < first:
            break
        found.append(found[-1] - size)
    return found


def find_end(framing: ClassicFraming, data: bytes) -> int | None:
    """Return where a packet's BUFFER_END ends, None if there is none before what cannot be read."""
    for place in places(framing, data, len(data), searching=True):
        if place.id == BUFFER_END and not place.code:
            return place.stop + (2 if framing.sizes and framing.end_size else 0)
    return None


def interpolate(elapsed: int, total: int, span: int) -> int:
    """Return elapsed * span // total; where the integers are too long for 64 bits, less their low bits.

    As the compiled walker does it: two divisions of 64 bits by halves of span, 20 bits apart.
    """
    while total >= 1 << 42 or total * ((span >> 20) + 1) >= 1 << 62:
        total, elapsed = total >> 1, elapsed >> 1
    return elapsed * span // total if total > 0 else 0


def cycles(framing: ClassicFraming, found: list[Place], ended: bool) -> list[int]:
    """Return the cycles from the packet's begin to each record; ended: BUFFER_END's count.

    START has the time of BUFFER_START, whatever it says: in a snapshot it says 0.
    """
    result = []
    passed = previous = 0
    for place in found:
        if place.id == BUFFER_START and not place.at:
            previous = place.delta
        elif not place.code and (place.id != BUFFER_END or ended) and not (place.id == START and framing.sizes):
            passed += (place.delta - previous) % (1 << 32)
            previous = place.delta
        result.append(passed)
    return result


def _microseconds(framing: ClassicFraming, found: list[Place], content: int, span: int | None) -> list[int]:
    """Return the us from the packet's begin to each record."""
    result = []
    passed = 0
    end = content - framing.length(BUFFER_END) - framing.cpu
    for place in found:
        if place.id == BUFFER_END and not place.code:
            passed = passed if span is None else max(passed, span // 1000)
        elif not place.code and place.id not in {BUFFER_START, START}:
            step = place.delta - (passed & 0xFFFF_FFFF)
            # A record that just fits is stamped relative to the next sub-buffer, which begins when this one ends.
            if step < 0 and place.stop + 2 * framing.sizes == end and span is not None:
                passed = max(passed, span // 1000)
            elif step >= 0 or step < -HALF:
                passed += step % (1 << 32)
        result.append(passed)
    return result


def ticks(framing: ClassicFraming, found: list[Place], content: int, span: int | None) -> list[int]:
    """Return the time of each record: ns from the packet's begin, or cycles if `span` (ns to its end) is not known.

    Time never goes back: where us do, by less than half of their range, the record gets the time of the one before.
    """
    if not framing.cycles:
        return [us * 1000 for us in _microseconds(framing, found, content, span)]
    passed = cycles(framing, found, span is not None)
    if span is None:
        return passed
    return [interpolate(each, passed[-1], span) for each in passed]


def classic_records(format: Format, data: bytes, packet: Packet) -> Iterator[Parsed]:  # noqa: A002
    """Yield the records of a packet of `ClassicFraming`."""
    framing = format.framing
    assert isinstance(framing, ClassicFraming)
    by_id = {event.id: event for event in format.events}
    content = min(packet.content, len(data))
    found = list(places(framing, data, content))
    span = None if packet.end is None else packet.end - packet.begin
    for place, passed in zip(found, ticks(framing, found, content, span), strict=True):
        mine = place.cpu == packet.cpu or (place.cpu < 0 and packet.cpu == framing.cpus[0]) if framing.cpus else True
        if not mine:
            continue
        if place.code:
            what = f"{'event' if place.code == 3 else 'a record of'} {place.value}"
            yield Parsed(packet.sequence, place.at, "damage", None, packet.cpu, {"found": what})
            continue
        number = place.id
        if framing.shapes[number].sub and place.stop > place.body:
            number |= data[place.body] << 8
        elif number == CUSTOM and place.stop > place.body:
            custom: int = _struct.unpack_from(f"{framing.order}I", data, place.body)[0]
            number = CUSTOM_IDS | custom if custom < CUSTOM_IDS else CUSTOM
        event = by_id.get(number) or by_id[place.id]
        name, fields = payload(event, data[place.body : place.stop])
        time = packet.begin + passed * packet.scale[0] // packet.scale[1]
        yield Parsed(packet.sequence, place.at, name, time, packet.cpu, fields)
