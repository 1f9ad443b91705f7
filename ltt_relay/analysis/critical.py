# SPDX-License-Identifier: GPL-2.0-or-later
"""The critical path of a task: what its time was spent on, and where it waited, on what the others did meanwhile."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import Source, integers, require
from ltt_relay.analysis.offcpu import wake_context
from ltt_relay.analysis.sched import STATES, cpu_time, task_states
from ltt_relay.errors import UserError

__all__ = ("critical_path", "critical_path_time", "main_task")

_RUNNING: Final = STATES.index("running")
_WOKEN: Final = STATES.index("woken")
_AWAKE: Final = 2  # codes up to here: running, woken, preempted


class _Lives:
    """The states of each task as arrays, looked up by time."""

    def __init__(self, trace: Source) -> None:
        states = task_states(trace)
        self.begin, self.end = states["begin"].to_numpy(), states["end"].to_numpy()
        self.code = states["state"].cat.codes.to_numpy()
        self.cpu = states["cpu"].to_numpy()
        self.waker = states["waker_tid"].to_numpy(dtype=np.int64, na_value=-1)
        self.tid = states["tid"].to_numpy()
        self.comm = states["comm"].array
        self.in_gap = states["in_gap"].to_numpy()
        woken = np.flatnonzero(self.code == _WOKEN)
        self.context = np.full(self.code.size, "", object)
        self.context[woken] = np.asarray(wake_context(trace, self.begin[woken], self.cpu[woken], self.waker[woken]))
        self.tids, self.first = np.unique(self.tid, return_index=True)
        self.last = np.r_[self.first[1:], self.tid.size]

    def rows(self, tid: int) -> tuple[int, int]:
        """Where the states of a task are; (0, 0) if it has none."""
        at = int(np.searchsorted(self.tids, tid))
        if at == self.tids.size or self.tids[at] != tid:
            return 0, 0
        return int(self.first[at]), int(self.last[at])

    def before(self, tid: int, time: int) -> int:
        """The row of the state in which a task was just before a time; -1 if that is not known."""
        low, high = self.rows(tid)
        row = low + int(np.searchsorted(self.begin[low:high], time, "left")) - 1
        return row if row >= low and self.end[row] >= time else -1


def main_task(trace: Source) -> int:
    """Return the first task that started a program, as the recorded command does; else the one that ran longest."""
    if "sched_process_exec" in trace:
        # Old formats name no task: it is the running one.
        execs = require(trace, "sched_process_exec", ["tid", "pid"])
        tids = integers(execs, "pid" if "pid" in execs else "tid")
        if (tids >= 0).any():
            return int(tids[tids >= 0][0])
    busiest = cpu_time(trace)
    if not len(busiest):
        raise UserError(f"{trace.path}: no task ran")
    return int(busiest["tid"].iloc[0])


def _walk(lives: _Lives, tid: int, low: int, time: int) -> list[tuple[Any, ...]]:
    """Go back from a time to another; rows (begin, end, row, cause, depth), newest first."""
    found: list[tuple[Any, ...]] = []
    waiting: list[tuple[int, int]] = []  # (task, its bound) that wait for the current one
    bound = low
    while time > low:
        row = lives.before(tid, time)
        if row < 0:
            # Before its first event: it was made by the task that woke it first.
            start, stop = lives.rows(tid)
            if start < stop and time == lives.begin[start] and lives.context[start] == "task":
                maker = int(lives.waker[start])
                there = lives.before(maker, time)
                if there >= 0 and lives.code[there] == _RUNNING:
                    tid = maker
                    continue
            time = bound
        elif lives.code[row] <= _AWAKE:
            begin = max(int(lives.begin[row]), bound)
            found.append((begin, time, row, "", len(waiting)))
            time = begin
        else:
            begin = max(int(lives.begin[row]), bound)
            cause, waker = "", -1
            if time == lives.end[row] and row + 1 < lives.code.size and lives.code[row + 1] == _WOKEN:
                cause, waker = lives.context[row + 1], int(lives.waker[row + 1])
            there = lives.before(waker, time) if cause == "task" else -1
            if there >= 0 and lives.code[there] == _RUNNING and waker != tid:
                waiting.append((tid, bound))
                tid, bound = waker, begin
                continue
            found.append((begin, time, row, cause, len(waiting)))
            time = begin
        while time <= bound and waiting:
            tid, bound = waiting.pop()
    return found


def critical_path(trace: Source, tid: int | None = None) -> pd.DataFrame:
    """Return the path that decided how long a task took, in time order.

    From the task's last known moment back to its first: while it ran or waited for a CPU, that; while it slept, what
    the task that woke it did, and so on; what an interrupt ended stays its own, with the interrupt as cause. `tid`
    defaults to `main_task`. The segments do not overlap; where nothing is known (a task's first moments) there is none.

    Columns: begin, end, duration_ns (int64), tid, comm, state (category as in `task_states`), cpu, depth (int64: how
    many tasks waited for this one), cause (category: what ended a sleep, see `wake_context`; "" for other states),
    in_gap. Needs what `task_states` needs; better with irq_handler_*, softirq_* and timers. The cost is by segment.

    Raises:
        UserError: the task never ran.

    """
    lives = _Lives(trace)
    tid = main_task(trace) if tid is None else tid
    start, stop = lives.rows(tid)
    if start == stop:
        raise UserError(f"{trace.path}: task {tid} was not seen; analysis.cpu_time lists those that ran")
    found = _walk(lives, tid, int(lives.begin[start]), int(lives.end[stop - 1]))
    found.reverse()
    begin, end, row, cause, depth = (list(c) for c in zip(*found, strict=True)) if found else ([], [], [], [], [])
    at = np.array(row, np.int64)
    return pd.DataFrame(
        {
            "begin": np.array(begin, np.int64),
            "end": np.array(end, np.int64),
            "duration_ns": np.array(end, np.int64) - np.array(begin, np.int64),
            "tid": lives.tid[at],
            "comm": lives.comm[at],
            "state": pd.Categorical.from_codes(lives.code[at], list(STATES)),
            "cpu": lives.cpu[at],
            "depth": np.array(depth, np.int64),
            "cause": pd.Categorical(np.array(cause, str)),
            "in_gap": lives.in_gap[at],
        }
    )


def critical_path_time(trace: Source, tid: int | None = None) -> pd.DataFrame:
    """Return what the path consists of, most first: comm, state, cause, segments, total_ns, share, in_gap."""
    path = critical_path(trace, tid)
    grouped = path.groupby(["comm", "state", "cause"], observed=True, dropna=False)
    table = grouped.agg(segments=("begin", "size"), total_ns=("duration_ns", "sum"), in_gap=("in_gap", "sum"))
    table = table.reset_index().sort_values("total_ns", ascending=False, ignore_index=True)
    table.insert(5, "share", table["total_ns"] / max(int(table["total_ns"].sum()), 1))
    return table.astype({"in_gap": "int64"})
