# SPDX-License-Identifier: GPL-2.0-or-later
"""One frame out of many: all events in time order, the payload as text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ltt_relay.decode import text_rows
from ltt_relay.decode.described import Rows
from ltt_relay.decode.frames import categorical, text_array
from ltt_relay.decode.plan import BASE

__all__ = ("merge_tables",)

#: Bytes of text that are written at once; memory is used where it is written.
_AT_ONCE: Final = 32 << 20


def _payloads(tables: Sequence[pa.Table], kinds: np.ndarray, index: np.ndarray) -> pa.ChunkedArray:
    """Return "name=value name=value" of all columns but the base ones, for row index[i] of the table kinds[i]."""
    rows = Rows()
    for table in tables:
        names = [name for name in table.column_names if name not in (*BASE, "rank")]
        rows.add([(f"{' ' * (i > 0)}{name}=", table[name], text_rows.PLAIN) for i, name in enumerate(names)], "")
    chunks = []
    done, room = 0, _AT_ONCE
    while done < kinds.size:
        out = np.empty(room, np.uint8)
        ends = np.empty(kinds.size - done + 1, np.int64)
        ends[0] = 0
        upto, _ = rows.text(kinds, index, done, kinds.size, out, ends)
        if upto == done:
            room *= 2
            continue
        buffers = [None, pa.py_buffer(ends[: upto - done + 1]), pa.py_buffer(out)]
        chunks.append(pa.Array.from_buffers(pa.large_string(), upto - done, buffers))
        done = upto
    return pa.chunked_array(chunks, pa.large_string())


def _ranks(tables: Sequence[pa.Table], many: bool) -> list[np.ndarray]:
    """Return the place of each row of each table in the order of all: by time, CPU, and place in the packets.

    many: they are of more than one stream, whose ranks say nothing of each other.
    """
    ranks = [table["rank"].to_numpy() for table in tables]
    if not many:
        return ranks
    time, cpu, rank = (np.concatenate([table[name].to_numpy() for table in tables]) for name in _KEYS)
    places = np.empty(time.size, np.int64)
    places[np.lexsort((rank, cpu, time))] = np.arange(time.size)
    return np.split(places, np.cumsum([table.num_rows for table in tables])[:-1])


_KEYS: Final = ("timestamp", "cpu", "rank")


def merge_tables(
    found: dict[str, pa.Table], events: Sequence[str], comms: Sequence[str], offset: int, utc: bool, many: bool
) -> pd.DataFrame:
    """Merge tables with times in ns and a column `rank`, see `_ranks`: timestamp, cpu, event, tid, comm, payload."""
    tables = list(found.values())
    total = sum(table.num_rows for table in tables)
    ranks = _ranks(tables, many)

    def merged(dtype: str, values: Callable[[pa.Table], np.ndarray]) -> np.ndarray:
        out = np.empty(total, dtype)
        for table, rank in zip(tables, ranks, strict=True):
            out[rank] = values(table)
        return out

    code = np.empty(total, np.int16)
    kinds, index = np.empty(total, np.int64), np.empty(total, np.int64)
    for kind, (name, rank) in enumerate(zip(found, ranks, strict=True)):
        code[rank], kinds[rank], index[rank] = events.index(name), kind, np.arange(rank.size)
    time = merged("i8", lambda table: table["timestamp"].to_numpy())
    tid = merged("i4", lambda table: pc.fill_null(table["tid"], -1).to_numpy())
    data = {
        "timestamp": pd.DatetimeIndex(time + offset, tz="UTC") if utc else time,
        "cpu": merged("u2", lambda table: table["cpu"].to_numpy()),
        "event": categorical(code, pd.CategoricalDtype(list(events))),
        "tid": pd.arrays.IntegerArray(tid, tid < 0),
        "comm": categorical(merged("i4", _comm), pd.CategoricalDtype(list(comms))),
        "payload": text_array(_payloads(tables, kinds, index)),
    }
    return pd.DataFrame(data)


def _comm(table: pa.Table) -> np.ndarray:
    column = table["comm"].combine_chunks()
    indices = column.indices if isinstance(column, pa.DictionaryArray) else column.chunk(0).indices
    codes: np.ndarray = pc.fill_null(indices.cast(pa.int32()), -1).to_numpy()
    return codes
