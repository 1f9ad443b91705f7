# SPDX-License-Identifier: GPL-2.0-or-later
"""Traces of LTTng 0.3 to 1.0 made to order: any version, byte order, width, header and alignment."""

from __future__ import annotations

import struct as _struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from ltt_relay.formats.base import Format
from ltt_relay.formats.genevent import read_facility
from ltt_relay.formats.lttng0 import LoadedFacility, Vocabulary, format_of
from ltt_relay.formats.lttng0_layout import LARGE, MAGIC, Layout, LttngFraming, header_of
from ltt_relay.formats.lttng2 import Marker
from ltt_relay.formats.marker_format import Sizes, parse
from ltt_relay.testing.classic import Record

__all__ = ("LttngWriter",)

_NS: Final = 1_000_000_000


@dataclass
class LttngWriter:
    """Writes one trace.

    aligned: fields and headers are; heartbeat: records have 32 bits of time, else 64; us: times are us since the
    sub-buffer's begin (0.3 to 0.6); facilities: (name, description as XML), with ids from 1 on; markers: (id, name,
    format) for 1.0; compact: names of events that go to the compact channel; bits, truncated, id_bits: of its word;
    large: sizes are left to the description, as those of payloads beyond 64 KiB are.
    """

    layout: Layout
    aligned: bool = True
    heartbeat: bool = True
    us: bool = False
    hz: int = 1_000_000_000
    buffer_size: int = 4096
    facilities: tuple[tuple[str, str], ...] = ()
    markers: tuple[tuple[int, str, str], ...] = ()
    compact: frozenset[str] = frozenset()
    bits: int = 24
    truncated: int = 0
    id_bits: int = 5
    large: bool = False
    pointer: int = 0
    lost_events: int = 0
    format: Format = field(init=False)

    def __post_init__(self) -> None:
        """Make the format that reading is to find."""
        self.pointer = self.pointer or self.layout.long
        sizes = Sizes(4, self.pointer, self.pointer, self.pointer)
        known = Vocabulary(renumbered=self.layout.version >= (0, 8))
        for number, (name, xml) in enumerate(self.facilities, 1):
            known.facilities[number] = (LoadedFacility(number, name, 77 + number, sizes, self.aligned),
                                        read_facility(xml))  # fmt: skip
        for number, name, text in self.markers:
            known.markers.append(Marker("", name, number, self._alignment(), parse(text, sizes)))
        self.head = header_of(self.layout)
        header = self.head.parse(self._header(0, 0, 0, self.buffer_size))
        self.format = format_of(self.layout, header, known)
        framing = self.format.framing
        assert isinstance(framing, LttngFraming)
        self.framing = framing
        self._events = {event.name: event for event in self.format.events}

    def _alignment(self) -> int:
        if not self.aligned:
            return 0
        return self.pointer if self.layout.version >= (1, 0) else 1

    def _ticks(self, ns: int) -> int:
        return ns * self.hz // _NS

    def _header(self, begin: int, end: int, used: int, number: int) -> bytes:
        kilo = self.hz // 1000
        values: dict[str, Any] = {member.name: 0 for member in self.head.subcons}
        for name, ns in (("begin", begin), ("end", end)):
            values |= {f"{name}_sec": ns // _NS, f"{name}_usec": ns % _NS // 1000, f"{name}_freq": kilo,
                       f"{name}_cycle_count": self._ticks(ns)}  # fmt: skip
        values |= {
            "lost_size": (self.buffer_size - used) % self.buffer_size, "buf_size": self.buffer_size, "magic": MAGIC,
            "arch_type": 8 if self.pointer == 8 else 1, "arch_size": self.pointer, "major": self.layout.version[0],
            "minor": self.layout.version[1], "has_heartbeat": int(self.heartbeat), "alignment": self._alignment(),
            "has_tsc": int(not self.us), "tsc_lsb_truncate": self.truncated, "tscbits": self.bits,
            "compact_data_shift": self.bits + self.id_bits, "freq_scale": 1000, "start_freq": kilo,
            "start_tsc": self._ticks(5), "start_time_sec": 1_200_000_000,
        }  # fmt: skip
        if number and self.lost_events and self.layout.version >= (0, 8):
            values["start_freq"] = self.lost_events * number
        names = {member.name for member in self.head.subcons}
        return bytes(self.head.build({name: value for name, value in values.items() if name in names}))

    def _record(self, data: bytes, record: Record, begin: int, compact: bool) -> bytes:
        """Return data with the record behind it."""
        framing, order = self.framing, self.layout.order
        event = self._events[record.event]
        names = [member.name for member in event.payload.subcons if member.name]
        values: dict[str, Any] = dict.fromkeys(names, 0) | record.fields
        for name in names:
            if f"{name}_length" in names:
                values[f"{name}_length"] = len(values[name])
        body = bytes(event.payload.build(values))
        size = 4 if compact else 8 if self.heartbeat else 12
        data = data.ljust(framing.align(len(data), size), b"\0")
        if compact:
            number = event.id - framing.compact_base
            time = self._ticks(record.time) >> self.truncated & (1 << self.bits) - 1
            return data + _struct.pack(f"{order}I", time | number << self.bits) + body
        time = record.time // 1000 - begin // 1000 if self.us else self._ticks(record.time)
        head = _struct.pack(f"{order}I", time & 0xFFFF_FFFF) if self.heartbeat else _struct.pack(f"{order}Q", time)
        head += _struct.pack(f"{order}H", event.id) if framing.markers else bytes([event.id >> 8, event.id & 0xFF])
        head += _struct.pack(f"{order}H", LARGE if self.large else len(body))
        data += head
        return data.ljust(framing.align(len(data), self.pointer), b"\0") + body

    def file(self, path: Path, records: list[Record], compact: bool = False) -> None:
        """Write the records of one channel and CPU."""
        done: list[bytes] = []
        length = self.head.sizeof()
        data, begin, end = b"", 0, 0
        for record in records:
            if not data:
                data, begin = bytes(length), record.time
            more = self._record(data, record, begin, compact)
            if len(more) > self.buffer_size:
                done.append(self._close(data, begin, record.time, len(done)))
                begin = record.time
                more = self._record(bytes(length), record, begin, compact)
            data, end = more, record.time
        done.append(self._close(data, begin, end, len(done)))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(done))

    def _close(self, data: bytes, begin: int, end: int, number: int) -> bytes:
        head = self._header(begin, end, len(data), number)
        return (head + data[len(head) :]).ljust(self.buffer_size, b"\xaa")

    def write(self, directory: Path, records: Iterable[Record]) -> Path:
        """Write the whole trace; returns its directory."""
        directory.mkdir(parents=True, exist_ok=True)
        by_file: dict[str, list[Record]] = {}
        begin = 0
        for record in records:
            begin = begin or record.time
            kind = "compact" if record.event in self.compact else "cpu"
            by_file.setdefault(f"{kind}_{record.cpu}", []).append(record)
        control = []
        told = {"int_size": 4, "long_size": self.pointer, "pointer_size": self.pointer, "size_t_size": self.pointer,
                "has_alignment": int(self.aligned)}  # fmt: skip
        for number, (name, xml) in enumerate(self.facilities, 1):
            names = {m.name for m in self._events["core_facility_load"].payload.subcons}
            fields = {"name": name, "checksum": 77 + number, "id": number} | told
            control.append(Record("core_facility_load", begin, {k: v for k, v in fields.items() if k in names}))
            (directory / "eventdefs").mkdir(exist_ok=True)
            (directory / "eventdefs" / f"{name}_{77 + number}.xml").write_text(xml)
        sizes = {"int": 4, "long": self.pointer, "pointer": self.pointer, "size_t": self.pointer,
                 "alignment": self._alignment()}  # fmt: skip
        for number, name, text in self.markers:
            control.append(Record("core_set_marker_id", begin, {"name": name, "event_id": number} | sizes))
            control.append(Record("core_set_marker_format", begin, {"name": name, "format": text}))
        if control:
            large, self.large = self.large, False
            self.file(directory / "control" / "facilities_0", control)
            self.large = large
        for name, found in sorted(by_file.items()):
            self.file(directory / name, found, compact=name.startswith("compact"))
        return directory
