# SPDX-License-Identifier: GPL-2.0-or-later
# Numba gives integers one type of 64 bits, where mypy tells int and NumPy's apart.
# mypy: disable-error-code="assignment,arg-type,return-value"
"""One frame out of many: all events in time order, the payload as text.

A span of time after the other becomes a part, each in a thread: what is decoded of it stays in the nearer caches until
its text is written, and is given back then.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa

from ltt_relay.decode import text_rows
from ltt_relay.decode.batch import RANK, Output, Selection
from ltt_relay.decode.compiled import compiled
from ltt_relay.decode.described import Rows
from ltt_relay.decode.frames import arrow_table, categorical, text_array, time_array
from ltt_relay.decode.memory import at, put
from ltt_relay.decode.names import Names, code_dtype

__all__ = ("Part", "join", "make_parts", "merge")

#: Bytes of text that are written at once; memory is used where it is written.
_AT_ONCE: Final = 16 << 20

Spans: TypeAlias = Sequence[tuple[int, int]]


class Part(NamedTuple):
    """Rows of the merged frame: time in ns, CPU, code of the event, task (-1: unknown), code of its name, payload."""

    time: np.ndarray
    cpu: np.ndarray
    event: np.ndarray
    tid: np.ndarray
    comm: np.ndarray
    payload: pa.ChunkedArray


@compiled
def _place(
    rank: np.ndarray, time: np.ndarray, cpu: np.ndarray, tid: np.ndarray, comm: np.ndarray, event: int, kind: int,
    out_time: np.ndarray, out_cpu: np.ndarray, out_event: np.ndarray, out_tid: np.ndarray, out_comm: np.ndarray,
    kinds: np.ndarray, index: np.ndarray,
) -> None:  # fmt: skip
    """Put the rows of one event where they belong among all; kinds, index: which row of which event is there."""
    for i in range(rank.size):
        to = at(rank, i)
        put(out_time, to, at(time, i))
        put(out_cpu, to, at(cpu, i))
        put(out_event, to, np.int16(event))
        put(out_tid, to, max(at(tid, i), np.int32(-1)))
        put(out_comm, to, at(comm, i))
        put(kinds, to, kind)
        put(index, to, i)


def _ranks(outputs: Sequence[Output]) -> list[np.ndarray]:
    """Return the place of each row of each event in the order of all: by time, CPU, stream, and place in the packets.

    Ranks of different streams say nothing of each other.
    """
    ranks = [output.arrays[RANK] for output in outputs]
    streams = [output.plan.event.stream for output in outputs]
    if len(set(streams)) < 2:
        return ranks
    rows = [output.rows for output in outputs]
    time, cpu, rank = (np.concatenate([output.arrays[name] for output in outputs]) for name in _KEYS)
    places = np.empty(time.size, np.int64)
    places[np.lexsort((rank, np.repeat(streams, rows), cpu, time))] = np.arange(time.size)
    return np.split(places, np.cumsum(rows)[:-1])


_KEYS: Final = ("timestamp", "cpu", RANK)


def _payloads(tables: Sequence[pa.Table], kinds: np.ndarray, index: np.ndarray) -> pa.ChunkedArray:
    """Return "name=value name=value" of all columns, for row index[i] of the table kinds[i]."""
    rows = Rows()
    for table in tables:
        names = table.column_names
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


def merge(outputs: Sequence[Output], selection: Selection, names: Names, events: Sequence[str]) -> Part:
    """Merge what was decoded of some events, all base columns and `RANK` with it; events: the names by code."""
    total = sum(output.rows for output in outputs)
    time, cpu, event, tid, comm = (np.empty(total, dtype) for dtype in ("i8", "u2", "i2", "i4", "i4"))
    kinds, index = np.empty(total, np.int64), np.empty(total, np.int64)
    for kind, (output, rank) in enumerate(zip(outputs, _ranks(outputs), strict=True)):
        base = (output.arrays[name] for name in ("timestamp", "cpu", "tid"))
        code = events.index(output.plan.event.name)
        named = output.arrays["comm"].astype(np.int32)
        _place(rank, *base, named, code, kind, time, cpu, event, tid, comm, kinds, index)  # type: ignore[call-arg]
    payload = Selection(selection.kinds, dict.fromkeys(selection.kinds, ()), selection.columns)
    tables = [arrow_table(output, payload, names, False) for output in outputs]
    event = event.astype(code_dtype(len(events)), copy=False)
    comm = comm.astype(names.tables[0].dtype, copy=False)
    return Part(time, cpu, event, tid, comm, _payloads(tables, kinds, index))


def make_parts(spans: Spans, many: int, make: Callable[[int, int], Part]) -> list[Part]:
    """Return the parts of spans of time, made in so many threads."""
    if many == 1 or len(spans) == 1:
        return [make(*span) for span in spans]
    with ThreadPoolExecutor(many) as pool:
        return list(pool.map(lambda span: make(*span), spans))


def join(parts: Sequence[Part], events: Sequence[str], names: Names, utc: bool) -> pd.DataFrame:
    """Return parts one behind the other as a frame: timestamp, cpu, event, tid, comm, payload."""
    columns = [list(column) for column in zip(*parts, strict=True)]

    def whole(i: int) -> np.ndarray:
        found: np.ndarray = np.concatenate(columns[i]) if len(parts) > 1 else columns[i][0]
        columns[i].clear()
        return found

    tid = whole(3)
    chunks = [chunk for payload in columns[5] for chunk in payload.chunks]
    data = {
        "timestamp": time_array(whole(0), utc),
        "cpu": whole(1),
        "event": categorical(whole(2), pd.CategoricalDtype(list(events))),
        "tid": pd.arrays.IntegerArray(tid, tid < 0),
        "comm": categorical(whole(4), names.tables[0].categories),
        "payload": text_array(pa.chunked_array(chunks, pa.large_string())),
    }
    return pd.DataFrame(data, copy=False)
