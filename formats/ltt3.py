# SPDX-License-Identifier: GPL-2.0-or-later
"""LTT 3.0: the format that kmod/ writes, and its one definition.

The C header of the kernel modules, the CTF 1.8 metadata, the field reference and the decoder's plan are derived from
this file and the events in `ltt3_events/`; `make generate` rewrites what is checked in, and a test fails when it is
out of step.

A stream file is a sequence of packets, each decodable alone::

    packet   = packet header (184 bytes), records, zero padding to a multiple of 8 bytes
    record   = time u32, id u16, length u16, payload; then zero padding to a multiple of 8 bytes

All integers are little endian and lie on a multiple of their own size, so that C structs, CTF and columns agree byte
for byte. A packet never spans 2**32 ns: the 32 bits of a record's time are unambiguous given the packet's begin.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from ltt_relay.formats.base import Event, Format, LengthFraming, Naming, PacketClock, Stream, Switch
from ltt_relay.formats.fields import (
    Field,
    blob,
    chars,
    cstring,
    enum,
    field,
    flags,
    i16,
    i32,
    i64,
    sequence,
    struct,
    u8,
    u16,
    u32,
    u64,
)
from ltt_relay.formats.loaded import Packet
from ltt_relay.formats.ltt3_events import KERNEL_EVENTS
from ltt_relay.formats.ltt3_events.common import TASK_COMM_LEN
from ltt_relay.formats.oracle import Parsed, length_records, plain

__all__ = (
    "FIRST_DYNAMIC_ID",
    "FORMAT",
    "HEADER_SIZE",
    "LOST_REASONS",
    "MAGIC",
    "MAP_MAGIC",
    "MAX_RECORD",
    "RING_MAP",
    "TASK_COMM_LEN",
    "claims",
    "records",
)

MAGIC: Final = 0x00D6B7ED
MAP_MAGIC: Final = 0x0D6B7ED350414D33
#: How a packet begins: the magic number and the major version.
_BEGIN_AT: Final = 24
_BEGIN: Final = MAGIC.to_bytes(4, "little") + b"\3"
#: Ids of events that a session makes at run time (kprobes, custom events) begin here.
FIRST_DYNAMIC_ID: Final = 256
#: A record's length is 16 bits wide.
MAX_RECORD: Final = 0xFFF8

#: Why records were lost, in the order of the counters in the packet header.
LOST_REASONS: Final = {
    "full": "no free sub-buffer: the reader was too slow or the buffers too small",
    "nmi": "the event happened in a non-maskable interrupt",
    "nested": "the event happened while the same CPU was writing a record of the same session",
    "too_big": "the record is longer than a sub-buffer or than 65528 bytes",
    "no_buffer": "the CPU had no buffer (it came online while the buffers were made)",
    "fault": "user memory could not be read",
    "reset": "thrown away by a reset of the session",
}

PACKET_FLAGS: Final = {
    "switches_complete": 1,  # sched_switch was recorded unfiltered from the packet's begin to its end
    "final": 2,  # no records: carries the last values of the counters
}

#: As in syslog.
LEVELS: Final = {
    name: number for number, name in enumerate(("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"))
}
FACILITIES: Final = {
    name: number
    for number, name in enumerate((
        "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
        "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
        "local7",
    ))
}  # fmt: skip
ORIGINS: Final = {"kernel": 0, "user": 1}

TASK_CAUSES: Final = {"dump": 0, "fork": 1, "exec": 2, "rename": 3, "exit": 4}

PACKET: Final = struct(
    field("uuid", blob(16), "identifies the session; the same in all its streams and in its metadata"),
    field("stream_id", u32, "kind of stream: 0 events, 1 state, 2 klog, 3 evlog"),
    field("stream_instance_id", u32, "which stream of that kind: the CPU's number"),
    field("magic", u32, "0x00D6B7ED, as in every LTT format since 1999", hint="hex"),
    field("major", u8, "3"),
    field("minor", u8, "0"),
    field("header_size", u16, "offset of the first record from the packet's begin", unit="B"),
    field("content_size", u64, "packet's begin to the last record's end", unit="bit"),
    field("packet_size", u64, "packet's begin to the next packet's", unit="bit"),
    field("timestamp_begin", u64, "monotonic time of the first record", unit="ns"),
    field("timestamp_end", u64, "monotonic time of the last record, or of the close if there is none", unit="ns"),
    field("events_discarded", u64, "records of this stream lost since the session began, all reasons"),
    field("packet_seq_num", u64, "counts the packets of this stream, from 0"),
    field("cpu_id", u32, "CPU that wrote the packet"),
    field("flags", flags(u32, PACKET_FLAGS), "what holds for the whole packet"),
    field("tid", i32, "thread id of the task running at the packet's begin; -1 if none is meant"),
    field("tgid", i32, "thread group id of that task"),
    field("wall_offset", i64, "wall clock minus monotonic clock at the packet's begin", unit="ns"),
    field("event_ids", u64, "bit i is set if the packet holds a record with id mod 64 = i", hint="hex"),
    field("records", u64, "number of records in the packet"),
    field("overwritten", u64, "records overwritten or thrown away unread since the session began"),
    *(
        field(f"lost_{reason}", u64, f"records lost since the session began: {why}")
        for reason, why in LOST_REASONS.items()
    ),
)

HEADER_SIZE: Final = PACKET.sizeof()

RECORD: Final = struct(
    field("timestamp", u32, "low 32 bits of the monotonic time", unit="ns"),
    field("id", u16, "event"),
    field("length", u16, "record's size, this header included, padding excluded", unit="B"),
)


#: Not of a file: found in an image of the memory of a machine that recorded, at the begin of a page. It says where one
#: buffer's pages are, in order; a buffer of more pages than one map holds has several maps.
RING_MAP: Final = struct(
    field("magic", u64, "0x0D6B7ED350414D33: also the map's last field to be written", hint="hex"),
    field("uuid", blob(16), "as in the packets"),
    field("stream_id", u32, "as in the packets"),
    field("buffer", u32, "which buffer: they are numbered as they are made; of which CPU, its packets tell"),
    field("page_size", u32, "size of a page", unit="B"),
    field("subbuf_size", u32, "size of a sub-buffer", unit="B"),
    field("n_subbufs", u32, "sub-buffers of the buffer"),
    field("first", u32, "the buffer's page that the first number is of"),
    field("count", u32, "numbers that follow"),
    field("reserved", u32, "0"),
    field("frames", sequence("count", u64), "page frame numbers: physical address / page_size", hint="hex"),
)


def _caller(doc: str) -> Field:
    return field("tid", i32, doc, names=("task", "comm"))


EVENTS: Final = (
    *KERNEL_EVENTS,
    Event(
        48, "state_task", "state", "process", "a task, as it is or as it becomes",
        struct(
            field("pid", i32, "thread id"),
            field("tgid", i32, "thread group id"),
            field("ppid", i32, "thread group id of the parent"),
            field("uid", u32, "user id"),
            field("cause", enum(u32, TASK_CAUSES), "why this record was written"),
            field("comm", chars(TASK_COMM_LEN), "name"),
        ),
        stream=1,
    ),
    Event(
        49, "state_irq", "state", "irq_entry", "the name of an interrupt's handler",
        struct(field("irq", i32, "interrupt number"), field("name", cstring(), "names of its handlers, comma between")),
        stream=1,
    ),
    Event(
        50, "state_module", "state", "memory", "a kernel module that was loaded",
        struct(
            field("taints", u32, "how it taints the kernel, in bits", hint="hex"),
            field("name", cstring(), "the module"),
        ),
        stream=1,
    ),
    Event(
        51, "state_end", "state", "custom", "the dump is complete; what follows are changes",
        struct(field("tasks", u32, "tasks dumped")), stream=1,
    ),
    Event(
        60, "printk", "log", "custom", "a line of the kernel's log; the time is when klog took it from there",
        struct(
            field("seq", u64, "its sequence number; numbers that are missing were lost"),
            field("log_time", u64, "when it was printed, by printk's clock, to 1 us; 0 if not told", unit="ns"),
            _caller("the task that printed it; -1 if the kernel does not say, or if no task did"),
            field("caller_cpu", i16, "the CPU that printed it outside of a task; -1 if the kernel does not say"),
            field("level", enum(u8, LEVELS), "severity"),
            field("facility", enum(u8, FACILITIES), "who logged it; kern unless it came from user space"),
            field("text", cstring(), "the line, without prefix; lines of one message keep their line ends"),
        ),
        stream=2, tid="tid",
    ),
    Event(
        61, "evlog", "log", "custom", "a record of the event log",
        struct(
            _caller("the task that logged it, or that was interrupted when the kernel did"),
            field("pid", i32, "its thread group id"),
            field("uid", u32, "its real user id"),
            field("event_type", u32, "what happened, in the writer's numbering", hint="hex"),
            field("severity", enum(u8, LEVELS), "severity"),
            field("facility", enum(u8, FACILITIES), "who logged it"),
            field("origin", enum(u16, ORIGINS), "which side wrote it"),
            field("process", chars(TASK_COMM_LEN), "name of the task"),
            field("text", cstring(), "what happened, in words"),
            field("attributes", cstring(), "names and typed values as a JSON object; empty if there are none"),
        ),
        stream=3, tid="tid",
    ),
)  # fmt: skip

FORMAT: Final = Format(
    name="LTT",
    version=(3, 0),
    packet=PACKET,
    framing=LengthFraming(header=RECORD, time="timestamp", id="id", length="length", align=8),
    clock=PacketClock(bits=32),
    streams=(
        Stream(0, "events", "what happened on one CPU"),
        Stream(
            1,
            "state",
            "names: tasks, interrupts and modules at the session's start, and their changes since",
            names=True,
        ),
        Stream(2, "klog", "the kernel's log: one stream for all CPUs"),
        Stream(3, "evlog", "the event log: what was logged on one CPU"),
    ),
    events=EVENTS,
    switch=Switch(event="sched_switch", previous="prev_pid", next="next_pid"),
    namings=(
        Naming(
            "task", "state_task", "pid", "comm", ("cause", TASK_CAUSES["dump"]), without=("cause", TASK_CAUSES["exit"])
        ),
        Naming("irq", "state_irq", "irq", "name"),
    ),
)


def records(path: Path) -> Iterator[Parsed]:
    """Yield the records of a session's directory, or of one stream file, as `formats.oracle` has it."""
    hidden = {"metadata"}
    files = [path] if path.is_file() else sorted(p for p in path.iterdir() if p.is_file() and p.name not in hidden)
    for file in files:
        if file.name[0] != ".":
            for found in _file_records(file.read_bytes()):
                yield found._replace(file=file.name)


def _file_records(data: bytes) -> Iterator[Parsed]:
    at = number = 0
    while at + HEADER_SIZE <= len(data):
        header = PACKET.parse(data[at : at + HEADER_SIZE])
        size, content, begin = header.packet_size // 8, header.content_size // 8, header.timestamp_begin
        if header.magic != MAGIC or size < HEADER_SIZE or content > size:
            what = f"magic 0x{header.magic:08X}, packet_size {header.packet_size}"
            yield Parsed(number, at, "damage", None, -1, {"found": what})
            return
        yield Parsed(number, at, "packet", begin, header.cpu_id, plain(header))
        packet = Packet(0, at, header.header_size, content, header.cpu_id, begin, header.timestamp_end, sequence=number)
        for found in length_records(FORMAT, data[at : at + content], packet):
            yield found._replace(offset=at + found.offset)
        at += size
        number += 1


def begins(path: Path) -> bool:
    """Return whether a stream file in the directory begins as a packet does: then it is no other format's."""
    files = (file for stream in FORMAT.streams for file in sorted(path.glob(f"{stream.name}_*")) if file.is_file())
    for file in files:
        with file.open("rb") as opened:
            if opened.read(_BEGIN_AT + len(_BEGIN))[_BEGIN_AT:] == _BEGIN:
                return True
    return False


def claims(path: Path) -> bool:
    """Return whether `path` can be a session's directory: LTT 3.0 is what a directory is if it is nothing else."""
    return path.is_dir()
