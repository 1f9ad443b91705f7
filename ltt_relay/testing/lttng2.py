# SPDX-License-Identifier: GPL-2.0-or-later
"""Writing traces of LTTng 2.0 to 2.6 before CTF: every version, word size, byte order, alignment and kind of header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ltt_relay.formats.fields import LITTLE
from ltt_relay.formats.lttng2 import Marker, marker_payload, metadata_payloads
from ltt_relay.formats.lttng2_layout import FULL, MAGIC, SIZED, TIME_BITS, WIDE, alignments, header_of
from ltt_relay.formats.marker_format import Sizes, parse

__all__ = ("LttngTrace", "LttngWriter")


@dataclass
class LttngTrace:
    """What to write.

    markers: (channel, name): format string; records: (channel, CPU, time in cycles, marker, values by field name) in
    order of time; lost: records lost by (channel, CPU). bits: of a long and a pointer; alignment: of fields, 0 to
    pack them; kinds: header kinds to take in turns (0: the shortest that holds).
    """

    markers: Mapping[tuple[str, str], str]
    records: Sequence[tuple[str, int, int, str, Mapping[str, Any]]]
    minor: int = 6
    order: str = LITTLE
    bits: int = 32
    alignment: int = 0
    freq: int = 1_000_000_000
    scale: int = 1
    sub_buffer: int = 4096
    kinds: Sequence[int] = (0,)
    lost: Mapping[tuple[str, int], int] = field(default_factory=dict)
    wall: tuple[int, int] = (1_262_715_366, 408_819)


class _Piece:
    """A sub-buffer as it is filled."""

    def __init__(self, begin: int, first: int) -> None:
        self.begin = self.last = begin
        self.data = bytearray(first)


class LttngWriter:
    """Writes one trace."""

    def __init__(self, trace: LttngTrace) -> None:
        """Number the markers of each channel in their order."""
        self._trace = trace
        self._name: Literal["little", "big"] = "little" if trace.order == LITTLE else "big"
        word = trace.bits // 8
        self._sizes = Sizes(4, word, word, word)
        self._layout = header_of(trace.minor, trace.order)
        self.markers: dict[tuple[str, str], Marker] = {}
        per_channel: dict[str, int] = {}
        for channel, name in trace.markers:
            space = channel if trace.minor >= 3 else ""
            number = per_channel.get(space, 0)
            per_channel[space] = number + 1
            items = parse(trace.markers[channel, name], self._sizes)
            self.markers[channel, name] = Marker(channel, name, number, trace.alignment, items)
        self._kind = 0

    def write(self, path: Path) -> Path:
        """Write the directory; returns it."""
        trace = self._trace
        path.mkdir(parents=True)
        (path / "control").mkdir()
        start = min((record[2] for record in trace.records), default=0)
        metadata = [(start, *record) for record in self._metadata()]
        directory = path if trace.minor >= 3 else path / "control"
        (directory / "metadata_0").write_bytes(self._file(metadata, start, 0))
        files: dict[tuple[str, int], list[tuple[int, int, bytes, int]]] = {}
        for channel, cpu, time, name, values in trace.records:
            marker = self.markers[channel, name]
            payload = marker_payload(marker, trace.order, {}).build(dict(values))
            largest = max((item.size for item in marker.items), default=1)
            boundary = max(min(largest, trace.alignment), 1)
            files.setdefault((channel, cpu), []).append((time, marker.id, payload, boundary))
        for (channel, cpu), records in files.items():
            data = self._file(records, start, trace.lost.get((channel, cpu), 0))
            (path / f"{channel}_{cpu}").write_bytes(data)
        return path

    def _metadata(self) -> list[tuple[int, bytes, int]]:
        trace = self._trace
        payloads = metadata_payloads(self._header(0, 0, 0, 0, 0), trace.order)
        found = []
        for (channel, name), marker in self.markers.items():
            sizes = {"int": 4, **dict.fromkeys(("long", "pointer", "size_t"), trace.bits // 8)}
            known = {"channel": channel, "name": name, "event_id": marker.id, "format": trace.markers[channel, name]}
            boundary = min(2, trace.alignment) or 1
            found.append((0, payloads[0].build({**known, **sizes, "alignment": trace.alignment}), boundary))
            found.append((1, payloads[1].build(known), 1))
        return found

    def _header(self, begin: int, end: int, content: int, size: int, lost: int) -> Any:
        trace = self._trace
        values = {
            "cycle_count_begin": begin, "cycle_count_end": end, "magic": MAGIC, "major": 2, "minor": trace.minor,
            "arch_size": trace.bits // 8, "alignment": trace.alignment, "start_time_sec": trace.wall[0],
            "start_time_usec": trace.wall[1], "start_freq": trace.freq, "freq_scale": trace.scale,
            "data_size": content, "sb_size": size, "lost_size": size - content, "buf_size": size,
            "events_lost": lost, "subbuf_corrupt": 0, "reserved": 0,
        }  # fmt: skip
        return self._layout.parse(self._layout.build(values))

    def _file(self, records: Sequence[tuple[int, int, bytes, int]], start: int, lost: int) -> bytes:
        out = b""
        piece = _Piece(start, self._layout.sizeof())
        last = 0
        for time, id_, payload, boundary in records:
            encoded = self._record(piece, time, last, id_, payload, boundary)
            if len(encoded) > self._trace.sub_buffer and len(piece.data) > self._layout.sizeof():
                out += self._close(piece, 0)
                piece = _Piece(time, self._layout.sizeof())
                encoded = self._record(piece, time, last, id_, payload, boundary)
            piece.data = bytearray(encoded)
            piece.last = last = time
        return out + self._close(piece, lost)

    def _close(self, piece: _Piece, lost: int) -> bytes:
        trace = self._trace
        content = len(piece.data)
        size = trace.sub_buffer
        if trace.minor >= 5:
            # Sub-buffers of any number of pages.
            size = -(-content // 4096) * 4096
        size = max(size, content)
        header: bytes = self._layout.build(self._header(piece.begin, piece.last, content, size, lost))
        return (header + bytes(piece.data[len(header) :])).ljust(size, b"\0")

    def _record(self, piece: _Piece, time: int, last: int, id_: int, payload: bytes, boundary: int) -> bytes:
        """Return the sub-buffer's bytes with one more record."""
        trace = self._trace
        words, times = alignments(self._header(0, 0, 0, 0, 0))
        data = bytearray(piece.data)

        def up(to: int) -> None:
            data.extend(bytes(-len(data) % to))

        def put(value: int, size: int) -> None:
            data.extend(value.to_bytes(size, self._name))

        kind = trace.kinds[self._kind % len(trace.kinds)]
        self._kind += 1
        if (time ^ last) >> TIME_BITS and (time - piece.last >= 1 << TIME_BITS or not last):
            kind = FULL
        if len(payload) >= 0xFFFF and kind not in {FULL, SIZED}:
            kind = SIZED
        if kind == 0 and id_ >= FULL:
            kind = WIDE
        up(words)
        put((kind or id_) << TIME_BITS | time & (1 << TIME_BITS) - 1, 4)
        if kind:
            put(id_, 2)
        if kind in {FULL, SIZED}:
            put(min(len(payload), 0xFFFF), 2)
            if len(payload) >= 0xFFFF:
                put(len(payload), 4)
        if kind == FULL:
            up(times)
            put(time, 8)
        up(boundary)
        return bytes(data + payload)
