# SPDX-License-Identifier: GPL-2.0-or-later
"""System calls, interrupts, soft interrupts and page faults: how many, how long, by whom."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import pair, require
from ltt_relay.analysis.syscall_names import X86_64
from ltt_relay.decode import Trace

__all__ = ("interrupts", "page_faults", "soft_interrupts", "syscall_durations", "syscalls")


def syscall_durations(trace: Trace) -> pd.DataFrame:
    """Return each call that returned: begin, duration_ns (int64), tid, comm, name, ret, error (bool).

    Needs sys_enter and sys_exit.
    """
    enter = require(trace, "sys_enter", ["timestamp", "tid", "comm", "id"])
    leave = require(trace, "sys_exit", ["timestamp", "tid", "id", "ret"])
    tid_in = enter["tid"].to_numpy(dtype=np.int64, na_value=-1)
    tid_out = leave["tid"].to_numpy(dtype=np.int64, na_value=-1)
    i, j = pair(enter["timestamp"].to_numpy(), tid_in, leave["timestamp"].to_numpy(), tid_out)
    number = enter["id"].to_numpy()[i]
    known = {int(n): X86_64.get(int(n), f"syscall {int(n)}") for n in np.unique(number)}
    codes = np.searchsorted(list(known), number)
    ret = leave["ret"].to_numpy()[j]
    frame = pd.DataFrame(
        {
            "begin": enter["timestamp"].to_numpy()[i],
            "duration_ns": leave["timestamp"].to_numpy()[j] - enter["timestamp"].to_numpy()[i],
            "tid": tid_in[i],
            "comm": enter["comm"].array[i],
            "name": pd.Categorical.from_codes(codes, list(known.values())),
            "ret": ret,
            "error": (ret < 0) & (ret >= -4095),
        }
    )
    return frame.sort_values("begin", ignore_index=True)


def syscalls(trace: Trace, by: str = "name") -> pd.DataFrame:
    """Return per call (or by="comm"), most time first: count, errors, total_ns, mean_ns, p99_ns, max_ns."""
    each = syscall_durations(trace)
    grouped = each.groupby(by, observed=True)
    table = grouped["duration_ns"].agg(count="count", total_ns="sum", mean_ns="mean", max_ns="max")
    table["p99_ns"] = grouped["duration_ns"].quantile(0.99)
    table.insert(1, "errors", grouped["error"].sum())
    table = table.round().astype("int64").reset_index()
    return table.sort_values("total_ns", ascending=False, ignore_index=True)


def _handlers(trace: Trace, entry: str, leave: str, key: str, name: str) -> pd.DataFrame:
    begins = require(trace, entry, ["timestamp", "cpu", key, name])
    ends = require(trace, leave, ["timestamp", "cpu", key])
    labels = begins[key].cat.codes if name == key else begins[key]
    end_labels = ends[key].cat.codes if name == key else ends[key]
    first = begins["cpu"].to_numpy(np.int64) << 32 | labels.to_numpy(np.int64)
    second = ends["cpu"].to_numpy(np.int64) << 32 | end_labels.to_numpy(np.int64)
    i, j = pair(begins["timestamp"].to_numpy(), first, ends["timestamp"].to_numpy(), second)
    duration = ends["timestamp"].to_numpy()[j] - begins["timestamp"].to_numpy()[i]
    columns = {key: begins[key].array[i]} if name == key else {key: begins[key].array[i], name: begins[name].array[i]}
    each = pd.DataFrame({**columns, "duration_ns": duration})
    grouped = each.groupby(list(columns), observed=True, dropna=False)["duration_ns"]
    table = (
        grouped.agg(count="count", total_ns="sum", mean_ns="mean", max_ns="max").round().astype("int64").reset_index()
    )
    return table.sort_values("total_ns", ascending=False, ignore_index=True)


def interrupts(trace: Trace) -> pd.DataFrame:
    """Return per interrupt: irq, name, count, total_ns, mean_ns, max_ns. Needs irq_handler_entry and _exit."""
    return _handlers(trace, "irq_handler_entry", "irq_handler_exit", "irq", "name")


def soft_interrupts(trace: Trace) -> pd.DataFrame:
    """Return per soft interrupt: vec, count, total_ns, mean_ns, max_ns. Needs softirq_entry and softirq_exit."""
    return _handlers(trace, "softirq_entry", "softirq_exit", "vec", "vec")


def page_faults(trace: Trace) -> pd.DataFrame:
    """Return per task, most first: tid, comm, user, kernel (counts). Needs page_fault_user."""
    parts = []
    for mode in ("user", "kernel"):
        event = f"page_fault_{mode}"
        if mode == "kernel" and event not in trace:
            continue
        rows = require(trace, event, ["tid", "comm"])
        parts.append(rows.groupby(["tid", "comm"], observed=True).size().rename(mode))
    table = pd.concat(parts, axis=1).fillna(0).astype("int64").reset_index()
    return table.sort_values("user", ascending=False, ignore_index=True)
