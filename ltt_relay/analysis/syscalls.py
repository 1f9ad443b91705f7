# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls: how many, how long, by whom, what failed, and which took far longer than usual."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import MissingEventError, Source, integers, labels, load, pair, summarise, touches_gap
from ltt_relay.analysis.syscall_names import ERRORS, I386, X86_64

__all__ = ("call_names", "syscall_durations", "syscall_errors", "syscall_outliers", "syscalls")

_I386_MACHINES: Final = ("i386", "i486", "i586", "i686")
_MAX_ERROR: Final = 4095


def call_names(trace: Source, calls: pd.DataFrame) -> pd.Categorical:
    """Return the name of each row's call by its columns id and abi; "syscall N" if N is not known.

    Where the trace does not tell the machine it is x86-64, or i386 if a pointer has 4 bytes.
    """
    number, info = integers(calls, "id"), trace.info
    arch = str(info.get("env", {}).get("arch") or ("i386" if info.get("pointer_bytes") == 4 else "x86_64"))
    ia32 = np.full(len(calls), arch in _I386_MACHINES)
    if "abi" in calls:
        ia32 |= (calls["abi"] == "ia32").to_numpy()
    key = number + np.where(ia32, 1 << 20, 0)
    distinct, codes = np.unique(key, return_inverse=True)
    native = X86_64 if arch == "x86_64" or arch in _I386_MACHINES else {}
    names = []
    for value in distinct.tolist():
        known, n = (I386, value - (1 << 20)) if value >= 1 << 19 else (native, value)
        names.append(known.get(n, f"syscall {n}"))
    # The same call has a number in each of the two tables.
    categories, merged = np.unique(np.array(names, str), return_inverse=True)
    return pd.Categorical.from_codes(merged[codes] if codes.size else codes, categories.tolist())


def syscall_durations(trace: Source) -> pd.DataFrame:
    """Return each call that returned, by begin.

    Columns: begin (int64 ns), duration_ns (int64), cpu (where it began), tid, comm, name (category), ret (int64), error
    (bool), in_gap. The time includes waiting. Where exits do not tell the result, as in traces of LTT, ret (Int64) and
    error (boolean) are missing. Needs sys_enter and sys_exit.
    """
    columns = ["timestamp", "cpu", "tid", "comm", "id", "abi"]
    enter, leave = load(trace, {"sys_enter": columns, "sys_exit": ["timestamp", "tid", "id", "ret"]})
    begins, ends = enter["timestamp"].to_numpy(), leave["timestamp"].to_numpy()
    tid = integers(enter, "tid")
    i, j = pair(begins, tid, ends, integers(leave, "tid"))
    # The exit of another call than was entered means that records between were lost or not selected.
    if "id" in leave:
        same = integers(enter, "id")[i] == integers(leave, "id")[j]
        i, j = i[same], j[same]
    order = np.argsort(i)
    i, j = i[order], j[order]
    ret: Any = integers(leave, "ret", 0)[j]
    error: Any = (ret < 0) & (ret >= -_MAX_ERROR)
    if "ret" not in leave:
        ret, error = (pd.array([pd.NA] * len(j), dtype=dtype) for dtype in ("Int64", "boolean"))
    comm, names = labels([(enter, "comm")])
    called = call_names(trace, enter)
    return pd.DataFrame(
        {
            "begin": begins[i],
            "duration_ns": ends[j] - begins[i],
            "cpu": enter["cpu"].to_numpy()[i],
            "tid": tid[i].astype(np.int32),
            "comm": pd.Categorical.from_codes(comm[i], names),
            "name": called[i],
            "ret": ret,
            "error": error,
            "in_gap": touches_gap(trace, begins[i], ends[j]),
        }
    )


def syscalls(trace: Source, by: str | list[str] = "name") -> pd.DataFrame:
    """Return per call (or by="comm", by=["tid", "name"]), most time first: count, errors, then as `summarise`.

    Needs sys_enter and sys_exit.
    """
    each = syscall_durations(trace)
    table = summarise(each, by, "duration_ns")
    told = each["error"].dtype == bool
    errors = each.groupby(by, observed=True, dropna=False)["error"].sum(min_count=0 if told else 1).rename("errors")
    errors = errors.astype("int64" if told else "Int64")
    keys = [by] if isinstance(by, str) else by
    table = table.merge(errors.reset_index(), on=keys, how="left")
    table.insert(len(keys) + 1, "errors", table.pop("errors"))
    return table


def syscall_errors(trace: Source) -> pd.DataFrame:
    """Return which calls failed with what, most first: name, error (such as ENOENT), count, tasks (how many)."""
    each = syscall_durations(trace)
    if each["error"].dtype != bool:
        raise MissingEventError(f"this needs the results of system calls, which {trace.path} does not tell")
    failed = each[each["error"]]
    known = np.array([ERRORS.get(n, f"error {n}") for n in range(_MAX_ERROR + 1)])
    named = failed.assign(error=pd.Categorical(known[-failed["ret"].to_numpy()]))
    table = named.groupby(["name", "error"], observed=True).agg(count=("tid", "count"), tasks=("tid", "nunique"))
    return table.reset_index().sort_values("count", ascending=False, ignore_index=True, kind="stable")


def syscall_outliers(trace: Source, factor: float = 6.0, least: int = 20) -> pd.DataFrame:
    """Return calls that took far longer than their kind does, the farthest first.

    Columns: begin, name, tid, comm, duration_ns, median_ns (of that call), times (duration over median), in_gap. Far is
    more than `factor` median deviations above the median of log(duration), of calls seen `least` times or more, and at
    least twice the median.
    """
    each = syscall_durations(trace)
    log = np.log(each["duration_ns"].clip(lower=1))
    names = each["name"]
    middle = log.groupby(names, observed=True).transform("median")
    # 1.4826: a normal distribution's standard deviation in median deviations.
    spread = 1.4826 * (log - middle).abs().groupby(names, observed=True).transform("median")
    often = names.groupby(names, observed=True).transform("count") >= least
    far = often & (log - middle > np.maximum(factor * spread, np.log(2)))
    table = each.loc[far, ["begin", "name", "tid", "comm", "duration_ns", "in_gap"]].reset_index(drop=True)
    table.insert(5, "median_ns", np.exp(middle[far]).round().astype("int64").to_numpy())
    table.insert(6, "times", table["duration_ns"] / table["median_ns"].clip(lower=1))
    return table.sort_values("times", ascending=False, ignore_index=True, kind="stable")
