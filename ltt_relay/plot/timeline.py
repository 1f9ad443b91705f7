# SPDX-License-Identifier: GPL-2.0-or-later
"""The timeline: for each CPU, who ran when, with the interrupts above."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from ltt_relay.analysis import run_intervals
from ltt_relay.analysis.base import pair, require
from ltt_relay.decode import Trace

__all__ = ("COLOURS", "timeline")

#: Okabe and Ito's palette, told apart by colour-blind people; grey is for all others.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
_OTHERS = "#999999"
_IRQ = "#000000"
_BINS = 1200


def _time_in_bins(begin: np.ndarray, end: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return how much of the intervals (disjoint, ordered) lies in each bin, as a part of it."""
    if not begin.size:
        return np.zeros(edges.size - 1)
    places = np.empty(2 * begin.size, np.float64)
    places[0::2], places[1::2] = begin, end
    total = np.repeat(np.cumsum(end - begin), 2).astype(np.float64)
    total[0::2] -= end - begin
    parts: np.ndarray = np.diff(np.interp(edges, places, total)) / np.diff(edges)
    return parts


def _irq_intervals(trace: Trace) -> pd.DataFrame | None:
    if "irq_handler_entry" not in trace or "irq_handler_exit" not in trace:
        return None
    begins = require(trace, "irq_handler_entry", ["timestamp", "cpu"])
    ends = require(trace, "irq_handler_exit", ["timestamp", "cpu"])
    i, j = pair(
        begins["timestamp"].to_numpy(), begins["cpu"].to_numpy(np.int64),
        ends["timestamp"].to_numpy(), ends["cpu"].to_numpy(np.int64),
    )  # fmt: skip
    frame = {"cpu": begins["cpu"].to_numpy()[i], "begin": begins["timestamp"].to_numpy()[i]}
    return pd.DataFrame({**frame, "end": ends["timestamp"].to_numpy()[j]})


def _lane(axes: Axes, edges: np.ndarray, low: float, height: float, parts: list[tuple[np.ndarray, str]]) -> None:
    """Draw parts of each bin stacked from `low`; full height is a whole bin."""
    floor = np.full(edges.size - 1, low)
    for part, colour in parts:
        top = floor + part * height
        axes.fill_between(edges, np.r_[floor, floor[-1]], np.r_[top, top[-1]], step="post", color=colour, linewidth=0)
        floor = top


def timeline(trace: Trace, width: float = 12.0) -> Figure:
    """Return the picture: a lane per CPU, filled by the tasks that ran as far as they ran; interrupts on top.

    Time is cut into bins narrower than a pixel's width or two; a bin is filled by colour in proportion to the time that
    each task had in it, so that a thousand short runs are as true as one long one. Empty is idle.
    """
    runs = run_intervals(trace)
    irqs = _irq_intervals(trace)
    busy = runs[runs["tid"] != 0]
    first, last = int(runs["begin"].min()), int(runs["end"].max())
    edges = np.linspace(first, last, _BINS + 1)
    names = busy["comm"].astype(str)
    totals = (busy["end"] - busy["begin"]).groupby(names).sum().sort_values(ascending=False)
    top = list(totals.index[: len(COLOURS)])
    cpus = sorted(set(runs["cpu"]))
    figure = Figure(figsize=(width, 1.6 + 1.1 * len(cpus)), layout="constrained")
    axes = figure.add_subplot()
    seconds = (edges - first) / 1e9
    for position, cpu in enumerate(cpus):
        base = float(len(cpus) - 1 - position)
        rows, labels = busy[busy["cpu"] == cpu], names[busy["cpu"] == cpu]
        parts = []
        for name, colour in zip(top, COLOURS, strict=False):
            chosen = rows[labels == name]
            parts.append((_time_in_bins(chosen["begin"].to_numpy(), chosen["end"].to_numpy(), edges), colour))
        others = rows[~labels.isin(top)]
        parts.append((_time_in_bins(others["begin"].to_numpy(), others["end"].to_numpy(), edges), _OTHERS))
        _lane(axes, seconds, base + 0.08, 0.68, parts)
        if irqs is not None:
            chosen = irqs[irqs["cpu"] == cpu].sort_values("begin")
            part = _time_in_bins(chosen["begin"].to_numpy(), chosen["end"].to_numpy(), edges)
            _lane(axes, seconds, base + 0.78, 0.14, [(np.clip(part, 0, 1), _IRQ)])
        axes.axhline(base, color="#CCCCCC", linewidth=0.8)
    _shade_gaps(axes, trace, first, cpus)
    axes.set_yticks([len(cpus) - 1 - i + 0.42 for i in range(len(cpus))], [f"CPU {cpu}" for cpu in cpus])
    axes.set_ylim(0, len(cpus))
    axes.set_xlim(0, seconds[-1])
    axes.set_xlabel("time since the first switch (s)")
    axes.spines[["top", "right"]].set_visible(False)
    legend = [Patch(color=colour, label=name) for name, colour in zip(top, COLOURS, strict=False)]
    if len(totals) > len(top):
        legend.append(Patch(color=_OTHERS, label=f"{len(totals) - len(top)} other tasks"))
    if irqs is not None:
        legend.append(Patch(color=_IRQ, label="interrupts (strip above)"))
    figure.legend(handles=legend, loc="outside lower center", ncols=min(len(legend), 5), frameon=False)
    axes.set_title("Who ran where: filled as far as the CPU was used, white is idle", loc="left", fontsize=11)
    return figure


def _shade_gaps(axes: Axes, trace: Trace, first: int, cpus: list[int]) -> None:
    offset = trace.info["wall_offset"]
    for gap in trace.gaps.head(500).itertuples(index=False):
        if gap.cpu not in cpus:
            continue
        base = len(cpus) - 1 - cpus.index(gap.cpu)
        begin = (gap.begin.value - offset - first) / 1e9
        end = (gap.end.value - offset - first) / 1e9
        axes.fill_between(
            [begin, end], base, base + 1, facecolor="none", edgecolor="#D55E00", hatch="////", linewidth=0
        )
