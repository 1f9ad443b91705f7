# SPDX-License-Identifier: GPL-2.0-or-later
"""CSV (RFC 4180, lines end with LF) and JSON lines: a file per event, or one for all of them in time order."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import pyarrow as pa

from ltt_relay.decode import text_rows as kernels
from ltt_relay.decode.described import SPECIAL, Rows
from ltt_relay.decode.plan import BASE
from ltt_relay.export.files import MERGED, OutputFile, PartFile, Writer, file_name, finish_files
from ltt_relay.export.order import HEAD, time_order

__all__ = ("PartSink", "TextSink")

#: Of the merged file in CSV; in JSON lines the payload is an object.
_MERGED_COLUMNS: Final = ("timestamp", "cpu", "event", "tid", "comm", "payload")
_NONE: Final = np.zeros(0, np.int64)


def _csv(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if not text or set(text) & SPECIAL else text


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


class _Sink:
    """Renders tables; what comes of that is put somewhere by `_put`."""

    def __init__(self, to: str, merge: bool) -> None:
        self._to, self._merge = to, merge

    def write(self, tables: dict[str, pa.Table]) -> None:
        """Append a window's tables."""
        if self._merge:
            self._write_merged(tables)
            return
        for name, table in tables.items():
            self._write(name, table)

    def _write(self, name: str, table: pa.Table, own: bool = False) -> None:
        rows = Rows()
        count = table.num_rows if table.num_columns else 0
        if count:
            rows.add(*self._plain(table))
        self._put(name, table.column_names, own, rows, count)

    def _plain(self, table: pa.Table) -> tuple[list[tuple[str, pa.ChunkedArray, int]], str]:
        if self._to == "csv":
            return [("," if i else "", table[i], kernels.CSV) for i in range(table.num_columns)], "\n"
        names = table.column_names
        return [(f"{',' if i else '{'}{_json(name)}:", table[i], kernels.JSON) for i, name in enumerate(names)], "}\n"

    def _write_merged(self, tables: dict[str, pa.Table]) -> None:
        tables = {name: table for name, table in tables.items() if table.num_rows}
        rows = Rows()
        for name, table in tables.items():
            payload = [column for column in table.column_names if column not in HEAD]
            if self._to == "csv":
                rows.add(*_merged_csv(name, table, payload), len(BASE) if payload else -1)
            else:
                rows.add(*_merged_json(name, table, payload))
        kinds, index = time_order(tables.values())
        self._put(MERGED, _MERGED_COLUMNS, True, rows, kinds.size, kinds, index)

    def _put(
        self, name: str, columns: Iterable[str], own: bool, rows: Rows, count: int, kinds: np.ndarray = _NONE,
        index: np.ndarray = _NONE,
    ) -> None:  # fmt: skip
        """Append `count` rows to what is of this name: an event's, or a file's `own`."""
        raise NotImplementedError


class TextSink(_Sink):
    """Files of one trace."""

    def __init__(self, directory: Path, to: str, merge: bool) -> None:
        super().__init__(to, merge)
        self._directory = directory
        self._writer = Writer()
        self._files: dict[str, OutputFile] = {}

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write what is no event to a file of its own, whatever is merged."""
        self._write(name, table, own=True)

    def _file(self, name: str, columns: Iterable[str], own: bool) -> OutputFile:
        file_ = f"{name}.{self._to}" if own else file_name(name, self._to)
        if file_ not in self._files:
            self._files[file_] = file = OutputFile(self._directory / file_, "" if own else name)
            if self._to == "csv":
                file.append((",".join(map(_csv, columns)) + "\n").encode())
        return self._files[file_]

    def _put(
        self, name: str, columns: Iterable[str], own: bool, rows: Rows, count: int, kinds: np.ndarray = _NONE,
        index: np.ndarray = _NONE,
    ) -> None:  # fmt: skip
        file = self._file(name, columns, own)
        if not count:
            return
        writer, done = self._writer, 0
        buffer = writer.buffer()
        while done < count:
            before = done
            done, size = rows.text(kinds, index, done, count, buffer)
            if done == before:
                buffer = writer.larger(buffer)
                continue
            writer.write(file, buffer, size)
            buffer = writer.buffer()
        writer.give_back(buffer)
        file.rows += count

    def append_part(self, event: str, columns: Iterable[str], part: BinaryIO, size: int, rows: int) -> None:
        """Append the next bytes of what a `PartSink` wrote; `event` is "" for the merged file."""
        file = self._file(event or MERGED, columns, own=not event)
        file.append_part(part, size)
        file.rows += rows

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete the files; returns their entries in the manifest by name."""
        self._writer.drain()
        return finish_files(list(self._files.values()), self._directory)

    def close(self) -> None:
        """End what runs."""
        self._writer.close()


class PartSink(_Sink):
    """One file of all events, each without a header, that are to be put behind others.

    segments: what is in it, one behind the other: event ("" for the merged file), bytes, rows.
    """

    def __init__(self, path: Path, to: str, merge: bool) -> None:
        super().__init__(to, merge)
        self.segments: list[tuple[str, int, int]] = []
        self._file = PartFile(path)

    def _put(
        self, name: str, columns: Iterable[str], own: bool, rows: Rows, count: int, kinds: np.ndarray = _NONE,
        index: np.ndarray = _NONE,
    ) -> None:  # fmt: skip
        done = written = 0
        while done < count:
            before = done
            done, size = rows.text(kinds, index, done, count, self._file.buffer)
            if done == before:
                self._file.enlarge()
                continue
            self._file.write(size)
            written += size
        self.segments.append(("" if own else name, written, count))

    def close(self) -> None:
        """End the file."""
        self._file.close()


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
