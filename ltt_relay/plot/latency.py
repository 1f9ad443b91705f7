# SPDX-License-Identifier: GPL-2.0-or-later
"""Wake-up latency: a histogram with its percentiles."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from ltt_relay.analysis import wakeup_latencies
from ltt_relay.decode import Trace
from ltt_relay.plot.timeline import COLOURS

__all__ = ("latency",)


def _label(ns: float, position: object = None) -> str:
    for limit, unit, name in ((1e3, 1.0, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{ns / unit:g} {name}"
    return f"{ns / 1e9:g} s"


def latency(trace: Trace) -> Figure:
    """Return the distribution of the time from being woken to running, on a logarithmic axis."""
    values = wakeup_latencies(trace)["latency_ns"].to_numpy().clip(1)
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.add_subplot()
    bins = np.geomspace(values.min(), values.max() * 1.01, 80) if values.size else np.array([1.0, 10.0])
    axes.hist(values, bins=bins.tolist(), color=COLOURS[0])
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(_label))
    axes.set_xlabel("wake-up latency (woken to running)")
    axes.set_ylabel("wake-ups")
    axes.spines[["top", "right"]].set_visible(False)
    height = 1.15 * axes.get_ylim()[1]
    axes.set_ylim(0, height)
    for rank, percent in enumerate((50, 95, 99)):
        if values.size:
            at = float(np.percentile(values, percent))
            axes.axvline(at, color=COLOURS[5], linewidth=1, linestyle=(0, (4, 2)))
            text = f" p{percent} {_label(float(f'{at:.3g}'))}"
            axes.text(at, height * (0.97 - 0.08 * rank), text, ha="left", va="top", color=COLOURS[5])
    axes.set_title(f"{values.size:,} wake-ups", loc="left", fontsize=11)
    return figure
