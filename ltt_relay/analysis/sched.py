# SPDX-License-Identifier: GPL-2.0-or-later
"""Scheduling: who ran where, for how long, and how long tasks waited for it. Times are int64 ns, monotonic."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import require
from ltt_relay.decode import Trace

__all__ = ("cpu_time", "run_intervals", "wakeup_latencies", "wakeup_latency")


def run_intervals(trace: Trace) -> pd.DataFrame:
    """Return who ran: cpu, begin, end (int64 ns), tid (int32), comm (category), state (why it left, 0 if runnable).

    An interval ends with the next switch of its CPU; time before the first switch and after the last is left out.
    Needs sched_switch.
    """
    switches = require(trace, "sched_switch", ["timestamp", "cpu", "next_pid", "next_comm", "prev_state"])
    parts = []
    for cpu, rows in switches.groupby("cpu", sort=True):
        time = rows["timestamp"].to_numpy()
        parts.append(
            pd.DataFrame(
                {
                    "cpu": np.full(max(len(rows) - 1, 0), cpu, np.uint16),
                    "begin": time[:-1],
                    "end": time[1:],
                    "tid": rows["next_pid"].to_numpy()[:-1],
                    "comm": rows["next_comm"].array[:-1],
                    "state": rows["prev_state"].to_numpy()[1:],
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def cpu_time(trace: Trace) -> pd.DataFrame:
    """Return per task, most first: tid, comm, run_ns, share (of one CPU, 0 to 1), intervals, longest_ns.

    The idle task (tid 0) is left out. Needs sched_switch.
    """
    runs = run_intervals(trace)
    runs["run_ns"] = runs["end"] - runs["begin"]
    span = int(runs["end"].max() - runs["begin"].min()) if len(runs) else 0
    busy = runs[runs["tid"] != 0]
    grouped = busy.groupby(["tid", "comm"], observed=True, dropna=False)["run_ns"]
    table = grouped.agg(run_ns="sum", intervals="count", longest_ns="max").reset_index()
    table.insert(3, "share", table["run_ns"] / span if span else 0.0)
    return table.sort_values("run_ns", ascending=False, ignore_index=True)


def wakeup_latencies(trace: Trace) -> pd.DataFrame:
    """Return each wake-up that led to a run: woken, run (int64 ns), latency_ns, tid, comm, cpu (where it ran).

    From sched_wakeup to the next switch to that task; a task woken again before it ran counts once, from the first.
    Needs sched_wakeup and sched_switch.
    """
    wakeups = require(trace, "sched_wakeup", ["timestamp", "pid"])
    switches = require(trace, "sched_switch", ["timestamp", "cpu", "next_pid", "next_comm"])
    events = np.concatenate([wakeups["timestamp"].to_numpy(), switches["timestamp"].to_numpy()])
    tids = np.concatenate([wakeups["pid"].to_numpy(), switches["next_pid"].to_numpy()])
    is_run = np.r_[np.zeros(len(wakeups), np.bool_), np.ones(len(switches), np.bool_)]
    order = np.lexsort((is_run, events, tids))
    tids_sorted, run_sorted, times_sorted = tids[order], is_run[order], events[order]
    same = np.r_[False, tids_sorted[1:] == tids_sorted[:-1]]
    begins_wait = ~run_sorted & (~same | np.r_[False, run_sorted[:-1]])
    first = np.maximum.accumulate(np.where(begins_wait, np.arange(order.size), -1))
    ends = np.flatnonzero(run_sorted & same & np.r_[False, ~run_sorted[:-1]])
    ends = ends[tids_sorted[ends] != 0]
    switch = order[ends] - len(wakeups)
    frame = pd.DataFrame(
        {
            "woken": times_sorted[first[ends]],
            "run": times_sorted[ends],
            "latency_ns": times_sorted[ends] - times_sorted[first[ends]],
            "tid": tids_sorted[ends],
            "comm": switches["next_comm"].array[switch],
            "cpu": switches["cpu"].to_numpy()[switch],
        }
    )
    return frame.sort_values("run", ignore_index=True)


def wakeup_latency(trace: Trace) -> pd.DataFrame:
    """Return per task, worst first: tid, comm, count, mean_ns, p50_ns, p95_ns, p99_ns, max_ns."""
    each = wakeup_latencies(trace)
    grouped = each.groupby(["tid", "comm"], observed=True, dropna=False)["latency_ns"]
    table = grouped.agg(count="count", mean_ns="mean", max_ns="max")
    for percent in (50, 95, 99):
        table[f"p{percent}_ns"] = grouped.quantile(percent / 100)
    table = table[["count", "mean_ns", "p50_ns", "p95_ns", "p99_ns", "max_ns"]].round().astype("int64").reset_index()
    return table.sort_values("max_ns", ascending=False, ignore_index=True)
