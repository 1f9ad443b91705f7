# SPDX-License-Identifier: GPL-2.0-or-later
"""Files that tables are written to: CSV, Parquet, JSON lines. Each is `NAME.part` until it is complete and synced."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from ltt_relay.export.render import render_utc

__all__ = ("FORMATS", "Sink")

FORMATS = {"csv": "csv", "parquet": "parquet", "jsonl": "jsonl"}


def _flat(column: pa.ChunkedArray) -> Any:
    """A column as CSV can have it: lists as numbers with blanks between, names as text."""
    if pa.types.is_list(column.type):
        chunks = [pa.ListArray.from_arrays(chunk.offsets, chunk.values.cast(pa.string())) for chunk in column.chunks]
        return pc.binary_join(pa.chunked_array(chunks, pa.list_(pa.string())), " ")
    if pa.types.is_dictionary(column.type):
        return column.cast(pa.string())
    return column


class Sink:
    """One output file, opened with the first table."""

    def __init__(self, directory: Path, name: str, kind: str) -> None:
        """`name` comes from data, and is escaped; `kind` is a key of FORMATS."""
        self.path = directory / f"{quote(name, safe='-_. ')}.{FORMATS[kind]}"
        self._part = self.path.with_name(self.path.name + ".part")
        self._kind = kind
        self._file: Any = None
        self._writer: Any = None
        self.rows = 0

    def write(self, table: pa.Table, utc: bool) -> None:
        """Append; with `utc` the timestamps are wall-clock times, else monotonic ns."""
        if self._kind == "parquet":
            self._write_parquet(table, utc)
        elif self._kind == "csv":
            self._write_csv(table, utc)
        else:
            self._write_jsonl(table, utc)
        self.rows += table.num_rows

    def _timestamps(self, table: pa.Table, columns: dict[str, Any], utc: bool) -> None:
        for name in columns:
            if utc and pa.types.is_timestamp(table[name].type):
                columns[name] = render_utc(table[name].cast(pa.int64()).to_numpy())

    def _write_csv(self, table: pa.Table, utc: bool) -> None:
        columns = {name: _flat(table[name]) for name in table.column_names}
        self._timestamps(table, columns, utc)
        flat = pa.table(columns)
        if self._writer is None:
            self._file = pa.OSFile(str(self._part), "wb")
            options = pyarrow.csv.WriteOptions(quoting_style="needed")
            self._writer = pyarrow.csv.CSVWriter(self._file, flat.schema, write_options=options)
        self._writer.write_table(flat)

    def _write_parquet(self, table: pa.Table, utc: bool) -> None:
        if self._writer is None:
            self._file = pa.OSFile(str(self._part), "wb")
            self._writer = pyarrow.parquet.ParquetWriter(self._file, table.schema, compression="zstd")
        self._writer.write_table(table)

    def _write_jsonl(self, table: pa.Table, utc: bool) -> None:
        columns: dict[str, Any] = {name: table[name] for name in table.column_names}
        self._timestamps(table, columns, utc)
        if self._file is None:
            self._file = self._part.open("w", encoding="utf-8")
        plain = {name: column.to_pylist() for name, column in columns.items()}
        for row in zip(*plain.values(), strict=True):
            self._file.write(json.dumps(dict(zip(plain, row, strict=True)), ensure_ascii=False, default=_json) + "\n")

    def finish(self) -> int:
        """Complete the file; returns its size."""
        if self._writer is not None:
            self._writer.close()
        if self._file is None:
            self._part.touch()
        else:
            self._file.close()
        descriptor = os.open(self._part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._part.replace(self.path)
        return self.path.stat().st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None and self._file is not None:
            self._file.close()


def _json(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    return str(value)
