# SPDX-License-Identifier: GPL-2.0-or-later
"""Where a walker puts what it finds: the base columns of each kind, and where its records lie in the buffer."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

__all__ = ("Sink",)


class Sink(NamedTuple):
    """Arrays by kind, and the memory that they point into.

    wanted: whether records of the kind are asked for. rows: where its next row goes, counted over all windows, up to
    `limit`. time, cpu, tid: place of row 0 in `out64`, `out16` and `out32`, -1 if not asked for. at: the same in
    `places` and `stops` for the records of this window (below 0 where earlier windows had rows): bytes in the buffer
    where the payload begins, and, for kinds with `variable` payloads, where it ends.
    """

    wanted: np.ndarray
    rows: np.ndarray
    limit: np.ndarray
    time: np.ndarray
    cpu: np.ndarray
    tid: np.ndarray
    at: np.ndarray
    variable: np.ndarray
    out16: np.ndarray
    out32: np.ndarray
    out64: np.ndarray
    places: np.ndarray
    stops: np.ndarray
