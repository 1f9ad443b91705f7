# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures by kind: system calls, timers, locks, preemptions, moves between CPUs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ltt_relay.analysis import (
    contentions,
    futex_waits,
    migrations,
    preemption_counts,
    syscall_durations,
    timer_expiries,
)
from ltt_relay.analysis.base import Source, duration_text, named
from ltt_relay.plot.latency import distribution
from ltt_relay.plot.style import (
    COLOURS,
    INK,
    SHADES,
    counts_axis,
    duration_axis,
    empty,
    figure,
    legend_below,
    short,
    titled,
)

__all__ = ("boxes", "locks", "migration", "preemption", "syscalls", "timers")

_ROWS: Final = 16
_RANGE: Final = (5, 50, 95)


def boxes(axes: Axes, names: pd.Series, values: pd.Series, label: str) -> list[Patch]:
    """Draw a row for each name with the most time: 5th to 95th percentile, median, maximum; count and sum beside."""
    names = names.astype(str)
    grouped = values.clip(lower=1).groupby(names.to_numpy())
    table = grouped.agg(["count", "sum", "max"]).sort_values("sum", ascending=False, kind="stable").head(_ROWS)
    quantiles = grouped.quantile([p / 100 for p in _RANGE]).unstack().loc[table.index].to_numpy()
    y = np.arange(len(table))[::-1]
    axes.barh(y, quantiles[:, 2] - quantiles[:, 0], left=quantiles[:, 0], height=0.55, color=COLOURS[4], linewidth=0)
    axes.plot(quantiles[:, 1], y, "|", color=INK, markersize=11, markeredgewidth=2, linestyle="none")
    axes.plot(table["max"], y, "o", color=COLOURS[5], markersize=4, linestyle="none")
    low, high = float(quantiles[:, 0].min()) / 1.5, float(table["max"].max()) * 1.5
    duration_axis(axes.xaxis, label, low, high)
    axes.set_yticks(y, [short(name, 44) for name in table.index])
    axes.set_ylim(-0.7, len(table) - 0.3)
    axes.grid(axis="x", color="#E5E5E5")
    axes.set_axisbelow(True)
    beside = axes.get_yaxis_transform()
    for place, count, total in zip(y, table["count"], table["sum"], strict=True):
        text = f"{count:,} in {duration_text(total, 3)}"
        axes.text(1.01, place, text, transform=beside, va="center", fontsize=8, color=INK)
    return [
        Patch(color=COLOURS[4], label="5th to 95th percentile"),
        Patch(color=INK, label="median (bar)"),
        Patch(color=COLOURS[5], label="longest (dot)"),
    ]


def _box_figure(names: pd.Series, values: pd.Series, label: str, title: str) -> Figure:
    made = figure(10, 1.8 + 0.3 * min(names.astype(str).nunique(), _ROWS))
    axes = made.add_subplot()
    handles = boxes(axes, names, values, label)
    titled(axes, title)
    legend_below(made, handles)
    return made


def syscalls(trace: Source) -> Figure:
    """Return how long the system calls with the most time took."""
    each = syscall_durations(trace)
    if not len(each):
        return empty("system calls that returned")
    title = f"System calls by time, waiting included: {len(each):,} calls"
    if each["error"].dtype == bool:
        title += f", {int(each['error'].sum()):,} of them failed"
    return _box_figure(each["name"], each["duration_ns"], "duration (count and total at the right)", title)


def timers(trace: Source) -> Figure:
    """Return how late high-resolution timers expired; of traces without their starts, how long the handlers took."""
    each = timer_expiries(trace)
    if not len(each):
        return empty("timers that expired")
    late = each["late_ns"].dropna()
    if not len(late):
        return _box_figure(each["function"], each["duration_ns"], "time in handler", f"{len(each):,} timers expired")
    made = figure(9, 4.5)
    axes = made.add_subplot()
    distribution(axes, late.to_numpy(np.int64), "after the time it was set to", "timers")
    titled(axes, f"High-resolution timers: how late {len(late):,} expired")
    return made


def _addressed(waits: pd.DataFrame, columns: list[str]) -> pd.Series:
    """Names such as "python mutex 0xffff8c0a41d5e010", made once for each group of columns, of which the last is it."""
    waits = waits.assign(comm=named(waits["comm"], waits["tid"]))
    number = waits.groupby(columns, observed=True, dropna=False, sort=False).ngroup()
    first = waits.loc[~number.duplicated(), columns]
    words = first.iloc[:, :-1].itertuples(index=False, name=None)
    texts = [" ".join([*map(str, some), f"0x{at:x}"]) for some, at in zip(words, first[columns[-1]], strict=True)]
    return pd.Series(np.array(texts, object)[number.to_numpy()], dtype=object)


def locks(trace: Source) -> Figure:
    """Return how long tasks waited for futexes, and for contended locks of the kernel if those were recorded."""
    parts: list[tuple[str, pd.Series, pd.Series]] = []
    if "sys_enter" in trace and "sys_exit" in trace:
        waits = futex_waits(trace)
        title = f"Futexes: {len(waits):,} waits, by task name and address"
        parts.append((title, _addressed(waits, ["comm", "futex"]), waits["wait_ns"]))
    if "contention_begin" in trace and "contention_end" in trace:
        kernel = contentions(trace)
        title = f"Locks of the kernel: {len(kernel):,} waits, by task name, kind and address"
        parts.append((title, _addressed(kernel, ["comm", "kind", "lock"]), kernel["wait_ns"]))
    if not parts:
        futex_waits(trace)
    parts = [part for part in parts if len(part[1])]
    if not parts:
        return empty("waits for locks")
    rows = [min(names.nunique(), _ROWS) for _, names, _ in parts]
    made = figure(10, 1.2 + sum(0.9 + 0.3 * n for n in rows))
    handles: Sequence[Patch] = ()
    for axes, (title, names, values) in zip(
        np.atleast_1d(made.subplots(len(parts), 1, height_ratios=[n + 1 for n in rows])), parts, strict=True
    ):
        handles = boxes(axes, names, values, "wait (count and total at the right)")
        titled(axes, title)
    legend_below(made, list(handles))
    return made


def preemption(trace: Source) -> Figure:
    """Return who gave way to whom most often."""
    table = preemption_counts(trace)
    if not len(table):
        return empty("preemptions")
    total = int(table["count"].sum())
    shown = table.head(_ROWS).iloc[::-1]
    made = figure(9, 1.5 + 0.3 * len(shown))
    axes = made.add_subplot()
    y = np.arange(len(shown))
    kernel = shown["in_kernel"].to_numpy()
    axes.barh(y, kernel, height=0.6, color=COLOURS[0], linewidth=0)
    axes.barh(y, shown["count"] - kernel, left=kernel, height=0.6, color=COLOURS[1], linewidth=0)
    axes.set_yticks(
        y, [f"{short(a, 18)} for {short(b, 18)}" for a, b in zip(shown["comm"], shown["by_comm"], strict=True)]
    )
    axes.set_xlabel("times a task gave way although it could run")
    counts_axis(axes.xaxis)
    titled(axes, f"Preemptions: {total:,}, the most frequent pairs")
    handles = [
        Patch(color=COLOURS[0], label="in the kernel"),
        Patch(color=COLOURS[1], label="on the way to user mode, or gave way"),
    ]
    legend_below(made, handles)
    return made


def migration(trace: Source) -> Figure:
    """Return between which CPUs tasks moved."""
    moves = migrations(trace)
    if not len(moves):
        return empty("moves between CPUs")
    cpus = sorted({*moves["from_cpu"].tolist(), *moves["to_cpu"].tolist()})
    table = pd.crosstab(moves["from_cpu"], moves["to_cpu"]).reindex(index=cpus, columns=cpus, fill_value=0)
    size = 0.5 if len(cpus) <= 24 else 12 / len(cpus)
    made = figure(3 + size * len(cpus), 2 + size * len(cpus))
    axes = made.add_subplot()
    grid = table.to_numpy(np.float64)
    mesh = axes.imshow(np.ma.masked_equal(grid, 0), cmap=SHADES, vmin=0)
    if len(cpus) <= 12:
        for i, j in np.argwhere(grid > 0):
            dark = grid[i, j] > 0.55 * grid.max()
            axes.text(
                j, i, f"{int(grid[i, j]):,}", ha="center", va="center", fontsize=8, color="white" if dark else INK
            )
    else:
        counts_axis(made.colorbar(mesh, ax=axes, label="moves").ax.yaxis)
    step = max(1, len(cpus) // 16)
    axes.set_xticks(range(0, len(cpus), step), [str(cpu) for cpu in cpus[::step]])
    axes.set_yticks(range(0, len(cpus), step), [str(cpu) for cpu in cpus[::step]])
    axes.set_xlabel("to CPU")
    axes.set_ylabel("from CPU")
    axes.set_title(f"{len(moves):,} moves between CPUs", loc="left", fontsize=11)
    return made
