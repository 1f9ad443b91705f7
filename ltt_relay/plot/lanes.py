# SPDX-License-Identifier: GPL-2.0-or-later
"""Lanes of time filled in proportion: how a million intervals are drawn as true as ten."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from ltt_relay.analysis.usage import spread

__all__ = ("fill_lane", "filled")


def filled(begin: np.ndarray, end: np.ndarray, row: np.ndarray, rows: int, edges: np.ndarray) -> np.ndarray:
    """Return how much of each bin of time the intervals of each row fill, as parts of it; shape (rows, bins)."""
    interval, place, ns = spread(begin, end, edges)
    bins = edges.size - 1
    total = np.bincount(row[interval] * bins + place, weights=ns, minlength=rows * bins)
    parts: np.ndarray = total.reshape(rows, bins) / np.diff(edges)
    return parts


def fill_lane(axes: Axes, x: np.ndarray, low: float, height: float, parts: np.ndarray, colours: list[str]) -> None:
    """Draw the parts of each bin stacked from `low`; full height is a whole bin."""
    floor = np.full(x.size - 1, low)
    for part, colour in zip(parts, colours, strict=True):
        top = floor + np.clip(part, 0, 1) * height
        if part.any():
            axes.fill_between(
                x, np.r_[floor, floor[-1]], np.r_[top, top[-1]], step="post", color=colour, linewidth=0, rasterized=True
            )
        floor = top
