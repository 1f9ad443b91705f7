# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace: lazy, a Mapping of event name to frame."""

from __future__ import annotations

import functools
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self
from uuid import UUID

import numpy as np
import pandas as pd
import pyarrow as pa

from ltt_relay.decode import batch, frames, gaps, kernels, metadata, names, times
from ltt_relay.decode.errors import Problem, TraceError
from ltt_relay.decode.index import INDEX, index_file
from ltt_relay.decode.plan import BASE, Column, Plan, compile_plan
from ltt_relay.decode.times import Moment
from ltt_relay.formats.base import UnknownEventError
from ltt_relay.formats.layout import Scalar
from ltt_relay.formats.ltt3 import FORMAT, PACKET_FLAGS, TASK_CAUSES

__all__ = ("Trace", "concatenate", "iterate", "open")

TimeKind = Literal["utc", "ns"]

_FOREVER: Final = 1 << 62
_MAX_PROBLEMS_A_LOAD: Final = 4096
_COUNT_WINDOW: Final = 32 << 20
_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@functools.cache
def _plan() -> Plan:
    return compile_plan(FORMAT)


def _byte_count(size: int | str) -> int:
    if isinstance(size, int):
        return size
    number = size.strip().rstrip("BKMGiIbkmg ")
    try:
        return int(float(number) * _UNITS[size.strip()[len(number) :].strip().upper()])
    except (KeyError, ValueError):
        raise ValueError(f"{size!r} is no size: a number with B, KB, MB, GB, KiB, MiB or GiB was expected") from None


class Trace(Mapping[str, pd.DataFrame]):
    """A trace directory.

    Opening reads packet headers only. A Trace may be used from several threads, pickles by its path, and decodes anew
    on each call; frames outlive it.
    """

    def __init__(self, path: str | Path, *, strict: bool = False) -> None:
        """Open; raises TraceError if there is nothing to read, and with `strict` for the first problem."""
        self.path = Path(path)
        self.strict = strict
        self._lock = threading.RLock()
        self._problems: list[Problem] = []
        self._files: list[Path] = []
        self._plan = _plan()
        self._read_index()
        self._counts: np.ndarray | None = None
        self._names: names.Names | None = None
        if strict and self._problems:
            raise TraceError(self._describe(self._problems[0]))

    # -------------------------------------------------------------------------------------------------- the index

    def _read_index(self) -> None:
        if not self.path.is_dir():
            what = "no such directory" if not self.path.exists() else "not a directory"
            raise TraceError(f"{self.path}: {what}; a trace is a directory with metadata, state_0 and events_N")
        self._metadata = self._read_metadata()
        uuid = self._metadata.uuid.bytes if self._metadata.uuid else None
        found = []
        for path in sorted(self.path.iterdir()):
            if path.name.startswith(".") or path.name == "metadata" or not path.is_file():
                continue
            problems: list[Problem] = []
            try:
                rows = index_file(path, len(self._files), uuid, problems)
            except OSError as error:
                raise TraceError(f"{path}: {error.strerror}") from error
            if not rows.size and path.stat().st_size:
                self._problems.append(
                    Problem(
                        path.name, -1, -1, 0, "not_a_stream", "packets of LTT 3.0", "no packet header of this trace"
                    )
                )
                continue
            self._files.append(path)
            self._problems += problems
            found.append(rows)
        index = np.concatenate(found) if found else np.zeros(0, INDEX)
        if not self._files:
            raise TraceError(f"{self.path}: no stream files in it; events_0, events_1 … and state_0 were expected")
        order = np.lexsort((index["packet_seq_num"], index["timestamp_begin"], index["cpu_id"], index["stream_id"]))
        self._index = index[order]
        self._events = self._index[self._index["stream_id"] == 0]
        self._state = self._index[self._index["stream_id"] == 1]
        self._check_order()
        offset = self._metadata.wall_offset
        if offset is None:
            offset = int(self._index["wall_offset"][0]) if self._index.size else 0
        self._offset = offset

    def _read_metadata(self) -> metadata.Metadata:
        path = self.path / "metadata"
        try:
            return metadata.parse(path.read_text(errors="replace"))
        except FileNotFoundError:
            problem = Problem("metadata", -1, -1, 0, "no_metadata", "the session's file metadata", "no such file")
            self._problems.append(problem)
            return metadata.Metadata()
        except OSError as error:
            raise TraceError(f"{path}: {error.strerror}") from error

    def _check_order(self) -> None:
        for stream in (self._events, self._state):
            for i in range(1, stream.size):
                row, before = stream[i], stream[i - 1]
                if row["cpu_id"] != before["cpu_id"]:
                    continue
                where = (self._files[row["file"]].name, int(row["cpu_id"]), i, int(row["offset"]))
                if row["timestamp_begin"] < before["timestamp_end"]:
                    expected = f"begin at {int(before['timestamp_end'])} ns or later"
                    self._problems.append(Problem(*where, "time_backward", expected, str(int(row["timestamp_begin"]))))
                missing = int(row["packet_seq_num"]) - int(before["packet_seq_num"]) - 1
                counted = row["overwritten"] > before["overwritten"] or row["lost_reset"] > before["lost_reset"]
                if missing and not counted:
                    expected = f"packet {int(before['packet_seq_num']) + 1}"
                    self._problems.append(Problem(*where, "sequence", expected, f"packet {int(row['packet_seq_num'])}"))

    def _describe(self, problem: Problem) -> str:
        return (
            f"{self.path / problem.file}, packet {problem.packet}, offset {problem.offset}: {problem.code}: "
            f"{problem.expected} expected, {problem.found} found"
        )

    # ------------------------------------------------------------------------------------------------- the counts

    def _count(self) -> np.ndarray:
        """Records of each kind in each packet of the index, the last column those that are skipped; one walk."""
        with self._lock:
            if self._counts is not None:
                return self._counts
            plan = self._plan
            counts = np.zeros((self._index.size, len(plan.events) + 1), np.int64)
            need = np.array([event.need for event in plan.events], np.int64)
            first = 0
            buffer: np.ndarray | None = None
            filled = np.cumsum(self._index["content"]) // _COUNT_WINDOW
            while first < self._index.size:
                last = int(np.searchsorted(filled, filled[first], "right"))
                rows = self._index[first:last]
                buffer, starts = batch.load(self._files, rows, buffer)
                begin = starts + rows["header_size"].astype(np.int64)
                trouble = np.zeros((_MAX_PROBLEMS_A_LOAD, 4), np.int64)
                found = kernels.count(
                    buffer.view(np.uint16), begin, starts + rows["content"], plan.header, plan.kind_of_id, need,
                    counts[first:last], trouble,
                )  # fmt: skip
                self._note(rows, starts, counts[first:last], trouble[: min(found, _MAX_PROBLEMS_A_LOAD)])
                first = last
            self._counts = counts
            if self.strict and self._problems:
                raise TraceError(self._describe(self._problems[0]))
            return counts

    def _note(self, rows: np.ndarray, starts: np.ndarray, counts: np.ndarray, trouble: np.ndarray) -> None:
        seen: set[tuple[int, int, int]] = set()
        for packet, at, code, value in trouble.tolist():
            if code == kernels.PROBLEM_UNKNOWN and (packet, code, value) in seen:
                continue
            seen.add((packet, code, value))
            row = rows[packet]
            where = (self._files[row["file"]].name, int(row["cpu_id"]), int(row["packet_seq_num"]))
            offset = int(row["offset"]) + at - int(starts[packet])
            if code == kernels.PROBLEM_LENGTH:
                text = ("record_length", "a length of at least 8 that ends in the packet", str(value))
            elif code == kernels.PROBLEM_SHORT:
                text = ("short_record", "a length that holds the event's fields", str(value))
            else:
                text = ("unknown_event", "the id of an event of the format", str(value))
            self._problems.append(Problem(*where, offset, *text))
        told = rows["records"].astype(np.int64)
        whole = 8 * rows["there"] >= rows["content_size"].astype(np.int64)
        for packet in np.flatnonzero((told != counts.sum(axis=1)) & whole):
            row = rows[packet]
            place = (self._files[row["file"]].name, int(row["cpu_id"]), int(row["packet_seq_num"]), int(row["offset"]))
            found = str(int(counts[packet].sum()))
            self._problems.append(Problem(*place, "record_count", str(int(told[packet])), found))

    # -------------------------------------------------------------------------------------------------- the names

    def _name_tables(self) -> names.Names:
        with self._lock:
            if self._names is None:
                self._names = self._build_names()
            return self._names

    def _state_outputs(self) -> dict[str, batch.Output]:
        plan = self._plan
        kinds = tuple(k for k, event in enumerate(plan.events) if event.event.stream == 1)
        base: dict[int, tuple[str, ...]] = dict.fromkeys(kinds, ("timestamp",))
        columns = {kind: plan.events[kind].columns for kind in kinds}
        outputs = self._decode(batch.Selection(kinds, base, columns), self._state, names.Names(), 0, _FOREVER)
        return {plan.events[kind].event.name: output for kind, output in outputs.items()}

    def _build_names(self) -> names.Names:
        state = self._state_outputs()
        tasks, irqs = state["state_task"], state["state_irq"]

        def text(output: batch.Output, name: str) -> np.ndarray:
            chunks = output.chunks.get(name, [])
            return pa.chunked_array(chunks, pa.large_string()).to_numpy() if chunks else np.zeros(0, object)

        cause = tasks.arrays["cause"]
        use = cause != TASK_CAUSES["exit"]
        dumped = cause == TASK_CAUSES["dump"]
        task_table = names.build_table(
            tasks.arrays["pid"][use].astype(np.int64), tasks.arrays["timestamp"][use], text(tasks, "event_comm")[use],
            dumped[use],
        )  # fmt: skip
        irq = irqs.arrays["irq"].astype(np.int64)
        irq_table = names.build_table(irq, irqs.arrays["timestamp"], text(irqs, "name"), np.ones(irq.size, np.bool_))
        return names.Names((task_table, irq_table))

    # ---------------------------------------------------------------------------------------------------- decoding

    def _decode(
        self, selection: batch.Selection, packets: np.ndarray, tables: names.Names, since: int, until: int
    ) -> dict[int, batch.Output]:
        counts = self._count()
        here = np.isin(self._index["file"], np.unique(packets["file"])) if packets.size else np.zeros(0, np.bool_)
        capacity = np.zeros(len(self._plan.events), np.int64)
        if packets.size:
            keys = {(int(p["file"]), int(p["offset"])) for p in packets} if packets.size < self._index.size else None
            rows = np.flatnonzero(here)
            if keys is not None:
                wanted = [i for i in rows if (int(self._index["file"][i]), int(self._index["offset"][i])) in keys]
                rows = np.array(wanted, np.int64)
            capacity[:] = counts[rows, :-1].sum(axis=0)
        switches = PACKET_FLAGS["switches_complete"]
        return batch.run(self._plan, selection, tables, self._files, packets, capacity, since, until, switches)

    def _select(self, events: str | Iterable[str] | None, columns: Iterable[str] | None) -> batch.Selection:
        plan = self._plan
        if isinstance(events, str):
            events = [events]
        known = [event.event.name for event in plan.events]
        if events is None:
            kinds = [k for k, n in enumerate(self._count()[:, :-1].sum(axis=0)) if n]
        else:
            kinds = []
            for name in events:
                if name not in plan.names:
                    raise UnknownEventError(name, known, f"trace {self.path}")
                kinds.append(plan.names[name])
        wanted = None if columns is None else set(columns)
        base = {k: tuple(name for name in BASE if wanted is None or name in wanted) for k in kinds}
        payload = {k: tuple(c for c in plan.events[k].columns if wanted is None or c.name in wanted) for k in kinds}
        return batch.Selection(tuple(kinds), base, payload)

    def _packets(self, kinds: Sequence[int], since: int, until: int, cpus: Iterable[int] | None) -> np.ndarray:
        """The packets that can hold such records: by time, CPU and the bitmap of ids."""
        index = self._index
        chosen = (index["timestamp_begin"].astype(np.int64) < until) & (
            index["timestamp_end"].astype(np.int64) >= since
        )
        streams = {self._plan.events[k].event.stream for k in kinds}
        chosen &= np.isin(index["stream_id"], sorted(streams))
        mask = np.uint64(0)
        for k in kinds:
            mask |= np.uint64(1) << np.uint64(self._plan.events[k].event.id % 64)
        chosen &= (index["event_ids"] & mask) != 0
        if cpus is not None:
            chosen &= np.isin(index["cpu_id"], np.array(sorted(set(cpus)), np.int64))
        return index[chosen]

    def _range(self, since: Moment | None, until: Moment | None) -> tuple[int, int]:
        begin, end = self._begin_end()
        low = 0 if since is None else times.resolve(since, begin, end) - self._offset
        high = _FOREVER if until is None else times.resolve(until, begin, end) - self._offset
        return low, high

    def _outputs(
        self,
        events: str | Iterable[str] | None,
        since: Moment | None,
        until: Moment | None,
        cpus: Iterable[int] | None,
        columns: Iterable[str] | None,
    ) -> tuple[batch.Selection, dict[int, batch.Output]]:
        selection = self._select(events, columns)
        low, high = self._range(since, until)
        outputs: dict[int, batch.Output] = {}
        for stream in (0, 1):
            kinds = tuple(k for k in selection.kinds if self._plan.events[k].event.stream == stream)
            if kinds:
                part = batch.Selection(
                    kinds, {k: selection.base[k] for k in kinds}, {k: selection.columns[k] for k in kinds}
                )
                outputs |= self._decode(part, self._packets(kinds, low, high, cpus), self._name_tables(), low, high)
        return selection, outputs

    def frames(
        self,
        events: str | Iterable[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        columns: Iterable[str] | None = None,
        time: TimeKind = "utc",
    ) -> dict[str, pd.DataFrame]:
        """Return one frame per event kind, in time order (ties by cpu, then position).

        Every frame begins `timestamp` (datetime64[ns, UTC], or int64 monotonic ns with time="ns"), `cpu` (uint16),
        `tid` (Int32) and `comm` (category); then the payload as `schema` says. `events` defaults to all that occur;
        `since` and `until` are as in `ltt_relay.decode.times`, half-open; `columns` restricts every frame to those it
        has.

        Raises:
            UnknownEventError: no such event; a KeyError that lists near names.
            TraceError: strict, and there is a problem.

        """
        tables = self._name_tables()
        selection, outputs = self._outputs(events, since, until, cpus, columns)
        return {
            self._plan.events[kind].event.name: frames.event_frame(
                outputs[kind], selection.columns[kind], selection.base[kind], tables, self._offset, time == "utc"
            )
            for kind in selection.kinds
        }

    def arrow(
        self,
        events: str | Iterable[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        columns: Iterable[str] | None = None,
        time: TimeKind = "utc",
    ) -> dict[str, pa.Table]:
        """Return the same as `frames`, as Arrow tables."""
        tables = self._name_tables()
        selection, outputs = self._outputs(events, since, until, cpus, columns)
        return {
            self._plan.events[kind].event.name: frames.arrow_table(
                outputs[kind], selection.columns[kind], selection.base[kind], tables, self._offset, time == "utc"
            )
            for kind in selection.kinds
        }

    def _windows(
        self, max_bytes: int | str, since: Moment | None, until: Moment | None, bytes_a_record: int
    ) -> Iterator[tuple[int, int]]:
        low, high = self._range(since, until)
        limit = max(1, _byte_count(max_bytes) // bytes_a_record)
        order = np.argsort(self._events["timestamp_begin"], kind="stable")
        edge, held = low, 0
        for i in order:
            begin, records = int(self._events["timestamp_begin"][i]), int(self._events["records"][i])
            if held + records > limit and held and edge < begin < high:
                yield edge, begin
                edge, held = begin, 0
            held += records
        yield edge, high

    def iter_frames(
        self,
        events: str | Iterable[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        columns: Iterable[str] | None = None,
        time: TimeKind = "utc",
        max_bytes: int | str = "256 MB",
    ) -> Iterator[dict[str, pd.DataFrame]]:
        """Yield what `frames` gives in consecutive windows of time; `max_bytes` bounds the frames of one."""
        for low, high in self._windows(max_bytes, since, until, 80):
            yield self.frames(events, low + self._offset, high + self._offset, cpus, columns, time)

    def iter_arrow(
        self,
        events: str | Iterable[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        columns: Iterable[str] | None = None,
        time: TimeKind = "utc",
        max_bytes: int | str = "256 MB",
    ) -> Iterator[dict[str, pa.Table]]:
        """Yield what `arrow` gives in consecutive windows of time."""
        for low, high in self._windows(max_bytes, since, until, 80):
            yield self.arrow(events, low + self._offset, high + self._offset, cpus, columns, time)

    def merged(
        self,
        events: str | Iterable[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        time: TimeKind = "utc",
    ) -> pd.DataFrame:
        """Return one time-ordered frame: timestamp, cpu, event, tid, comm, payload (as text); without state records."""
        from ltt_relay.decode.merge import merge_tables

        if events is None:
            events = [name for name in self if self._plan.events[self._plan.names[name]].event.stream == 0]
        tables = self.arrow(events, since, until, cpus, None, "ns")
        known = [event.event.name for event in self._plan.events if event.event.stream == 0]
        return merge_tables(tables, known, self._name_tables().tables[0].names, self._offset, time == "utc")

    def iter_merged(
        self,
        events: str | Iterable[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        time: TimeKind = "utc",
        max_bytes: int | str = "256 MB",
    ) -> Iterator[pd.DataFrame]:
        """Yield what `merged` gives in consecutive windows of time."""
        for low, high in self._windows(max_bytes, since, until, 200):
            yield self.merged(events, low + self._offset, high + self._offset, cpus, time)

    # ----------------------------------------------------------------------------------------------------- Mapping

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return the frame of one event; empty with its real dtypes if it does not occur."""
        return self.frames([name])[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the events that occur, in the order of their ids."""
        totals = self._count()[:, :-1].sum(axis=0)
        return (event.event.name for event, n in zip(self._plan.events, totals, strict=True) if n)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    # ---------------------------------------------------------------------------------------------- what it is like

    @property
    def catalog(self) -> pd.DataFrame:
        """What occurs: event, group, ltt_class, count; counting walks the trace once."""
        totals = self._count()[:, :-1].sum(axis=0)
        rows = [
            (event.event.name, event.event.group, event.event.ltt_class, int(n))
            for event, n in zip(self._plan.events, totals, strict=True)
            if n
        ]
        return pd.DataFrame(rows, columns=["event", "group", "ltt_class", "count"])

    def schema(self, event: str) -> pd.DataFrame:
        """The columns of an event's frame: column, dtype, unit, meaning."""
        self._select([event], None)
        plan = self._plan.events[self._plan.names[event]]
        rows = [
            ("timestamp", str(frames.UTC_TIME), "ns", "when"),
            ("cpu", "uint16", "", "on which CPU"),
            ("tid", "Int32", "", "thread id of the running task; missing if unknown"),
            ("comm", "category", "", "its name"),
        ]
        rows += [(c.name, frames.dtype_text(c), c.member.meta.unit, _meaning(c)) for c in plan.columns]
        return pd.DataFrame(rows, columns=["column", "dtype", "unit", "meaning"])

    @property
    def tasks(self) -> pd.DataFrame:
        """The records of tasks in the state stream: timestamp, pid, tgid, ppid, uid, cause, comm."""
        return self["state_task"].drop(columns=["cpu", "tid"]).rename(columns={"event_comm": "comm"}, errors="ignore")

    @property
    def irqs(self) -> pd.DataFrame:
        """The interrupts that had handlers: irq, name."""
        return self["state_irq"][["irq", "name"]]

    @property
    def modules(self) -> pd.DataFrame:
        """The modules that were loaded: taints, name."""
        return self["state_module"][["taints", "name"]]

    @property
    def gaps(self) -> pd.DataFrame:
        """Losses: cpu, begin, end, count, reason; begin and end are the last and first known times around them."""
        return gaps.gap_frame(self._index, self._offset)

    @property
    def problems(self) -> pd.DataFrame:
        """Damage: file, cpu, packet, offset, code, expected, found; the codes are in `ltt_relay.decode.errors`."""
        self._count()
        columns = list(Problem.__dataclass_fields__)
        return pd.DataFrame([[getattr(p, c) for c in columns] for p in self._problems], columns=columns)

    def _begin_end(self) -> tuple[int, int]:
        if not self._events.size:
            return 0, 0
        begin, end = int(self._events["timestamp_begin"].min()), int(self._events["timestamp_end"].max())
        return begin + self._offset, end + self._offset

    @property
    def info(self) -> dict[str, Any]:
        """What can be told from headers alone: format, uuid, env, cpus, begin, end (wall ns), packets, bytes, lost."""
        begin, end = self._begin_end()
        lost = gaps.total_lost(self._index)
        overwritten = lost.pop("overwritten")
        uuid = self._index["uuid"][0].tobytes() if self._index.size else None
        return {
            "format": f"{FORMAT.name} {FORMAT.version[0]}.{FORMAT.version[1]}",
            "path": str(self.path),
            "uuid": str(UUID(bytes=uuid)) if uuid else None,
            "env": dict(self._metadata.env),
            "cpus": int(np.unique(self._events["cpu_id"]).size),
            "begin": begin if self._events.size else None,
            "end": end if self._events.size else None,
            "packets": int(self._index.size),
            "bytes": int(self._index["there"].sum()),
            "records": int(self._index["records"].sum()),
            "lost": sum(lost.values()),
            "lost_by_reason": {reason: n for reason, n in lost.items() if n},
            "overwritten": overwritten,
            "wall_offset": self._offset,
            "wall_offset_changes": sorted({int(x) for x in self._events["wall_offset"]} - {self._offset}),
        }

    # ---------------------------------------------------------------------------------------------------- the rest

    def close(self) -> None:
        """Nothing is held open between calls; for symmetry with other files."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), self.strict)

    def __repr__(self) -> str:
        facts = self.info
        return f"<Trace {self.path}: {facts['format']}, {facts['cpus']} CPUs, {facts['records']} records>"

    def _repr_html_(self) -> str:
        return f"<p>{self!r}</p>".replace("<Trace", "&lt;Trace").replace("records>", "records&gt;")


def _meaning(column: Column) -> str:
    if column.kind == "name":
        return f"name of {column.member.name} at that time"
    kind = column.member.kind
    if isinstance(kind, Scalar) and kind.flags:
        return f"{column.member.meta.doc} ({', '.join(f'0x{bit:x} {name}' for bit, name in kind.flags.items())})"
    return column.member.meta.doc


def _reopen(path: str, strict: bool) -> Trace:
    return Trace(path, strict=strict)


def open(path: str | Path, *, strict: bool = False) -> Trace:  # noqa: A001
    """Open a trace.

    Raises:
        TraceError: there is nothing at `path` that could be read; with `strict`, also for the first problem.

    """
    return Trace(path, strict=strict)


def iterate(paths: Iterable[str | Path], **options: Any) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Yield path and frames of each trace; `options` are those of `Trace.frames`."""
    for path in paths:
        yield str(path), open(path).frames(**options)


def concatenate(paths: Iterable[str | Path], **options: Any) -> dict[str, pd.DataFrame]:
    """Return the frames of many traces, one behind the other, with a first column `trace` that has the path."""
    collected: dict[str, list[pd.DataFrame]] = {}
    known = [str(path) for path in paths]
    for path, found in iterate(known, **options):
        for name, frame in found.items():
            frame.insert(0, "trace", pd.Series(pd.Categorical([path] * len(frame), categories=known)))
            collected.setdefault(name, []).append(frame)
    return {name: pd.concat(parts, ignore_index=True) for name, parts in collected.items()}


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("ltt_relay.decode reads little-endian columns in place, and this machine is big-endian")
