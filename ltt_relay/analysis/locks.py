# SPDX-License-Identifier: GPL-2.0-or-later
"""Waiting for locks: futexes in user space, contended locks in the kernel. Times are int64 ns, monotonic."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import (
    MissingEventError,
    Source,
    integers,
    labels,
    load,
    named,
    order_by,
    pair,
    summarise,
    touches_gap,
)
from ltt_relay.analysis.syscalls import call_names

__all__ = ("KINDS", "contention", "contentions", "futex_waits", "futexes")

#: Operations of futex(2) that wait, without the flags for private and for which clock.
_WAITS: Final = {0: "wait", 6: "lock_pi", 9: "wait_bitset", 11: "wait_requeue_pi", 13: "lock_pi2"}
_COMMAND: Final = 0x7F
_SPIN, _READ, _WRITE, _RT, _PERCPU, _MUTEX = (1 << bit for bit in range(6))
#: Values of the column `kind`: the kernel's locks. What has no flag is a semaphore.
KINDS: Final = ("mutex", "rt mutex", "percpu rwsem", "rwlock", "spinlock", "rwsem", "semaphore")


def _arguments(trace: Source, rows: np.ndarray, count: int) -> np.ndarray:
    """The first arguments of some rows of sys_enter, as uint64 of shape (rows, count); 0 where there are fewer."""
    if "args" not in set(trace.schema("sys_enter")["column"]):
        raise MissingEventError(f"this needs the arguments of system calls, which {trace.path} does not have")
    table = trace.arrow(["sys_enter"], columns=["args"])["sys_enter"]
    lists: Any = table["args"].take(rows).combine_chunks()
    starts = lists.offsets.to_numpy()
    flat = lists.values.to_numpy(zero_copy_only=False).astype(np.uint64)
    flat = np.r_[flat, np.zeros(1, np.uint64)]
    place = starts[:-1, None] + np.arange(count)
    arguments: np.ndarray = flat[np.where(place < starts[1:, None], place, flat.size - 1)]
    return arguments


def futex_waits(trace: Source) -> pd.DataFrame:
    """Return each call that waited for a futex and returned, by begin.

    Columns: begin, end, wait_ns (int64), tid, comm, futex (uint64: its address, which means something within its
    process only), op (category, such as wait_bitset), ret (int64: 0 if woken, -11 if it had changed already, -110 if
    the time was over), in_gap. Needs sys_enter and sys_exit.
    """
    enter, leave = load(
        trace, {"sys_enter": ["timestamp", "tid", "comm", "id", "abi"], "sys_exit": ["timestamp", "tid", "ret"]}
    )
    begins, ends = enter["timestamp"].to_numpy(), leave["timestamp"].to_numpy()
    i, j = pair(begins, integers(enter, "tid"), ends, integers(leave, "tid"))
    called = call_names(trace, enter)
    number = called.categories.get_indexer(["futex"])[0]
    chosen = np.flatnonzero(called.codes[i] == number) if number >= 0 else np.zeros(0, np.int64)
    i, j = i[chosen], j[chosen]
    order = np.argsort(i)
    i, j = i[order], j[order]
    arguments = _arguments(trace, i, 2)
    command = (arguments[:, 1] & np.uint64(_COMMAND)).astype(np.int64)
    waits = np.isin(command, list(_WAITS))
    i, j, arguments, command = i[waits], j[waits], arguments[waits], command[waits]
    comm, names = labels([(enter, "comm")])
    return pd.DataFrame(
        {
            "begin": begins[i],
            "end": ends[j],
            "wait_ns": ends[j] - begins[i],
            "tid": integers(enter, "tid")[i].astype(np.int32),
            "comm": pd.Categorical.from_codes(comm[i], names),
            "futex": arguments[:, 0],
            "op": pd.Categorical.from_codes(np.searchsorted(list(_WAITS), command), list(_WAITS.values())),
            "ret": integers(leave, "ret", 0)[j],
            "in_gap": touches_gap(trace, begins[i], ends[j]),
        }
    )


def futexes(trace: Source) -> pd.DataFrame:
    """Return per name of program and futex, most time first: comm, futex, tasks (how many waited), then as `summarise`.

    Needs sys_enter and sys_exit.
    """
    each = futex_waits(trace)
    each["comm"] = named(each["comm"], each["tid"])
    table = summarise(each, ["comm", "futex"], "wait_ns")
    tasks = each.groupby(["comm", "futex"], observed=True, dropna=False)["tid"].nunique().rename("tasks").reset_index()
    table = table.merge(tasks, on=["comm", "futex"], how="left")
    table.insert(2, "tasks", table.pop("tasks"))
    return table


def _kinds(flags: np.ndarray) -> pd.Categorical:
    """What locks they are, by the flags of contention_begin."""
    read, write, percpu = ((flags & bit) != 0 for bit in (_READ, _WRITE, _PERCPU))
    spin, real_time, mutex = ((flags & bit) != 0 for bit in (_SPIN, _RT, _MUTEX))
    kind = np.select([mutex, real_time, percpu, spin & (read | write), spin, read | write], range(6), 6)
    return pd.Categorical.from_codes(kind, list(KINDS))


def _first_begins(time: np.ndarray, key: np.ndarray, is_mutex: np.ndarray) -> np.ndarray:
    """For each begin when the wait began: a mutex is spun for, then slept for, and says so each time."""
    n = is_mutex.size
    order = order_by(time, key)
    goes_on = np.zeros(order.size, bool)
    goes_on[1:] = (order[1:] < n) & (order[:-1] < n) & (key[order][1:] == key[order][:-1])
    goes_on[goes_on] = is_mutex[order[goes_on]] & is_mutex[order[np.flatnonzero(goes_on) - 1]]
    first = np.maximum.accumulate(np.where(goes_on, 0, np.arange(order.size)))
    began = np.empty(order.size, np.int64)
    began[order] = time[order[first]]
    return began[:n]


def contentions(trace: Source) -> pd.DataFrame:
    """Return each wait for a contended lock of the kernel, by begin.

    Columns: begin, end, wait_ns (int64), cpu (where it began), tid, comm, lock (uint64: its address), kind (category,
    see `KINDS`), flags (int64, as the kernel has them: 1 spin, 2 read, 4 write, 8 rt, 16 percpu, 32 mutex; of a mutex
    that was spun for and then slept for, the last), in_gap. Who is the only one to spin for a spinlock is not told of:
    the kernel has no tracepoint there.

    Needs contention_begin and contention_end (kernel 5.19 and later).
    """
    columns = ["timestamp", "cpu", "tid", "comm", "lock_addr", "flags"]
    begins, ends = load(
        trace, {"contention_begin": columns, "contention_end": ["timestamp", "cpu", "tid", "lock_addr"]}
    )
    time = np.concatenate([begins["timestamp"].to_numpy(), ends["timestamp"].to_numpy()])
    table = pd.DataFrame(
        {column: np.concatenate([integers(begins, column), integers(ends, column)]) for column in ("lock_addr", "tid")}
    )
    # Each CPU has an idle task, which can only spin.
    cpu = np.concatenate([integers(begins, "cpu"), integers(ends, "cpu")])
    table["cpu"] = np.where(table["tid"] == 0, cpu, -1)
    key = table.groupby(list(table), sort=False).ngroup().to_numpy(np.int64)
    n = len(begins)
    i, j = pair(time[:n], key[:n], time[n:], key[n:])
    flags = integers(begins, "flags", 0)
    began = _first_begins(time, key, (flags & _MUTEX) != 0)
    i, j = (index[np.argsort(began[i], kind="stable")] for index in (i, j))
    begin, end = began[i], time[n:][j]
    comm, names = labels([(begins, "comm")])
    owner = integers(begins, "tid")[i].astype(np.int32)
    return pd.DataFrame(
        {
            "begin": begin,
            "end": end,
            "wait_ns": end - begin,
            "cpu": begins["cpu"].to_numpy()[i],
            "tid": pd.arrays.IntegerArray(owner, owner < 0),
            "comm": pd.Categorical.from_codes(comm[i], names),
            "lock": integers(begins, "lock_addr")[i].view(np.uint64),
            "kind": _kinds(flags[i]),
            "flags": flags[i],
            "in_gap": touches_gap(trace, begin, end),
        }
    )


def contention(trace: Source) -> pd.DataFrame:
    """Return per lock and task name, most time first: lock, kind, comm, then as `summarise`; as `contentions`."""
    each = contentions(trace)
    each["comm"] = named(each["comm"], each["tid"])
    return summarise(each, ["lock", "kind", "comm"], "wait_ns")
