# SPDX-License-Identifier: GPL-2.0-or-later
"""Time off the CPU: what a task waited for, in which system call, and what woke it. Times are int64 ns, monotonic."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import Source, integers, last_before, load, named, summarise
from ltt_relay.analysis.interrupts import handler_intervals, soft_intervals, vector_intervals
from ltt_relay.analysis.sched import STATES, task_lives
from ltt_relay.analysis.syscalls import call_names
from ltt_relay.analysis.timers import expiry_intervals

__all__ = ("off_cpu", "off_cpu_time", "wake_context", "wakeup_pairs")

#: Interrupts of the processor itself: local timer, and those that CPUs send each other.
_VECTORS: Final = {
    "local_timer": "timer", "reschedule": "ipi", "call_function": "ipi", "call_function_single": "ipi",
    "irq_work": "irq work",
}  # fmt: skip
_ASLEEP: Final = tuple(STATES.index(name) for name in ("sleeping", "blocked", "stopped", "dead"))


def _contexts(trace: Source) -> list[tuple[pd.DataFrame, pd.Categorical]]:
    """Intervals that are not the current task's own doing (begin, end, cpu), and what each is."""
    found = []
    if "softirq_entry" in trace and "softirq_exit" in trace:
        soft = soft_intervals(trace)
        kinds = pd.Categorical(soft["vec"])
        found.append((soft, kinds.rename_categories([f"softirq {name}" for name in kinds.categories])))
    if "irq_handler_entry" in trace and "irq_handler_exit" in trace:
        hard = handler_intervals(trace)
        kinds = pd.Categorical(hard["name"])
        found.append((hard, kinds.rename_categories([f"irq {name}" for name in kinds.categories])))
    for name, context in _VECTORS.items():
        if f"{name}_entry" in trace and f"{name}_exit" in trace:
            own = vector_intervals(trace, name)
            found.append((own, pd.Categorical.from_codes(np.zeros(len(own), np.int64), [context])))
    timers = expiry_intervals(trace)
    if timers is not None:
        found.append((timers, pd.Categorical.from_codes(np.zeros(len(timers), np.int64), ["timer"])))
    return found


def wake_context(trace: Source, time: np.ndarray, cpu: np.ndarray, waker_tid: np.ndarray) -> pd.Categorical:
    """Return what did something at a time on a CPU: "task", "irq NAME", "softirq VEC", "timer", "ipi"; or "interrupt".

    The innermost handler that was running, as far as the trace has irq_handler_*, softirq_*, hrtimer_expire_*,
    timer_expire_*, local_timer_* and the like. The idle task wakes nobody: it is an "interrupt" at least.
    """
    names = ["task", "interrupt"]
    context = np.where(waker_tid == 0, 1, 0)
    entered = np.full(time.size, np.iinfo(np.int64).min)
    for intervals, kinds in _contexts(trace):
        if not len(intervals):
            continue
        begin, end = intervals["begin"].to_numpy(), intervals["end"].to_numpy()
        inside = last_before(time, cpu.astype(np.int64), begin, intervals["cpu"].to_numpy(np.int64))
        place = np.maximum(inside, 0)
        hit = (inside >= 0) & (end[place] >= time) & (begin[place] >= entered)
        # A handler without a name is an interrupt all the same.
        code = np.asarray(kinds.codes, np.int64)[place]
        context[hit] = np.where(code < 0, 1, code + len(names))[hit]
        entered[hit] = begin[place][hit]
        names += [str(name) for name in kinds.categories]
    distinct, merged = np.unique(np.array(names), return_inverse=True)
    return pd.Categorical.from_codes(merged[context], distinct.tolist()).remove_unused_categories()


def off_cpu(trace: Source) -> pd.DataFrame:
    """Return each time a task slept and came back, by begin.

    Columns: tid, comm, state (`sleeping`, `blocked`, `stopped`), begin, woken, end (int64 ns: left the CPU, was woken,
    runs again), off_ns (all of it), sleep_ns (until woken), wait_ns (from then on), syscall (category; missing if none
    or not recorded), waker_tid, waker_comm, context (see `wake_context`), in_gap. Needs what `task_states` needs;
    sys_enter and sys_exit for the call.
    """
    states = task_lives(trace)
    code, tid, then = states["state"].cat.codes.to_numpy(), states["tid"].to_numpy(), states["then"].to_numpy()
    woken_and_ran = (code[1:] == STATES.index("woken")) & (then[1:] == STATES.index("running")) & (tid[1:] == tid[:-1])
    i = np.flatnonzero(woken_and_ran & np.isin(code[:-1], _ASLEEP))
    begin, woken, end = (states[c].to_numpy()[i + k] for c, k in (("begin", 0), ("begin", 1), ("end", 1)))
    waker = states["waker_tid"].array[i + 1]
    cpu = states["cpu"].to_numpy()[i + 1]
    table = pd.DataFrame(
        {
            "tid": tid[i],
            "comm": states["comm"].array[i],
            "state": states["state"].array[i],
            "begin": begin,
            "woken": woken,
            "end": end,
            "off_ns": end - begin,
            "sleep_ns": woken - begin,
            "wait_ns": end - woken,
            "syscall": _call_at(trace, begin, tid[i]),
            "waker_tid": waker,
            "waker_comm": states["waker_comm"].array[i + 1],
            "context": wake_context(trace, woken, cpu, waker.to_numpy(dtype=np.int64, na_value=-1)),
            "in_gap": states["in_gap"].to_numpy()[i] | states["in_gap"].to_numpy()[i + 1],
        }
    )
    return table.sort_values("begin", ignore_index=True, kind="stable")


def _call_at(trace: Source, time: np.ndarray, tid: np.ndarray) -> pd.Categorical:
    """The system call that each task was in at a time."""
    if "sys_enter" not in trace or "sys_exit" not in trace:
        return pd.Categorical.from_codes(np.full(time.size, -1), categories=pd.Index([], dtype=str))
    columns = ["timestamp", "tid", "id", "abi"]
    enter, leave = load(trace, {"sys_enter": columns, "sys_exit": columns})
    at, out = enter["timestamp"].to_numpy(), leave["timestamp"].to_numpy()
    entered = last_before(time, tid, at, integers(enter, "tid"))
    left = last_before(time, tid, out, integers(leave, "tid"))
    entered_at = np.where(entered >= 0, at[np.maximum(entered, 0)], -1) if at.size else np.full(time.size, -1)
    left_at = np.where(left >= 0, out[np.maximum(left, 0)], -2) if out.size else np.full(time.size, -2)
    names = call_names(trace, enter)
    code = np.append(names.codes, -1)[entered]
    return pd.Categorical.from_codes(np.where(entered_at > left_at, code, -1), names.categories)


def off_cpu_time(trace: Source, by: str | list[str] | None = None) -> pd.DataFrame:
    """Return per task, call, state and context of its waking: these, then as `summarise` (of off_ns)."""
    return summarise(off_cpu(trace), by or ["tid", "comm", "syscall", "state", "context"], "off_ns")


def wakeup_pairs(trace: Source) -> pd.DataFrame:
    """Return who woke whom, most first: waker_comm, context, comm, count, mean_sleep_ns, mean_wait_ns, in_gap."""
    each = off_cpu(trace)
    each["comm"], each["waker_comm"] = named(each["comm"], each["tid"]), named(each["waker_comm"], each["waker_tid"])
    # Whose time an interrupt took does not matter.
    each["waker_comm"] = each["waker_comm"].where(each["context"] == "task")
    grouped = each.groupby(["waker_comm", "context", "comm"], observed=True, dropna=False)
    table = grouped.agg(
        count=("begin", "count"), mean_sleep_ns=("sleep_ns", "mean"), mean_wait_ns=("wait_ns", "mean"),
        in_gap=("in_gap", "sum"),
    )  # fmt: skip
    table = table.round().astype("int64").reset_index()
    return table.sort_values("count", ascending=False, ignore_index=True, kind="stable")
