# SPDX-License-Identifier: GPL-2.0-or-later
"""The oracle: records as construct sees them, one by one, slowly; independent of how the decoder finds and reads them.

What `ltt-relay dump` prints, and what the tests compare columns with. A format's module brings `records(path)`, or only
`load`, and then the records of its packets are parsed as `PARSERS` has it for their framing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final, NamedTuple

import construct

from ltt_relay.formats import registry
from ltt_relay.formats.base import Event, Format, Framing, HeaderFraming, LengthFraming
from ltt_relay.formats.loaded import Loaded, Packet

__all__ = ("PARSERS", "Parsed", "parse", "payload", "plain", "records", "scaled")


class Parsed(NamedTuple):
    """A record: where it is, the name of its event, ns of the trace's clock (None if not known), CPU, its fields.

    event is "packet" for a packet's header, "unknown" for a record of no event of the format, and "damage" for what
    construct cannot parse, with what it says under "found". offset: of the record in its file, -1 for that of a packet
    that has no header of its own.
    """

    packet: int
    offset: int
    event: str
    time: int | None
    cpu: int
    fields: dict[str, Any]
    file: str = ""


#: A function of a format, a packet's bytes and the packet; offsets in what it yields are from the packet's begin.
Parser = Callable[[Format, bytes, Packet], Iterator[Parsed]]


def plain(container: Any) -> dict[str, Any]:
    """Return the members of a parsed struct as plain values: bytes as hex, flags by name, structs as dicts, lists."""
    found = {}
    for name, value in container.items():
        if name.startswith("_"):
            continue
        if isinstance(value, bytes):
            value = value.hex()
        elif isinstance(value, dict) and "_flagsenum" in value:
            value = "|".join(flag for flag, on in value.items() if on is True and flag[0] != "_") or 0
        elif isinstance(value, dict):
            value = plain(value)
        elif isinstance(value, list):
            value = [plain(item) if isinstance(item, dict) else item for item in value]
        found[name] = value
    return found


def scaled(packet: Packet, ticks: int) -> int:
    """Return the time of a record of `packet` with that many ticks, ns of the trace's clock."""
    origin, ns = packet.origin or (packet.ticks, packet.begin)
    return ns + (ticks - origin) * packet.scale[0] // packet.scale[1]


def _reason(error: construct.ConstructError) -> str:
    return str(error).strip().splitlines()[-1]


def payload(event: Event, body: bytes) -> tuple[str, dict[str, Any]]:
    """Return event name and fields, or "damage" and why."""
    try:
        return event.name, plain(event.payload.parse(body))
    except construct.ConstructError as error:
        return "damage", {"event": event.name, "found": _reason(error)}


def length_records(format: Format, data: bytes, packet: Packet) -> Iterator[Parsed]:  # noqa: A002
    """Yield the records of a packet of `LengthFraming`."""
    framing = format.framing
    assert isinstance(framing, LengthFraming)
    by_id = {event.id: event for event in format.events}
    header, at, mask = framing.header.sizeof(), packet.first, (1 << format.clock.bits) - 1
    end = min(packet.content, len(data))
    while at + header <= end:
        head = framing.header.parse(data[at : at + header])
        length, number = head[framing.length], head[framing.id]
        if length < header or at + length > end:
            yield Parsed(packet.sequence, at, "damage", None, packet.cpu, {"found": f"record length {length}"})
            return
        time = packet.begin + (head[framing.time] - packet.begin & mask)
        if packet.end is not None and time > packet.end:
            yield Parsed(
                packet.sequence, at, "damage", time, packet.cpu, {"found": f"record time {head[framing.time]}"}
            )
        elif number in by_id:
            name, fields = payload(by_id[number], data[at + header : at + length])
            yield Parsed(packet.sequence, at, name, time, packet.cpu, fields)
        else:
            yield Parsed(packet.sequence, at, "unknown", time, packet.cpu, {"id": number, "length": length})
        at += length + -length % framing.align


def header_records(format: Format, data: bytes, packet: Packet) -> Iterator[Parsed]:  # noqa: A002
    """Yield the records of a packet of `HeaderFraming`."""
    framing = format.framing
    assert isinstance(framing, HeaderFraming)
    by_id = {event.id: event for event in format.events}
    header, size, at = _bare(framing.header), framing.header.sizeof(), packet.first
    skip = size if framing.skip is None else framing.skip
    end, now = min(packet.content, len(data)), packet.ticks
    flag_mask, flag_value = framing.id_flag or (0, 0)
    while at + size <= end:
        head = header.parse(data[at : at + size])
        field, mask, value = framing.magic or ("", 0, 0)
        number = head[framing.id] if framing.id else 0
        number = (number & framing.id_mask) + (flag_value if number & flag_mask else 0)
        event = by_id.get(number)
        stop = end
        if framing.length:
            stop = at + head[framing.length] + framing.extra
        owner = head[framing.cpu] if framing.cpu and framing.cpus else packet.cpu
        leads = not framing.cpus or packet.cpu == framing.cpus[0]
        if (field and head[field] & mask != value) or not max(at + size, at + 1) <= stop <= end:
            if not leads:
                return
            yield Parsed(packet.sequence, at, "damage", None, packet.cpu, {"found": plain(head)})
            return
        if owner != packet.cpu and not (leads and owner not in framing.cpus):
            at = stop
            continue
        name, fields, used = "unknown", {"id": number, "length": stop - at}, stop - at - skip
        if event:
            name, fields, used = _measured(event, data[at + skip : stop])
        if not framing.length:
            stop = at + skip + used
        if framing.time or (event and event.time and name != "damage"):
            ticks = head[framing.time] if framing.time else int(fields[str(event and event.time)])
            bits = format.clock.bits
            now = ticks if bits >= 64 else now + (ticks - now & (1 << bits) - 1)
        yield Parsed(packet.sequence, at, name, scaled(packet, now), packet.cpu, fields)
        if stop <= at or (event is None and not framing.length):
            return
        at = stop + -stop % framing.align


def _measured(event: Event, body: bytes) -> tuple[str, dict[str, Any], int]:
    """Return what `payload` does, and how many bytes of `body` it took."""
    shape = construct.Struct("payload" / event.payload, "end" / construct.Tell)
    try:
        found = shape.parse(body)
    except construct.ConstructError as error:
        return "damage", {"event": event.name, "found": _reason(error)}, len(body)
    return event.name, plain(found.payload), found.end


def _bare(struct: construct.Struct) -> construct.Struct:
    """Return the struct with numbers where it has names: a flag set's bits that have none are in no parsed value."""

    def bare(con: Any) -> Any:
        named = isinstance(con, construct.Renamed | construct.Enum | construct.FlagsEnum)
        return bare(con.subcon) if named else con

    return construct.Struct(*(con.name / bare(con) if con.name else con for con in struct.subcons))


PARSERS: Final[dict[type[Framing], Parser]] = {LengthFraming: length_records, HeaderFraming: header_records}


def parse(loaded: Loaded, parser: Parser | None = None) -> Iterator[Parsed]:
    """Yield the records of a trace, packet by packet in the order of the files and of their places.

    parser: for a framing that is not in `PARSERS`.
    """
    parser = parser or PARSERS[type(loaded.format.framing)]
    count: dict[int, int] = {}
    for packet in loaded.packets:
        number = count.get(packet.file, 0)
        count[packet.file] = number + 1
        file = loaded.files[packet.file]
        with file.open("rb") as stream:
            stream.seek(packet.offset)
            data = stream.read(packet.content)
        for found in parser(loaded.format, data, packet):
            offset = packet.offset + found.offset if found.offset >= 0 else -1
            yield found._replace(packet=number, offset=offset, file=file.name)


def records(path: Path, format: ModuleType | Format) -> Iterator[Parsed]:  # noqa: A002
    """Yield the records of the trace at `path`, of a format or the module that reads it."""
    own: Callable[[Path], Iterator[Parsed]] | None = getattr(format, "records", None)
    if own is not None:
        yield from own(path)
    else:
        yield from parse(registry.load(path, format))
