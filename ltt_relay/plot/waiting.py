# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures of waiting: what tasks did, time off the CPU as an icicle, who woke whom, the critical path of a task."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ltt_relay.analysis import critical_path, main_task, off_cpu_time, task_states, wakeup_pairs
from ltt_relay.analysis.base import Source, duration_text, named, span
from ltt_relay.analysis.sched import STATES
from ltt_relay.plot.lanes import fill_lane, filled
from ltt_relay.plot.style import (
    INK,
    SHADES,
    empty,
    figure,
    gap_patch,
    legend_below,
    shade_gaps,
    short,
    time_axis,
    titled,
    top_names,
)

__all__ = ("critical", "offcpu", "tasks", "wakeups")

#: Colours of the levels of the icicle: lighter ones so that text can be read on them.
_LEVELS: Final = ("#9CC9E8", "#F2CF8E", "#8FD3BD", "#E3B7CF")
_STATE_COLOURS: Final = {
    "running": "#009E73", "woken": "#E69F00", "preempted": "#D55E00", "sleeping": "#56B4E9", "blocked": "#0072B2",
    "stopped": "#CC79A7", "dead": "#999999",
}  # fmt: skip
_ROWS: Final = 14
#: Parts of the whole: narrower boxes are drawn as one, and in wider ones than the other a line of text fits upright.
_NARROW: Final = 0.006
_UPRIGHT: Final = 0.013
_BOXES: Final = 24
_BINS: Final = 1000
_TASKS: Final = 24


def _box(axes: Axes, left: float, width: float, depth: int, name: str, total: float, colour: str) -> None:
    """Draw one box with its name and time, or as much of them as there is room for; upright if it is narrow."""
    box = Rectangle((left, -depth - 1), width, 0.96, edgecolor="white", linewidth=0.8, facecolor=colour)
    axes.add_patch(box)
    room, text = int(width * 165), ""
    if room >= 8:
        text = f"{short(name, room)}\n{duration_text(total, 3)}"
    elif width >= _UPRIGHT:
        text = short(name, 13)
    if text:
        rotation = 0 if room >= 8 else 90
        axes.text(
            left + width / 2, -depth - 0.52, text, ha="center", va="center", fontsize=8, color=INK, rotation=rotation
        )


def _boxes(axes: Axes, table: pd.DataFrame, levels: list[str], left: float, depth: int, whole: float) -> None:
    """Draw the groups of one level side by side, heaviest first, and below each its own groups; the narrow as one."""
    names = table[levels[0]]
    sums = table.groupby(names, observed=True)["total_ns"].sum().sort_values(ascending=False, kind="stable")
    shown = min(int((sums >= _NARROW * whole).sum()), _BOXES)
    rest = sums.iloc[shown:]
    groups = [(str(name), total, names == name, _LEVELS[depth]) for name, total in sums.iloc[:shown].items()]
    if len(rest):
        label = f"{len(rest)} others" if len(rest) > 1 else str(rest.index[0])
        groups.append((label, rest.sum(), names.isin(rest.index), "#D5D5D5"))
    for name, total, chosen, colour in groups:
        _box(axes, left, total / whole, depth, name, float(total), colour)
        if len(levels) > 1:
            _boxes(axes, table[chosen], levels[1:], left, depth + 1, whole)
        left += total / whole


def offcpu(trace: Source) -> Figure:
    """Return time off the CPU as an icicle: task name, the system call it waited in, the state, what ended the wait.

    A box is as wide as the time of all waits in it together; waits of several tasks add up, so the whole can be longer
    than the trace. Kernel threads wait for work and are left out.
    """
    table = off_cpu_time(trace)
    in_call = table[table["syscall"].notna()]
    if len(in_call):
        table = in_call
    if not len(table):
        return empty("waits of tasks")
    whole = float(table["total_ns"].sum())
    shown = pd.DataFrame({column: table[column].astype(object) for column in ("comm", "syscall", "state", "context")})
    shown["comm"] = named(table["comm"], table["tid"]).astype(object)
    shown = shown.where(shown.notna(), "(unknown)").astype(str)
    shown["context"] = shown["context"].replace("task", "a task")
    shown["total_ns"] = table["total_ns"]
    made = figure(12, 4.4)
    axes = made.add_subplot()
    _boxes(axes, shown, ["comm", "syscall", "state", "context"], 0.0, 0, whole)
    axes.set_xlim(0, 1)
    axes.set_ylim(-4.05, 0.02)
    axes.set_yticks([-0.5, -1.5, -2.5, -3.5], ["task name", "system call", "state", "ended by"])
    axes.tick_params(length=0)
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
    axes.set_xlabel(f"share of all waiting in system calls ({duration_text(whole, 3)} of all tasks together)")
    titled(axes, "Off the CPU: where tasks waited, and what ended it")
    axes.spines[["left"]].set_visible(False)
    return made


def wakeups(trace: Source) -> Figure:
    """Return who woke whom: a matrix of the names that woke and were woken most."""
    pairs = wakeup_pairs(trace)
    if not len(pairs):
        return empty("wake-ups")
    waker = pairs["waker_comm"].astype(object).where(pairs["context"] == "task", pairs["context"].astype(object))
    waker, woken = waker.fillna("(unknown)").astype(str), pairs["comm"].astype(object).fillna("(unknown)").astype(str)
    rows, columns = top_names(waker, pairs["count"], _ROWS), top_names(woken, pairs["count"], _ROWS)
    kept = waker.isin(rows) & woken.isin(columns)
    grid = np.zeros((len(rows), len(columns)))
    at = ([rows.index(name) for name in waker[kept]], [columns.index(name) for name in woken[kept]])
    np.add.at(grid, at, pairs["count"][kept].to_numpy())
    some: np.ndarray = grid.sum(axis=1) > 0
    grid, rows = grid[some], [name for name, there in zip(rows, some, strict=True) if there]
    made = figure(3.4 + 0.55 * len(columns), 2.4 + 0.34 * len(rows))
    axes = made.add_subplot()
    norm = LogNorm(1, max(float(grid.max()), 2))
    axes.imshow(np.ma.masked_equal(grid, 0), norm=norm, cmap=SHADES, aspect="auto")
    for i, j in np.argwhere(grid > 0):
        dark = norm(grid[i, j]) > 0.55
        axes.text(j, i, f"{int(grid[i, j]):,}", ha="center", va="center", fontsize=7, color="white" if dark else INK)
    axes.set_xticks(range(len(columns)), [short(name, 18) for name in columns], rotation=40, ha="right")
    axes.set_yticks(range(len(rows)), [short(name) for name in rows])
    axes.set_xlabel("woken")
    axes.set_ylabel("woken by")
    shown, all_ = int(grid.sum()), int(pairs["count"].sum())
    count = f"{all_:,} wake-ups" if shown == all_ else f"{shown:,} of {all_:,} wake-ups, the most frequent names"
    axes.set_title(f"Who woke whom: {count}", loc="left", fontsize=11)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return made


def _state_lanes(
    trace: Source, states: pd.DataFrame, lane: np.ndarray, labels: list[str], colours: dict[str, str]
) -> tuple[Figure, Axes]:
    """Draw intervals with a state in lanes of time, the first on top."""
    made = figure(12, 1.9 + 0.36 * len(labels))
    axes = made.add_subplot()
    first, last = span(trace)
    edges = np.linspace(first, max(last, first + 1), _BINS + 1)
    code = states["state"].cat.codes.to_numpy().astype(np.int64)
    row = lane * len(STATES) + code
    parts = filled(states["begin"].to_numpy(), states["end"].to_numpy(), row, len(labels) * len(STATES), edges)
    palette = [colours[state] for state in STATES]
    for at in range(len(labels)):
        some = parts[at * len(STATES) : (at + 1) * len(STATES)]
        fill_lane(axes, (edges - first) / 1e9, len(labels) - 1 - at + 0.1, 0.8, some, palette)
    axes.set_yticks([len(labels) - 0.5 - i for i in range(len(labels))], labels)
    axes.set_ylim(0, len(labels))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", color="#EEEEEE")
    axes.set_axisbelow(True)
    time_axis(axes, trace)
    handles = [Patch(color=colours[state], label=state) for state in STATES if (states["state"] == state).any()]
    if shade_gaps(axes, trace):
        handles.append(gap_patch())
    legend_below(made, handles, 8)
    return made, axes


def tasks(trace: Source) -> Figure:
    """Return what each task did over time, a lane for each of those that ran or waited for a CPU longest."""
    states = task_states(trace)
    if not len(states):
        return empty("tasks")
    awake = states["duration_ns"].where(states["state"].isin(["running", "woken", "preempted"]), 0)
    most = awake.groupby(states["tid"]).sum().nlargest(_TASKS)
    chosen = states[states["tid"].isin(most.index)]
    lane = chosen["tid"].map({tid: i for i, tid in enumerate(most.index)}).to_numpy(np.int64)
    # Of names that a task had one after the other, the last.
    comm = pd.Series(named(chosen["comm"], chosen["tid"]), chosen.index).groupby(chosen["tid"]).last()
    labels = [name if name == f"task {tid}" else f"{short(name, 18)} {tid}" for tid, name in comm[most.index].items()]
    made, axes = _state_lanes(trace, chosen, lane, labels, _STATE_COLOURS | {"sleeping": "#DCEBF5"})
    of = f"{len(most)} of {states['tid'].nunique():,} tasks, " if len(most) < states["tid"].nunique() else ""
    titled(axes, f"What each task did: {of}longest awake first")
    return made


def critical(trace: Source, tid: int | None = None) -> Figure:
    """Return the critical path of a task (`main_task` if none is named): a lane per name, coloured by state."""
    tid = main_task(trace) if tid is None else tid
    path = critical_path(trace, tid)
    if not len(path):
        return empty("critical path")
    names = pd.Series(named(path["comm"], path["tid"])).astype(str)
    top = top_names(names, path["duration_ns"], 12)
    lanes = [*top, "others"] if names.nunique() > len(top) else top
    lane = names.map({name: i for i, name in enumerate(top)}).fillna(len(top)).to_numpy(np.int64)
    totals = path.groupby(lane)["duration_ns"].sum()
    labels = [f"{short(name, 20)}  {duration_text(totals.get(i, 0), 3)}" for i, name in enumerate(lanes)]
    made, axes = _state_lanes(trace, path, lane, labels, _STATE_COLOURS)
    owner = names[path["tid"] == tid]
    name = owner.iloc[-1] if len(owner) else "task"
    titled(axes, f"Critical path of {short(name)} ({tid}): what its time was spent on, by task name")
    return made
