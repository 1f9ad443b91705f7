# SPDX-License-Identifier: GPL-2.0-or-later
"""What all pictures share: colours, axes of time and of durations, shaded gaps, an empty picture that says so."""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import cache
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullFormatter, NullLocator

from ltt_relay.analysis.base import Source, duration_text, gap_times, origin, span

__all__ = (
    "COLOURS", "GAP", "INK", "OTHERS", "SHADES", "bins_for", "counts_axis", "duration_axis", "empty", "figure",
    "gap_patch", "legend_below", "rate_axis", "seconds", "shade_gaps", "short", "time_axis", "titled", "top_names",
    "unseen",
)  # fmt: skip

#: Okabe and Ito's palette, told apart by colour-blind people; grey is for all others, red stripes are for losses.
COLOURS: Final = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442")
OTHERS: Final = "#999999"
INK: Final = "#222222"
GAP: Final = "#D55E00"
#: From few to many.
SHADES: Final = LinearSegmentedColormap.from_list("shades", ["#B5D5EC", "#56B4E9", "#0072B2", "#08306B"])
_UNITS: Final = (
    (2e-6, 1e9, "ns"), (2e-3, 1e6, "µs"), (2.0, 1e3, "ms"), (600.0, 1.0, "s"), (36_000.0, 1 / 60, "min"),
    (np.inf, 1 / 3600, "h"),
)  # fmt: skip
_MAX_GAPS: Final = 500
_NOTEBOOK_DPI: Final = 90
#: Where records were lost. The colour is enough where a program that draws SVG knows no hatching.
_LOST: Final[dict[str, Any]] = {
    "facecolor": GAP + "73", "edgecolor": GAP, "hatch": "////", "linewidth": 0, "zorder": 3
}  # fmt: skip


class Picture(Figure):
    """A figure that a notebook shows by itself: those of pyplot are shown by pyplot, which is not used here."""

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=_NOTEBOOK_DPI)
        return buffer.getvalue()


def figure(width: float, height: float) -> Figure:
    """Return a figure without pyplot, so that it needs no display and is freed with its last name."""
    return Picture(figsize=(width, height), layout="constrained")


def titled(axes: Axes, text: str) -> None:
    """Put a title over the axes, and take the frame's upper and right line away."""
    axes.set_title(text, loc="left", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def empty(what: str) -> Figure:
    """Return a picture that says there was none of something."""
    made = figure(9, 2)
    axes = made.add_subplot()
    axes.text(0.5, 0.5, f"no {what} in this trace", ha="center", va="center", fontsize=13, color=INK)
    axes.set_axis_off()
    return made


def short(name: object, length: int = 26) -> str:
    """Return a name cut to a length, in letters that the font has; between dollars matplotlib would see a formula."""
    text = "(unknown)" if name is None or (isinstance(name, float) and np.isnan(name)) else str(name)
    text = text if len(text) <= length else text[: length - 1] + "…"
    if not text.isascii() or not text.isprintable():
        known = _characters()
        text = "".join(
            letter if letter.isprintable() and ord(letter) in known else "\N{REPLACEMENT CHARACTER}" for letter in text
        )
    return text.replace("$", r"\$")


@cache
def _characters() -> frozenset[int]:
    """What the font can draw."""
    return frozenset(get_font(findfont(FontProperties())).get_charmap())


def duration_axis(axis: Any, label: str, low: float, high: float) -> None:
    """Make an axis of durations logarithmic, with a tick at every power of ten, or at more if there are few."""
    low, high = max(low, 1.0), max(high, 2.0)
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    steps: tuple[float, ...] = (1,) if len(powers) > 4 else (1, 2, 5)
    if high < 10 * low:
        steps = (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": (low, high)})
    axis.set_major_locator(FixedLocator([step * 10.0**power for power in powers for step in steps]))
    axis.set_major_formatter(FuncFormatter(lambda ns, _: duration_text(ns)))
    axis.set_minor_locator(NullLocator())
    axis.set_minor_formatter(NullFormatter())
    axis.set_label_text(label)


def seconds(trace: Source, ns: Any) -> Any:
    """Return times as seconds since the trace's begin."""
    return (np.asarray(ns, np.int64) - span(trace)[0]) / 1e9


def bins_for(records: int, most: int = 240) -> int:
    """Return how many bins of time are enough for some records: with few of them each would be a needle."""
    return int(np.clip(records // 8, 24, most))


def counts_axis(axis: Any) -> None:
    """Make an axis of counts: whole numbers, with commas."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axis.set_major_formatter("{x:,.0f}")


def rate_axis(axis: Any) -> None:
    """Make an axis of things per second: with commas, and digits behind the point if they are few."""
    axis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}" if x >= 10 or x == int(x) else f"{x:.3g}"))


def time_axis(axes: Axes, trace: Source) -> None:
    """Make x the time since the trace's begin, over all of it; of a window, over that."""
    first, last = span(trace)
    before, length = (first - origin(trace)) / 1e9, max((last - first) / 1e9, 1e-9)
    factor, unit = next((factor, unit) for limit, factor, unit in _UNITS if length < limit)
    # Round in the unit that is shown.
    nice = MaxNLocator(10, steps=[1, 2, 2.5, 5, 10]).tick_values(before * factor, (before + length) * factor)
    axes.xaxis.set_major_locator(FixedLocator((np.asarray(nice) / factor - before).tolist()))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{(x + before) * factor:.12g}"))
    axes.set_xlim(0, length)
    axes.set_xlabel(f"time since the trace began ({unit})")


def unseen(trace: Source, seen: int) -> str:
    """Return what a title says of CPUs on which no task switched, so that nobody knows who ran there; or ""."""
    count = int(trace.info["cpus"]) - seen
    return f"; {count} CPU{'s' * (count > 1)} without a switch left out" if count > 0 else ""


def shade_gaps(axes: Axes, trace: Source, cpus: Sequence[int] | None = None) -> bool:
    """Hatch where records were lost, with `cpus` in the lane of each, the first on top; returns whether any were."""
    gaps = gap_times(trace)
    shown = gaps.nlargest(_MAX_GAPS, "count")
    low, high = span(trace)
    # A gap is to be seen, however short: at least a pixel or so.
    least = (high - low) / 1e9 / 800
    for cpu, begin, end in zip(shown["cpu"], shown["begin"], shown["end"], strict=True):
        left, right = (begin - low) / 1e9, (end - low) / 1e9
        right = max(right, left + least)
        if cpus is None:
            axes.axvspan(left, right, **_LOST)
        elif cpu in cpus:
            base = len(cpus) - 1 - list(cpus).index(cpu)
            axes.fill_between([left, right], base, base + 1, **_LOST)
    return bool(len(gaps))


def gap_patch() -> Patch:
    """Return the legend's entry for gaps."""
    return Patch(**_LOST, label="records lost")


def top_names(names: pd.Series, weights: pd.Series, count: int = len(COLOURS)) -> list[str]:
    """Return the names with the most weight, heaviest first."""
    totals = weights.groupby(names.astype(str).to_numpy()).sum()
    return list(totals.sort_values(ascending=False, kind="stable").index[:count])


def legend_below(made: Figure, handles: list[Any], columns: int = 5) -> None:
    """Put a legend under the figure."""
    made.legend(handles=handles, loc="outside lower center", ncols=min(len(handles), columns), frameon=False)
