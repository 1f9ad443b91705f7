# SPDX-License-Identifier: GPL-2.0-or-later
"""What all analyses share: asking for events, pairing, losses, a window of time, a summary of durations.

Times are int64 ns of the trace's monotonic clock, durations int64 ns; `utc` turns times into wall-clock time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import pandas as pd

from ltt_relay.decode import Trace, times
from ltt_relay.errors import UserError

__all__ = (
    "MissingEventError", "Source", "Window", "bin_edges", "codes", "duration_text", "gap_times", "integers", "labels",
    "last_before", "load", "named", "order_by", "origin", "pair", "pair_queued", "require", "span", "summarise",
    "touches_gap", "utc",
)  # fmt: skip

PERCENTILES: Final = (50, 95, 99)


class MissingEventError(UserError):
    """An analysis needs an event that the trace does not have."""


class Window:
    """A trace between two times, half-open: analyses, plots and the report take it in place of the whole.

    `since` and `until` are as in `Trace.frames`: ns, a datetime, ISO text, "+1.5s" from the begin, "-2s" from the end.
    """

    def __init__(self, trace: Trace, since: times.Moment | None = None, until: times.Moment | None = None) -> None:
        """Make the window; raises ValueError for a text that is no time."""
        whole = trace.info
        begin, end = whole["begin"] or 0, whole["end"] or 0
        self.trace = trace
        self.path: Path = trace.path
        self.since = begin if since is None else times.resolve(since, begin, end)
        self.until = end + 1 if until is None else times.resolve(until, begin, end)

    def frames(self, events: Any = None, **options: Any) -> dict[str, pd.DataFrame]:
        """Return `Trace.frames` of this time."""
        return self.trace.frames(events, since=self.since, until=self.until, **options)

    def arrow(self, events: Any = None, **options: Any) -> dict[str, Any]:
        """Return `Trace.arrow` of this time."""
        return self.trace.arrow(events, since=self.since, until=self.until, **options)

    def __contains__(self, event: object) -> bool:
        return event in self.trace

    @cached_property
    def info(self) -> dict[str, Any]:
        """Return `Trace.info`, with begin and end of what is looked at, and what was lost in gaps that touch it."""
        whole, gaps = self.trace.info, self.gaps
        begin, end = max(whole["begin"] or 0, self.since), min(whole["end"] or 0, self.until)
        counts = gaps[gaps["reason"] != "overwritten"].groupby("reason", observed=True)["count"].sum().to_dict()
        lost = {"lost": sum(counts.values()), "lost_by_reason": counts}
        return whole | {"begin": begin, "end": max(begin, end)} | lost

    @property
    def cuts(self) -> tuple[int | None, int | None]:
        """Where it cuts the trace, in monotonic ns; None where the trace itself begins or ends."""
        whole, offset = self.trace.info, _offset(self.trace)
        begin, end = whole["begin"] or 0, whole["end"] or 0
        return (
            self.since - offset if begin < self.since <= end else None,
            self.until - offset if begin < self.until <= end else None,
        )

    @property
    def gaps(self) -> pd.DataFrame:
        """Return the gaps that touch this time."""
        gaps = self.trace.gaps
        low, high = (pd.Timestamp(at, tz="UTC") for at in (self.since, self.until))
        return gaps[(gaps["begin"] < high) & (gaps["end"] >= low)].reset_index(drop=True)

    @property
    def problems(self) -> pd.DataFrame:
        """Return the problems of the whole trace."""
        return self.trace.problems

    def schema(self, event: str) -> pd.DataFrame:
        """Return `Trace.schema`."""
        return self.trace.schema(event)

    @property
    def catalog(self) -> pd.DataFrame:
        """Return what occurs in this time: event, group, ltt_class, count."""
        found = self.frames(columns=["cpu"])
        table = self.trace.catalog
        table["count"] = [len(found.get(event, ())) for event in table["event"]]
        return table[table["count"] > 0].reset_index(drop=True)


#: What an analysis takes.
Source: TypeAlias = "Trace | Window"


def load(trace: Source, needs: Mapping[str, Sequence[str]]) -> list[pd.DataFrame]:
    """Return the frames of some events with int64 times, in one pass over the trace.

    Raises:
        MissingEventError: the trace has no record of one of them.

    """
    missing = [event for event in needs if event not in trace]
    if missing:
        words = " and ".join(missing)
        options = " ".join(f"-e {event}" for event in missing)
        raise MissingEventError(f"this needs {words}, which {trace.path} does not have: record it with {options}")
    known = {column for event in needs for column in trace.schema(event)["column"]}
    columns = [column for some in needs.values() for column in some if column in known]
    found = trace.frames(list(needs), columns=columns, time="ns")
    return [found[event] for event in needs]


def require(trace: Source, event: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return the frame of one event; otherwise as `load`."""
    return load(trace, {event: columns})[0]


def utc(trace: Source, ns: pd.Series | np.ndarray | Iterable[int]) -> pd.DatetimeIndex:
    """Return times of an analysis as wall-clock time, as in the trace's frames."""
    return pd.DatetimeIndex(np.asarray(ns, np.int64) + _offset(trace), tz="UTC")


def _offset(trace: Source) -> int:
    return int(trace.info.get("wall_offset") or 0)


def span(trace: Source) -> tuple[int, int]:
    """Return the begin and the end of the trace in its monotonic ns."""
    info, offset = trace.info, _offset(trace)
    return (info["begin"] or offset) - offset, (info["end"] or offset) - offset


def origin(trace: Source) -> int:
    """Return the begin of the whole trace in its monotonic ns, of a window too: what +1.5s counts from."""
    return span(trace.trace if isinstance(trace, Window) else trace)[0]


def integers(frame: pd.DataFrame, column: str, missing: int = -1) -> np.ndarray:
    """Return a column as int64; what is missing, or the whole column if there is none, is `missing`."""
    if column not in frame:
        return np.full(len(frame), missing, np.int64)
    values: np.ndarray = frame[column].to_numpy(dtype=np.int64, na_value=missing)
    return values


def labels(frames: Sequence[tuple[pd.DataFrame, str]]) -> tuple[np.ndarray, list[str]]:
    """Return the names in columns of some frames, one behind the other, as codes (-1: missing) and their names.

    A column that a frame does not have counts as missing; columns of one trace share their categories, which is fast.
    """
    parts: list[Any] = []
    for frame, column in frames:
        if column in frame:
            values = frame[column]
            parts.append(values if isinstance(values.dtype, pd.CategoricalDtype) else values.astype("category"))
        else:
            parts.append(pd.Series(pd.Categorical.from_codes(np.full(len(frame), -1), categories=pd.Index([], str))))
    known = [part for part in parts if len(part.cat.categories)]
    if known and all(part.cat.categories is known[0].cat.categories for part in known):
        names = known[0].cat.categories
        return np.concatenate([part.cat.codes.to_numpy(np.int64) for part in parts]), list(names)
    names = pd.Index(sorted({str(name) for part in parts for name in part.cat.categories}), dtype=str)
    joined = []
    for part in parts:
        place = np.r_[names.get_indexer(part.cat.categories.astype(str)), -1] if len(names) else np.array([-1])
        joined.append(place[part.cat.codes.to_numpy(np.int64)])
    return np.concatenate(joined) if joined else np.zeros(0, np.int64), list(names)


def named(comm: Any, tid: Any) -> pd.Categorical:
    """Return names of tasks as categories, "task N" for those of which only the number is known."""
    comm = pd.Categorical(comm)
    missing = comm.codes < 0
    if not missing.any():
        return comm
    numbers, place = np.unique(pd.array(tid, "Int64").to_numpy(np.int64, na_value=-1)[missing], return_inverse=True)
    names = ["(unknown)" if number < 0 else f"task {number}" for number in numbers.tolist()]
    known = pd.Index(comm.categories.astype(str)).union(pd.Index(names, dtype=str), sort=False)
    codes = np.asarray(comm.codes, np.int64)
    codes[missing] = known.get_indexer(pd.Index(names, dtype=str))[place]
    return pd.Categorical.from_codes(codes, known)


def codes(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return integers as small codes in the order of their values, and the distinct values."""
    low = int(values.min()) if values.size else 0
    width = int(values.max()) - low + 1 if values.size else 0
    if width > 1 << 24:
        distinct, inverse = np.unique(values, return_inverse=True)
    else:
        there = np.zeros(width, np.bool_)
        there[values - low] = True
        distinct = np.flatnonzero(there) + low
        inverse = (np.cumsum(there) - 1)[values - low]
    return inverse.astype(np.uint16 if distinct.size < 1 << 16 else np.int64), distinct


def order_by(time: np.ndarray, key: np.ndarray) -> np.ndarray:
    """Return the order by key, then time, then position; `time` may be a few sorted runs, which costs little."""
    order = np.argsort(time, kind="stable")
    small, _ = codes(key)
    by_key: np.ndarray = order[np.argsort(small[order], kind="stable")]
    return by_key


def pair(
    entry_time: np.ndarray, entry_key: np.ndarray, exit_time: np.ndarray, exit_key: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return indexes (into entries, into exits) of each exit that directly follows an entry of the same key."""
    keys = np.concatenate([entry_key, exit_key])
    # Stable: at the same time an entry comes before its exit.
    order = order_by(np.concatenate([entry_time, exit_time]), keys)
    is_exit = order >= entry_time.size
    k = keys[order]
    ends = np.flatnonzero(is_exit[1:] & ~is_exit[:-1] & (k[1:] == k[:-1])) + 1
    return order[ends - 1], order[ends] - entry_time.size


def pair_queued(
    entry_time: np.ndarray, entry_key: np.ndarray, exit_time: np.ndarray, exit_key: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return indexes (into entries, into exits) of pairs where several of a key can be under way: first in, first out.

    An exit without an entry under way is left out.
    """
    keys = np.concatenate([entry_key, exit_key])
    order = order_by(np.concatenate([entry_time, exit_time]), keys)
    k, is_exit = keys[order], order >= entry_time.size
    if not order.size:
        return order, order
    first = np.r_[True, k[1:] != k[:-1]]
    group = np.cumsum(first) - 1
    # How many are under way; going below what there ever was means an exit too many. Groups are kept apart by steps
    # deeper than any of them can reach.
    under_way = np.cumsum(np.where(is_exit, -1, 1))
    under_way -= (under_way - np.where(is_exit, -1, 1))[first][group]
    step = 2 * order.size + 2
    lowest = np.minimum.accumulate(np.minimum(under_way, 0) - group * step) + group * step
    before = np.where(first, 0, np.r_[0, lowest[:-1]])
    kept = ~(is_exit & (under_way < before))
    order, group, is_exit = order[kept], group[kept], is_exit[kept]
    entries, exits = order[~is_exit], order[is_exit] - entry_time.size
    rank = [np.arange(g.size) - np.searchsorted(g, g) for g in (group[~is_exit], group[is_exit])]
    place = [g * step + r for g, r in zip((group[~is_exit], group[is_exit]), rank, strict=True)]
    _, i, j = np.intersect1d(place[0], place[1], assume_unique=True, return_indices=True)
    return entries[i], exits[j]


def last_before(time: np.ndarray, key: np.ndarray, event_time: np.ndarray, event_key: np.ndarray) -> np.ndarray:
    """Return for each (time, key) the index of the last event of that key at that time or before; -1 if none."""
    keys = np.concatenate([event_key, key])
    order = order_by(np.concatenate([event_time, time]), keys)
    is_event = order < event_time.size
    last = np.maximum.accumulate(np.where(is_event, np.arange(order.size), -1))
    k = keys[order]
    found = np.where((last >= 0) & (k[last] == k), order[last], -1)
    result = np.empty(time.size, np.int64)
    result[order[~is_event] - event_time.size] = found[~is_event]
    return result


def gap_times(trace: Source) -> pd.DataFrame:
    """Return the gaps with begin and end as monotonic ns: cpu, begin, end, count, reason."""
    gaps, offset = trace.gaps, _offset(trace)
    for column in ("begin", "end"):
        gaps[column] = pd.DatetimeIndex(gaps[column]).as_unit("ns").asi8 - offset
    return gaps


def _touches(begin: np.ndarray, end: np.ndarray, gaps: pd.DataFrame) -> np.ndarray:
    gaps = gaps.sort_values("begin")
    starts, reach = gaps["begin"].to_numpy(np.int64), np.maximum.accumulate(gaps["end"].to_numpy(np.int64))
    place = np.searchsorted(starts, end, "right") - 1
    touched: np.ndarray = (place >= 0) & (reach[place] >= begin)
    return touched


def touches_gap(trace: Source, begin: np.ndarray, end: np.ndarray, cpu: np.ndarray | None = None) -> np.ndarray:
    """Return for each interval whether records were lost in it: on its CPU, or on any if it belongs to none."""
    gaps = gap_times(trace)
    if not len(gaps) or not begin.size:
        return np.zeros(begin.size, np.bool_)
    if cpu is None:
        return _touches(begin, end, gaps)
    touched = np.zeros(begin.size, np.bool_)
    for number, some in gaps.groupby("cpu"):
        chosen = cpu == number
        touched[chosen] = _touches(begin[chosen], end[chosen], some)
    return touched


def duration_text(ns: float, digits: int = 4) -> str:
    """Return a duration with its unit, in a few digits: 1.5 ms."""
    ns = float(f"{ns:.{digits}g}")
    for limit, unit, name in ((1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms"), (1e13, 1e9, "s")):
        if abs(ns) < limit:
            return f"{ns / unit:.{digits}g} {name}"
    return f"{ns / 3600e9:.{digits}g} h"


def bin_edges(trace: Source, bins: int) -> np.ndarray:
    """Return bins + 1 int64 edges over the trace; the last is just behind its end."""
    first, last = span(trace)
    return np.linspace(first, max(last, first + bins - 1) + 1, bins + 1).astype(np.int64)


def summarise(frame: pd.DataFrame, by: str | list[str], column: str) -> pd.DataFrame:
    """Return per group, most time first: count, total_ns, mean_ns, p50_ns, p95_ns, p99_ns, max_ns, in_gap.

    All int64; `in_gap` counts the intervals in which records were lost, if `frame` has such a column.
    """
    grouped = frame.groupby(by, observed=True, dropna=False)
    values = grouped[column]
    table = values.agg(count="count", total_ns="sum", mean_ns="mean")
    for percent in PERCENTILES:
        table[f"p{percent}_ns"] = values.quantile(percent / 100)
    table["max_ns"] = values.max()
    if "in_gap" in frame:
        table["in_gap"] = grouped["in_gap"].sum()
    table = table.round().astype("int64").reset_index()
    return table.sort_values("total_ns", ascending=False, ignore_index=True, kind="stable")
