# SPDX-License-Identifier: GPL-2.0-or-later
"""A trace: lazy, a Mapping of event name to frame."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, fields
from fnmatch import fnmatchcase
from html import escape
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa

from ltt_relay.decode import batch, frames, gaps, times
from ltt_relay.decode.errors import Problem, TraceError
from ltt_relay.decode.opening import open_source
from ltt_relay.decode.plan import BASE, Column
from ltt_relay.decode.source import FOREVER
from ltt_relay.decode.times import Moment
from ltt_relay.formats.base import Event, Format, UnknownColumnError, UnknownEventError

__all__ = ("Trace", "concatenate", "iterate", "open")

T = TypeVar("T")
TimeKind = Literal["utc", "ns"]
FormatName: TypeAlias = "str | Path | Format | None"

_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def _byte_count(size: int | str) -> int:
    if not isinstance(size, str):
        return int(size)
    number = size.strip().rstrip("BKMGiIbkmg ")
    try:
        return int(float(number) * _UNITS[size.strip()[len(number) :].strip().upper()])
    except (KeyError, ValueError, OverflowError):
        raise ValueError(f"{size!r} is no size: a number with B, KB, MB, GB, KiB, MiB or GiB was expected") from None


def _kept(values: Iterable[T] | None) -> Collection[T] | None:
    """What can be gone through more than once: an iterator cannot, and the items of a text are not meant."""
    if isinstance(values, str):
        return [values]  # type: ignore[list-item]  # T is str
    return values if values is None or isinstance(values, Collection) else list(values)


def _check_time(time: str) -> None:
    if time not in ("utc", "ns"):
        raise ValueError(f"time={time!r}: 'utc' or 'ns' was expected")


def _means(word: str, event: Event) -> bool:
    return any(fnmatchcase(name, word) for name in (event.name, event.group, f"{event.group}:{event.name}"))


class Trace(Mapping[str, pd.DataFrame]):
    """A trace, of any format that `ltt_relay.formats` knows.

    Opening reads packet headers only. A Trace may be used from several threads, pickles by its path, and decodes anew
    on each call; frames outlive it.
    """

    def __init__(self, path: str | Path, format: FormatName = None, strict: bool = False) -> None:  # noqa: A002
        """Open as `ltt_relay.open` does."""
        self.path = Path(path)
        self.strict = strict
        self.format_name = format
        self._source = open_source(self.path, format)
        self._plan = self._source.plan
        self._offset = self._source.wall_offset
        self._check()

    def _check(self) -> None:
        if self.strict and self._source.problems:
            problem = self._source.problems[0]
            directory = self.path if self.path.is_dir() else self.path.parent
            raise TraceError(
                f"{directory / problem.file}, packet {problem.packet}, offset {problem.offset}: {problem.code}: "
                f"{problem.expected} expected, {problem.found} found"
            )

    def _totals(self) -> np.ndarray:
        """Records of each kind; counting walks the trace once."""
        totals: np.ndarray = self._source.counts()[:, :-1].sum(axis=0, dtype=np.int64)
        self._check()
        return totals

    def matching(self, events: str | Iterable[str]) -> list[str]:
        """Return the names of the events meant: each a name, a group, or a glob over name or group:name, `irq:*_entry`.

        A name is returned whether the event occurs or not; a group or glob means those that may occur, as far as packet
        headers tell.

        Raises:
            UnknownEventError: the trace's format has no such event; near names are listed.

        """
        plan = self._plan
        found: dict[str, None] = {}
        for word in [events] if isinstance(events, str) else events:
            if word in plan.names:
                found[word] = None
                continue
            meant = [kind for kind, event in enumerate(plan.events) if _means(word, event.event)]
            if not meant:
                raise UnknownEventError(word, list(plan.names), f"trace {self.path}")
            possible = set(self._source.possible())
            found.update((plan.events[kind].event.name, None) for kind in meant if kind in possible)
        return list(found)

    def _kind(self, name: str) -> int:
        """Return the kind of one event: neither a group nor a glob is one."""
        if name not in self._plan.names:
            raise UnknownEventError(name, list(self._plan.names), f"trace {self.path}")
        return self._plan.names[name]

    def _check_columns(self, columns: Iterable[str]) -> None:
        known = dict.fromkeys([*BASE, *(column.name for event in self._plan.events for column in event.columns)])
        for name in columns:
            if name not in known:
                raise UnknownColumnError(name, list(known), f"any event of trace {self.path}")

    def _select(self, events: str | Iterable[str] | None, columns: Iterable[str] | None) -> batch.Selection:
        plan = self._plan
        kinds = self._source.possible() if events is None else [plan.names[name] for name in self.matching(events)]
        wanted = None if columns is None else set(columns)
        base = {k: tuple(name for name in BASE if wanted is None or name in wanted) for k in kinds}
        payload = {k: tuple(c for c in plan.events[k].columns if wanted is None or c.name in wanted) for k in kinds}
        return batch.Selection(tuple(kinds), base, payload)

    def _range(self, since: Moment | None, until: Moment | None) -> tuple[int, int]:
        begin, end = self._begin_end()
        low = -FOREVER if since is None else times.resolve(since, begin, end) - self._offset
        high = FOREVER if until is None else times.resolve(until, begin, end) - self._offset
        return max(-FOREVER, min(low, FOREVER)), max(-FOREVER, min(high, FOREVER))

    def _outputs(
        self,
        events: str | Iterable[str] | None,
        since: Moment | None,
        until: Moment | None,
        cpus: Iterable[int] | None,
        columns: Iterable[str] | None,
        time: TimeKind,
        more: tuple[str, ...] = (),
    ) -> tuple[batch.Selection, dict[str, batch.Output]]:
        """Decode; by event name, those that were asked for by name or occur in what is selected; more: base columns."""
        events, cpus, columns = _kept(events), _kept(cpus), _kept(columns)
        _check_time(time)
        if self.strict:
            self._totals()
        if columns is not None:
            self._check_columns(columns)
        selection = self._select(events, columns)
        if more:
            base = {kind: (*names, *more) for kind, names in selection.base.items()}
            selection = batch.Selection(selection.kinds, base, selection.columns)
        named = set(() if events is None else events)
        low, high = self._range(since, until)
        offset = self._offset if time == "utc" else 0
        outputs = self._source.outputs(selection, low, high, cpus, self._source.name_tables(), offset)
        self._check()
        found = {
            self._plan.events[kind].event.name: outputs[kind]
            for kind in selection.kinds
            if outputs[kind].rows or self._plan.events[kind].event.name in named
        }
        return selection, found

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
        `tid` (Int32) and `comm` (category); then the payload as `schema` says. `events` defaults to all that occur in
        what is selected; `since` and `until` are as in `ltt_relay.decode.times`, half-open; `columns` restricts every
        frame to those it has.

        Raises:
            UnknownEventError: no such event; a KeyError that lists near names.
            UnknownColumnError: no event has such a column; a KeyError that lists near names.
            ValueError, TypeError: what was given for `since`, `until` or `time` means none.
            TraceError: strict, and there is a problem.

        """
        tables = self._source.name_tables()
        selection, outputs = self._outputs(events, since, until, cpus, columns, time)
        return {name: frames.event_frame(output, selection, tables, time == "utc") for name, output in outputs.items()}

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
        tables = self._source.name_tables()
        selection, outputs = self._outputs(events, since, until, cpus, columns, time)
        return {name: frames.arrow_table(output, selection, tables, time == "utc") for name, output in outputs.items()}

    def _windows(
        self, max_bytes: int | str, since: Moment | None, until: Moment | None, bytes_a_record: int
    ) -> Iterator[tuple[Moment | None, Moment | None]]:
        low, high = self._range(since, until)
        records = max(1, _byte_count(max_bytes) // bytes_a_record)
        for begin, end in self._source.windows(records, low, high):
            first = since if begin == low else begin + self._offset
            yield first, until if end == high else end + self._offset

    def windows(
        self, max_bytes: int | str = "256 MB", since: Moment | None = None, until: Moment | None = None
    ) -> Iterator[tuple[Moment | None, Moment | None]]:
        """Yield consecutive, half-open windows of time (since, until), about `max_bytes` of frames each."""
        yield from self._windows(max_bytes, since, until, 80)

    def to_dask(
        self,
        event: str,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        columns: Iterable[str] | None = None,
        time: TimeKind = "utc",
        partition_bytes: int | str = "64 MB",
    ) -> Any:
        """Return an event's frame as a `dask.dataframe.DataFrame` whose index is the timestamp.

        A partition is a window of time across all CPUs: about `partition_bytes` of frames if all events were in it.
        Divisions are known, the dtypes are the format's, nothing is decoded before it is computed.
        The workers must see the trace at the same path. The other arguments are those of `frames`.

        Raises:
            UnknownEventError: no such event.
            MissingDaskError: Dask is not installed.

        """
        from ltt_relay.decode.dask import to_dask

        self._kind(event)
        columns = _kept(columns)
        if columns is not None:
            self._check_columns(columns)
        return to_dask(self, event, since, until, cpus, columns, time, partition_bytes)

    def edges(self, windows: Sequence[tuple[Moment | None, Moment | None]], time: TimeKind = "utc") -> list[int]:
        """Return the times between which windows lie, one more than there are, in ns; the last is a record's own."""
        packets = self._source.reach
        begin, end = (int(packets["begin"].min()), int(packets["end"].max())) if packets.size else (0, 0)
        low, high = self._range(windows[0][0], windows[-1][1])
        first = max(low, begin)
        inner = [self._range(window[0], None)[0] for window in windows[1:]]
        offset = self._offset if time == "utc" else 0
        return [edge + offset for edge in (first, *inner, max(first, *inner[-1:], min(high - 1, end)))]

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
        events, cpus, columns = _kept(events), _kept(cpus), _kept(columns)
        for low, high in self._windows(max_bytes, since, until, 80):
            yield self.frames(events, low, high, cpus, columns, time)

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
        events, cpus, columns = _kept(events), _kept(cpus), _kept(columns)
        for low, high in self._windows(max_bytes, since, until, 80):
            yield self.arrow(events, low, high, cpus, columns, time)

    def iter_ranked(
        self, events: Iterable[str], since: Moment | None, until: Moment | None, time: TimeKind, max_bytes: int | str
    ) -> Iterator[dict[str, pa.Table]]:
        """Yield the same with a column `batch.RANK` more: by it are sorted what have one time and CPU."""
        events, tables = list(events), self._source.name_tables()
        for low, high in self._windows(max_bytes, since, until, 80):
            chosen, outputs = self._outputs(events, low, high, None, None, time, (batch.RANK,))
            found = {}
            for name, output in outputs.items():
                # Ranks count in each stream.
                output.arrays[batch.RANK] += output.plan.event.stream << 48
                found[name] = frames.arrow_table(output, chosen, tables, time == "utc")
            yield found

    def merged(
        self,
        events: str | Iterable[str] | None = None,
        since: Moment | None = None,
        until: Moment | None = None,
        cpus: Iterable[int] | None = None,
        time: TimeKind = "utc",
    ) -> pd.DataFrame:
        """Return one time-ordered frame: timestamp, cpu, event, tid, comm, payload (as text).

        State records are in it only if `events` has them.
        """
        from ltt_relay.decode import merge

        _check_time(time)
        cpus = _kept(cpus)
        if self.strict:
            self._totals()
        streams = self._source.format.event_streams
        described = [event.event for event in self._plan.events]
        if events is None:
            events = [described[k].name for k in self._source.possible() if described[k].stream in streams]
        else:
            events = self.matching(events)
        chosen = self._select(events, None)
        selection = batch.Selection(chosen.kinds, dict.fromkeys(chosen.kinds, (*BASE, batch.RANK)), chosen.columns)
        tables = self._source.name_tables()
        known = [event.name for event in described if event.stream in streams or event.name in events]
        offset = self._offset if time == "utc" else 0

        def part(low: int, high: int) -> merge.Part:
            outputs = self._source.outputs(selection, low, high, cpus, tables, offset)
            return merge.merge([output for output in outputs.values() if output.rows], selection, tables, known)

        spans, many = self._source.spans(chosen.kinds, *self._range(since, until), cpus)
        parts = merge.make_parts(spans, many, part)
        self._check()
        return merge.join(parts, known, tables, time == "utc")

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
        events, cpus = _kept(events), _kept(cpus)
        for low, high in self._windows(max_bytes, since, until, 200):
            yield self.merged(events, low, high, cpus, time)

    # ----------------------------------------------------------------------------------------------------- Mapping

    def __getitem__(self, name: str) -> pd.DataFrame:
        """Return the frame of one event; empty with its real dtypes if it does not occur."""
        self._kind(name)
        return self.frames([name])[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the events that occur, in the order of their ids."""
        totals = self._totals()
        return (event.event.name for event, n in zip(self._plan.events, totals, strict=True) if n)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __eq__(self, other: object) -> bool:
        """Traces are compared by identity: a Mapping's way would decode both, and compare frames."""
        return self is other

    __hash__ = object.__hash__

    def __contains__(self, name: object) -> bool:
        return name in set(self)

    def _ipython_key_completions_(self) -> list[str]:
        return list(self)

    # ---------------------------------------------------------------------------------------------- what it is like

    @property
    def catalog(self) -> pd.DataFrame:
        """What occurs: event, group, ltt_class, count; counting walks the trace once."""
        totals = self._totals()
        rows = [
            (event.event.name, event.event.group, event.event.ltt_class, int(n))
            for event, n in zip(self._plan.events, totals, strict=True)
            if n
        ]
        return frames.table(rows, {"event": "str", "group": "str", "ltt_class": "str", "count": "int64"})

    def schema(self, event: str) -> pd.DataFrame:
        """The columns of an event's frame: column, dtype, unit, meaning."""
        plan = self._plan.events[self._kind(event)]
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
        return self["state_task"].drop(columns=["cpu", "tid", "comm"]).rename(columns={"event_comm": "comm"})

    @property
    def irqs(self) -> pd.DataFrame:
        """The interrupts that had handlers: irq, name."""
        found = self["state_irq"]
        return found[[column for column in ("irq", "name") if column in found]]

    @property
    def modules(self) -> pd.DataFrame:
        """The modules that were loaded: taints (of LTT 3.0), name."""
        found = self["state_module"]
        return found[[column for column in ("taints", "name") if column in found]]

    @property
    def gaps(self) -> pd.DataFrame:
        """Losses: cpu, begin, end, count, reason; begin and end are the last and first known times around them."""
        return gaps.gap_frame(self._source)

    @property
    def problems(self) -> pd.DataFrame:
        """Damage: file, cpu, packet, offset, code, expected, found; the codes are in `ltt_relay.decode.errors`."""
        self._source.counts()
        found = sorted(dict.fromkeys(self._source.problems), key=lambda p: (p.file, p.offset, p.packet, p.code))
        dtypes = {f.name: "int64" if f.type == "int" else "str" for f in fields(Problem)}
        return frames.table([astuple(problem) for problem in found], dtypes)

    def _begin_end(self) -> tuple[int, int]:
        begin, end = self._source.span or (-self._offset, -self._offset)
        return begin + self._offset, end + self._offset

    @property
    def wall_offset(self) -> int:
        """What is added to the trace's own time to get ns since 1970: `time="ns"` gives times without it."""
        return self._offset

    @property
    def info(self) -> dict[str, Any]:
        """What can be told from headers alone: format, uuid, env, cpus, begin, end (wall ns), packets, bytes, lost."""
        source = self._source
        begin, end = self._begin_end()
        lost = gaps.total_lost(source)
        lost.pop("overwritten", None)
        return {
            "format": f"{source.format.name} {source.format.version[0]}.{source.format.version[1]}",
            "path": str(self.path),
            "uuid": str(source.uuid) if source.uuid else None,
            "env": dict(source.env),
            "cpus": int(np.unique(source.events["cpu"]).size),
            "begin": begin if source.span else None,
            "end": end if source.span else None,
            "packets": int(source.packets.size),
            "bytes": sum(file.stat().st_size for file in source.files if file.exists()),
            "records": self._records(),
            "lost": sum(lost.values()),
            "lost_by_reason": {reason: n for reason, n in lost.items() if n},
            "wall_offset": self._offset,
            **source.details(),
        }

    def _records(self) -> int:
        told, content = self._source.packets["records"], self._source.packets["content"]
        possible = (told >= 0) & (told <= content)
        return int(told.sum()) if possible.all() else int(self._source.counts().sum())

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
        return Trace, (str(self.path.absolute()), self.format_name, self.strict)

    def __repr__(self) -> str:
        facts = self.info
        return f"<Trace {self.path}: {facts['format']}, {facts['cpus']} CPUs, {facts['records']} records>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self))}</p>"


def _meaning(column: Column) -> str:
    if column.kind == "name":
        return f"name of {column.member.name} at that time"
    if column.kind == "flags":
        bits = (column.scalar.flags or {}).items()
        return f"{column.member.meta.doc} ({', '.join(f'0x{bit:x} {name}' for bit, name in bits)})"
    return column.member.meta.doc


def open(path: str | Path, format: FormatName = None, strict: bool = False) -> Trace:  # noqa: A001, A002
    """Open a trace.

    format: None: what the bytes tell; else a format's name, a Python file that defines FORMAT (it is run), or a
    `formats.base.Format`.

    Raises:
        TraceError: there is nothing at `path` that could be read; with `strict`, also for the first problem.

    """
    return Trace(path, format, strict)


def iterate(paths: Iterable[str | Path], **options: Any) -> Iterator[tuple[str, dict[str, pd.DataFrame]]]:
    """Yield path and frames of each trace; `options` are those of `Trace.frames`."""
    for path in paths:
        yield str(path), open(path).frames(**options)


def concatenate(paths: Iterable[str | Path], **options: Any) -> dict[str, pd.DataFrame]:
    """Return the frames of many traces, one behind the other, with a first column `trace` that has the path.

    A field of that name is `event_trace` there.
    """
    collected: dict[str, list[pd.DataFrame]] = {}
    known = [str(path) for path in paths]
    dtype = pd.CategoricalDtype(list(dict.fromkeys(known)))
    for path, found in iterate(known, **options):
        for name, given in found.items():
            frame = given.rename(columns={"trace": "event_trace"})
            frame.insert(0, "trace", pd.Categorical([path] * len(frame), dtype=dtype))
            collected.setdefault(name, []).append(frame)
    return {name: _joined(parts) for name, parts in collected.items()}


def _joined(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return frames one behind the other; a column of categories has those of all of them."""
    for column in dict.fromkeys(name for part in parts for name in part):
        # Traces of other formats may have another column of that name, or none.
        having = [part for part in parts if column in part and isinstance(part[column].dtype, pd.CategoricalDtype)]
        known = list(dict.fromkeys(name for part in having for name in part[column].cat.categories))
        for part in having:
            part[column] = part[column].cat.set_categories(known)
    return pd.concat(parts, ignore_index=True)


if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("ltt_relay.decode reads little-endian columns in place, and this machine is big-endian")
