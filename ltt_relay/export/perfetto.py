# SPDX-License-Identifier: GPL-2.0-or-later
"""Perfetto's protobuf, by its published definitions: what ui.perfetto.dev and trace_processor open.

Scheduling, interrupts and system calls become ftrace events, which the viewer turns into rows and slices; every other
event is an instant on its thread's track with its columns as arguments; losses are slices on a track of their CPU, and
a flag on the bundle behind them. The trace's clock stands for the boot clock.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from ltt_relay.decode import Trace
from ltt_relay.errors import UserError
from ltt_relay.export.files import OutputFile, finish_files
from ltt_relay.export.lttng import softirq_numbers
from ltt_relay.export.order import HEAD, NO_LOSSES, CpuOrder, Losses, cpu_order
from ltt_relay.export.text import TextSink

__all__ = ("FTRACE", "MissingPerfettoError", "PerfettoSink")

_FILE: Final = "trace.perfetto-trace"
#: Events in one bundle: what is held as Python objects at once.
_BUNDLE: Final = 20_000
#: Events that are ftrace events for Perfetto: its fields, and our columns.
FTRACE: Final[dict[str, dict[str, str]]] = {
    "sched_wakeup": {"comm": "event_comm", "pid": "pid", "prio": "prio", "target_cpu": "target_cpu"},
    "sched_wakeup_new": {"comm": "event_comm", "pid": "pid", "prio": "prio", "target_cpu": "target_cpu"},
    "irq_handler_entry": {"irq": "irq", "name": "name"},
    "irq_handler_exit": {"irq": "irq", "ret": "ret"},
    "softirq_entry": {"vec": "vec"},
    "softirq_exit": {"vec": "vec"},
    "softirq_raise": {"vec": "vec"},
    "sys_enter": {"id": "id", "args": "args"},
    "sys_exit": {"id": "id", "ret": "ret"},
    "sched_process_exit": {"comm": "event_comm", "pid": "pid", "tgid": "tgid", "prio": "prio"},
    "sched_process_free": {"comm": "event_comm", "pid": "pid", "prio": "prio"},
    "sched_process_exec": {"filename": "filename", "pid": "pid", "old_pid": "old_pid"},
    "task_rename": {"pid": "pid", "oldcomm": "oldcomm", "newcomm": "newcomm", "oom_score_adj": "oom_score_adj"},
    "cpu_idle": {"state": "state", "cpu_id": "cpu_id"},
    "cpu_frequency": {"state": "state", "cpu_id": "cpu_id"},
}
#: Those that have a compact form, all columns of which are needed: the names' field and column, and the others'.
_COMPACT: Final[dict[str, tuple[str, str, str, dict[str, str]]]] = {
    "sched_switch": ("switch_timestamp", "switch_next_comm_index", "next_comm", {
        "switch_prev_state": "prev_state", "switch_next_pid": "next_pid", "switch_next_prio": "next_prio",
    }),
    "sched_waking": ("waking_timestamp", "waking_comm_index", "event_comm", {
        "waking_pid": "pid", "waking_target_cpu": "target_cpu", "waking_prio": "prio",
    }),
}  # fmt: skip
_BOOTTIME, _MONOTONIC, _REALTIME = 6, 3, 1
_INSTANT, _BEGIN, _END = 3, 1, 2
_INCREMENTAL_STATE_CLEARED: Final = 1
_FTRACE_SEQUENCE, _TRACK_SEQUENCE = 1, 2


#: By the C++ type of a field.
_INTEGERS: Final = {1: pa.int32(), 2: pa.int64(), 3: pa.uint32(), 4: pa.uint64()}


class MissingPerfettoError(UserError, ImportError):
    """The perfetto package is not installed."""


def _protos() -> Any:
    try:
        from perfetto.protos.perfetto.trace import perfetto_trace_pb2
    except ImportError as error:
        raise MissingPerfettoError(f"--to perfetto needs it ({error}): pip install 'ltt-relay[perfetto]'") from error
    return perfetto_trace_pb2


def _signed(value: int) -> int:
    """Return 32 bits as Perfetto has them for a uid, which the kernel has without a sign, and for any id of a task."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def _uuid(*parts: object) -> int:
    """A track's number."""
    text = repr(parts).encode()
    return zlib.crc32(text) << 32 | zlib.adler32(text) or 1


def _list(table: pa.Table, column: str, missing: Any) -> list[Any]:
    values = table[column]
    if pa.types.is_dictionary(values.type):
        values = values.cast(pa.string())
    return list(pc.fill_null(values, missing).to_pylist()) if values.null_count else list(values.to_pylist())


def _fitted(table: pa.Table, message: Any, fields: dict[str, str]) -> pa.Table:
    """Return the table with integers as wide as the fields of a message: larger ones, of damage, lose upper bits."""
    for field, column in fields.items():
        if column in table.column_names and pa.types.is_integer(table[column].type):
            kind = _INTEGERS.get(message.fields_by_name[field].cpp_type, table[column].type)
            position = table.column_names.index(column)
            table = table.set_column(position, column, table[column].cast(kind, safe=False))
    return table


class _Rows:
    """The rows of one event of a window as Python lists: what each record has of its own."""

    def __init__(self, name: str, table: pa.Table, protos: Any) -> None:
        self.name = name
        self.tid = _list(table, "tid", 0)
        if name.startswith("softirq_") and "vec" in table.column_names:
            position = table.column_names.index("vec")
            table = table.set_column(position, "vec", pa.chunked_array([softirq_numbers(table["vec"])]))
        if name in FTRACE:
            message = protos.FtraceEvent.DESCRIPTOR.fields_by_name[name].message_type
            table = _fitted(table, message, FTRACE[name])
        fields = FTRACE.get(name) or {c: c for c in table.column_names if c not in HEAD}
        there = {field: column for field, column in fields.items() if column in table.column_names}
        self.values = [
            (field, _list(table, column, "" if _textual(table[column].type) else 0)) for field, column in there.items()
        ]


def _has(table: pa.Table, form: tuple[str, str, str, dict[str, str]]) -> bool:
    return {form[2], *form[3].values()} <= set(table.column_names)


def _textual(kind: pa.DataType) -> Any:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)


class _Compact:
    """Switches or wakings of a window, whole columns at once: Perfetto has a form for them that takes 6 bytes each."""

    def __init__(self, name: str, table: pa.Table, protos: Any) -> None:
        self._times, self._names, comm, columns = _COMPACT[name]
        table = _fitted(table, protos.FtraceEventBundle.CompactSched.DESCRIPTOR, columns)
        words = pc.fill_null(table[comm].cast(pa.string()), "").combine_chunks().dictionary_encode()
        words = words.combine_chunks() if isinstance(words, pa.ChunkedArray) else words
        self._words = words.dictionary.to_pylist()
        self._codes = words.indices.to_numpy()
        self._columns = {field: table[column].to_numpy() for field, column in columns.items()}

    def add(self, compact: Any, index: np.ndarray, times: np.ndarray, interned: dict[str, int]) -> None:
        """Append rows; `interned` are the names that the bundle has so far."""
        getattr(compact, self._times).extend(np.diff(times, prepend=0).tolist())
        for field, column in self._columns.items():
            getattr(compact, field).extend(column[index].tolist())
        codes = self._codes[index]
        places = {code: interned.setdefault(self._words[code], len(interned)) for code in np.unique(codes).tolist()}
        getattr(compact, self._names).extend([places[code] for code in codes.tolist()])
        if self._times == "waking_timestamp":
            compact.waking_common_flags.extend([0] * index.size)


class PerfettoSink:
    """One trace's file; `gaps` and `problems` are CSV files beside it."""

    def __init__(self, directory: Path, trace: Trace, gaps: pd.DataFrame) -> None:
        self._protos = _protos()
        self._file = OutputFile(directory / _FILE, "")
        self._text = TextSink(directory, "csv", merge=False)
        self._offset = trace.wall_offset
        self._losses = Losses.of(gaps, trace.wall_offset)
        self._told = dict.fromkeys(self._losses, 0)
        self._tgids: dict[int, int] = {}
        self._tracks: set[int] = set()
        self._begin(trace.info)
        self._write_tasks(trace)

    # ------------------------------------------------------------------------------------------------ packets

    def _packet(self, packet: Any, sequence: int) -> None:
        packet.trusted_packet_sequence_id = sequence
        trace = self._protos.Trace()
        trace.packet.append(packet)
        self._file.append(trace.SerializeToString())

    def _begin(self, info: dict[str, Any]) -> None:
        packet = self._protos.TracePacket()
        begin = (info["begin"] or self._offset) - self._offset
        for clock, time in ((_BOOTTIME, begin), (_MONOTONIC, begin), (_REALTIME, begin + self._offset)):
            packet.clock_snapshot.clocks.add(clock_id=clock, timestamp=max(time, 0))
        packet.clock_snapshot.primary_trace_clock = _BOOTTIME
        self._packet(packet, _FTRACE_SEQUENCE)
        packet = self._protos.TracePacket()
        names = {"sysname": "sysname", "release": "release", "version": "version", "machine": "arch"}
        for field, key in names.items():
            if key in info["env"]:
                setattr(packet.system_info.utsname, field, str(info["env"][key]))
        self._packet(packet, _FTRACE_SEQUENCE)
        packet = self._protos.TracePacket(sequence_flags=_INCREMENTAL_STATE_CLEARED)
        self._packet(packet, _TRACK_SEQUENCE)

    def _write_tasks(self, trace: Trace) -> None:
        """Names of processes and threads: what the trace's state tells."""
        if "state_task" not in trace:
            return
        tasks = trace["state_task"]
        packet = self._protos.TracePacket()
        columns = ("pid", "tgid", "ppid", "uid", "event_comm")
        known = (tasks[name].tolist() if name in tasks else [None] * len(tasks) for name in columns)
        for pid, told, ppid, uid, comm in zip(*known, strict=True):
            pid = _signed(pid)
            tgid = pid if told is None else _signed(told)  # old formats do not have all of it
            self._tgids[pid] = tgid
            if pid == tgid:
                packet.process_tree.processes.add(
                    pid=pid, cmdline=[comm], cmdline_is_comm=True,
                    ppid=None if ppid is None else _signed(ppid), uid=None if uid is None else _signed(uid),
                )  # fmt: skip
            else:
                packet.process_tree.threads.add(tid=pid, tgid=tgid, name=comm)
        packet.timestamp = max((trace.info["begin"] or self._offset) - self._offset, 0)
        self._packet(packet, _FTRACE_SEQUENCE)

    # ------------------------------------------------------------------------------------------------ a window

    def write(self, tables: dict[str, pa.Table]) -> None:
        """Append a window's tables; their time is the trace's clock (int64)."""
        there = {name: table for name, table in tables.items() if table.num_rows and not name.startswith("state_")}
        self._file.rows += sum(table.num_rows for table in there.values())
        compact = [n for n, table in there.items() if n in _COMPACT and _has(table, _COMPACT[n])]
        ftrace = compact + [name for name in there if name in FTRACE]
        others = [name for name in there if name not in ftrace]
        for names, write in ((ftrace, self._bundle), (others, self._instants)):
            if names:
                order = cpu_order([there[name] for name in names])
                kinds = [(n, _Compact if n in compact else _Rows) for n in names]
                parts = [kind(n, there[n], self._protos) for n, kind in kinds]
                self._pieces(order, parts, write)

    def _pieces(self, order: CpuOrder, parts: list[Any], write: Callable[..., None]) -> None:
        for cpu, begin, end in order.runs:
            for low, high in self._losses.get(cpu, NO_LOSSES).cut(order.times, begin, end):
                for first in range(low, high, _BUNDLE):
                    write(cpu, order, parts, first, min(first + _BUNDLE, high))

    def _bundle(self, cpu: int, order: CpuOrder, parts: list[Any], begin: int, end: int) -> None:
        packet = self._protos.TracePacket()
        bundle = packet.ftrace_events
        bundle.cpu = cpu
        lost = self._losses.get(cpu, NO_LOSSES).until(int(order.times[begin]))
        bundle.lost_events = lost > self._told.get(cpu, 0)
        self._told[cpu] = lost
        kinds, index, times = order.kinds[begin:end], order.index[begin:end], order.times[begin:end]
        compact = np.array([isinstance(part, _Compact) for part in parts])[kinds]
        interned: dict[str, int] = {}
        for number, part in enumerate(parts):
            chosen = kinds == number
            if isinstance(part, _Compact) and chosen.any():
                part.add(bundle.compact_sched, index[chosen], times[chosen], interned)
        bundle.compact_sched.intern_table.extend(interned)
        add = bundle.event.add
        loose = ~compact
        for kind, row, time in zip(kinds[loose].tolist(), index[loose].tolist(), times[loose].tolist(), strict=True):
            part = parts[kind]
            event = add()
            event.timestamp = time
            event.pid = part.tid[row]
            fields = getattr(event, part.name)
            fields.SetInParent()
            for name, values in part.values:
                value = values[row]
                if type(value) is list:
                    getattr(fields, name).extend(value)
                else:
                    setattr(fields, name, value)
        self._packet(packet, _FTRACE_SEQUENCE)

    # ---------------------------------------------------------------------------------------------- other events

    def _thread_track(self, tid: int) -> int:
        uuid = _uuid("thread", tid)
        if uuid not in self._tracks:
            self._tracks.add(uuid)
            packet = self._protos.TracePacket()
            packet.track_descriptor.uuid = uuid
            packet.track_descriptor.thread.pid = self._tgids.get(tid, tid)
            packet.track_descriptor.thread.tid = tid
            self._packet(packet, _TRACK_SEQUENCE)
        return uuid

    def _cpu_track(self, cpu: int, what: str) -> int:
        uuid = _uuid(what, cpu)
        if uuid not in self._tracks:
            self._tracks.add(uuid)
            packet = self._protos.TracePacket()
            packet.track_descriptor.uuid = uuid
            packet.track_descriptor.name = f"CPU {cpu} {what}"
            self._packet(packet, _TRACK_SEQUENCE)
        return uuid

    def _instants(self, cpu: int, order: CpuOrder, parts: list[Any], begin: int, end: int) -> None:
        batch = self._protos.Trace()
        for place in range(begin, end):
            part, row = parts[order.kinds[place]], int(order.index[place])
            tid = part.tid[row]
            track = self._thread_track(tid) if tid > 0 else self._cpu_track(cpu, "events")
            packet = batch.packet.add(timestamp=int(order.times[place]), trusted_packet_sequence_id=_TRACK_SEQUENCE)
            event = packet.track_event
            event.type, event.track_uuid, event.name = _INSTANT, track, part.name
            for name, values in part.values:
                note = event.debug_annotations.add(name=name)
                value = values[row]
                if isinstance(value, int) and not isinstance(value, bool):
                    if value < 0:
                        note.int_value = value
                    else:
                        note.uint_value = value
                else:
                    note.string_value = value if isinstance(value, str) else str(value)
        self._file.append(batch.SerializeToString())

    def _write_losses(self) -> None:
        for cpu, losses in self._losses.items():
            track = self._cpu_track(cpu, "losses")
            last = 0
            gaps = zip(
                losses.begins.tolist(), losses.ends.tolist(), losses.counts.tolist(), losses.reasons, strict=True
            )
            for begin, end, count, reason in gaps:
                begin = max(begin, last)  # two gaps of different reasons overlap; slices of a track must not
                for time, kind in ((begin, _BEGIN), (max(begin, end), _END)):
                    packet = self._protos.TracePacket(timestamp=max(time, 0))
                    packet.track_event.type, packet.track_event.track_uuid = kind, track
                    if kind == _BEGIN:
                        packet.track_event.name = f"lost {count} ({reason})"
                        packet.track_event.debug_annotations.add(name="count", uint_value=count)
                        packet.track_event.debug_annotations.add(name="reason", string_value=reason)
                    self._packet(packet, _TRACK_SEQUENCE)
                last = max(begin, end)

    # --------------------------------------------------------------------------------------------------- the rest

    def write_table(self, name: str, table: pa.Table) -> None:
        """Write what is no event to a CSV file."""
        self._text.write_table(name, table)

    def finish(self) -> dict[str, dict[str, Any]]:
        """Complete all files; returns their entries in the manifest by name."""
        self._write_losses()
        return finish_files([self._file], self._file.path.parent) | self._text.finish()

    def close(self) -> None:
        """End what runs."""
        self._text.close()
