# SPDX-License-Identifier: GPL-2.0-or-later
"""Losses as data: what the counters in the packet headers say was not recorded, and when."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from ltt_relay.formats.ltt3 import LOST_REASONS

__all__ = ("REASONS", "gap_frame", "total_lost")

#: Reasons of rows in `Trace.gaps`: those of the format, and records overwritten by a flight recorder.
REASONS: Final = (*LOST_REASONS, "overwritten")


def _stream_rows(stream: np.ndarray, cpu: int) -> list[tuple[int, int, int, int, str]]:
    rows = []
    for reason in REASONS:
        counter = stream[f"lost_{reason}" if reason != "overwritten" else reason].astype(np.int64)
        grown = np.diff(counter, prepend=0)
        for i in np.flatnonzero(grown > 0):
            before = int(stream["timestamp_end"][i - 1]) if i else int(stream["timestamp_begin"][i])
            # Without a free sub-buffer there is no packet to lose from: those records fell before this one began.
            after = stream["timestamp_begin" if reason in {"full", "overwritten"} else "timestamp_end"][i]
            rows.append((cpu, before, max(before, int(after)), int(grown[i]), reason))
    return rows


def gap_frame(packets: np.ndarray, offset: int) -> pd.DataFrame:
    """Return the gaps of an index: cpu, begin, end (UTC), count, reason; ordered by begin, then cpu."""
    rows: list[tuple[int, int, int, int, str]] = []
    for stream_id, cpu in np.unique(packets[["stream_id", "stream_instance_id"]]):
        chosen = (packets["stream_id"] == stream_id) & (packets["stream_instance_id"] == cpu)
        rows += _stream_rows(packets[chosen], int(cpu))
    rows.sort(key=lambda row: (row[1], row[0]))
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), ()]
    time = [pd.DatetimeIndex(np.array(c, np.int64) + offset, tz="UTC") for c in columns[1:3]]
    return pd.DataFrame(
        {
            "cpu": np.array(columns[0], np.uint16),
            "begin": time[0],
            "end": time[1],
            "count": np.array(columns[3], np.int64),
            "reason": pd.Categorical(columns[4], categories=REASONS),
        }
    )


def total_lost(packets: np.ndarray) -> dict[str, int]:
    """Return the sums over all streams, by reason."""
    totals = dict.fromkeys(REASONS, 0)
    for stream_id, cpu in np.unique(packets[["stream_id", "stream_instance_id"]]):
        chosen = packets[(packets["stream_id"] == stream_id) & (packets["stream_instance_id"] == cpu)]
        for reason in REASONS:
            counter = chosen[f"lost_{reason}" if reason != "overwritten" else reason]
            totals[reason] += int(counter.max())
    return totals
