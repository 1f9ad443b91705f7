# SPDX-License-Identifier: GPL-2.0-or-later
"""Pictures over time: CPU use, run queue, events, interrupts, page faults, requests under way."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ltt_relay.analysis import (
    block_requests,
    cpu_usage,
    event_rates,
    handler_intervals,
    queue_depth,
    run_queue,
    soft_intervals,
)
from ltt_relay.analysis.base import Source, bin_edges, load, named, require, span
from ltt_relay.analysis.usage import spread
from ltt_relay.plot.latency import heat
from ltt_relay.plot.style import (
    COLOURS,
    INK,
    OTHERS,
    bins_for,
    counts_axis,
    empty,
    figure,
    gap_patch,
    legend_below,
    rate_axis,
    shade_gaps,
    short,
    time_axis,
    titled,
    top_names,
    unseen,
)

__all__ = ("cpu", "faults", "interrupts", "io", "rates", "runqueue", "stacked")

_BINS: Final = 240


def stacked(axes: Axes, trace: Source, begin: pd.Series, key: pd.Series, value: pd.Series, bins: int) -> list[Patch]:
    """Draw values in bins of time as a stack, the heaviest key lowest; returns the legend's entries."""
    edges = bin_edges(trace, bins)
    first = span(trace)[0]
    place = np.searchsorted(edges, begin.to_numpy(), "right") - 1
    names = key.astype(str)
    top = top_names(names, value)
    rank = names.map({name: i for i, name in enumerate(top)}).fillna(len(top)).to_numpy(np.int64)
    table = np.bincount(rank * bins + place, weights=value.to_numpy(np.float64), minlength=(len(top) + 1) * bins)
    layers = table.reshape(len(top) + 1, bins)
    x = (edges - first) / 1e9
    floor = np.zeros(bins)
    handles = []
    others = names.nunique() - len(top)
    for layer, name, colour in zip(layers, [*top, ""], [*COLOURS[: len(top)], OTHERS], strict=True):
        above = floor + layer
        if layer.any():
            axes.fill_between(x, np.r_[floor, 0], np.r_[above, 0], step="post", color=colour, linewidth=0)
            handles.append(
                Patch(color=colour, label=short(name) if name else f"{others} other{'s' if others > 1 else ''}")
            )
        floor = above
    axes.set_ylim(0, max(float(floor.max()) * 1.05, 1e-9))
    time_axis(axes, trace)
    if shade_gaps(axes, trace):
        handles.append(gap_patch())
    return handles


def cpu(trace: Source) -> Figure:
    """Return how many CPUs each task name used over time, stacked."""
    usage = cpu_usage(trace, _BINS)
    if not len(usage):
        return empty("running tasks")
    made = figure(11, 4.2)
    axes = made.add_subplot()
    handles = stacked(axes, trace, usage["begin"], usage["comm"], usage["cpus"], _BINS)
    cpus = int(trace.info["cpus"])
    most = axes.get_ylim()[1]
    axes.axhline(cpus, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    # Of many CPUs that are mostly idle, those in use.
    whole = most > cpus / 5
    axes.set_ylim(0, cpus * 1.08 if whole else most * 1.2)
    axes.set_ylabel("CPUs in use")
    rate_axis(axes.yaxis)
    line = f"dashed: all {cpus}" if cpus > 1 else "dashed: the whole CPU"
    left_out = unseen(trace, require(trace, "sched_switch", ["cpu"])["cpu"].nunique())
    titled(axes, f"CPU use by task name ({line if whole else f'there are {cpus}'}){left_out}")
    legend_below(made, handles)
    return made


def rates(trace: Source) -> Figure:
    """Return how many records a second there were of each event, stacked; where records were lost is hatched."""
    bins = bins_for(int(trace.catalog["count"].sum()), _BINS)
    table = event_rates(trace, bins)
    if not len(table):
        return empty("events")
    made = figure(11, 4.2)
    axes = made.add_subplot()
    handles = stacked(axes, trace, table["begin"], table["event"], table["rate_hz"], bins)
    axes.set_ylabel("events per second")
    rate_axis(axes.yaxis)
    titled(axes, f"Events over time: {int(table['count'].sum()):,} records, {trace.info['lost']:,} lost")
    legend_below(made, handles)
    return made


def runqueue(trace: Source) -> Figure:
    """Return how many tasks waited for a CPU over time: on average, and at most."""
    changes = run_queue(trace)
    if not len(changes):
        return empty("waits for a CPU")
    edges = bin_edges(trace, _BINS)
    time, waiting = changes["time"].to_numpy(), changes["waiting"].to_numpy()
    interval, place, ns = spread(time[:-1], time[1:], edges)
    mean = np.bincount(place, weights=ns * waiting[interval], minlength=_BINS) / np.diff(edges)
    most = np.zeros(_BINS)
    np.maximum.at(most, place, waiting[interval])
    made = figure(11, 3.6)
    axes = made.add_subplot()
    x = (edges - span(trace)[0]) / 1e9
    axes.fill_between(x, np.r_[most, 0], step="post", color=COLOURS[4], linewidth=0)
    axes.fill_between(x, np.r_[mean, 0], step="post", color=COLOURS[0], linewidth=0)
    axes.set_ylim(0, float(most.max()) * 1.08 + 0.1)
    time_axis(axes, trace)
    axes.set_ylabel("tasks waiting for a CPU")
    counts_axis(axes.yaxis)
    handles = [Patch(color=COLOURS[4], label="at most"), Patch(color=COLOURS[0], label="on average")]
    if shade_gaps(axes, trace):
        handles.append(gap_patch())
    titled(axes, "Run queue: tasks that could run but did not")
    legend_below(made, handles)
    return made


def interrupts(trace: Source) -> Figure:
    """Return how much of the CPUs' time interrupts and soft interrupts took over time, by handler."""
    parts = []
    for entry, leave, intervals, column in (
        ("irq_handler_entry", "irq_handler_exit", handler_intervals, "name"),
        ("softirq_entry", "softirq_exit", soft_intervals, "vec"),
    ):
        if entry in trace and leave in trace:
            each = intervals(trace)
            label = each[column].astype(object)
            if column == "name":
                label = label.where(each["name"].notna(), each["irq"])
            kind = "irq " if column == "name" else "softirq "
            parts.append(each[["begin", "end"]].assign(name=kind + label.astype(str)))
    if not parts:
        load(trace, {"irq_handler_entry": ["timestamp"], "irq_handler_exit": ["timestamp"]})
    each = pd.concat(parts, ignore_index=True)
    if not len(each):
        return empty("interrupts")
    edges = bin_edges(trace, _BINS)
    interval, place, ns = spread(each["begin"].to_numpy(), each["end"].to_numpy(), edges)
    share = 100 * ns / (np.diff(edges)[place] * int(trace.info["cpus"]))
    made = figure(11, 4.2)
    axes = made.add_subplot()
    names = each["name"].iloc[interval].reset_index(drop=True)
    handles = stacked(axes, trace, pd.Series(edges[place]), names, pd.Series(share), _BINS)
    axes.set_ylabel("time in handlers (% of all CPUs)")
    titled(axes, f"Interrupts over time: {len(each):,} handlers; a soft interrupt's time includes interrupts meanwhile")
    legend_below(made, handles, 4)
    return made


def faults(trace: Source) -> Figure:
    """Return how many page faults a second each task name had over time, stacked."""
    parts = [
        require(trace, event, ["timestamp", "tid", "comm"])
        for event in ("page_fault_user", "page_fault_kernel")
        if event in trace
    ]
    if not parts:
        require(trace, "page_fault_user", ["timestamp"])
    rows = pd.concat(parts, ignore_index=True)
    bins = bins_for(len(rows), _BINS)
    edges = bin_edges(trace, bins)
    place = (np.searchsorted(edges, rows["timestamp"].to_numpy(), "right") - 1).clip(0, bins - 1)
    made = figure(11, 3.8)
    axes = made.add_subplot()
    rate = pd.Series(1e9 / np.diff(edges)[place])
    tid = rows["tid"] if "tid" in rows else pd.Series(-1, rows.index)
    names = pd.Series(named(rows["comm"] if "comm" in rows else [None] * len(rows), tid))
    handles = stacked(axes, trace, pd.Series(edges[place]), names, rate, bins)
    axes.set_ylabel("page faults per second")
    rate_axis(axes.yaxis)
    titled(axes, f"Page faults over time: {len(rows):,}")
    legend_below(made, handles)
    return made


def io(trace: Source) -> Figure:
    """Return block I/O over time: latency as a heat map, and how many requests each device had under way."""
    each = block_requests(trace)
    if not len(each):
        return empty("block requests")
    made = figure(11, 6.2)
    above, below = made.subplots(2, 1, sharex=True, height_ratios=[3, 2])
    latency = each["latency_ns"].to_numpy()
    heat(above, trace, each["complete"].to_numpy(), latency, "latency (issue to completion)", "requests in a cell")
    above.set_xlabel("")
    titled(above, f"Block I/O: {len(each):,} requests, {each['bytes'].sum() / 1e6:,.1f} MB")
    edges = bin_edges(trace, _BINS)
    x = (edges - span(trace)[0]) / 1e9
    depths = queue_depth(trace)
    for (device, some), colour in zip(depths.groupby("device", observed=True), COLOURS, strict=False):
        time, depth = some["time"].to_numpy(), some["depth"].to_numpy()
        interval, place, _ = spread(time[:-1], time[1:], edges)
        most = np.zeros(_BINS)
        np.maximum.at(most, place, depth[interval])
        below.step(x, np.r_[most, 0], where="post", color=colour, linewidth=1.2, label=f"device {device}")
    below.set_ylim(0, None)
    below.set_ylabel("most under way")
    counts_axis(below.yaxis)
    time_axis(below, trace)
    titled(below, "Requests under way")
    handles: list[Any] = list(below.get_lines())
    if shade_gaps(below, trace):
        handles.append(gap_patch())
    legend_below(made, handles)
    return made
