# SPDX-License-Identifier: GPL-2.0-or-later
"""CSV (RFC 4180, lines end with LF) and JSON lines: a file per event, or one for all of them in time order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa

from ltt_relay.decode.plan import BASE
from ltt_relay.export import kernels
from ltt_relay.export.columns import describe
from ltt_relay.export.files import MERGED, OutputFile, Writer, file_name, finish_files
from ltt_relay.export.order import time_order

__all__ = ("TextSink",)

#: Of the merged file in CSV; in JSON lines the payload is an object.
_MERGED_COLUMNS: Final = ("timestamp", "cpu", "event", "tid", "comm", "payload")
_NONE: Final = np.zeros(0, np.int64)
_SPECIAL: Final = frozenset('",\r\n')


def _csv(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if not text or set(text) & _SPECIAL else text


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class _Rows:
    """Tables and the text around their values, as the kernel wants them."""

    def __init__(self) -> None:
        self._columns: list[np.ndarray] = []
        self._constants = bytearray()
        self._first = [0]
        self._suffix: list[tuple[int, int]] = []
        self._payload: list[int] = []
        self._quoted: list[bool] = []
        self._kept: list[Any] = []

    def add(self, fields: Iterable[tuple[str, pa.ChunkedArray, int]], suffix: str, payload: int = -1) -> None:
        """Add a kind: prefix, column and style of its fields; `payload` as the kernel has it, counted in the kind."""
        begin = len(self._columns)
        quoted = False
        for position, (prefix, column, style) in enumerate(fields):
            row = describe(column, style, self._kept)
            row[kernels.PREFIX], row[kernels.PREFIX_SIZE] = self._constant(prefix)
            self._columns.append(row)
            quoted |= 0 <= payload <= position and bool(set(prefix[position == payload :]) & _SPECIAL)
        self._first.append(len(self._columns))
        self._suffix.append(self._constant(suffix))
        self._payload.append(begin + payload if payload >= 0 else -1)
        self._quoted.append(quoted)

    def _constant(self, text: str) -> tuple[int, int]:
        place, data = len(self._constants), text.encode()
        self._constants += data
        return place, len(data)

    def render(self, writer: Writer, file: OutputFile, rows: int, kinds: np.ndarray, index: np.ndarray) -> None:
        """Write `rows` rows to the file."""
        columns = np.stack(self._columns)
        constants = np.frombuffer(bytes(self._constants) + bytes(8), np.uint8)
        first, payload, quoted = np.array(self._first), np.array(self._payload), np.array(self._quoted)
        suffix = np.array(self._suffix)
        done = 0
        buffer = writer.buffer()
        while done < rows:
            before = done
            done, size = kernels.text_rows(
                columns, first, kinds, index, done, rows, constants, suffix, payload, quoted, buffer
            )
            if done == before:
                buffer = writer.larger(buffer)
                continue
            writer.write(file, buffer, size)
            buffer = writer.buffer()
        writer.give_back(buffer)
        file.rows += rows


class TextSink:
    """Files of one trace; without `header` they are parts that are put behind others."""

    def __init__(self, directory: Path, to: str, merge: bool, header: bool = True) -> None:
        self._directory, self._to, self._merge, self._header = directory, to, merge, header
        self._writer = Writer()
        self._files: dict[str, OutputFile] = {}

    def write(self, tables: dict[str, pa.Table]) -> None:
        """Append a window's tables."""
        if self._merge:
            self._write_merged(tables)
            return
        for name, table in tables.items():
            self._write(self._file(name, table.column_names), table)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write what is no event to a file of its own, whatever is merged."""
        self._write(self._file(name, table.column_names, own=True), table)

    def _write(self, file: OutputFile, table: pa.Table) -> None:
        if table.num_rows and table.num_columns:
            rows = _Rows()
            rows.add(*self._plain(table))
            rows.render(self._writer, file, table.num_rows, _NONE, _NONE)

    def _file(self, name: str, columns: Iterable[str], own: bool = False) -> OutputFile:
        file_ = f"{name}.{self._to}" if own else file_name(name, self._to)
        if file_ not in self._files:
            self._files[file_] = file = OutputFile(self._directory / file_, "" if own else name, not self._header)
            if self._header and self._to == "csv":
                file.append((",".join(map(_csv, columns)) + "\n").encode())
        return self._files[file_]

    def _plain(self, table: pa.Table) -> tuple[list[tuple[str, pa.ChunkedArray, int]], str]:
        if self._to == "csv":
            return [("," if i else "", table[i], kernels.CSV) for i in range(table.num_columns)], "\n"
        names = table.column_names
        return [(f"{',' if i else '{'}{_json(name)}:", table[i], kernels.JSON) for i, name in enumerate(names)], "}\n"

    def _write_merged(self, tables: dict[str, pa.Table]) -> None:
        tables = {name: table for name, table in tables.items() if table.num_rows}
        file = self._file(MERGED, _MERGED_COLUMNS, own=True)
        if not tables:
            return
        rows = _Rows()
        for name, table in tables.items():
            payload = [column for column in table.column_names if column not in BASE]
            if self._to == "csv":
                rows.add(*_merged_csv(name, table, payload), len(BASE) if payload else -1)
            else:
                rows.add(*_merged_json(name, table, payload))
        kinds, index = time_order(tables.values())
        rows.render(self._writer, file, kinds.size, kinds, index)

    def append_file(self, event: str, columns: Iterable[str], path: Path, rows: int) -> None:
        """Append a part that another sink wrote without headers; `event` is "" for the merged file."""
        file = self._file(event or MERGED, columns, own=not event)
        file.append_file(path)
        file.rows += rows

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete the files; returns their entries in the manifest by name."""
        self._writer.drain()
        return finish_files(list(self._files.values()), self._directory)

    def close(self) -> None:
        """End what runs."""
        self._writer.close()


def _merged_csv(name: str, table: pa.Table, payload: list[str]) -> tuple[list[tuple[str, pa.ChunkedArray, int]], str]:
    head = [("", "timestamp"), (",", "cpu"), (f",{_csv(name)},", "tid"), (",", "comm")]
    fields = [(prefix, table[column], kernels.CSV) for prefix, column in head]
    fields += [(f"{' ' if i else ','}{column}=", table[column], kernels.RAW) for i, column in enumerate(payload)]
    return fields, "\n" if payload else ',""\n'


def _merged_json(name: str, table: pa.Table, payload: list[str]) -> tuple[list[tuple[str, pa.ChunkedArray, int]], str]:
    head = [('{"timestamp":', "timestamp"), (',"cpu":', "cpu"), (f',"event":{_json(name)},"tid":', "tid")]
    head += [(',"comm":', "comm")]
    head += [(("," if i else ',"payload":{') + f"{_json(column)}:", column) for i, column in enumerate(payload)]
    return [(prefix, table[column], kernels.JSON) for prefix, column in head], "}}\n" if payload else ',"payload":{}}\n'
