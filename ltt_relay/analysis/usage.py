# SPDX-License-Identifier: GPL-2.0-or-later
"""What happened over time: CPU use by task, events by kind, page faults; and what was lost. Times are int64 ns."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import MissingEventError, Source, bin_edges, gap_times, integers, labels, load, named, span
from ltt_relay.analysis.sched import run_intervals

__all__ = ("cpu_usage", "event_rates", "losses", "page_faults", "spread")

_FAULTS = ("page_fault_user", "page_fault_kernel")


def spread(begin: np.ndarray, end: np.ndarray, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (interval, bin, ns): how much of each interval lies in each bin that it touches."""
    first = np.searchsorted(edges, begin, "right") - 1
    last = np.searchsorted(edges, end, "left") - 1
    first, last = first.clip(0, edges.size - 2), last.clip(0, edges.size - 2)
    pieces = np.maximum(last - first, 0) + 1
    interval = np.repeat(np.arange(begin.size), pieces)
    place = np.arange(interval.size) - np.repeat(np.cumsum(pieces) - pieces, pieces) + first[interval]
    ns = np.minimum(end[interval], edges[place + 1]) - np.maximum(begin[interval], edges[place])
    return interval, place, np.maximum(ns, 0)


def cpu_usage(trace: Source, bins: int = 200, by: str = "comm") -> pd.DataFrame:
    """Return how much of each bin of time each task name (or by="tid", by="cpu") ran; bins without are left out.

    Columns: begin, end (int64 ns of the bin), the key, run_ns (int64), cpus (float: run_ns over the bin's length, so
    that 2.0 is two CPUs' worth), in_gap (bool: records were lost in the bin). The idle task is left out. Needs
    sched_switch.
    """
    runs = run_intervals(trace)
    runs = runs[runs["tid"] != 0].copy()
    runs["comm"] = named(runs["comm"], runs["tid"])
    edges = bin_edges(trace, bins)
    interval, place, ns = spread(runs["begin"].to_numpy(), runs["end"].to_numpy(), edges)
    key = runs[by].array[interval]
    pieces = pd.DataFrame({"bin": place, by: key, "run_ns": ns, "in_gap": runs["in_gap"].to_numpy()[interval]})
    grouped = pieces.groupby(["bin", by], observed=True, dropna=False)
    table = grouped.agg(run_ns=("run_ns", "sum"), in_gap=("in_gap", "any")).reset_index()
    at = table.pop("bin").to_numpy()
    table.insert(0, "begin", edges[at])
    table.insert(1, "end", edges[at + 1])
    table.insert(4, "cpus", table["run_ns"] / (table["end"] - table["begin"]))
    return table[table["run_ns"] > 0].reset_index(drop=True)


def event_rates(trace: Source, bins: int = 200, by: str = "event") -> pd.DataFrame:
    """Return how many records of each event (or by="cpu") each bin of time has; bins without are left out.

    Columns: begin, end (int64 ns of the bin), the key, count (int64), rate_hz (float), in_gap (bool: records were lost
    in the bin, so that there were more). State records are left out.
    """
    edges = bin_edges(trace, bins)
    parts = []
    for event in trace.catalog["event"]:
        if str(event).startswith("state_"):
            continue
        rows = trace.frames([event], columns=["timestamp", "cpu"], time="ns")[event]
        place = (np.searchsorted(edges, rows["timestamp"].to_numpy(), "right") - 1).clip(0, bins - 1)
        keys = rows["cpu"].to_numpy(np.int64) if by == "cpu" else np.zeros(len(rows), np.int64)
        count = np.bincount(keys * bins + place)
        there = np.flatnonzero(count)
        parts.append(
            pd.DataFrame({"bin": there % bins, by: there // bins if by == "cpu" else event, "count": count[there]})
        )
    none = pd.DataFrame({"bin": [], by: [], "count": []}, dtype=np.int64)
    table = pd.concat(parts, ignore_index=True) if parts else none
    table = table.groupby(["bin", by], sort=False)["count"].sum().reset_index()
    at = table.pop("bin").to_numpy()
    table.insert(0, "begin", edges[at])
    table.insert(1, "end", edges[at + 1])
    table["rate_hz"] = table["count"] / ((table["end"] - table["begin"]) / 1e9)
    gaps = gap_times(trace)
    lost = np.zeros(bins + 1, np.int64)
    if len(gaps):
        low, high = (np.searchsorted(edges, gaps[c].to_numpy(), "right").clip(1, bins) - 1 for c in ("begin", "end"))
        np.add.at(lost, low, 1)
        np.add.at(lost, high + 1, -1)
    table["in_gap"] = np.cumsum(lost)[at] > 0
    return table.sort_values(["begin", by], ignore_index=True)


def page_faults(trace: Source) -> pd.DataFrame:
    """Return per task, most first: tid, comm, user, kernel (int64 counts, by the mode it was in).

    Needs page_fault_user or page_fault_kernel.
    """
    there = [event for event in _FAULTS if event in trace]
    if not there:
        raise MissingEventError(
            f"this needs page_fault_user or page_fault_kernel, which {trace.path} does not have: "
            "record it with -e 'page_fault_*'"
        )
    found = load(trace, {event: ["tid", "comm"] for event in there})
    comm, names = labels([(frame, "comm") for frame in found])
    rows = pd.DataFrame(
        {
            "tid": np.concatenate([integers(frame, "tid") for frame in found]).astype(np.int32),
            "comm": pd.Categorical.from_codes(comm, names),
            "kind": np.repeat([_FAULTS.index(event) for event in there], [len(frame) for frame in found]),
        }
    )
    grouped = rows.groupby(["tid", "comm"], observed=True, dropna=False)["kind"]
    table = grouped.agg(user="size", kernel="sum").reset_index().astype({"user": "int64", "kernel": "int64"})
    table["user"] -= table["kernel"]
    return table.sort_values("user", ascending=False, ignore_index=True)


def losses(trace: Source) -> pd.DataFrame:
    """Return what was lost, by CPU and reason.

    Columns: cpu, reason, gaps, count (records), time_ns (int64: between known records), share (of the trace's time).
    """
    gaps = gap_times(trace)
    first, last = span(trace)
    gaps["time_ns"] = gaps["end"] - gaps["begin"]
    grouped = gaps.groupby(["cpu", "reason"], observed=True)
    table = grouped.agg(gaps=("count", "size"), count=("count", "sum"), time_ns=("time_ns", "sum")).reset_index()
    table["share"] = table["time_ns"] / (last - first) if last > first else 0.0
    return table
