# SPDX-License-Identifier: GPL-2.0-or-later
"""Parquet: a file per event, or one for all; row groups gather windows, so that rare events have few."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet

from ltt_relay.export.files import MERGED, OutputFile, file_name, finish_files

__all__ = ("ParquetSink",)

#: Decoded bytes held for all files together, and in one row group.
_HELD: Final = 64 << 20


class _Stream:
    """The file as pyarrow writes to it."""

    closed = False

    def __init__(self, file: OutputFile) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        self._file.append(data)
        return memoryview(data).nbytes

    def tell(self) -> int:
        return self._file.size

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        self.closed = True

    def writable(self) -> bool:
        return True

    def readable(self) -> bool:
        return False

    def seekable(self) -> bool:
        return False


class _Table:
    def __init__(self, file: OutputFile, schema: pa.Schema) -> None:
        self.file = file
        self._held: list[pa.Buffer] = []
        self.held = 0
        names = [f.name for f in schema if pa.types.is_dictionary(f.type) or pa.types.is_large_string(f.type)]
        delta = {name: "DELTA_BINARY_PACKED" for name in schema.names if name == "timestamp"}
        self._sink = pa.PythonFile(_Stream(self.file), "w")
        self._writer = pyarrow.parquet.ParquetWriter(
            self._sink, schema, compression="zstd", use_dictionary=names, column_encoding=delta or None
        )

    def add(self, table: pa.Table) -> None:
        """Hold a copy: the table itself is a view of all that was decoded with it."""
        self.file.rows += table.num_rows
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, table.schema) as writer:
            writer.write_table(table)
        self._held.append(stream.getvalue())
        self.held += self._held[-1].size

    def flush(self) -> None:
        """Write what is held as a row group."""
        if self._held:
            tables = [pa.ipc.open_stream(held).read_all() for held in self._held]
            self._writer.write_table(pa.concat_tables(tables).combine_chunks())
        self._held, self.held = [], 0

    def close(self) -> OutputFile:
        """Write what is left; returns the file."""
        self.flush()
        self._writer.close()
        self._sink.close()
        return self.file


class ParquetSink:
    """Files of one trace."""

    def __init__(self, directory: Path, merge: bool) -> None:
        self._directory, self._merge = directory, merge
        self._tables: dict[str, _Table] = {}

    def write(self, tables: Mapping[str, pa.Table]) -> None:
        """Append a window's tables."""
        for name, table in tables.items():
            if self._merge:
                self.write_table(MERGED, table)
            else:
                self._add(file_name(name, "parquet"), name, table)

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write what is no event to a file of its own."""
        self._add(f"{name}.parquet", "", table)

    def _add(self, file_: str, event: str, table: pa.Table) -> None:
        if file_ not in self._tables:
            self._tables[file_] = _Table(OutputFile(self._directory / file_, event), table.schema)
        if table.num_rows:
            self._tables[file_].add(table)
        while sum(each.held for each in self._tables.values()) > _HELD:
            max(self._tables.values(), key=lambda each: each.held).flush()

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete the files; returns their entries in the manifest by name."""
        return finish_files([table.close() for table in self._tables.values()], self._directory)

    def close(self) -> None:
        """Nothing runs."""
