# SPDX-License-Identifier: GPL-2.0-or-later
"""Parquet: a file per event, or one for all.

What describes a row group stays in memory until its file ends, so there must be few: they gather windows until they
are large. Of many kinds of events the rows that wait for that are too many for memory, and lie beside the output.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet

from ltt_relay.export.files import MERGED, OutputFile, file_name, finish_files

__all__ = ("ParquetSink",)

#: Bytes held for all files together, compressed.
_HELD: Final = 24 << 20
#: Decoded bytes, and the most rows, of a row group.
_GROUP: Final = 16 << 20
_ROWS: Final = 1 << 30
_COPY: Final = pa.ipc.IpcWriteOptions(compression="lz4")


class _Stream:
    """The file as pyarrow writes to it; once it is given up, nothing is."""

    closed = False
    given_up = False

    def __init__(self, file: OutputFile) -> None:
        self._file = file

    def write(self, data: Any) -> int:
        if not self.given_up:
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
    """A file, and the rows that are to be its next row group: in memory, and before those in a file of their own."""

    def __init__(self, file: OutputFile, aside: Path, schema: pa.Schema) -> None:
        self.file = file
        self._aside = aside
        self._sizes: list[int] = []
        self._held: list[pa.Buffer] = []
        #: Bytes in memory, as they are held there; and of all rows that wait, as they were decoded.
        self.held = self._waiting = 0
        names = [f.name for f in schema if pa.types.is_dictionary(f.type) or pa.types.is_large_string(f.type)]
        delta = {name: "DELTA_BINARY_PACKED" for name in schema.names if name == "timestamp"}
        self._stream = _Stream(self.file)
        self._sink = pa.PythonFile(self._stream, "w")
        self._writer = pyarrow.parquet.ParquetWriter(
            self._sink, schema, compression="zstd", use_dictionary=names, column_encoding=delta or None
        )

    def add(self, table: pa.Table) -> None:
        """Hold a copy: the table itself is a view of all that was decoded with it."""
        self.file.rows += table.num_rows
        stream = pa.BufferOutputStream()
        with pa.ipc.new_stream(stream, table.schema, options=_COPY) as writer:
            writer.write_table(table)
        self._held.append(stream.getvalue())
        self.held += self._held[-1].size
        self._waiting += table.nbytes
        if self._waiting >= _GROUP:
            self._write()

    def make_room(self) -> None:
        """Put what is held aside."""
        with self._aside.open("ab", buffering=0) as file:
            for held in self._held:
                rest = memoryview(held)
                while rest:  # of a disk that is full, the next call tells
                    rest = rest[file.write(rest) :]
                self._sizes.append(held.size)
        self._held, self.held = [], 0

    def _write(self) -> None:
        """Write all that waits as a row group."""
        waiting = self._held
        if self._sizes:
            with self._aside.open("rb") as file:
                waiting = [*map(file.read, self._sizes), *waiting]
            self._aside.unlink()
        self._sizes, self._held, self.held, self._waiting = [], [], 0, 0
        tables = [pa.ipc.open_stream(buffer).read_all() for buffer in waiting]
        # The writer keeps a buffer as long as the longest chunk it has seen, so these are left as they are.
        self._writer.write_table(pa.concat_tables(tables).unify_dictionaries(), row_group_size=_ROWS)

    def close(self) -> OutputFile:
        """Write what is left; returns the file."""
        if self._waiting:
            self._write()
        self._writer.close()
        self._sink.close()
        del self._writer, self._sink  # and with them the buffers of the last row group
        return self.file

    def give_up(self) -> None:
        """Write nothing any more: the writer, if it is still there, would do so when it is deleted."""
        self._stream.given_up = True


class ParquetSink:
    """Files of one trace."""

    def __init__(self, directory: Path, merge: bool, aside: Path) -> None:
        """Begin with none; `aside` is a directory for what waits, which goes with `close`."""
        self._directory, self._merge, self._aside = directory, merge, aside
        self._tables: dict[str, _Table] = {}
        self._held = 0
        aside.mkdir(parents=True)

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
            file = OutputFile(self._directory / file_, event)
            self._tables[file_] = _Table(file, self._aside / file_, table.schema)
        if table.num_rows:
            before = self._tables[file_].held
            self._tables[file_].add(table)
            self._held += self._tables[file_].held - before
        while self._held > _HELD:
            largest = max(self._tables.values(), key=lambda each: each.held)
            self._held -= largest.held
            largest.make_room()

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete the files; returns their entries in the manifest by name."""
        return finish_files([table.close() for table in self._tables.values()], self._directory)

    def close(self) -> None:
        """Remove what waited, and end what was not finished."""
        for table in self._tables.values():
            table.give_up()
        shutil.rmtree(self._aside, ignore_errors=True)
