# SPDX-License-Identifier: GPL-2.0-or-later
"""One frame out of many: all events in time order, the payload as text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ltt_relay.decode.frames import categorical, text_array
from ltt_relay.decode.plan import BASE

__all__ = ("merge_tables", "payload_text")


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray | pa.Array:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(pa.string())
    elif pa.types.is_list(kind):
        chunks = [pa.ListArray.from_arrays(chunk.offsets, chunk.values.cast(pa.string())) for chunk in column.chunks]
        joined = pc.binary_join(pa.chunked_array(chunks, pa.list_(pa.string())), " ")
        brackets = [pa.scalar(text, pa.large_string()) for text in ("[", "]", "")]
        whole = pc.binary_join_element_wise(brackets[0], joined.cast(pa.large_string()), *brackets[1:])
        return pc.if_else(column.is_valid(), whole, pa.scalar("?", pa.large_string()))
    elif pa.types.is_large_binary(kind):
        return pa.array(["?" if value is None else value.hex() for value in column.to_pylist()], pa.large_string())
    return pc.fill_null(column.cast(pa.large_string()), "?")


def payload_text(table: pa.Table) -> pa.ChunkedArray | pa.Array:
    """Return "name=value name=value" of all columns but the base ones."""
    parts: list[object] = []
    for name in table.column_names:
        if name in BASE:
            continue
        if parts:
            parts.append(" ")
        parts += [f"{name}=", _as_text(table[name])]
    if not parts:
        return pa.array([""] * table.num_rows, pa.large_string())
    scalars = [pa.scalar(part, pa.large_string()) if isinstance(part, str) else part for part in parts]
    return pc.binary_join_element_wise(*scalars, pa.scalar("", pa.large_string()))


def merge_tables(
    tables: dict[str, pa.Table], events: Sequence[str], comms: Sequence[str], offset: int, utc: bool
) -> pd.DataFrame:
    """Merge `Trace.arrow(time="ns")`: timestamp, cpu, event, tid, comm, payload."""
    names = list(tables)
    time = [table["timestamp"].to_numpy() for table in tables.values()]
    cpu = [table["cpu"].to_numpy() for table in tables.values()]
    tid = [pc.fill_null(table["tid"], -1).to_numpy() for table in tables.values()]
    comm = []
    for table in tables.values():
        column = table["comm"].combine_chunks()
        indices = column.indices if isinstance(column, pa.DictionaryArray) else column.chunk(0).indices
        comm.append(pc.fill_null(indices.cast(pa.int32()), -1).to_numpy())
    code = [np.full(len(t), events.index(name), np.int16) for name, t in zip(names, time, strict=True)]
    payload = [payload_text(table) for table in tables.values()]

    def joined(parts: list[np.ndarray], dtype: str) -> np.ndarray:
        return np.concatenate(parts) if parts else np.zeros(0, dtype)

    all_time, all_cpu, all_tid = joined(time, "i8"), joined(cpu, "u2"), joined(tid, "i4")
    order = np.lexsort((all_cpu, all_time))
    moments = all_time[order]
    chunks = [chunk for part in payload for chunk in (part.chunks if isinstance(part, pa.ChunkedArray) else [part])]
    text = pa.chunked_array(chunks, pa.large_string()).take(pa.array(order))
    data = {
        "timestamp": pd.DatetimeIndex(moments + offset, tz="UTC") if utc else moments,
        "cpu": all_cpu[order],
        "event": categorical(joined(code, "i2")[order], list(events)),
        "tid": pd.arrays.IntegerArray(all_tid[order], all_tid[order] < 0),
        "comm": categorical(joined(comm, "i4")[order], list(comms)),
        "payload": text_array(text),
    }
    return pd.DataFrame(data)
