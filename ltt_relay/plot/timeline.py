# SPDX-License-Identifier: GPL-2.0-or-later
"""The timeline: for each CPU, who ran when, with the interrupts above and the markers over all."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ltt_relay.analysis import handler_intervals, run_intervals, soft_intervals
from ltt_relay.analysis.base import Source, named, require, span
from ltt_relay.plot.lanes import fill_lane, filled
from ltt_relay.plot.style import (
    COLOURS,
    INK,
    OTHERS,
    empty,
    figure,
    gap_patch,
    legend_below,
    seconds,
    shade_gaps,
    short,
    time_axis,
    top_names,
    unseen,
)

__all__ = ("timeline",)

_BINS = 1200
_MAX_MARKERS = 12
_MAX_CPUS = 128


def _markers(axes: Axes, trace: Source, height: float, width: float) -> None:
    if "marker" not in trace:
        return
    rows = require(trace, "marker", ["timestamp", "text"])
    if len(rows) > _MAX_MARKERS:
        return
    first, last = span(trace)
    level, free = 0, -np.inf
    letter = 0.08 / width * (last - first) / 1e9  # a wide one, as time
    texts = [short(text, 24) for text in rows["text"]]
    for time, text in zip(seconds(trace, rows["timestamp"]), texts, strict=True):
        # Where the text before does not end before this one, it goes above.
        level = (level + 1) % 4 if time < free else 0
        free = time + letter * (len(text) + 1)
        axes.axvline(time, color=INK, linewidth=0.8, linestyle=(0, (2, 2)))
        axes.annotate(
            text, (time, height), (2, 2 + 10 * level), textcoords="offset points", fontsize=8, color=INK,
            annotation_clip=False,
        )  # fmt: skip


def timeline(trace: Source, width: float = 12.0) -> Figure:
    """Return the picture: a lane per CPU, filled by the tasks that ran as far as they ran; interrupts on top.

    Time is cut into bins about a pixel wide; a bin is filled by colour in proportion to the time that each task had in
    it, so that a thousand short runs are as true as one long one. Empty is idle. Dotted lines are markers, if few.
    """
    runs = run_intervals(trace)
    if not len(runs):
        return empty("task switches")
    first, last = span(trace)
    edges = np.linspace(first, max(last, first + 1), _BINS + 1)
    busy = runs[runs["tid"] != 0]
    names = pd.Series(named(busy["comm"], busy["tid"])).astype(str)
    top = top_names(names, busy["end"] - busy["begin"])
    rank = names.map({name: i for i, name in enumerate(top)}).fillna(len(COLOURS)).to_numpy(np.int64)
    kinds = len(COLOURS) + 1
    there = sorted(set(runs["cpu"].tolist()))
    cpus = there[:_MAX_CPUS]
    lane_of = np.full(max(cpus) + 1, -1)
    lane_of[cpus] = np.arange(len(cpus))
    made = figure(width, 1.9 + sum(1.1 if i < 4 else 0.5 if i < 16 else 0.16 for i in range(len(cpus))))
    axes = made.add_subplot()
    x = (edges - first) / 1e9

    def parts(begin: np.ndarray, end: np.ndarray, cpu: np.ndarray, row: np.ndarray, rows: int) -> np.ndarray:
        chosen = np.isin(cpu, cpus)
        lane = lane_of[cpu[chosen]] * rows + row[chosen]
        return filled(begin[chosen], end[chosen], lane, len(cpus) * rows, edges).reshape(len(cpus), rows, -1)

    used = parts(busy["begin"].to_numpy(), busy["end"].to_numpy(), busy["cpu"].to_numpy(), rank, kinds)
    strip = []
    for entry, leave, intervals in (
        ("irq_handler_entry", "irq_handler_exit", handler_intervals),
        ("softirq_entry", "softirq_exit", soft_intervals),
    ):
        if entry in trace and leave in trace:
            each = intervals(trace)
            none = np.zeros(len(each), np.int64)
            strip.append(parts(each["begin"].to_numpy(), each["end"].to_numpy(), each["cpu"].to_numpy(), none, 1))
    for position in range(len(cpus)):
        base = float(len(cpus) - 1 - position)
        fill_lane(axes, x, base + 0.08, 0.68, used[position], [*COLOURS, OTHERS])
        if strip:
            # A soft interrupt contains the interrupts that came meanwhile: the larger of both is what was taken.
            taken = np.clip(np.maximum.reduce([part[position] for part in strip]), 0, 1)
            fill_lane(axes, x, base + 0.8, 0.14, taken, [INK])
        axes.axhline(base, color="#CCCCCC", linewidth=0.8)
    lost = shade_gaps(axes, trace, cpus)
    axes.set_yticks([len(cpus) - 1 - i + 0.42 for i in range(len(cpus))], [f"CPU {cpu}" for cpu in cpus])
    axes.tick_params(axis="y", labelsize=10 if len(cpus) <= 16 else 7)
    axes.set_ylim(0, len(cpus))
    time_axis(axes, trace)
    axes.spines[["top", "right"]].set_visible(False)
    _markers(axes, trace, len(cpus), width)
    legend = [Patch(color=colour, label=short(name)) for name, colour in zip(top, COLOURS, strict=False)]
    others = names.nunique() - len(top)
    if others > 0:
        legend.append(Patch(color=OTHERS, label=f"{others} other name{'s' if others > 1 else ''}"))
    if strip:
        legend.append(Patch(color=INK, label="interrupts (strip above)"))
    if lost:
        legend.append(gap_patch())
    legend_below(made, legend)
    some = f"; {len(cpus)} of {len(there)} CPUs" if len(cpus) < len(there) else ""
    title = f"Who ran where: filled as far as the CPU was used, white is idle{some}{unseen(trace, len(there))}"
    made.suptitle(title, x=0.01, ha="left", fontsize=11)
    return made
