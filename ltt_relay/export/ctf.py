# SPDX-License-Identifier: GPL-2.0-or-later
"""CTF 1.8 of any trace: every column a field, in packets of one stream per CPU, with LTTng's names where it has some.

CTF: Common Trace Format Specification 1.8.3 (Desnoyers, 2013). A packet is packet.header (magic, uuid, stream_id),
packet.context, and events without alignment; losses are in the packets' cumulative counter. The files lie in `ctf/`,
as a reader takes every file of a directory for a stream.
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from uuid import NAMESPACE_URL, UUID, uuid5

import numpy as np
import pandas as pd
import pyarrow as pa

import ltt_relay
from ltt_relay.decode import Trace
from ltt_relay.decode import text_rows as kernels
from ltt_relay.decode.described import describe
from ltt_relay.export.files import OutputFile, finish_files
from ltt_relay.export.lttng import ENVIRONMENT, Translated, translate
from ltt_relay.export.order import NO_LOSSES, Losses, cpu_order
from ltt_relay.export.text import TextSink
from ltt_relay.formats import ctf

__all__ = ("CtfSink",)

_DIRECTORY: Final = "ctf"
_MAGIC: Final = 0xC1FC1FC1
_HEADER: Final = struct.Struct("<I16sIQQQQQQI")
_PACKET: Final = 1 << 20

_TYPES: Final = {
    pa.int8(): "int8_t", pa.int16(): "int16_t", pa.int32(): "int32_t", pa.int64(): "int64_t",
    pa.uint8(): "uint8_t", pa.uint16(): "uint16_t", pa.uint32(): "uint32_t", pa.uint64(): "uint64_t",
}  # fmt: skip
_binary_rows: Any = kernels.binary_rows
_NO_NAME: Final = re.compile(r"\W", re.ASCII)
_CONTROL: Final = re.compile(r"[\0-\x07\x0b\x0e-\x1f]")


def _declaration(name: str, kind: pa.DataType) -> str:
    """A field in TSDL. The underscore keeps names apart from keywords; readers take it off, as with LTTng's."""
    field = f"_{name}"
    if kind in _TYPES:
        return f"{_TYPES[kind]} {field};"
    if pa.types.is_timestamp(kind):
        return f"int64_t {field};"
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        item = "int64_t" if pa.types.is_signed_integer(kind.value_type) else "uint64_t"
        return f"uint32_t _{field}_length; {item} {field}[_{field}_length];"
    return f"string {field};"


def _plain(text: str) -> str:
    r"""Text without what no string of TSDL can hold: \xNN in place of other control characters than ends of lines."""
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def _quoted(text: str) -> str:
    """Text in TSDL."""
    return json.dumps(_plain(text), ensure_ascii=False)


class _Stream:
    """One CPU's file of packets."""

    def __init__(self, path: Path, uuid: UUID, cpu: int, losses: Losses) -> None:
        self.file = OutputFile(path, "")
        self.losses = losses
        self._uuid, self._cpu = uuid, cpu
        self._sequence = 0
        self._last = 0

    def packet(self, buffer: np.ndarray, size: int, begin: int, end: int, rows: int) -> None:
        """Write a packet whose events are in the buffer, behind room for the header."""
        lost = self.losses.until(end)
        if lost and not self._sequence:
            # A reader knows what the first packet has lost only from one before it.
            self._write(np.empty(_HEADER.size, np.uint8), _HEADER.size, begin, begin, 0)
        self._write(buffer, size, begin, end, lost)
        self.file.rows += rows
        self._last = end

    def _write(self, buffer: np.ndarray, size: int, begin: int, end: int, lost: int) -> None:
        bits = 8 * size
        header = (_MAGIC, self._uuid.bytes, 0, begin, end, bits, bits, lost, self._sequence, self._cpu)
        buffer[: _HEADER.size] = np.frombuffer(_HEADER.pack(*header), np.uint8)
        self.file.append(buffer[:size].data)
        self._sequence += 1

    def close(self) -> OutputFile:
        """Return the file, complete: what was lost behind the last event needs a packet of its own."""
        if self.losses.until(self._last) != self.losses.total:
            end = max(self._last, int(self.losses.ends[-1]))
            self.packet(np.empty(_HEADER.size, np.uint8), _HEADER.size, end, end, 0)
        return self.file


class CtfSink:
    """The CTF trace made of one trace; `gaps` and `problems` are CSV files beside it."""

    def __init__(self, directory: Path, trace: Trace, gaps: pd.DataFrame) -> None:
        self._directory = directory / _DIRECTORY
        self._directory.mkdir(exist_ok=True)
        info = trace.info
        self._env: Mapping[str, Any] = info["env"]
        self._offset = trace.wall_offset
        self._uuid = uuid5(NAMESPACE_URL, f"ltt-relay:{info['uuid'] or trace.path.resolve()}")
        # What a flight recorder has overwritten is no discarded event, as in the metadata of a capture itself.
        self._losses = Losses.of(gaps[gaps["reason"] != "overwritten"], trace.wall_offset)
        self._streams: dict[int, _Stream] = {}
        self._classes: dict[tuple[str, tuple[str, ...]], int] = {}
        self._text = TextSink(directory, "csv", merge=False)
        self._buffer = np.empty(_PACKET, np.uint8)
        for cpu in self._losses:
            self._stream(cpu)

    def _stream(self, cpu: int) -> _Stream:
        if cpu not in self._streams:
            losses = self._losses.get(cpu, NO_LOSSES)
            self._streams[cpu] = _Stream(self._directory / f"stream_{cpu}", self._uuid, cpu, losses)
        return self._streams[cpu]

    def write(self, tables: dict[str, pa.Table]) -> None:
        """Append a window's tables; their time is the trace's clock (int64)."""
        arch = str(self._env.get("arch", ""))
        parts = [part for name, table in tables.items() for part in translate(name, table, arch) if part.table.num_rows]
        if not parts:
            return
        kept: list[Any] = []
        columns: list[np.ndarray] = []
        first = [0]
        for part in parts:
            fields = [part.table["tid"], part.table["comm"], *(column for _, column in part.fields)]
            columns += [describe(pa.chunked_array(f) if isinstance(f, pa.Array) else f, 0, kept) for f in fields]
            first.append(len(columns))
        order = cpu_order([part.table for part in parts])
        ids = np.concatenate([self._ids(part) for part in parts])[order.places]
        rows = (np.stack(columns), np.array(first), order.kinds, order.index, ids, order.times)
        for cpu, begin, end in order.runs:
            stream = self._stream(cpu)
            for low, high in stream.losses.cut(order.times, begin, end):
                self._packets(stream, rows, order.times, low, high)

    def _packets(self, stream: _Stream, rows: tuple[Any, ...], times: np.ndarray, begin: int, end: int) -> None:
        while begin < end:
            done, size = _binary_rows(*rows, begin, end, self._buffer, _HEADER.size)
            if done == begin:
                self._buffer = np.empty(2 * self._buffer.size, np.uint8)
                continue
            stream.packet(self._buffer, size, int(times[begin]), int(times[done - 1]), done - begin)
            begin = done

    def _ids(self, part: Translated) -> np.ndarray:
        """The id of each row's event; an event is what has the same name and fields."""
        names: list[str] = []
        for name, _ in part.fields:
            plain = _NO_NAME.sub("_", name)
            names.append(plain if plain not in names else f"{plain}_{len(names)}")
        kinds = [column.type for _, column in part.fields]
        fields = tuple(_declaration(name, kind) for name, kind in zip(names, kinds, strict=True))
        ids = [self._classes.setdefault((name, fields), len(self._classes)) for name in part.names]
        if part.variant is None:
            return np.full(part.table.num_rows, ids[0], np.int64)
        chosen: np.ndarray = np.array(ids, np.int64)[part.variant]
        return chosen

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write what is no event to a CSV file."""
        self._text.write_table(name, table)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete all files; returns their entries in the manifest by name."""
        metadata = OutputFile(self._directory / "metadata", "")
        metadata.append(self._metadata().encode())
        files = [*(stream.close() for stream in self._streams.values()), metadata]
        return finish_files(files, self._directory.parent) | self._text.finish()

    def close(self) -> None:
        """End what runs."""
        self._text.close()

    def _metadata(self) -> str:
        integer = "typealias integer {{ size = {0}; align = 8; signed = {1}; }} := {2}int{0}_t;\n"
        signs = (("false", "u"), ("true", ""))
        aliases = "".join(integer.format(bits, sign, u) for bits in (8, 16, 32, 64) for sign, u in signs)
        seconds, nanoseconds = divmod(self._offset, 1_000_000_000)
        env: dict[str, str | int] = {**ENVIRONMENT, "converted_by": f"ltt-relay {ltt_relay.__version__}"}
        for key, value in self._env.items():
            renamed = {"release": "kernel_release", "version": "kernel_version"}.get(key, key)
            name = re.sub(r"^(?=\d)", "_", _NO_NAME.sub("_", renamed))
            env.setdefault(name, _plain(value) if isinstance(value, str) else value)
        events = "".join(
            f"event {{\n\tname = {_quoted(name)};\n\tid = {number};\n\tstream_id = 0;\n\tfields := struct {{\n"
            + "".join(f"\t\t{field}\n" for field in fields)
            + "\t};\n};\n\n"
            for (name, fields), number in self._classes.items()
        )
        return (
            f'/* CTF 1.8 */\n\n{aliases}\ntrace {{\n\tmajor = 1;\n\tminor = 8;\n\tuuid = "{self._uuid}";\n'
            "\tbyte_order = le;\n\tpacket.header := struct {\n\t\tuint32_t magic;\n\t\tuint8_t uuid[16];\n"
            f"\t\tuint32_t stream_id;\n\t}};\n}};\n\n{ctf.environment(env)}"
            'clock {\n\tname = "monotonic";\n\tdescription = "clock of the trace";\n\tfreq = 1000000000;\n'
            f"\toffset_s = {seconds};\n\toffset = {nanoseconds};\n}};\n\n"
            "typealias integer { size = 64; align = 8; signed = false; map = clock.monotonic.value; } := time_t;\n\n"
            "stream {\n\tid = 0;\n\tpacket.context := struct {\n\t\ttime_t timestamp_begin;\n"
            "\t\ttime_t timestamp_end;\n\t\tuint64_t content_size;\n\t\tuint64_t packet_size;\n"
            "\t\tuint64_t events_discarded;\n\t\tuint64_t packet_seq_num;\n\t\tuint32_t cpu_id;\n\t};\n"
            "\tevent.header := struct {\n\t\tuint32_t id;\n\t\ttime_t timestamp;\n\t};\n"
            f"\tevent.context := struct {{\n\t\tint32_t _tid;\n\t\tstring _procname;\n\t}};\n}};\n\n{events}"
        )
