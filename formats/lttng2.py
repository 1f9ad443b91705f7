# SPDX-License-Identifier: GPL-2.0-or-later
"""LTTng 2.0 to 2.6 before CTF (2008 to 2011), and UST 0.x: sub-buffers, compact event headers, markers.

A directory with a file for each channel and CPU (`kernel_0`, `flight-fs_1`), each a sequence of sub-buffers; the
channel `metadata` (until 2.2 below `control/`) says what the ids of the others mean, as format strings. Layout from
the writers: lttng-modules 0.19 and UST 0.x, and from LTTV's readers where they differ by version.

===== =============================================== ============================================
2.0   header of 64 bytes, ids count over all channels sub-buffers of one size, `lost_size` unused
2.1   60 bytes                                        the same
2.2   68 bytes: events_lost, subbuf_corrupt           the same
2.3   ids count in each channel                       the same
2.4   u64 are aligned to 8 on 32-bit machines too     the same
2.5                                                   sub-buffers of any size, `data_size` used
2.6   u64 are aligned to no more than `alignment`     the same
===== =============================================== ============================================
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import construct

from ltt_relay.formats import lttng_names
from ltt_relay.formats.base import Event, Format, PacketClock, Stream, unused
from ltt_relay.formats.companion import unread
from ltt_relay.formats.fields import BIG, LITTLE, align, cstring, field, integer, struct
from ltt_relay.formats.loaded import MAX_CPU, MAX_TIME, Loaded, LoadError, Packet, Problem, sum_losses
from ltt_relay.formats.lttng2_layout import (
    ALIGNMENTS,
    MAGIC,
    CompactFraming,
    Record,
    SubBuffer,
    alignments,
    header_of,
    header_size,
    machine,
    sub_buffers,
    walk,
)
from ltt_relay.formats.marker_format import Item, Sizes, parse
from ltt_relay.formats.oracle import Parsed, plain, scaled

__all__ = ("Marker", "claims", "format_of", "load", "marker_payload", "metadata_payloads", "records")


class _File(NamedTuple):
    path: Path
    channel: str
    cpu: int
    order: str


def _order(path: Path) -> str | None:
    """Return the byte order of a file of this family, None if it is none."""
    try:
        with path.open("rb") as file:
            begin = file.read(24)
    except OSError:
        return None
    orders: tuple[tuple[str, Literal["little", "big"]], ...] = ((LITTLE, "little"), (BIG, "big"))
    for order, name in orders:
        if len(begin) == 24 and begin[16:20] == MAGIC.to_bytes(4, name) and begin[20] == 2 and begin[21] <= 6:
            return order
    return None


def _around(path: Path) -> list[Path]:
    """Return what is in the directory that `path` is or is in, and below its control/."""
    directory = path if path.is_dir() else path.parent
    return sorted([*directory.iterdir(), *directory.glob("control/*")]) if directory.is_dir() else []


def _files(path: Path) -> list[_File]:
    found = []
    for file in _around(path):
        order = _order(file) if file.is_file() and file.name[0] != "." else None
        name, _, cpu = file.name.rpartition("_")
        if order and name and cpu.isdecimal():
            found.append(_File(file, name.removeprefix("flight-"), int(cpu) & MAX_CPU, order))
    return found


def claims(path: Path) -> bool:
    """Return whether it is a directory with channels of this family, or one of their files."""
    return bool(_files(path)) if path.is_dir() else _order(path) is not None


#: The stream of all channels but the metadata, where ids count over all of them.
_ALL: Final = "all"
_METADATA_NAMES: Final = {0: "core_marker_id", 1: "core_marker_format", 2: "testev"}


@dataclass(frozen=True, slots=True)
class Marker:
    """What the metadata channel says of a marker; channel "" where ids count over all channels."""

    channel: str
    name: str
    id: int
    alignment: int
    items: tuple[Item, ...]


def metadata_payloads(header: Any, order: str) -> dict[int, construct.Struct]:
    """Return the payloads of the metadata channel by marker id."""
    u8, u16 = integer(8, signed=False), integer(16, signed=False, order=order)
    text = cstring()
    channel = [field("channel", text, "of the marker")] if header.minor >= 3 else []
    aligned = [align(2)] if header.alignment else []
    sizes = [field(name, u8, "", unit="B") for name in ("int", "long", "pointer", "size_t", "alignment")]
    return {
        0: struct(*channel, field("name", text, "of the marker"), *aligned, field("event_id", u16, "its id"), *sizes),
        1: struct(*channel, field("name", text, "of the marker"), field("format", text, "its fields")),
        2: struct(),
    }


def _parse_payload(payload: construct.Struct, data: bytes, at: int, end: int) -> tuple[Any, int]:
    """Return the fields and where they end; the payload's own begin is what its alignment counts from."""
    stream = io.BytesIO(data[at:end])
    return payload.parse_stream(stream), at + stream.tell()


def read_markers(files: list[_File], problems: list[Problem]) -> list[Marker]:
    """Read the metadata channels of all CPUs: ids and formats, in any order."""
    ids: dict[tuple[str, str], Any] = {}
    formats: dict[tuple[str, str], str] = {}
    for file in files:
        if file.channel != "metadata":
            continue
        data = file.path.read_bytes()
        # What is wrong with the sub-buffers themselves is told where all channels are read.
        for piece in sub_buffers(file.path, file.order, file.cpu, []):
            try:
                _read_metadata(data, piece, file.order, ids, formats)
            except (construct.ConstructError, ValueError) as error:
                found = str(error).splitlines()[-1]
                expected = "records of the metadata channel"
                problems.append(Problem(file.path.name, file.cpu, -1, piece.offset, "metadata", expected, found))
    markers = []
    for (channel, name), found in ids.items():
        if (channel, name) not in formats:
            # How long its records are nobody knows.
            told = f"none of {channel}.{name}" if channel else f"none of {name}"
            problems.append(Problem("metadata", -1, -1, -1, "metadata", "the format of a marker that has an id", told))
            continue
        if (
            not {found.int, found.long, found.pointer, found.size_t} <= {1, 2, 4, 8}
            or found.alignment not in ALIGNMENTS
        ):
            sizes = f"int {found.int}, long {found.long}, pointer {found.pointer}, size_t {found.size_t}"
            sizes += f", alignment {found.alignment}"
            where = ("metadata", -1, -1, -1, "metadata")
            problems.append(Problem(*where, "sizes and alignment of C types", f"{channel}.{name}: {sizes}"))
            continue
        items = parse(formats[channel, name], Sizes(found.int, found.long, found.pointer, found.size_t))
        markers.append(Marker(channel, name, found.event_id, found.alignment, items))
    return markers


def _read_metadata(
    data: bytes, piece: SubBuffer, order: str, ids: dict[tuple[str, str], Any], formats: dict[tuple[str, str], str]
) -> None:
    header = piece.header
    payloads = metadata_payloads(header, order)
    end = piece.offset + piece.content

    def end_of(record: Record) -> int:
        if record.id not in payloads:
            raise ValueError(f"metadata record of id {record.id} at {record.offset}; 0, 1 or 2 was expected")
        fields, stop = _parse_payload(payloads[record.id], data, record.payload, end)
        key = fields.get("channel", ""), fields.get("name", "")
        if record.id == 0:
            ids[key] = fields
        elif record.id == 1:
            formats[key] = fields.format
        return record.payload + record.size if record.size is not None else stop

    for _ in walk(data, piece, order, end_of):
        pass


def marker_payload(marker: Marker, order: str, names: dict[str, str], event: str = "") -> construct.Struct:
    """Return the payload of a marker; `names`: other names for some of its fields; `event`: what it is in LTT 3.0."""
    own = {names.get(item.name, item.name) for item in marker.items}
    named = {number: name for number, name in lttng_names.NAMED.get(event, {}).items() if name[1] not in own}
    found: list[construct.Construct] = []
    taken: set[str] = set()
    for place, item in enumerate(marker.items):
        name = unused(names.get(item.name, item.name), place, taken)
        if item.size == 0:
            found.append(field(name, cstring(), ""))
            continue
        boundary = min(item.size, marker.alignment)
        if boundary > 1:
            found.append(align(boundary))
        number = integer(8 * item.size, item.signed, BIG if item.big else order)
        found.append(field(name, number, "", hint=item.hint, names=named.get(name)))
    return struct(*found)


def format_of(markers: list[Marker], channels: list[str], header: Any, order: str) -> Format:
    """Return the format of a trace: its events are what its markers say.

    Events have the LTT 3.0 names where they have an equal (`lttng_names`), else CHANNEL_MARKER; `provider` is
    CHANNEL.MARKER as it was.
    """
    per_channel = header.minor >= 3
    names = channels if per_channel else [_ALL, "metadata"]
    rows: list[dict[int, int]] = [{} for _ in names]
    events: list[Event] = []
    boundaries: list[int] = []
    taken: set[str] = set()
    for marker in sorted(markers, key=lambda marker: (marker.channel, marker.id)):
        if per_channel and marker.channel not in channels:
            continue
        stream = channels.index(marker.channel) if per_channel else 0
        known = lttng_names.lookup(marker.channel, marker.name)
        own = f"{marker.channel}_{marker.name}" if marker.channel else marker.name
        name = known.event
        if not name or name in taken:
            name = unused(own, len(events), taken | lttng_names.EVENTS)
        taken.add(name)
        payload = marker_payload(marker, order, known.fields if name == known.event else {}, name)
        rows[stream][marker.id] = len(events)
        largest = max((item.size for item in marker.items), default=1)
        boundaries.append(max(min(largest, marker.alignment), 1))
        provider = f"{marker.channel}.{marker.name}" if marker.channel else marker.name
        events.append(
            Event(
                len(events), name, marker.channel or "kernel", known.ltt_class, known.doc, payload, stream=stream,
                tid=known.tid if name == known.event else None, provider=provider,
            )
        )  # fmt: skip
    if "metadata" in channels:
        _describe_metadata(header, order, names.index("metadata"), rows, events, boundaries)
    ids = tuple(tuple(row.get(i, -1) for i in range(max(row, default=-1) + 1)) for row in rows)
    words, times = alignments(header)
    streams = tuple(Stream(i, name, f"channel {name}") for i, name in enumerate(names))
    found, switch, namings = lttng_names.told_by(events, lttng_names.NAMINGS)
    return Format(
        "LTTng", (2, header.minor), header_of(header.minor, order),
        CompactFraming(ids, tuple(boundaries), order, words, times), PacketClock(64), streams, found, switch=switch,
        namings=namings,
    )  # fmt: skip


def _describe_metadata(
    header: Any, order: str, stream: int, rows: list[dict[int, int]], events: list[Event], boundaries: list[int]
) -> None:
    """Add the records of the metadata channel itself."""
    docs = {0: "the id of a marker", 1: "the format of a marker", 2: "a test of UST"}
    for number, payload in metadata_payloads(header, order).items():
        rows[stream][number] = len(events)
        boundaries.append(min(2, header.alignment) or 1)
        name = _METADATA_NAMES[number]
        event = Event(
            len(events), name, "metadata", "custom", docs[number], payload, stream=stream, provider=f"metadata.{name}"
        )
        events.append(event)


def load(path: Path) -> Loaded:
    """Return the sub-buffers of all channels.

    Raises:
        LoadError: there is no metadata channel, or no other.

    """
    files = _files(path)
    where = path if path.is_dir() else path.parent
    problems = unread(_around(path), [file.path for file in files])
    if not any(file.channel == "metadata" for file in files):
        raise LoadError(f"{where}: no metadata_N: without it nobody knows what the ids of the other channels mean")
    markers = read_markers(files, problems)
    pieces_of = [list(sub_buffers(file.path, file.order, file.cpu, problems)) for file in files]
    first = next((pieces[0].header for pieces in pieces_of if pieces), None)
    if first is None:
        raise LoadError(f"{where}: no channel has a sub-buffer")
    strangers = [
        file.path.name for file, pieces in zip(files, pieces_of, strict=True)
        if pieces and (file.order != files[0].order or machine(pieces[0].header) != machine(first))
    ]  # fmt: skip
    if strangers:
        raise LoadError(f"{where}: {', '.join(strangers)}: of another version, machine or clock than the others")
    order = files[0].order
    channels = sorted({file.channel for file in files})
    format_ = format_of(markers, channels, first, order)
    loaded = Loaded(format_, [file.path for file in files], [], problems=problems)
    hz, divisor = first.start_freq, max(first.freq_scale, 1)
    scale = (1_000_000_000 * divisor, hz)
    begin = min(p.header.cycle_count_begin for pieces in pieces_of for p in pieces)
    loaded.wall_offset = first.start_time_sec * 10**9 + first.start_time_usec * 1000 - begin * scale[0] // scale[1]
    if abs(loaded.wall_offset) > MAX_TIME:
        told = f"{first.start_time_sec} s, {first.start_time_usec} us"
        problems.append(Problem(files[0].path.name, files[0].cpu, 0, 0, "no_clock", "a wall clock", told))
        loaded.wall_offset = 0
    loaded.details = {"corrupt_sub_buffers": 0, "pointer_bytes": first.arch_size}
    for number, (file, found) in enumerate(zip(files, pieces_of, strict=True)):
        stream = channels.index(file.channel) if first.minor >= 3 else int(file.channel == "metadata")
        _packets(loaded, number, stream, file, found, scale)
    if first.minor < 3:
        sum_losses(loaded.packets)
    return loaded


def _packets(
    loaded: Loaded, number: int, stream: int, file: _File, found: list[SubBuffer], scale: tuple[int, int]
) -> None:
    for i, piece in enumerate(found):
        header = piece.header
        low = header.cycle_count_begin * scale[0] // scale[1]
        loaded.packets.append(
            Packet(
                number, piece.offset, header_size(header.minor), piece.content, file.cpu,
                low, None, stream, i, ticks=header.cycle_count_begin,
                scale=scale, origin=(0, 0), lost={"full": header.get("events_lost", 0)},
            )
        )  # fmt: skip
    if found:
        corrupt = found[-1].header.get("subbuf_corrupt", 0)
        loaded.details["corrupt_sub_buffers"] = int(loaded.details["corrupt_sub_buffers"]) + corrupt


def records(path: Path) -> Iterator[Parsed]:
    """Yield all records as construct sees them; the oracle of this format."""
    loaded = load(path)
    framing = loaded.format.framing
    assert isinstance(framing, CompactFraming)
    by_file = {file.path: file for file in _files(path)}
    for number, name in enumerate(loaded.files):
        file = by_file[name]
        data = name.read_bytes()
        packets = {packet.offset: packet for packet in loaded.packets if packet.file == number}
        for count, piece in enumerate(sub_buffers(name, file.order, file.cpu, [])):
            yield Parsed(count, piece.offset, "packet", None, file.cpu, plain(piece.header), name.name)
            yield from _parsed(loaded.format, framing, data, piece, packets[piece.offset], count, name.name)


def _parsed(
    format_: Format, framing: CompactFraming, data: bytes, piece: SubBuffer, packet: Packet, count: int, name: str
) -> Iterator[Parsed]:
    ids = framing.ids[packet.stream]
    limit = piece.offset + piece.content
    found: list[Parsed] = []

    def add(record: Record, event: str, fields: dict[str, Any]) -> None:
        found.append(Parsed(count, record.offset, event, scaled(packet, record.time), packet.cpu, fields, name))

    def end_of(record: Record) -> int:
        number = ids[record.id] if record.id < len(ids) else -1
        if number < 0:
            if record.size is None:
                raise ValueError(f"no marker has the id {record.id}, and the record does not say its size")
            add(record, "unknown", {"id": record.id, "length": record.size})
            return record.payload + record.size
        event, boundary = format_.events[number], framing.payload_alignments[number]
        start = piece.offset + -(-(record.payload - piece.offset) // boundary) * boundary
        stop = start + record.size if record.size is not None else limit
        if stop > limit:
            raise ValueError(f"{event.name} of {record.size} bytes goes beyond its sub-buffer's end")
        try:
            fields, end = _parse_payload(event.payload, data, start, stop)
        except construct.ConstructError as error:
            if record.size is None:
                raise ValueError(str(error).splitlines()[-1]) from error
            add(record, "damage", {"event": event.name, "found": str(error).splitlines()[-1]})
            return stop
        add(record, event.name, plain(fields))
        return stop if record.size is not None else end

    try:
        for _ in walk(data, piece, framing.order, end_of):
            yield from found
            found.clear()
    except ValueError as error:
        yield from found
        found.clear()
        yield Parsed(count, -1, "damage", None, packet.cpu, {"found": str(error)}, name)
    yield from found
