# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of LTT made to order: any dialect, byte order, clock and mask, from records that a test gives."""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ltt_relay.formats.classic import Custom, Dialect, format_of
from ltt_relay.formats.classic_events import BUFFER_END, BUFFER_START, CUSTOM, CUSTOM_IDS, MAGIC, START
from ltt_relay.formats.classic_walk import ClassicFraming

__all__ = ("Record", "Writer", "snapshot", "write_classic")

_VERSIONS: Final = {"1.14": (1, 14), "2.1": (2, 1), "2.3": (2, 3)}
_MVL: Final = 0x004C564D


@dataclass(frozen=True, slots=True)
class Record:
    """An event's name, ns of wall clock, its fields (0 for those that are not given), and the CPU it is of."""

    event: str
    time: int
    fields: dict[str, Any] = field(default_factory=dict)
    cpu: int = 0


@dataclass
class Writer:
    """Writes the sub-buffers of one trace.

    cycles: times are cycles of `hz`; cpu: records have their CPU; details: mask of the events with a struct; customs:
    declared by NEW_EVENT; lockless: a record that just fits stays in its sub-buffer.
    """

    dialect: Dialect
    cycles: bool = False
    cpu: bool = False
    buffer_size: int = 4096
    details: int = (1 << 64) - 1
    customs: tuple[Custom, ...] = ()
    hz: int = 1_000_000_000
    flight: bool = False
    lockless: bool = False

    def __post_init__(self) -> None:
        """Prepare the structs."""
        self.format = format_of(self.dialect, self.details, self.cycles, self.cpu, self.customs)
        framing = self.format.framing
        assert isinstance(framing, ClassicFraming)
        self.framing = framing
        self._events = {event.name: event for event in self.format.events}
        #: Bytes kept for BUFFER_END, whose CPU is counted even if it is not there, and the trailer.
        self.reserve = 10 if self.dialect.old else self._end_length() + 5

    def _end_length(self) -> int:
        return self.framing.length(BUFFER_END)

    def _stamp(self, ns: int, begin: int) -> int:
        if self.cycles:
            return ns * self.hz // 1_000_000_000 & 0xFFFF_FFFF
        return max(ns // 1000 - begin // 1000, 0) & 0xFFFF_FFFF

    def record(self, record: Record, begin: int) -> bytes:
        """Return the bytes of a record in a sub-buffer that began at `begin`."""
        event = self._events[record.event]
        order = self.dialect.order
        number = CUSTOM if event.id & CUSTOM_IDS else event.id & 0xFF
        names = [member.name for member in event.payload.subcons if member.name]
        values: dict[str, Any] = dict.fromkeys(names, 0) | dict.fromkeys({"filename", "text", "name"} & set(names), "")
        values |= {"data": b""} if "data" in names else {}
        values |= record.fields
        for text in {"filename", "name"} & set(names):
            told = len(values[text].encode())
            values |= {"length": told} if text == "filename" else {"name_len": told + 1}
        if number == CUSTOM and names:
            values["data_size"] = len(values["text"].encode()) + 1 if "text" in names else len(values["data"])
            values["event_id"] = values["event_id"] or event.id & ~CUSTOM_IDS
        body = bytes(event.payload.build(values))
        if self.framing.shapes[number].sub and "sub_id" not in names:
            body = bytes([event.id >> 8]) + body[1:]
        cpu = self.cpu and number not in {START, BUFFER_START}
        head = (bytes([record.cpu]) if cpu else b"") + bytes([number])
        head += _struct.pack(f"{order}I", self._stamp(record.time, begin))
        if number == BUFFER_END and not self.framing.end_size:
            return head + body
        # BUFFER_END's size does not count the CPU before it.
        size = len(head) + len(body) + 2 - (number == BUFFER_END and cpu)
        return head + body + _struct.pack(f"{order}H", size)

    def _clock(self, time: int) -> dict[str, int]:
        us = time // 1000
        return {"sec": us // 1_000_000, "usec": us % 1_000_000, "tsc": self._stamp(time, time) if self.cycles else 0}

    def begin(self, time: int, number: int, first: bool) -> bytes:
        """Return BUFFER_START, and START if it is the first sub-buffer."""
        data = self.record(Record("buffer_start", time, {**self._clock(time), "buffer_id": number}), time)
        if first:
            mvl = self.dialect.montavista
            major, minor = _VERSIONS.get(self.dialect.name, (2, 2))
            start = {
                "magic": MAGIC, "arch_type": self.dialect.arch, "system_type": _MVL if mvl else 1, "major": major,
                "minor": minor, "buffer_size": self.buffer_size, "event_mask": (1 << 64) - 1,
                "details_mask": self.details, "log_cpuid": int(self.cpu), "use_tsc": int(self.cycles),
                "flight_recorder": int(self.flight),
            }  # fmt: skip
            data += self.record(Record("trace_start", time, start), time)
        return data

    def close(self, data: bytes, time: int | None, begin: int, cpu: int = 0) -> bytes:
        """Return a whole sub-buffer: BUFFER_END behind `data` (time None: that of a snapshot, 0), and the trailer."""
        lost = self.buffer_size - len(data)
        if time is None:
            end = self.record(Record("buffer_end", 0, {}, cpu), 0)
        else:
            end = self.record(Record("buffer_end", time if self.cycles else begin, self._clock(time), cpu), begin)
        return (data + end).ljust(self.buffer_size - 4, b"\0") + _struct.pack(f"{self.dialect.order}I", lost)

    def buffers(self, records: Iterable[Record], last: int | None = None) -> list[bytes]:
        """Return the sub-buffers of a channel with these records, in order of time; `last`: when it is closed."""
        done: list[bytes] = []
        data, began, end, cpu = b"", 0, 0, 0
        for record in records:
            end, cpu = record.time, record.cpu
            if not data:
                began = record.time
                data = self.begin(began, 0, first=True)
            piece = self.record(record, began)
            over = len(data) + len(piece) + self.reserve - self.buffer_size
            if over > 0 or (over == 0 and self.lockless):
                if over == 0:
                    # It stays, stamped as if it were in the next one.
                    data += self.record(record, record.time)
                done.append(self.close(data, record.time, began, cpu))
                began = record.time
                data = self.begin(began, len(done), first=False)
                if over == 0:
                    continue
                piece = self.record(record, began)
            data += piece
        if data:
            done.append(self.close(data, last or end, began, cpu))
        return done


def snapshot(writer: Writer, buffers: list[bytes]) -> list[bytes]:
    """Return what the daemon makes of a flight recorder's ring: a sub-buffer of its own before it, ids off by one.

    The last of `buffers` becomes the one that was being written: BUFFER_END has no time.
    """
    start = writer.framing.length(BUFFER_START)
    payload = writer.format.event("buffer_start").payload
    oldest = payload.parse(buffers[0][5:])
    time = int(oldest.sec) * 1_000_000_000 + int(oldest.usec) * 1000
    phony = bytearray(writer.begin(time - 1_000_000_000, oldest.buffer_id, first=True))
    order = writer.dialect.order
    if writer.cycles:
        clock = {"sec": oldest.sec - 1, "usec": oldest.usec, "tsc": (oldest.tsc - 1000) & 0xFFFF_FFFF}
        phony[1:5] = _struct.pack(
            f"{order}I", (_struct.unpack_from(f"{order}I", buffers[0], 1)[0] - 1000) & 0xFFFF_FFFF
        )
        phony[5 : start - 2] = payload.build({**clock, "buffer_id": oldest.buffer_id})
        phony[start + 1 : start + 5] = bytes(4)
    found = [writer.close(bytes(phony), None, 0)]
    number = start - 2 - 4
    for buffer in buffers:
        changed = bytearray(buffer)
        changed[number] = (changed[number] + 1) & 0xFF
        found.append(bytes(changed))
    lost = _struct.unpack(f"{order}I", found[-1][-4:])[0]
    found[-1] = writer.close(found[-1][: writer.buffer_size - lost], None, 0)
    return found


def write_classic(directory: Path, writer: Writer, records: Iterable[Record], name: str = "t.trace") -> list[Path]:
    """Write a file for each CPU (one for all in 1.14), numbered as TraceDaemon does; returns them.

    Raises:
        FileExistsError: there is one already.

    """
    directory.mkdir(parents=True, exist_ok=True)
    by_cpu: dict[int, list[Record]] = {}
    for record in records:
        by_cpu.setdefault(0 if writer.dialect.old else record.cpu, []).append(record)
    files = []
    stem, dot, extension = name.partition(".")
    for cpu, found in sorted(by_cpu.items()):
        file = directory / (name if len(by_cpu) == 1 else f"{stem}{cpu:03}{dot}{extension}")
        with file.open("xb") as stream:
            stream.write(b"".join(writer.buffers(found)))
        files.append(file)
    return files
