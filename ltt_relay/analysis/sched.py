# SPDX-License-Identifier: GPL-2.0-or-later
"""Scheduling: who ran where and for how long, how long tasks waited for a CPU, who took it from whom.

All of it follows from `task_states`, the life of every task as intervals. Times are int64 ns, monotonic.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import (
    MissingEventError,
    Source,
    Window,
    integers,
    labels,
    last_before,
    load,
    named,
    order_by,
    require,
    summarise,
    touches_gap,
)

__all__ = (
    "STATES", "cpu_time", "migration_counts", "migrations", "preemption_counts", "preemptions", "run_intervals",
    "run_queue", "runqueue_wait", "runqueue_waits", "task_lives", "task_states",
    "wakeup_latencies", "wakeup_latency",
)  # fmt: skip

#: Values of the column `state`. A task is `preempted` while it could run but another does, `woken` from its wake-up
#: until it runs, `sleeping` in a wait that a signal can end or that is no work for a kernel thread (S, I), `blocked` in
#: one that only its event ends (D), `stopped` by a signal or a tracer (T, t), else `dead`.
STATES: Final = ("running", "woken", "preempted", "sleeping", "blocked", "stopped", "dead")
_RUNNING, _WOKEN, _PREEMPTED, _SLEEPING, _BLOCKED, _STOPPED, _DEAD = range(len(STATES))
_WAKES: Final = ("sched_waking", "sched_wakeup", "sched_wakeup_new")


def _state_of(prev_state: np.ndarray) -> np.ndarray:
    """What a task does after it left the CPU; bits as in formats/ltt3.py, of which the lowest is meant."""
    state = np.full(prev_state.size, _DEAD, np.int64)
    state[(prev_state & 0xC) != 0] = _STOPPED
    state[(prev_state & 0x02) != 0] = _BLOCKED
    state[(prev_state & 0x81) != 0] = _SLEEPING
    state[(prev_state & 0xFF) == 0] = _PREEMPTED
    return state


def _with_cuts(switches: pd.DataFrame, low: int | None, high: int | None) -> pd.DataFrame:
    """Return the switches, and one more of each of their CPUs at the times where a window cuts what ran."""
    cpu = switches["cpu"].to_numpy()
    first, back = (np.unique(some, return_index=True)[1] for some in (cpu, cpu[::-1]))
    before, after = switches.iloc[first], switches.iloc[cpu.size - 1 - back]
    parts = [switches]
    if low is not None and "prev_pid" in switches:
        who = {f"next_{what}": before[f"prev_{what}"] for what in ("pid", "comm") if f"prev_{what}" in before}
        parts.insert(0, before.assign(timestamp=low, **who))
    if high is not None:
        parts.append(after.assign(timestamp=high, prev_state=0))
    return pd.concat(parts, ignore_index=True)


def run_intervals(trace: Source) -> pd.DataFrame:
    """Return who ran: cpu, begin, end (int64 ns), tid, comm, state (why it left, 0 if runnable), in_gap; per CPU.

    An interval ends with the next switch of its CPU; time before the first switch and after the last is left out. A
    window's ends cut the intervals that reach over them, on the CPUs that switch in it: their first switch tells who
    ran before. The idle task is tid 0. Needs sched_switch.
    """
    columns = ["timestamp", "cpu", "next_pid", "next_comm", "prev_state"]
    if isinstance(trace, Window):
        switches = require(trace, "sched_switch", [*columns, "prev_pid", "prev_comm"])
        switches = _with_cuts(switches, *trace.cuts)
    else:
        switches = require(trace, "sched_switch", columns)
    cpu = switches["cpu"].to_numpy()
    order = np.argsort(cpu, kind="stable")
    follows = cpu[order][1:] == cpu[order][:-1]
    first, second = order[:-1][follows], order[1:][follows]
    time = switches["timestamp"].to_numpy()
    comm, names = labels([(switches, "next_comm")])
    begin, end = time[first], time[second]
    return pd.DataFrame(
        {
            "cpu": cpu[first],
            "begin": begin,
            "end": end,
            "tid": integers(switches, "next_pid")[first].astype(np.int32),
            "comm": pd.Categorical.from_codes(comm[first], names),
            "state": integers(switches, "prev_state", 0)[second].astype(np.uint16),
            "in_gap": touches_gap(trace, begin, end, cpu[first]),
        }
    )


def cpu_time(trace: Source, by: str | list[str] | None = None) -> pd.DataFrame:
    """Return per task, most first: tid, comm, run_ns, share (of one CPU, 0 to 1), intervals, longest_ns, in_gap.

    `by` may be "comm", or ["tid", "comm", "cpu"]. The idle task is left out. Needs sched_switch.
    """
    runs = run_intervals(trace)
    runs["run_ns"] = runs["end"] - runs["begin"]
    length = int(runs["end"].max() - runs["begin"].min()) if len(runs) else 0
    grouped = runs[runs["tid"] != 0].groupby(by or ["tid", "comm"], observed=True, dropna=False)
    table = grouped["run_ns"].agg(run_ns="sum", intervals="count", longest_ns="max")
    table.insert(1, "share", table["run_ns"] / length if length else 0.0)
    table["in_gap"] = grouped["in_gap"].sum().astype("int64")
    return table.reset_index().sort_values("run_ns", ascending=False, ignore_index=True)


def _wakers(switches: pd.DataFrame, wakes: list[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Who ran where each wake-up happened: tids, codes of names, names; the switches say it if the record does not."""
    by = np.concatenate([integers(w, "tid") for w in wakes])
    code, names = labels([*((w, "comm") for w in wakes), (switches, "next_comm")])
    code, next_code = code[: by.size], code[by.size :]
    unknown = np.flatnonzero(by < 0)
    if unknown.size and len(switches):
        time = np.concatenate([w["timestamp"].to_numpy() for w in wakes])[unknown]
        cpu = np.concatenate([w["cpu"].to_numpy(np.int64) for w in wakes])[unknown]
        last = last_before(time, cpu, switches["timestamp"].to_numpy(), switches["cpu"].to_numpy(np.int64))
        found, last = unknown[last >= 0], last[last >= 0]
        by[found], code[found] = integers(switches, "next_pid")[last], next_code[last]
    return by, code, names


def _rows(trace: Source) -> dict[str, Any]:
    """Every switch out, wake-up and switch in, by task and time, without wake-ups of what was awake."""
    needs = {"sched_switch": ["timestamp", "cpu", "prev_pid", "next_pid", "prev_state", "prev_comm", "next_comm"]}
    for event in _WAKES:
        if event in trace:
            needs[event] = ["timestamp", "cpu", "tid", "comm", "pid", "event_comm"]
    if len(needs) == 1 and "sched_switch" in trace:
        raise MissingEventError(
            f"this needs sched_waking or sched_wakeup, which {trace.path} does not have: record it with -e sched_waking"
        )
    switches, *wakes = load(trace, needs)
    n, m = len(switches), sum(map(len, wakes))
    time = switches["timestamp"].to_numpy()
    cpu = switches["cpu"].to_numpy()
    time = np.concatenate([time, *(wake["timestamp"].to_numpy() for wake in wakes), time])
    tid = np.concatenate([integers(switches, "prev_pid"), *(integers(w, "pid") for w in wakes)])
    tid = np.concatenate([tid, integers(switches, "next_pid")])
    # At the same time a task leaves, is woken, comes: the order of the parts, which the sort keeps.
    order = order_by(time, tid)
    order = order[tid[order] > 0]
    task, out, woken = tid[order], order < n, (order >= n) & (order < n + m)
    after = _state_of(np.append(integers(switches, "prev_state", 0), 0))[np.where(out, order, -1)]
    state = np.where(out, after, np.where(woken, _WOKEN, _RUNNING))
    asleep = np.r_[True, (task[1:] != task[:-1]) | (out[:-1] & (state[:-1] != _PREEMPTED))]
    kept = ~woken | asleep
    order, state = order[kept], state[kept]
    comm, names = labels([(switches, "prev_comm"), *((w, "event_comm") for w in wakes), (switches, "next_comm")])
    by, waker, waker_names = _wakers(switches, wakes)
    wake = np.where(state == _WOKEN, order - n, -1)
    return {
        "time": time[order], "tid": tid[order], "state": state, "comm": comm[order], "names": names,
        "cpu": np.concatenate([cpu, *(w["cpu"].to_numpy() for w in wakes), cpu])[order],
        "waker_tid": np.append(by, -1)[wake], "waker": np.append(waker, -1)[wake], "waker_names": waker_names,
    }  # fmt: skip


def task_lives(trace: Source) -> pd.DataFrame:
    """Return `task_states` with what came next: then (int64: code of the state, see `STATES`), then_cpu (uint16)."""
    rows = _rows(trace)
    tid = rows["tid"]
    first = np.flatnonzero(tid[1:] == tid[:-1])
    begin, end = rows["time"][first], rows["time"][first + 1]
    # A name changes at exec: the interval's own begin says what the task was then.
    waker = rows["waker_tid"][first].astype(np.int32)
    return pd.DataFrame(
        {
            "tid": tid[first].astype(np.int32),
            "comm": pd.Categorical.from_codes(rows["comm"][first], rows["names"]),
            "state": pd.Categorical.from_codes(rows["state"][first], list(STATES)),
            "begin": begin,
            "end": end,
            "duration_ns": end - begin,
            "cpu": rows["cpu"][first],
            "waker_tid": pd.arrays.IntegerArray(waker, waker < 0),
            "waker_comm": pd.Categorical.from_codes(rows["waker"][first], rows["waker_names"]),
            "in_gap": touches_gap(trace, begin, end),
            "then": rows["state"][first + 1],
            "then_cpu": rows["cpu"][first + 1],
        }
    )


def task_states(trace: Source) -> pd.DataFrame:
    """Return the life of every task, by tid and time.

    Columns: tid (int32), comm (category), state (category, see `STATES`), begin, end, duration_ns (int64), cpu (uint16:
    where it runs, left, or was woken), waker_tid (Int32) and waker_comm (category) for state `woken`: the task that ran
    where the wake-up happened, also if an interrupt did it; in_gap (bool: records were lost on some CPU meanwhile).
    What a task did before its first and after its last event is left out, and so is the idle task.
    Needs sched_switch, and sched_waking or sched_wakeup (the first of them to come counts).
    """
    return task_lives(trace).drop(columns=["then", "then_cpu"])


def runqueue_waits(trace: Source) -> pd.DataFrame:
    """Return each wait of a task that could run until it did, by begin.

    Columns: tid, comm, begin, end, wait_ns, state (`woken` or `preempted`), cpu (where it ran at last), waker_tid,
    waker_comm, in_gap. Needs what `task_states` needs.
    """
    lives = task_lives(trace)
    waits = lives[lives["state"].isin(["woken", "preempted"]) & (lives["then"] == _RUNNING)].copy()
    waits["cpu"] = waits["then_cpu"]
    waits = waits.rename(columns={"duration_ns": "wait_ns"}).drop(columns=["then", "then_cpu"])
    return waits.sort_values("begin", ignore_index=True, kind="stable")


def runqueue_wait(trace: Source, by: str | list[str] | None = None) -> pd.DataFrame:
    """Return per task and state: tid, comm, state, then as `summarise`: how long it waited for a CPU."""
    return summarise(runqueue_waits(trace), by or ["tid", "comm", "state"], "wait_ns")


def wakeup_latencies(trace: Source) -> pd.DataFrame:
    """Return each wake-up that led to a run, by run.

    Columns: woken, run (int64 ns), latency_ns, tid, comm, cpu (where it ran), waker_tid, waker_comm, in_gap. A task
    woken again before it ran counts once, from the first. Needs what `task_states` needs.
    """
    waits = runqueue_waits(trace)
    waits = waits[waits["state"] == "woken"].drop(columns="state")
    waits = waits.rename(columns={"begin": "woken", "end": "run", "wait_ns": "latency_ns"})
    order = ["woken", "run", "latency_ns", "tid", "comm", "cpu", "waker_tid", "waker_comm", "in_gap"]
    return waits[order].sort_values("run", ignore_index=True, kind="stable")


def wakeup_latency(trace: Source, by: str | list[str] | None = None) -> pd.DataFrame:
    """Return per task, worst first: tid, comm, then as `summarise`: from being woken to running."""
    table = summarise(wakeup_latencies(trace), by or ["tid", "comm"], "latency_ns")
    return table.sort_values("max_ns", ascending=False, ignore_index=True, kind="stable")


def run_queue(trace: Source) -> pd.DataFrame:
    """Return how many tasks waited for a CPU, at every change: time (int64 ns), waiting (int32, all CPUs together)."""
    waits = runqueue_waits(trace)
    time = np.concatenate([waits["begin"].to_numpy(), np.sort(waits["end"].to_numpy())])
    step = np.repeat([1, -1], len(waits))
    order = np.argsort(time, kind="stable")
    return pd.DataFrame({"time": time[order], "waiting": np.cumsum(step[order]).astype(np.int32)})


def preemptions(trace: Source) -> pd.DataFrame:
    """Return each time a task left the CPU although it could run.

    Columns: time, cpu, tid, comm, by_tid, by_comm, in_kernel, ran_ns (int64: how long it had run), in_gap. These are
    what the kernel counts as involuntary switches. `in_kernel` is True if kernel code was preempted (state 0x100),
    False if the task went on its way to user mode, or gave way by itself (sched_yield). Needs sched_switch.
    """
    runs = run_intervals(trace)
    cpu, state = runs["cpu"].to_numpy(), runs["state"].to_numpy()
    left = (state & 0xFF) == 0
    left &= runs["tid"].to_numpy() != 0
    next_there = np.r_[cpu[1:] == cpu[:-1], False] if cpu.size else np.zeros(0, np.bool_)
    i = np.flatnonzero(left & next_there)
    table = runs.iloc[i][["end", "cpu", "tid", "comm"]].rename(columns={"end": "time"}).reset_index(drop=True)
    table["by_tid"] = runs["tid"].to_numpy()[i + 1]
    table["by_comm"] = runs["comm"].array[i + 1]
    table["in_kernel"] = (state[i] & 0x100) != 0
    table["ran_ns"] = (runs["end"] - runs["begin"]).to_numpy()[i]
    table["in_gap"] = runs["in_gap"].to_numpy()[i]
    return table.sort_values("time", ignore_index=True, kind="stable")


def preemption_counts(trace: Source) -> pd.DataFrame:
    """Return who gave way to whom, most first: comm, by_comm, count, in_kernel, mean_ran_ns, in_gap."""
    each = preemptions(trace)
    each["comm"], each["by_comm"] = named(each["comm"], each["tid"]), named(each["by_comm"], each["by_tid"])
    grouped = each.groupby(["comm", "by_comm"], observed=True)
    table = grouped.agg(
        count=("time", "count"),
        in_kernel=("in_kernel", "sum"),
        mean_ran_ns=("ran_ns", "mean"),
        in_gap=("in_gap", "sum"),
    )
    table = table.round().astype("int64").reset_index()
    return table.sort_values("count", ascending=False, ignore_index=True, kind="stable")


def migrations(trace: Source) -> pd.DataFrame:
    """Return each time a task ran on another CPU than before.

    Columns: time (when it ran there), tid, comm, from_cpu, to_cpu, away_ns (int64, since it had left the other),
    in_gap. Seen from where tasks ran: two moves of a task between two runs count once. Needs sched_switch.
    """
    runs = run_intervals(trace)
    runs = runs[runs["tid"] != 0]
    order = order_by(runs["begin"].to_numpy(), runs["tid"].to_numpy())
    tid, cpu = runs["tid"].to_numpy()[order], runs["cpu"].to_numpy()[order]
    moved = np.flatnonzero((tid[1:] == tid[:-1]) & (cpu[1:] != cpu[:-1])) if tid.size else np.zeros(0, np.int64)
    begin, end = runs["begin"].to_numpy()[order], runs["end"].to_numpy()[order]
    table = pd.DataFrame(
        {
            "time": begin[moved + 1],
            "tid": tid[moved],
            "comm": runs["comm"].array[order[moved + 1]],
            "from_cpu": cpu[moved],
            "to_cpu": cpu[moved + 1],
            "away_ns": begin[moved + 1] - end[moved],
            "in_gap": touches_gap(trace, end[moved], begin[moved + 1]),
        }
    )
    return table.sort_values("time", ignore_index=True, kind="stable")


def migration_counts(trace: Source) -> pd.DataFrame:
    """Return per task that moved, most first: tid, comm, migrations, runs (how often it ran), in_gap."""
    moves = migrations(trace).groupby("tid").agg(migrations=("time", "count"), in_gap=("in_gap", "sum"))
    table = cpu_time(trace)[["tid", "comm", "intervals"]].rename(columns={"intervals": "runs"})
    table = table.groupby("tid", sort=False).agg(comm=("comm", "first"), runs=("runs", "sum")).reset_index()
    table = table.merge(moves.reset_index(), on="tid", how="inner")[["tid", "comm", "migrations", "runs", "in_gap"]]
    return table.sort_values("migrations", ascending=False, ignore_index=True, kind="stable")
