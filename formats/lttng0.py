# SPDX-License-Identifier: GPL-2.0-or-later
"""LTTng 0.3 to 1.0 (2005 to 2008): sub-buffers of a directory, events by facility or marker.

    cpu_N, compact_N         a CPU's records               control/NAME_N    what they mean, and the state at first
    eventdefs/NAME_SUM.xml   facilities' descriptions (0.x; in 1.0 markers describe themselves in control/)

A record is time, facility and event (1.0: one id), size of the payload, payload; one of a compact channel is a word of
time and id. docs/formats/lttng-0.md has the tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from dataclasses import field as attribute
from pathlib import Path
from typing import Any, Final

import construct

from ltt_relay.formats import genevent, lttng_names
from ltt_relay.formats.base import Event, Format, Naming, PacketClock, Stream, unused
from ltt_relay.formats.companion import unread
from ltt_relay.formats.fields import align, cstring, field, integer, struct
from ltt_relay.formats.layout import unpacker
from ltt_relay.formats.loaded import MAX_TIME, Loaded, LoadError, Packet, Problem, sum_losses
from ltt_relay.formats.lttng0_layout import (
    MAGIC,
    Layout,
    LttngFraming,
    empty,
    header_of,
    lttng_records,
    places,
    witness,
)
from ltt_relay.formats.lttng2 import Marker, marker_payload
from ltt_relay.formats.marker_format import Sizes
from ltt_relay.formats.marker_format import parse as parse_marker
from ltt_relay.formats.oracle import Parsed, parse

__all__ = ("ARCHITECTURES", "LoadedFacility", "Vocabulary", "claims", "format_of", "load", "records")

ARCHITECTURES: Final = {
    1: "i386", 2: "ppc", 3: "sh", 4: "s390", 5: "mips", 6: "arm", 7: "ppc64", 8: "x86_64", 9: "c2", 10: "powerpc",
    11: "x86",
}  # fmt: skip
#: Events of 0.x that LTT 3.0 has under another name: event, class, fields, and the field with the running task.
KNOWN: Final[dict[str, tuple[str, str, dict[str, str], str | None]]] = {
    "process.schedchange": (
        "sched_switch", "schedchange", {"out": "prev_pid", "in": "next_pid", "out_state": "prev_state"}, "prev_pid",
    ),
    "process.fork": ("sched_process_fork", "process", {}, "parent_pid"),
    "process.exit": ("sched_process_exit", "process", {}, None),
    "process.wait": ("sched_process_wait", "process", {}, None),
    "process.free": ("sched_process_free", "process", {}, None),
    "process.signal": ("signal_generate", "process", {"signal": "sig"}, None),
    "process.wakeup": ("sched_wakeup", "process", {}, None),
    "kernel_arch.syscall_entry": ("sys_enter", "syscall", {"syscall_id": "id"}, None),
    "kernel_arch.syscall_exit": ("sys_exit", "syscall", {}, None),
    "kernel.syscall_entry": ("sys_enter", "syscall", {"syscall_id": "id"}, None),
    "kernel.syscall_exit": ("sys_exit", "syscall", {}, None),
    "kernel.irq_entry": ("irq_handler_entry", "irq_entry", {"irq_id": "irq"}, None),
    "kernel.irq_exit": ("irq_handler_exit", "irq_exit", {}, None),
    "kernel.softirq_entry": ("softirq_entry", "soft_irq", {"softirq_id": "vec"}, None),
    "kernel.softirq_exit": ("softirq_exit", "soft_irq", {"softirq_id": "vec"}, None),
    "kernel.soft_irq_entry": ("softirq_entry", "soft_irq", {"softirq_id": "vec"}, None),
    "kernel.soft_irq_exit": ("softirq_exit", "soft_irq", {"softirq_id": "vec"}, None),
    "kernel.trap_entry": ("trap_entry", "trap_entry", {"trap_id": "trap", "address": "ip"}, None),
    "kernel.trap_exit": ("trap_exit", "trap_exit", {}, None),
    "fs.exec": ("sched_process_exec", "file_system", {}, None),
    "statedump.enumerate_process_state": ("state_task", "process", {"name": "comm", "parent_pid": "ppid"}, None),
}  # fmt: skip
_FILE: Final = re.compile(r"(?:flight-)?(?P<channel>.+?)(?:_(?P<cpu>\d+))?")
_MOST: Final = 1 << 22


@dataclass(frozen=True, slots=True)
class LoadedFacility:
    """A facility as a trace loaded it."""

    id: int
    name: str
    checksum: int
    sizes: Sizes
    aligned: bool


@dataclass
class Vocabulary:
    """What a trace says of its events: facilities and their descriptions, or markers.

    renumbered: the core facility's events are those of 2007 and later.
    """

    facilities: dict[int, tuple[LoadedFacility, genevent.Facility | None]] = attribute(default_factory=dict)
    markers: list[Marker] = attribute(default_factory=list)
    renumbered: bool = False


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    channel: str
    cpu: int
    layout: Layout


def _layout(path: Path) -> Layout | None:
    try:
        with path.open("rb") as stream:
            return witness(stream.read(160))
    except OSError:
        return None


def _root(path: Path) -> Path:
    directory = path if path.is_dir() else path.parent
    return directory.parent if directory.name == "control" else directory


def _files(root: Path) -> list[_File]:
    found = []
    control = root / "control"
    for directory in (root, control) if control.is_dir() else (root,):
        for file in sorted(directory.iterdir()):
            if not file.is_file() or file.name[0] == ".":
                continue
            layout, name = _layout(file), _FILE.fullmatch(file.name)
            if layout and name:
                found.append(_File(file, name["channel"], int(name["cpu"] or 0) & 0xFFFF, layout))
    return found


def claims(path: Path) -> bool:
    """Return whether it is a directory of such a trace, or one of its files."""
    if path.is_file():
        return _layout(path) is not None
    return path.is_dir() and bool(_files(_root(path)))


# ------------------------------------------------------------------------------------------------- what records mean


def _core_events(layout: Layout, renumbered: bool, cap: int) -> Iterator[Event]:
    """Yield the events of facility 0, or in 1.0 those with the ids that markers do not get."""
    u8, u16, u32, u64 = (integer(bits, signed=False, order=layout.order) for bits in (8, 16, 32, 64))
    text = cstring()

    def aligned(size: int) -> list[construct.Construct]:
        return [align(min(size, cap))] if min(size, cap) > 1 else []

    def event(number: int, name: str, doc: str, *members: construct.Construct) -> Event:
        return Event(number, name, "core", "custom", doc, struct(*members))

    names = ("int", "long", "pointer", "size_t", "alignment")
    if layout.version >= (1, 0):
        sizes = [field(name, u8, "of the traced machine", unit="B") for name in names]
        yield event(
            0,
            "core_set_marker_id",
            "a marker gets an id",
            field("name", text, "the marker"),
            *aligned(2),
            field("event_id", u16, "its id"),
            *sizes,
        )
        yield event(
            1,
            "core_set_marker_format",
            "what a marker's records hold",
            field("name", text, "the marker"),
            field("format", text, "its format string"),
        )
        yield event(2, "core_heartbeat", "time goes on")
        yield event(3, "core_heartbeat_full", "time goes on", field("tsc", u64, "the cycle counter", unit="cycles"))
        return
    told = [
        field(f"{name}_size" if name != "alignment" else "has_alignment", u32, "of the traced machine", unit="B")
        for name in names
        if name != "int" or layout.version >= (0, 5)
    ]
    load = (
        field("name", text, "the facility"),
        *aligned(4),
        field("checksum", u32, "of its description", hint="hex"),
        field("id", u32, "its id"),
        *told,
    )
    yield event(0, "core_facility_load", "a facility is loaded", *load)
    yield event(1, "core_facility_unload", "a facility is gone", field("id", u32, "its id"))
    yield event(2, "core_heartbeat", "time goes on")
    if renumbered:
        yield event(3, "core_heartbeat_full", "time goes on", field("tsc", u64, "the cycle counter", unit="cycles"))
    yield event(4 if renumbered else 3, "core_state_dump_facility_load", "a facility that was loaded before", *load)


def _bound(facility: str, event: str, known: bool) -> tuple[str, str, dict[str, str], str | None]:
    """Return the name, class, renamed fields and own task of an event."""
    if known and f"{facility}.{event}" in KNOWN:
        return KNOWN[f"{facility}.{event}"]
    found = lttng_names.lookup(facility, event)
    return f"{facility}_{event}" if facility else event, found.ltt_class, {}, None


def _facility_events(vocabulary: Vocabulary, order: str, cap: int) -> Iterator[Event]:
    for number, (told, described) in sorted(vocabulary.facilities.items()):
        for place, event in enumerate(described.events[:256] if described else ()):
            name, ltt_class, rename, tid = _bound(told.name, event.name, known=True)
            types = described.types if described else {}
            limit = cap if told.aligned else 1
            payload = genevent.payload(event, types, told.sizes, order, limit, rename)
            yield Event(
                number << 8 | place,
                name,
                told.name,
                ltt_class,
                event.doc,
                payload,
                tid=tid,
                provider=f"{told.name}.{event.name}",
            )


def _marker_events(vocabulary: Vocabulary, order: str) -> Iterator[Event]:
    for marker in vocabulary.markers:
        known = lttng_names.lookup("", marker.name.removeprefix("kernel_"))
        name = known.event or marker.name
        payload = marker_payload(marker, order, known.fields, name)
        yield Event(
            marker.id,
            name,
            marker.name.partition("_")[0],
            known.ltt_class,
            known.doc,
            payload,
            tid=known.tid,
            provider=marker.name,
        )


def format_of(
    layout: Layout, header: Any, vocabulary: Vocabulary, compact: frozenset[int] = frozenset(),
    wide: frozenset[int] = frozenset(),
) -> Format:  # fmt: skip
    """Return the format of a trace; header: of its first sub-buffer; compact, wide: files, as `LttngFraming` has it."""
    version = layout.version
    cap = 1
    if header.alignment:
        cap = header.alignment if version >= (1, 0) and header.alignment in {1, 2, 4, 8} else header.arch_size
    events = list(_core_events(layout, vocabulary.renumbered, cap))
    events += _facility_events(vocabulary, layout.order, cap)
    events += _marker_events(vocabulary, layout.order)
    taken: set[str] = set()
    ids: set[int] = set()
    unique = []
    for event in events:
        if event.id in ids:
            continue
        ids.add(event.id)
        unique.append(replace(event, name=unused(event.name, event.id, taken)))
    small = next((f for f in vocabulary.facilities.values() if f[0].name == "compact" and f[1]), None)
    bits = header.get("tscbits", 27)
    id_bits = max(32 - bits, 0)
    if version >= (1, 0):
        id_bits = max(header.compact_data_shift - bits, 0)
    elif small and small[1]:
        id_bits = max(len(small[1].events) - 1, 1).bit_length()
    framing = LttngFraming(
        layout.order, header.arch_size, cap, wide=wide, us=not header.get("has_tsc", 1),
        compact=compact, bits=min(bits, 32), truncated=min(header.get("tsc_lsb_truncate", 0), 30),
        id_bits=min(id_bits, 32), compact_base=small[0].id << 8 if small else 0, markers=version >= (1, 0),
    )  # fmt: skip
    found, switch, namings = lttng_names.told_by(unique, [Naming("task", "state_task", "pid", "comm")])
    stream = Stream(0, "cpu", "what happened on one CPU")
    return Format(
        "LTTng",
        version,
        header_of(layout),
        framing,
        PacketClock(64),
        (stream,),
        found,
        switch=switch,
        namings=namings,
    )


def _read_vocabulary(root: Path, files: list[_File], header: Any) -> Vocabulary:
    """Read facilities and markers from the control channels, and the facilities' descriptions."""
    found = Vocabulary(renumbered=files[0].layout.version >= (0, 8))
    rows: list[tuple[int, bytes]] = []
    for file in files:
        if file.path.parent.name == "control" or file.channel in {"facilities", "metadata"}:
            rows += _core_rows(file, header)
    if any(number == 4 for number, _ in rows) or any(number == 3 and len(data) == 8 for number, data in rows):
        found.renumbered = True
    layout = files[0].layout
    form = format_of(layout, header, found)
    payloads = {event.id: event.payload for event in form.events}
    described = _descriptions(root)
    ids: dict[str, Any] = {}
    formats: dict[str, str] = {}
    for number, data in rows:
        try:
            told = payloads[number].parse(data)
        except (KeyError, construct.ConstructError):
            continue
        if layout.version >= (1, 0):
            if number == 0:
                ids[told.name] = told
            elif number == 1:
                formats[told.name] = told.format
        elif number in {0, 3, 4} and "checksum" in told and told.id < 256:
            sizes = Sizes(told.get("int_size", 4), told.long_size, told.pointer_size, told.size_t_size)
            one = LoadedFacility(
                told.id, told.name, told.checksum, _sane(sizes, header.arch_size), bool(told.has_alignment)
            )
            found.facilities[told.id] = (one, _matching(described, one))
    for name, told in ids.items():
        sizes = _sane(Sizes(told.int, told.long, told.pointer, told.size_t), header.arch_size)
        items = parse_marker(formats.get(name, ""), sizes)
        found.markers.append(Marker("", name, told.event_id, told.alignment, items))
    return found


def _sane(sizes: Sizes, pointer: int) -> Sizes:
    return sizes if {sizes.int_, sizes.long, sizes.pointer, sizes.size_t} <= {1, 2, 4, 8} else Sizes(4, *[pointer] * 3)


def _core_rows(file: _File, header: Any) -> list[tuple[int, bytes]]:
    """Return id and payload of the records of the core facility in a control channel."""
    framing = format_of(file.layout, header, Vocabulary()).framing
    assert isinstance(framing, LttngFraming)
    data = file.path.read_bytes()[:_MOST]
    rows: list[tuple[int, bytes]] = []
    first = header_of(file.layout).sizeof()
    for at, each, content in _sub_buffers(file, data, []):
        piece, wide = data[at : at + content], not each.has_heartbeat
        found = places(framing, piece, first, len(piece), compact=False, wide=wide, measure=lambda *_: None)
        rows += [(place.id, piece[place.body : place.stop]) for place in found if not place.code and place.id < 8]
    return rows


def _descriptions(root: Path) -> list[tuple[str, genevent.Facility]]:
    found = []
    directory = root / "eventdefs"
    for file in sorted(directory.glob("*.xml")) if directory.is_dir() else ():
        with file.open("rb") as stream:
            facility = genevent.read_facility(stream.read(_MOST).decode("utf-8", "backslashreplace"))
        if facility:
            found.append((file.stem, facility))
    return found


def _matching(described: list[tuple[str, genevent.Facility]], told: LoadedFacility) -> genevent.Facility | None:
    """Return the description of a facility: by name and checksum, else by name."""
    named = [(stem, facility) for stem, facility in described if facility.name == told.name]
    sums = {str(told.checksum), f"{told.checksum:x}", f"{told.checksum:08x}", f"0x{told.checksum:x}"}
    exact = [facility for stem, facility in named if stem.rpartition("_")[2] in sums]
    return next(iter(exact or [facility for _, facility in named]), None)


# ------------------------------------------------------------------------------------------------------ its packets


def _sub_buffers(file: _File, data: bytes | None, problems: list[Problem]) -> Iterator[tuple[int, Any, int]]:
    """Yield offset, header and bytes in use of the sub-buffers of a file; what is not one ends it, as a problem."""
    length = header_of(file.layout).sizeof()
    parse_header = unpacker(header_of(file.layout))
    with file.path.open("rb") as stream:
        total = len(data) if data is not None else stream.seek(0, 2)
        at = count = 0
        while at < total:

            def problem(code: str, expected: str, found: str, at: int = at, count: int = count) -> None:
                problems.append(Problem(file.path.name, file.cpu, count, at, code, expected, found))

            stream.seek(at)
            head = stream.read(length)
            if len(head) < length:
                problem("truncated", f"a header of {length} bytes", f"{len(head)} bytes")
                return
            header = parse_header(head)
            if header.magic != MAGIC or not length <= header.buf_size <= 1 << 31:
                problem(
                    "packet_header", "magic 0x00D6B7ED and a size", f"0x{header.magic:08X}, {header.buf_size} bytes"
                )
                return
            size, lost = header.buf_size, header.lost_size
            content = size - lost
            if lost == 0xFFFF_FFFF or content < length:
                problem("unfinished", "a sub-buffer that was closed", f"lost_size {lost}")
                stream.seek(at)
                content = empty(stream.read(min(size, total - at)), length)
            if size > total - at:
                problem("truncated", f"{size} bytes of sub-buffer", f"{total - at} bytes")
                content = min(content, total - at)
            yield at, header, content
            at += size
            count += 1


def _rate(files: list[_File], header: Any, version: tuple[int, int], problems: list[Problem]) -> int:
    """Return the cycles of a second."""
    told = int(header.get("start_freq", 0)) * (int(header.freq_scale) if version >= (0, 7) else 1000)
    if not told:
        told = int(header.get("begin_freq", 0)) * 1000
    if not told and version <= (0, 6):
        cycles, us = 0, 0
        for file in files:
            for _, each, _ in _sub_buffers(file, None, []):
                span = (each.end_sec - each.begin_sec) * 1_000_000 + each.end_usec - each.begin_usec
                if span > us and each.end_cycle_count > each.begin_cycle_count:
                    cycles, us = each.end_cycle_count - each.begin_cycle_count, span
        told = cycles * 1_000_000 // us if us else 0
    if 1 <= told < 1 << 40:
        return told
    problems.append(Problem(files[0].path.name, files[0].cpu, 0, 0, "no_clock", "the cycle counter's rate", str(told)))
    return 1_000_000_000


def load(path: Path) -> Loaded:
    """Return the sub-buffers of all channels and CPUs.

    Raises:
        LoadError: nothing can be read, or the files are of different versions.

    """
    root = _root(path)
    files = _files(root)
    if not files:
        raise LoadError(f"{path}: no sub-buffer of LTTng 0.3 to 1.0")
    layout = files[0].layout
    strangers = [file.path.name for file in files if file.layout != layout]
    if strangers:
        raise LoadError(f"{path}: {', '.join(strangers)}: another version or byte order than {files[0].path.name}")
    control = root / "control"
    around = sorted([*root.iterdir(), *(control.iterdir() if control.is_dir() else ())])
    problems = unread(around, [file.path for file in files])
    # The clock is told by the kernel's files: those of user space have zeros there.
    headers = [next(_sub_buffers(file, None, []), (0, None, 0))[1] for file in files]
    told = [header for header in headers if header is not None]
    if not told:
        raise LoadError(f"{path}: no header of a sub-buffer that can be read")
    header = next((h for h in told if h.get("start_freq", 1)), told[0])
    vocabulary = _read_vocabulary(root, files, header)
    compact = frozenset(i for i, file in enumerate(files) if file.channel == "compact")
    wide = frozenset(i for i, each in enumerate(headers) if each is not None and not each.has_heartbeat)
    form = format_of(layout, header, vocabulary, compact, wide)
    loaded = Loaded(form, [file.path for file in files], [], problems=problems)
    hz = _rate(files, header, layout.version, problems)
    assert isinstance(form.framing, LttngFraming)
    if "start_tsc" in header:
        start = header.start_time_sec * 1_000_000_000 + header.start_time_usec * 1000
        loaded.wall_offset = start - header.start_tsc * 1_000_000_000 // hz
    elif not form.framing.us:
        start = header.begin_sec * 1_000_000_000 + header.begin_usec * 1000
        loaded.wall_offset = start - header.begin_cycle_count * 1_000_000_000 // hz
    if form.framing.us:
        loaded.wall_offset = 0
    elif abs(loaded.wall_offset) > MAX_TIME:
        found = f"{loaded.wall_offset} ns from the cycle counter's"
        problems.append(Problem(files[0].path.name, files[0].cpu, 0, 0, "no_clock", "a wall clock", found))
        loaded.wall_offset = 0
    for number, file in enumerate(files):
        loaded.packets += _packets(file, number, form, hz, problems)
    sum_losses(loaded.packets)
    loaded.env = {
        "tracer_name": "LTTng", "tracer_major": layout.version[0], "tracer_minor": layout.version[1],
        "sysname": "Linux", "arch": ARCHITECTURES.get(header.arch_type, str(header.arch_type)),
    }  # fmt: skip
    loaded.details = {
        "byte_order": "little" if layout.order == "<" else "big", "clock_hz": hz, "pointer_size": header.arch_size,
        "alignment": form.framing.cap if header.alignment else 0, "flight_recorder": header.flight_recorder,
    }  # fmt: skip
    return loaded


def _packets(file: _File, number: int, form: Format, hz: int, problems: list[Problem]) -> Iterator[Packet]:
    framing = form.framing
    assert isinstance(framing, LttngFraming)
    first = header_of(file.layout).sizeof()
    freq = None
    for sequence, (at, header, content) in enumerate(_sub_buffers(file, None, problems)):
        lost = {}
        if framing.us:
            begin, end = ((header[f"{e}_sec"] * 1_000_000 + header[f"{e}_usec"]) * 1000 for e in ("begin", "end"))
            ticks, scale = 0, (1000, 1)
        else:
            ticks = header.begin_cycle_count
            begin, end = (header[f"{e}_cycle_count"] * 1_000_000_000 // hz for e in ("begin", "end"))
            scale = (1_000_000_000, hz)
        if not 0 <= begin < 1 << 62 or ticks >= 1 << 63:
            problems.append(Problem(file.path.name, file.cpu, sequence, at, "packet_header", "a time", str(ticks)))
            continue
        # From 0.8 on what was the frequency in the first sub-buffer may count losses in later ones.
        freq = header.get("start_freq", 0) if freq is None else freq
        if file.layout.version >= (0, 8) and header.start_freq != freq:
            halves = (header.start_freq & 0xFFFF_FFFF, header.start_freq >> 32)
            events_lost, corrupt = halves if file.layout.order == "<" else halves[::-1]
            lost = {"full": events_lost, "corrupt": corrupt}
        stop = end if begin <= end < 1 << 62 else None
        yield Packet(
            number, at, first, content, file.cpu, begin, stop, sequence=sequence, ticks=ticks, scale=scale, lost=lost
        )


def records(path: Path) -> Iterator[Parsed]:
    """Yield the records as `formats.oracle` has it."""
    return parse(load(path), lttng_records)
