# SPDX-License-Identifier: GPL-2.0-or-later
"""blktrace: what the kernel's block layer traces through relay, versions 7 and 8.

A file for each CPU (`NAME.blktrace.N`), a record behind the other, in the byte order of the traced machine. Layout and
meaning: include/uapi/linux/blktrace_api.h of Linux. Times are ns of the kernel's own clock; a note of the wall clock,
if there is one, tells the offset.

The low half of `action` is what happened, the high half to what kind of request; records with the bit "notify" are
notes. Bit 8 of the low half says that the first 8 bytes behind the header are a cgroup's id; the number is below it.
"""

from __future__ import annotations

import functools
import re
import struct as _struct
from dataclasses import replace
from pathlib import Path
from typing import Final, NamedTuple

from ltt_relay.formats.base import Event, Format, HeaderFraming, Naming, PacketClock, Stream
from ltt_relay.formats.fields import BIG, LITTLE, Field, chars, field, flags, integer, pad, rest_text, struct, when_flag
from ltt_relay.formats.loaded import Loaded, LoadError, Packet, Problem

__all__ = ("ACTIONS", "CATEGORIES", "NOTES", "claims", "format_of", "load")

MAGIC: Final = 0x65617400
NOTIFY: Final = 0x0400_0000
#: Number that the walker adds to the id of a note.
NOTE_IDS: Final = 0x100

#: What: letter that blkparse prints, event name (the kernel's tracepoint where it has one), meaning.
ACTIONS: Final = {
    1: ("Q", "block_bio_queue", "a request is queued"),
    2: ("M", "block_bio_backmerge", "merged behind a request in the queue"),
    3: ("F", "block_bio_frontmerge", "merged before a request in the queue"),
    4: ("G", "block_getrq", "a request structure was got"),
    5: ("S", "block_sleeprq", "no request structure was free: sleeps"),
    6: ("R", "block_rq_requeue", "put back into the queue"),
    7: ("D", "block_rq_issue", "issued to the driver"),
    8: ("C", "block_rq_complete", "completed by the device"),
    9: ("P", "block_plug", "the queue is plugged"),
    10: ("U", "block_unplug", "the queue is unplugged, for requests wait"),
    11: ("UT", "block_unplug_timer", "the queue is unplugged, by a timer"),
    12: ("I", "block_rq_insert", "inserted into the scheduler's queue"),
    13: ("X", "block_split", "split, as a device's border runs through it"),
    14: ("B", "block_bio_bounce", "bounced: the data had to be copied to reach them"),
    15: ("A", "block_bio_remap", "remapped from another device"),
    16: ("a", "block_rq_abort", "aborted"),
    17: ("d", "block_drv_data", "data of the driver"),
    18: ("ZP", "block_zone_plug", "a zone is plugged"),
    19: ("ZU", "block_zone_unplug", "a zone is unplugged"),
    20: ("ZM", "block_zone_management", "a command to zones"),
}
NOTES: Final = {
    0: ("m", "blk_process", "the name of a task"),
    1: ("m", "blk_timestamp", "the wall clock"),
    2: ("m", "blk_message", "a message"),
}
CATEGORIES: Final = {
    "read": 1 << 16, "write": 2 << 16, "flush": 4 << 16, "sync": 8 << 16, "queue": 0x10 << 16, "requeue": 0x20 << 16,
    "issue": 0x40 << 16, "complete": 0x80 << 16, "fs": 0x100 << 16, "pc": 0x200 << 16, "notify": 0x400 << 16,
    "ahead": 0x800 << 16, "meta": 0x1000 << 16, "discard": 0x2000 << 16, "drv_data": 0x4000 << 16, "fua": 0x8000 << 16,
    "cgroup": 0x100,
}  # fmt: skip

_PIECE: Final = 1 << 20
_FEW: Final = 1 << 13
#: Bytes that hold any note of the wall clock.
_ACROSS: Final = 128
_SIZE: Final = {7: 48, 8: 64}
_NUMBERED = re.compile(r"(.*)\.(\d+)")


def _header(version: int, order: str) -> tuple[Field, ...]:
    u16, u32, u64 = (integer(bits, signed=False, order=order) for bits in (16, 32, 64))
    wide = u32 if version == 7 else u64
    pid = field("pid", integer(32, signed=True, order=order), "thread id of the task it is for", names=("task", "comm"))
    action = field("action", flags(wide, CATEGORIES), "what, in the low byte, and the kind of request", hint="hex")
    return (
        field("magic", u32, "0x65617400 and the version", hint="hex"),
        field("sequence", u32, "counts the records of a CPU"),
        field("time", u64, "when", unit="ns"),
        field("sector", u64, "first sector on the device", unit="512 B"),
        field("bytes", u32, "length of the request", unit="B"),
        *((action, pid) if version == 7 else (pid, action)),
        field("dev", u32, "device: major << 20 | minor", hint="hex"),
        field("cpu", u32, "CPU that wrote it"),
        field("error", u16, "errno of a completion"),
        field("pdu_len", u16, "bytes behind the header", unit="B"),
        *((pad(12),) if version == 8 else ()),
    )


def _pdu(what: int, note: bool, order: str) -> tuple[Field, ...]:
    """What is behind the header: a cgroup's id if there is one; the rest is big endian whatever the header is."""
    cgroup = field("cgroup", when_flag("action", "cgroup", integer(64, signed=False, order=order)), "id of its cgroup")
    u32, u64 = integer(32, signed=False, order=BIG), integer(64, signed=False, order=BIG)
    if not note and what == 15:
        return (
            cgroup,
            field("from_dev", u32, "device that it was mapped from: major << 20 | minor", hint="hex"),
            field("to_dev", u32, "device that it was mapped to: major << 20 | minor", hint="hex"),
            field("from_sector", u64, "sector there", unit="512 B"),
        )
    if not note and what in {10, 11}:
        return cgroup, field("depth", u64, "requests that waited")
    if not note and what == 13:
        return cgroup, field("split_sector", u64, "where it was split", unit="512 B")
    return (cgroup,)


@functools.cache
def format_of(version: int, order: str, cpus: tuple[int, ...] = ()) -> Format:
    """Return the format: version 7 or 8; byte order `fields.LITTLE` or `fields.BIG`; cpus: those in one file."""
    u32 = integer(32, signed=False, order=order)
    header = _header(version, order)
    events = []
    for what, (letter, name, doc) in ACTIONS.items():
        payload = struct(*header, *_pdu(what, note=False, order=order))
        events.append(Event(what, name, "block", "file_system", f"{doc} ({letter})", payload, tid="pid", provider=name))
    notes = {
        0: (field("name", chars(16), "its name"),),
        1: (field("seconds", u32, "since 1970", unit="s"), field("nanoseconds", u32, "and", unit="ns")),
        2: (*_pdu(2, note=True, order=order), field("text", rest_text(), "what was written")),
    }
    for what, (_, name, doc) in NOTES.items():
        payload = struct(*header, *notes.get(what, ()))
        events.append(Event(NOTE_IDS + what, name, "block", "custom", doc, payload, tid="pid" if what != 1 else None))
    framing = HeaderFraming(
        struct(*header), id="action", length="pdu_len", time="time", extra=_SIZE[version], skip=0, id_mask=0xFF,
        id_flag=(NOTIFY, NOTE_IDS), magic=("magic", 0xFFFF_FFFF, MAGIC | version), cpu="cpu", cpus=cpus,
    )  # fmt: skip
    return Format(
        "blktrace", (version, 0), None, framing, PacketClock(64), (Stream(0, "blktrace", "one CPU's records"),),
        tuple(events), namings=(Naming("task", "blk_process", "pid", "name"),),
    )  # fmt: skip


class _Kind(NamedTuple):
    version: int
    order: str

    @property
    def magic(self) -> bytes:
        return _struct.pack(f"{self.order}I", MAGIC | self.version)


def _kind(path: Path) -> _Kind | None:
    try:
        with path.open("rb") as file:
            begin = file.read(4)
    except OSError:
        return None
    kinds = [_Kind(version, order) for version in _SIZE for order in (LITTLE, BIG)]
    return next((kind for kind in kinds if begin == kind.magic), None)


def claims(path: Path) -> bool:
    """Return whether it is a file of blktrace, or a directory with some."""
    if path.is_file():
        # A CPU on which nothing happened has an empty file.
        return _kind(path) is not None or (not path.stat().st_size and any(map(_kind, _files(path))))
    return path.is_dir() and any(_kind(file) for file in _visible(path))


def _visible(directory: Path) -> list[Path]:
    return [file for file in sorted(directory.iterdir()) if file.is_file() and file.name[0] != "."]


def _files(path: Path) -> list[Path]:
    """Return the files of all CPUs of the trace that `path` is, or is a file of."""
    directory, stem = (path, None) if path.is_dir() else (path.parent, _NUMBERED.fullmatch(path.name))
    if path.is_file() and (stem is None or path.name[0] == "."):
        return [path]
    traces: dict[str, list[tuple[int, Path]]] = {}
    for file in _visible(directory):
        # One that begins with something else is damaged: the walk of its records tells.
        if name := _NUMBERED.fullmatch(file.name):
            traces.setdefault(name[1], []).append((int(name[2]), file))
    if stem:
        return [file for _, file in sorted(traces[stem[1]])]
    traces = {name: files for name, files in traces.items() if any(_kind(file) for _, file in files)}
    if len(traces) > 1:
        raise LoadError(f"{path}: several traces: {', '.join(sorted(traces))}; name a file of the one that is meant")
    return [file for files in traces.values() for _, file in sorted(files)] or [f for f in _visible(path) if _kind(f)]


def load(path: Path) -> Loaded:
    """Return the packets of all CPUs: pieces of about 1 MiB that begin with a record.

    Raises:
        LoadError: there is none, there are several traces, or files of different versions or byte orders.

    """
    files = _files(path)
    kinds = {file: _kind(file) for file in files}
    kind = next((found for found in kinds.values() if found), None)
    if kind is None:
        raise LoadError(f"{path}: no record of blktrace at a file's begin: magic 0x65617407 or 0x65617408 was expected")
    strangers = [file.name for file, found in kinds.items() if found and found != kind]
    if strangers:
        raise LoadError(f"{path}: {', '.join(strangers)}: another version or byte order than {files[0].name}")
    loaded = Loaded(format_of(*kind), files, [])
    for number, file in enumerate(files):
        _index(file, number, kind, loaded)
    if len(files) == 1 and len(cpus := _cpus(files[0], kind)) > 1:
        # What `blktrace -o -` writes: all CPUs in one file.
        loaded.format = format_of(*kind, cpus)
        loaded.packets = [replace(packet, cpu=cpu) for packet in loaded.packets for cpu in cpus]
    loaded.wall_offset = _wall_offset(files, kind)
    return loaded


def _headers(kind: _Kind) -> _struct.Struct:
    return _struct.Struct(f"{kind.order}IIQQIIIIIHH" if kind.version == 7 else f"{kind.order}IIQQIIQIIHH12x")


def _index(file: Path, number: int, kind: _Kind, loaded: Loaded) -> None:
    """Cut a file into pieces that end with a record."""
    header = _headers(kind)
    cpu_at = 8
    size = file.stat().st_size
    with file.open("rb") as stream:
        at = 0
        cpu = None
        while at < size:
            stream.seek(at)
            begin = stream.read(header.size)
            if len(begin) < header.size:
                expected = f"a header of {header.size} bytes"
                problem = Problem(file.name, cpu or 0, -1, at, "truncated", expected, f"{len(begin)} bytes")
                loaded.problems.append(problem)
                return
            if cpu is None:
                cpu = header.unpack(begin)[cpu_at] & 0xFFFF
            end = size - at
            if end > 2 * _PIECE:
                stream.seek(at + _PIECE)
                some = stream.read(_FEW)
                found = _next_record(some, kind, header)
                if found == _FEW:
                    # A record is seldom long, but its length has 16 bits, and eight of them are looked at.
                    found = _next_record(some + stream.read(_PIECE - _FEW), kind, header)
                end = _PIECE + found
            loaded.packets.append(Packet(number, at, 0, end, cpu, 0, None))
            at += end


def _cpus(file: Path, kind: _Kind) -> tuple[int, ...]:
    """Return the CPUs that a file's records name.

    Files of one CPU end with its number: of those, and of others whose first 4 MiB name one CPU, the rest is not read.
    """
    header = _headers(kind)
    found: set[int] = set()
    with file.open("rb") as stream:
        data = stream.read(1 << 18 if _NUMBERED.fullmatch(file.name) else 4 * _PIECE)
        while data:
            at = 0
            while at + header.size <= len(data):
                fields = header.unpack_from(data, at)
                if fields[0] != MAGIC | kind.version:
                    return tuple(sorted(found))
                found.add(fields[8] & 0xFFFF)
                at += header.size + fields[-1]
            if len(found) < 2:
                break
            data = data[at:] + stream.read(_PIECE) if at <= len(data) else b""
            data = b"" if len(data) < header.size else data
    return tuple(sorted(found))


def _wall_offset(files: list[Path], kind: _Kind) -> int:
    """Return wall clock minus kernel clock, as the first note of it tells; 0 if there is none.

    The kernel writes one when tracing starts, on the CPU that started it: the begins of all files are looked at before
    the rest of any.
    """
    for rest in (False, True):
        for file in files:
            with file.open("rb") as stream:
                stream.seek(_PIECE - _ACROSS if rest else 0)
                # What lies across two reads is seen in the second.
                tail = b""
                while data := stream.read(_PIECE):
                    if (offset := _noted(tail + data, kind)) is not None:
                        return offset
                    tail = (tail + data)[-_ACROSS:]
                    if not rest:
                        break
    return 0


def _noted(data: bytes, kind: _Kind) -> int | None:
    header = _headers(kind)
    action_at = 5 if kind.version == 7 else 6
    wanted = _struct.pack(f"{kind.order}I" if kind.version == 7 else f"{kind.order}Q", NOTIFY | 1)
    place = data.find(wanted)
    while place >= 0:
        begin = place - (28 if kind.version == 7 else 32)
        if 0 <= begin <= len(data) - header.size - 8:
            fields = header.unpack_from(data, begin)
            if fields[0] == MAGIC | kind.version and fields[action_at] == NOTIFY | 1 and fields[-1] == 8:
                seconds, nanoseconds = _struct.unpack_from(f"{kind.order}II", data, begin + header.size)
                return int(seconds * 1_000_000_000 + nanoseconds - fields[2])
        place = data.find(wanted, place + 1)
    return None


def _next_record(data: bytes, kind: _Kind, header: _struct.Struct) -> int:
    """Return where in `data` a record begins: a magic number, from which others follow."""
    at = data.find(kind.magic)
    while at >= 0:
        place = at
        for _ in range(8):
            if place + header.size > len(data):
                break
            fields = header.unpack_from(data, place)
            if fields[0] != MAGIC | kind.version:
                break
            place += header.size + fields[-1]
        else:
            return at
        at = data.find(kind.magic, at + 1)
    return len(data)
