# SPDX-License-Identifier: GPL-2.0-or-later
"""Losses as data: what the counters in the packet headers say was not recorded, and when."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from ltt_relay.decode.source import Source

__all__ = ("gap_frame", "total_lost")

# Without a free sub-buffer there is no packet to lose from: such records fell before the packet that tells of them.
_BETWEEN_PACKETS: Final = frozenset({"full"})


def _first(packets: np.ndarray) -> np.ndarray:
    """Return the first row of each stream."""
    change = np.diff(packets["stream"]).astype(bool) | np.diff(packets["cpu"]).astype(bool)
    found: np.ndarray = np.flatnonzero(np.r_[packets.size > 0, change])
    return found


def _streams(packets: np.ndarray) -> list[np.ndarray]:
    """Rows of each stream, in order."""
    return np.split(np.arange(packets.size), _first(packets)[1:]) if packets.size else []


def _runs(packets: np.ndarray, stream: np.ndarray, counters: np.ndarray) -> list[tuple[int, int, int]]:
    """Where a flight recorder overwrote records: (the packet before or -1, the packet after, how many).

    What is overwritten is the oldest packet, while the newest tells of it: it fell before the first of those that hang
    together by their numbers, which are a snapshot.
    """
    first = np.flatnonzero(np.r_[True, np.diff(packets["sequence"][stream].astype(np.int64)) != 1])
    grown = np.diff(counters[np.r_[first[1:], stream.size] - 1], prepend=0)
    return [
        (int(stream[i - 1]) if i else -1, int(stream[i]), int(count))
        for i, count in zip(first.tolist(), grown.tolist(), strict=True)
        if count > 0
    ]


def gap_frame(source: Source) -> pd.DataFrame:
    """Return the gaps of a trace: cpu, begin, end (UTC), count, reason; ordered by begin, then cpu."""
    packets = source.packets
    rows: list[tuple[int, int, int, int, str]] = []
    for reason in source.reasons:
        counters = source.lost_counters(reason)
        for stream in _streams(packets):
            told = np.maximum.accumulate(counters[stream])  # one that goes back is damage
            if reason == "overwritten":
                for earlier, row, count in _runs(packets, stream, told):
                    begin = int(packets["begin"][row])
                    end = begin if earlier < 0 else int(packets["end"][earlier])
                    rows.append((int(packets["cpu"][row]), min(begin, end), begin, count, reason))
                continue
            grown = np.diff(told, prepend=0)
            for i in np.flatnonzero(grown > 0):
                here = packets[stream[i]]
                before = int(packets["end"][stream[i - 1]]) if i else int(here["begin"])
                after = int(here["begin" if reason in _BETWEEN_PACKETS else "end"])
                rows.append((int(here["cpu"]), before, max(before, after), int(grown[i]), reason))
    rows.sort(key=lambda row: (row[1], row[0]))
    columns = list(zip(*rows, strict=True)) if rows else [(), (), (), (), ()]
    time = [pd.DatetimeIndex(np.array(c, np.int64) + source.wall_offset, tz="UTC") for c in columns[1:3]]
    return pd.DataFrame(
        {
            "cpu": np.array(columns[0], np.uint16),
            "begin": time[0],
            "end": time[1],
            "count": np.array(columns[3], np.int64),
            "reason": pd.Categorical(columns[4], categories=pd.Index(source.reasons, dtype="str")),
        }
    )


def total_lost(source: Source) -> dict[str, int]:
    """Return the sums over all streams, by reason."""
    first = _first(source.packets)
    return {
        reason: int(np.maximum.reduceat(source.lost_counters(reason), first).sum()) if first.size else 0
        for reason in source.reasons
    }
