# SPDX-License-Identifier: GPL-2.0-or-later
"""Wake-up latency: its distribution with percentiles, and how it went over time."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, NullLocator

from ltt_relay.analysis import wakeup_latencies
from ltt_relay.analysis.base import Source, duration_text, span
from ltt_relay.plot.style import (
    COLOURS,
    GAP,
    SHADES,
    bins_for,
    counts_axis,
    duration_axis,
    empty,
    figure,
    shade_gaps,
    time_axis,
    titled,
)

__all__ = ("distribution", "heat", "latency", "latency_heatmap")


def distribution(axes: Axes, values: np.ndarray, label: str, count: str) -> None:
    """Draw a histogram of durations on a logarithmic axis, with the median and two high percentiles marked."""
    values = values.clip(1)
    low, high = float(values.min()) / 1.2, float(values.max()) * 1.2
    axes.hist(values, bins=np.geomspace(low, high, 81).tolist(), color=COLOURS[0])
    duration_axis(axes.xaxis, label, low, high)
    axes.set_ylabel(count)
    most = axes.get_ylim()[1]
    height = 1.3 * most
    counts_axis(axes.yaxis)
    # No ticks beside the percentiles, above all bars.
    axes.set_yticks([tick for tick in axes.yaxis.get_major_locator().tick_values(0, most) if tick <= most])
    axes.set_ylim(0, height)
    for rank, percent in enumerate((50, 95, 99)):
        at = float(np.percentile(values, percent))
        axes.axvline(at, color=GAP, linewidth=1, linestyle=(0, (4, 2)))
        right = np.log(at / low) > 0.8 * np.log(high / low)
        text = f" p{percent} {duration_text(at, 3)} "
        axes.text(
            at, height * (0.98 - 0.08 * rank), text, ha="right" if right else "left", va="top", color=GAP,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5, "alpha": 0.8},
        )  # fmt: skip


def heat(axes: Axes, trace: Source, time: np.ndarray, values: np.ndarray, label: str, count: str) -> None:
    """Draw how many durations of each length there were over time: darker is more, on a logarithmic scale."""
    first, last = span(trace)
    values = values.clip(1)
    low, high = float(values.min()) / 1.2, float(values.max()) * 1.2
    across = np.linspace(0, max((last - first) / 1e9, 1e-9), bins_for(4 * time.size, 180) + 1)
    up = np.geomspace(low, high, bins_for(2 * time.size, 60) + 1)
    counts, _, _ = np.histogram2d((time - first) / 1e9, values, bins=[across, up])
    shown = np.ma.masked_equal(counts.T, 0)
    most = max(float(counts.max()), 2.0)
    mesh = axes.pcolormesh(across, up, shown, norm=LogNorm(1, most), cmap=SHADES, rasterized=True, linewidth=0)
    duration_axis(axes.yaxis, label, low, high)
    time_axis(axes, trace)
    steps = (1, 2, 5) if most < 200 else (1,)
    ticks = [step * 10.0**power for power in range(10) for step in steps if step * 10.0**power <= most]
    bar = axes.figure.colorbar(mesh, ax=axes, pad=0.01, format="{x:,.0f}", ticks=FixedLocator(ticks))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.set_label(count)
    bar.outline.set_visible(False)
    shade_gaps(axes, trace)


def latency(trace: Source) -> Figure:
    """Return the distribution of the time from being woken to running, on a logarithmic axis."""
    values = wakeup_latencies(trace)["latency_ns"].to_numpy()
    if not values.size:
        return empty("wake-ups")
    made = figure(9, 4.5)
    axes = made.add_subplot()
    distribution(axes, values, "wake-up latency (woken to running)", "wake-ups")
    titled(axes, f"Wake-up latency of {values.size:,} wake-ups")
    return made


def latency_heatmap(trace: Source) -> Figure:
    """Return wake-up latency over time: each column is a slice of time, each row a range of latencies."""
    each = wakeup_latencies(trace)
    if not len(each):
        return empty("wake-ups")
    made = figure(11, 4.5)
    axes = made.add_subplot()
    heat(
        axes, trace, each["run"].to_numpy(), each["latency_ns"].to_numpy(), "wake-up latency (woken to running)",
        "wake-ups in a cell",
    )  # fmt: skip
    titled(axes, f"Wake-up latency over time, {len(each):,} wake-ups")
    return made
