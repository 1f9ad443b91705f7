# SPDX-License-Identifier: GPL-2.0-or-later
"""Kernel timers: how late they expire and how long their handlers take. Times are int64 ns, monotonic."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import MissingEventError, Source, integers, last_before, load, pair, summarise, touches_gap

__all__ = ("expiry_intervals", "timer_expiries", "timers")

#: kind: its events, and the column that tells one timer from another
_KINDS: Final = {
    "hrtimer": ("hrtimer_start", "hrtimer_expire_entry", "hrtimer_expire_exit", "hrtimer"),
    "timer": ("timer_start", "timer_expire_entry", "timer_expire_exit", "timer"),
}


def _recorded(trace: Source) -> list[str]:
    return [kind for kind, (_, entry, leave, _) in _KINDS.items() if entry in trace and leave in trace]


def _expiries(trace: Source, kind: str) -> pd.DataFrame:
    start, entry, leave, key = _KINDS[kind]
    needs = {entry: ["timestamp", "cpu", key, "function", "now"], leave: ["timestamp", "cpu", key]}
    if start in trace:
        needs[start] = ["timestamp", key, "expires"]
    begins, ends, *starts = load(trace, needs)
    at, cpu, timer = begins["timestamp"].to_numpy(), begins["cpu"].to_numpy(), integers(begins, key)
    # A CPU runs one handler of a kind at a time.
    i, j = pair(at, cpu.astype(np.int64), ends["timestamp"].to_numpy(), ends["cpu"].to_numpy(np.int64))
    late = np.full(at.size, -1, np.int64)
    if starts and kind == "hrtimer" and len(starts[0]):
        # `now` and `expires` are of the same clock, the timer's own; the wheel's count ticks, of unknown length.
        started = starts[0]["timestamp"].to_numpy()
        last = last_before(at, timer, started, integers(starts[0], key))
        # A periodic timer goes on by itself, without being started anew: its time is not known then.
        previous = last_before(at - 1, timer, at, timer)
        anew = (last >= 0) & ((previous < 0) | (started[np.maximum(last, 0)] > at[np.maximum(previous, 0)]))
        wanted = integers(starts[0], "expires", 0)[np.maximum(last, 0)]
        late = np.where(anew, np.maximum(integers(begins, "now", 0) - wanted, 0), -1)
    begin, end = at[i], ends["timestamp"].to_numpy()[j]
    return pd.DataFrame(
        {
            "begin": begin,
            "end": end,
            "duration_ns": end - begin,
            "cpu": cpu[i],
            "kind": pd.Categorical.from_codes(np.full(i.size, list(_KINDS).index(kind)), list(_KINDS)),
            "timer": timer[i].view(np.uint64),
            "function": _functions(begins)[i],
            "late_ns": pd.arrays.IntegerArray(late[i], late[i] < 0),
            "in_gap": touches_gap(trace, begin, end, cpu[i]),
        }
    )


def _functions(begins: pd.DataFrame) -> pd.Categorical:
    """The handlers: names if the trace has them, else addresses."""
    if "function" in begins and not pd.api.types.is_integer_dtype(begins["function"]):
        return pd.Categorical(begins["function"])
    address, place = np.unique(integers(begins, "function", 0).view(np.uint64), return_inverse=True)
    return pd.Categorical.from_codes(place, pd.Index([f"0x{value:x}" for value in address.tolist()], dtype="str"))


def expiry_intervals(trace: Source) -> pd.DataFrame | None:
    """Return when timers' handlers ran: begin, end, cpu; None if neither kind of timer was recorded."""
    parts = [_expiries(trace, kind)[["begin", "end", "cpu"]] for kind in _recorded(trace)]
    return pd.concat(parts).sort_values("begin", ignore_index=True, kind="stable") if parts else None


def timer_expiries(trace: Source) -> pd.DataFrame:
    """Return each run of a timer's handler, by begin.

    Columns: begin, end, duration_ns (int64), cpu, kind (`hrtimer` or `timer`, the wheel), timer (uint64: its address),
    function (category: the handler's name or address), late_ns (Int64: after the time it was set to, of an hrtimer
    whose start was recorded), in_gap. Needs hrtimer_expire_entry and _exit, or timer_expire_entry and _exit; late_ns
    needs hrtimer_start.
    """
    kinds = _recorded(trace)
    if not kinds:
        raise MissingEventError(
            "this needs hrtimer_expire_entry and hrtimer_expire_exit, or those of timer, which "
            f"{trace.path} does not have: record it with -e 'hrtimer_*' -e 'timer_*'"
        )
    parts = [_expiries(trace, kind) for kind in kinds]
    functions = pd.api.types.union_categoricals([part["function"] for part in parts])
    table = pd.concat(parts, ignore_index=True)
    table["function"] = functions
    return table.sort_values("begin", ignore_index=True, kind="stable")


def timers(trace: Source) -> pd.DataFrame:
    """Return per handler, most time first: kind, function, then as `summarise`, late_mean_ns, late_max_ns (Int64).

    The times are the handler's. Needs what `timer_expiries` needs.
    """
    each = timer_expiries(trace)
    table = summarise(each, ["kind", "function"], "duration_ns")
    late = each.groupby(["kind", "function"], observed=True)["late_ns"].agg(late_mean_ns="mean", late_max_ns="max")
    return table.merge(late.round().astype("Int64").reset_index(), on=["kind", "function"], how="left")
