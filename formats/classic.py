# SPDX-License-Identifier: GPL-2.0-or-later
"""LTT as Karim Yaghmour wrote it, 1.14 (1999) to 2.3, and MontaVista's line of it.

A file is a row of sub-buffers of one size. Each begins with BUFFER_START and ends with BUFFER_END, both with the wall
clock; its last four bytes say how far from the end BUFFER_END is. The first has START behind BUFFER_START, with the
magic number, the byte order's witness. Times between are cycles or us, 32 bits of them. From 2.1 on each CPU has its
file. docs/formats/ltt-classic.md has the tables.
"""

from __future__ import annotations

import functools
import struct as _struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import construct

from ltt_relay.formats.base import Event, Format, PacketClock, Stream, Switch, unused
from ltt_relay.formats.classic_events import (
    BUFFER_END,
    BUFFER_START,
    CUSTOM,
    CUSTOM_IDS,
    KINDS,
    MAGIC,
    NEW_EVENT,
    PROGRAMS,
    START,
    Slot,
    events,
    layout,
    size,
)
from ltt_relay.formats.classic_walk import ClassicFraming, Shape, classic_records, cycles, find_end, places
from ltt_relay.formats.companion import group_files, read_proc, strangers
from ltt_relay.formats.fields import cstring, field, integer, pad, rest, struct
from ltt_relay.formats.loaded import Loaded, LoadError, Packet, Problem
from ltt_relay.formats.oracle import Parsed, parse

__all__ = ("ARCHITECTURES", "DIALECTS", "Custom", "Dialect", "claims", "format_of", "load", "records", "start_of")

ARCHITECTURES: Final = {
    1: "i386", 2: "ppc", 3: "sh", 4: "s390", 5: "mips", 6: "arm", 8: "ppc64", 9: "mips64",
}  # fmt: skip
SYSTEMS: Final = {1: "vanilla", 2: "RTAI", 0x004C564D: "MontaVista"}
DIALECTS: Final = ("1.14", "2.1", "2.2a", "2.2b", "2.2c", "2.3")

_MVL: Final = 0x004C564D
_S390: Final = 4
#: Where a file has its magic number: bytes of a C long there, and whether it is version 1.14.
_WITNESS: Final = {24: (4, True), 28: (4, False), 32: (8, True), 36: (8, False)}
#: Cycles in 1000 ns, if no sub-buffer tells.
_RATE: Final = 400
_SHIFT: Final = 24


class Custom(NamedTuple):
    """A custom event as NEW_EVENT declares it; form: 1 if its data are text, see there."""

    number: int
    name: str
    doc: str
    form: int


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between files of LTT; `long`: bytes of the traced machine's C long in 1.14 to 2.2b and 2.3."""

    name: str
    order: str
    arch: int = 1
    long: int = 4

    @property
    def montavista(self) -> bool:
        """Whether it is MontaVista's."""
        return self.name == "2.2c"

    @property
    def old(self) -> bool:
        """Whether it is 1.14, which knows no cycles."""
        return self.name == "1.14"

    @property
    def start_size(self) -> int:
        """Bytes of START's struct."""
        return {"1.14": 39, "2.1": 40, "2.2a": 40}.get(self.name, 41)

    def layouts(self) -> dict[int, tuple[Slot, ...]]:
        """Return the structs of all events by number."""
        trap = 8 if self.arch == _S390 else 2
        if self.montavista:
            word, time = 8 if self.arch in {8, 9} else 4, 4
            found = layout(word, syscall=2, pointer=word, trap=trap)
        else:
            time = self.long
            found = layout(pointer=self.long, trap=trap)
            if self.old:
                found[13] = (Slot("sub_id", 1), Slot("data1", self.long))
                del found[22]
            del found[62], found[63]
        tsc = () if self.old else (Slot("tsc", 4),)
        clock = (Slot("sec", time), Slot("usec", time))
        start = [("magic", 4), ("arch_type", 4), ("arch_variant", 4), ("system_type", 4), ("major", 1), ("minor", 1),
                 ("buffer_size", 4), ("event_mask", 8), ("details_mask", 8), ("log_cpuid", 1), ("use_tsc", 1),
                 ("flight_recorder", 1)]  # fmt: skip
        return found | {
            START: tuple(Slot(*slot) for slot in start[: self.start_size - 29]),
            BUFFER_START: (*clock, *tsc, Slot("buffer_id", 4)),
            BUFFER_END: () if self.old else (*clock, *tsc),
        }


def start_of(dialect: Dialect) -> construct.Struct:
    """Return START's struct."""
    return next(e for e in events(KINDS, dialect.layouts(), dialect.order) if e.id == START).payload


def _shapes(layouts: dict[int, tuple[Slot, ...]], details: int) -> dict[int, Shape]:
    shapes = {}
    for number, slots in layouts.items():
        if not (details >> number & 1 or number in {START, BUFFER_START, BUFFER_END}):
            shapes[number] = Shape(0)
            continue
        sub = bool(slots) and slots[0].name == "sub_id"
        shapes[number] = Shape(size(slots), sub)
        if number == 11:
            shapes[number] = replace(shapes[number], length_at=5, extra=1, subs=1 << 3 | 1 << 4)
        elif number == CUSTOM:
            shapes[number] = replace(shapes[number], length_at=4)
        elif number == 62:
            shapes[number] = replace(shapes[number], length_at=9)
    return shapes


def _custom_events(customs: tuple[Custom, ...], slots: tuple[Slot, ...], order: str, told: bool) -> Iterator[Event]:
    """Yield the event of each custom event, and the one of those that are not declared."""
    u32 = integer(32, signed=False, order=order)
    number, length = field("event_id", u32, "its number"), field("data_size", u32, "bytes of its data", unit="B")
    head = (number, length, pad(size(slots) - 8))
    data = field("data", rest(), "what was logged")
    text = field("text", cstring(), "what was logged")
    doc = "a custom event that is not declared"
    yield Event(CUSTOM, "custom", "user", "custom", doc, struct(*head, data) if told else struct())
    if not told:
        return
    taken = {kind.name for kind in KINDS} | {"custom"}
    for custom in customs:
        name = unused(custom.name or f"custom_{custom.number}", custom.number, taken)
        payload = struct(*head, text if custom.form == 1 else data)
        yield Event(CUSTOM_IDS | custom.number, name, "user", "custom", custom.doc or "a custom event", payload)


def format_of(
    dialect: Dialect, details: int = -1, cycles: bool = False, cpu: bool = False, customs: tuple[Custom, ...] = (),
    cpus: tuple[int, ...] = (),
) -> Format:  # fmt: skip
    """Return the format of a trace.

    details: its mask of events that have a struct; cycles: its times are cycles; cpu: its records have a CPU; customs:
    its custom events; cpus: those in one file.
    """
    layouts = dialect.layouts()
    found = [event for event in events(KINDS, layouts, dialect.order, details) if event.id != CUSTOM]
    found += _custom_events(customs, layouts[CUSTOM], dialect.order, bool(details >> CUSTOM & 1))
    framing = ClassicFraming(
        dialect.order, _shapes(layouts, details), cpu=cpu, end_size=not dialect.old, cycles=cycles, cpus=cpus
    )
    switch = Switch("sched_switch", "prev_pid", "next_pid") if details >> 7 & 1 else None
    version = {"1.14": (1, 14), "2.1": (2, 1), "2.3": (2, 3)}.get(dialect.name, (2, 2))
    streams = (Stream(0, "events", "what happened on one CPU"),)
    namings = (PROGRAMS,) if details >> 11 & 1 else ()
    return Format("LTT", version, None, framing, PacketClock(32), streams, tuple(found), switch=switch, namings=namings)


# ----------------------------------------------------------------------------------------------------- which it is


class _Begin(NamedTuple):
    """What the first sub-buffer of a file says; `start` are START's fields."""

    dialect: Dialect
    start: Any


def _dialect(data: bytes, at: int, order: str, long: int) -> Dialect | None:
    """Tell the dialect from START's struct at `at`."""
    arch, _, system, major, minor = _struct.unpack_from(f"{order}IIIBB", data, at + 4)
    fixed = {(1, 14): "1.14", (2, 1): "2.1"}.get((major, minor))
    if fixed:
        return Dialect(fixed, order, arch, long)
    if (major, minor) not in {(2, 2), (2, 3)}:
        return None
    # The version 2.2 was given out three times; the size behind the struct tells its length.
    if _struct.unpack_from(f"{order}H", data, at + 40)[0] == 47:
        return Dialect("2.2a", order, arch, long)
    if _struct.unpack_from(f"{order}H", data, at + 41)[0] != 48:
        return None
    if minor == 2 and system == _MVL:
        return Dialect("2.2c", order, arch)
    return Dialect("2.3" if minor == 3 else "2.2b", order, arch, long)


def _begin(file: Path) -> _Begin | None:
    try:
        with file.open("rb") as stream:
            data = stream.read(128)
    except OSError:
        return None
    if len(data) < 96 or data[0] != BUFFER_START:
        return None
    for at, (long, old) in _WITNESS.items():
        for order in "<>":
            if data[at : at + 4] != _struct.pack(f"{order}I", MAGIC) or data[at - 5] != START:
                continue
            dialect = _dialect(data, at, order, long)
            if dialect and dialect.old == old:
                return _Begin(dialect, start_of(dialect).parse(data[at:]))
    return None


def claims(path: Path) -> bool:
    """Return whether it is a file of LTT, or a directory with some."""
    if path.is_file():
        return _begin(path) is not None
    return path.is_dir() and any(_begin(file) for file in path.iterdir() if file.is_file())


# ------------------------------------------------------------------------------------------------------ its packets


def load(path: Path) -> Loaded:
    """Return the sub-buffers of all CPUs.

    Raises:
        LoadError: there are several traces, or the files of one are of different kinds.

    """
    grouped = group_files(path, lambda file: _begin(file) is not None)
    known = files = [file for _, file in grouped]
    begins = [begin for begin in map(_begin, files) if begin]
    if not begins:
        raise LoadError(f"{path}: no sub-buffer of LTT at its begin; BUFFER_START and START were expected")
    dialect, start = begins[0]
    differing = [
        file.name for file, begin in zip(files, begins, strict=True)
        if begin.dialect != dialect or any(begin.start[k] != start[k] for k in ("details_mask", "log_cpuid"))
        or begin.start.get("use_tsc") != start.get("use_tsc")
    ]  # fmt: skip
    if differing:
        raise LoadError(f"{path}: {', '.join(differing)}: another version, clock or mask than {files[0].name}")
    headless = strangers(grouped)
    grouped = sorted([*grouped, *headless])
    files = [file for _, file in grouped]
    sizes = {file: begin.start.buffer_size for file, begin in zip(known, begins, strict=True)}
    smallest = format_of(dialect).framing
    assert isinstance(smallest, ClassicFraming)
    least = smallest.length(BUFFER_START) + smallest.length(START) + smallest.length(BUFFER_END) + 4
    usual = next((size for size in sizes.values() if size >= least), None)
    if usual is None:
        raise LoadError(f"{files[0]}: sub-buffers of {start.buffer_size} bytes, which have no room for a record")
    cpu, tsc = bool(start.log_cpuid), bool(start.get("use_tsc", 0))
    told = files if start.details_mask >> NEW_EVENT & 1 else []
    customs = tuple({c.number: c for file in told for c in _declared(file, dialect, cpu)}.values())
    plain = format_of(dialect, start.details_mask, tsc, cpu, customs)
    loaded = Loaded(plain, files, [], env=_environment(dialect, start), names=read_proc(files))
    for cpu_, file in headless:
        found = "none: it is read as the files of the other CPUs are"
        loaded.problems.append(Problem(file.name, cpu_, 0, 0, "packet_header", "START in the first sub-buffer", found))
    readers = []
    for number, (cpu_, file) in enumerate(grouped):
        size_ = sizes.get(file, usual)
        if size_ < least:
            found = f"{size_}: it is read as the files of the other CPUs are"
            problem = Problem(file.name, cpu_, 0, 0, "packet_header", f"sub-buffers of {least} bytes or more", found)
            loaded.problems.append(problem)
            size_ = usual
        readers.append(_Reader(cpu_, file, number, size_, dialect, plain, loaded.problems))
    for reader in readers:
        loaded.packets += reader.packets()
    if dialect.old and cpu:
        loaded.packets, cpus = _apart(loaded.packets, readers)
        loaded.format = format_of(dialect, start.details_mask, tsc, cpu, customs, cpus)
    loaded.details = {
        "dialect": dialect.name, "byte_order": "little" if dialect.order == "<" else "big",
        "clock": "cycles" if tsc else "microseconds", "event_mask": f"0x{start.event_mask:x}",
        "details_mask": f"0x{start.details_mask:x}", "flight_recorder": int(start.get("flight_recorder", 0)),
    }  # fmt: skip
    return loaded


def records(path: Path) -> Iterator[Parsed]:
    """Yield the records as `formats.oracle` has it."""
    return parse(load(path), classic_records)


def _environment(dialect: Dialect, start: Any) -> dict[str, str | int]:
    return {
        "tracer_name": "LTT",
        "tracer_major": start.major,
        "tracer_minor": start.minor,
        "sysname": "Linux",
        "arch": ARCHITECTURES.get(dialect.arch, str(dialect.arch)),
        "system": SYSTEMS.get(start.system_type, f"0x{start.system_type:x}"),
    }


def _declared(file: Path, dialect: Dialect, cpu: bool) -> Iterator[Custom]:
    """Yield the custom events that a file declares.

    Their records are looked for by the size at their end, which only they have, instead of walking to them.
    """
    piece = 1 << 22
    payload = next(e for e in events(KINDS, dialect.layouts(), dialect.order) if e.id == NEW_EVENT).payload
    struct_size, head = payload.sizeof(), 5 + cpu
    whole = head + struct_size + 2
    # The last byte of its last text is always NUL. The size's low byte is looked for alone: it is rare, and a search
    # for one byte takes a tenth of the time.
    tail = b"\0" + _struct.pack(f"{dialect.order}H", whole)
    rare, back = bytes([whole & 0xFF]), 1 if dialect.order == "<" else 2
    with file.open("rb") as stream:
        for start in range(0, file.stat().st_size, piece):
            stream.seek(start)
            data = stream.read(piece + whole)
            found = data.find(rare, whole - 3)
            while found > 0:
                at = found - back + 1
                begin = at - struct_size - 5
                if data[at - 1 : at + 2] == tail and begin >= 0 and data[begin] == NEW_EVENT:
                    declared = payload.parse(data[begin + 5 : at])
                    known = CUSTOM < declared.event_id < CUSTOM_IDS and declared.format_type <= 4
                    if known and not data[begin + 28] and not data[begin + 128]:
                        yield Custom(
                            declared.event_id, declared.event_type, declared.description, declared.format_type
                        )  # fmt: skip
                found = data.find(rare, found + 1)


class _Reader:
    """Makes packets of one file."""

    def __init__(
        self, cpu: int, file: Path, number: int, buffer_size: int, dialect: Dialect, format: Format,  # noqa: A002
        problems: list[Problem],
    ) -> None:  # fmt: skip
        self.cpu, self.file, self.number, self.buffer_size, self.problems = cpu, file, number, buffer_size, problems
        assert isinstance(format.framing, ClassicFraming)
        self.framing = format.framing
        # As construct has it, but a file has thousands of them.
        letters = {number: "".join({4: "I", 8: "Q"}[slot.size] for slot in dialect.layouts()[number])
                   for number in (BUFFER_START, BUFFER_END)}  # fmt: skip
        self._start = _struct.Struct(dialect.order + letters[BUFFER_START])
        self._end = _struct.Struct(dialect.order + letters[BUFFER_END])
        self._old = dialect.old

    def packets(self) -> list[Packet]:
        """Return its packets in the order of the file."""
        found: list[Packet] = []
        total = self.file.stat().st_size
        with self.file.open("rb") as stream:
            for sequence, at in enumerate(range(0, total, self.buffer_size)):
                packet = self._packet(stream, at, sequence, min(self.buffer_size, total - at))
                if packet:
                    found.append(packet)
        self._give_rates(found)
        return found

    def _problem(self, packet: int, at: int, code: str, expected: str, what: str) -> None:
        self.problems.append(Problem(self.file.name, self.cpu, packet, at, code, expected, what))

    def _packet(self, stream: Any, at: int, sequence: int, room: int) -> Packet | None:
        framing = self.framing
        start_length = framing.length(BUFFER_START)
        stream.seek(at)
        head = stream.read(min(start_length + framing.length(START) + 16, room))
        if len(head) < start_length or head[0] != BUFFER_START:
            found = f"{len(head)} bytes" if len(head) < start_length else f"event {head[0]}"
            self._problem(sequence, at, "packet_header", "BUFFER_START", found)
            return None
        if sequence == 0 and framing.cpu and not self._old:
            first = start_length + framing.length(START)
            self.cpu = head[first] if first < len(head) else self.cpu
        sec, usec, *_, buffer_id = self._start.unpack_from(head, 5)
        begin = sec * 1_000_000_000 + usec * 1000
        if begin >= 1 << 62:
            self._problem(sequence, at, "packet_header", "a wall clock", f"{sec} s, {usec} us")
            return None
        content, end = self._end_of(stream, at, sequence, room)
        when: int | None = None
        if end is not None and not self._old:
            stream.seek(at + end)
            sec, usec, _ = self._end.unpack_from(stream.read(5 + self._end.size), 5)
            when = sec * 1_000_000_000 + usec * 1000
            if when and not begin <= when < begin + (1 << 61):
                self._problem(sequence, at + end, "time_backward", f"an end at {begin} ns or later", str(when))
            if not when or not begin <= when < begin + (1 << 61):
                when = None
        return Packet(self.number, at, 0, content, self.cpu, begin, when, sequence=buffer_id)

    def _end_of(self, stream: Any, at: int, sequence: int, room: int) -> tuple[int, int | None]:
        """Return where the last record ends, and where BUFFER_END's id is, None if there is none."""
        framing, size_ = self.framing, self.buffer_size
        length = framing.length(BUFFER_END)
        lost = -1
        if room == size_:
            stream.seek(at + size_ - 4)
            lost = _struct.unpack(f"{framing.order}I", stream.read(4))[0]
            least = length + 4 + framing.cpu
            if least <= lost <= size_ - framing.length(BUFFER_START):
                end = size_ - lost + framing.cpu
                stream.seek(at + end)
                if stream.read(1) == bytes([BUFFER_END]):
                    return end + length, end
            self._problem(sequence, at + size_ - 4, "packet_trailer", "the distance to BUFFER_END", str(lost))
        else:
            self._problem(sequence, at, "truncated", f"{size_} bytes of sub-buffer", f"{room} bytes")
        stream.seek(at)
        data = stream.read(room if room < size_ else size_ - 4)
        content = find_end(framing, data)
        return (len(data), None) if content is None else (content, content - length)

    def _give_rates(self, packets: list[Packet]) -> None:
        """A packet that does not tell its end takes the rate of the clock from the one before it, or behind it."""
        if not self.framing.cycles:
            return
        good = [i for i, packet in enumerate(packets) if packet.end is not None]
        for i, packet in enumerate(packets):
            if packet.end is None:
                near = max((j for j in good if j < i), default=next((j for j in good if j > i), None))
                packet.scale = (
                    (1000 * (1 << _SHIFT) // _RATE, 1 << _SHIFT) if near is None else self._rate(packets[near])
                )

    @functools.cache  # noqa: B019  # a reader lives for one load
    def _rate_at(self, offset: int, content: int, span: int) -> tuple[int, int]:
        with self.file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(content)
        found = list(places(self.framing, data, content))
        passed = cycles(self.framing, found, ended=True)[-1]
        if passed <= 0 or span <= 0:
            return 1000 * (1 << _SHIFT) // _RATE, 1 << _SHIFT
        return min((span << _SHIFT) // passed, (1 << 31) - 1), 1 << _SHIFT

    def _rate(self, packet: Packet) -> tuple[int, int]:
        assert packet.end is not None
        return self._rate_at(packet.offset, packet.content, packet.end - packet.begin)

    def cpus(self, packets: list[Packet]) -> set[int]:
        """Return the CPUs that the file's records name."""
        named: set[int] = set()
        with self.file.open("rb") as stream:
            for packet in packets:
                stream.seek(packet.offset)
                named |= {place.cpu for place in places(self.framing, stream.read(packet.content), packet.content)}
        return named - {-1}


def _apart(packets: list[Packet], readers: list[_Reader]) -> tuple[list[Packet], tuple[int, ...]]:
    """Make each packet of a file with all CPUs one for each of them: 1.14 has one file."""
    named = set().union(*(reader.cpus([p for p in packets if p.file == reader.number]) for reader in readers))
    cpus = tuple(sorted(named)) or (0,)
    return [replace(packet, cpu=cpu) for packet in packets for cpu in cpus], cpus
