# SPDX-License-Identifier: GPL-2.0-or-later
"""Block I/O: how long requests took, how many were under way, by device. Times are int64 ns, monotonic."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd

from ltt_relay.analysis.base import (
    Source,
    gap_times,
    integers,
    labels,
    last_before,
    load,
    pair_queued,
    summarise,
    touches_gap,
)

__all__ = ("block_io", "block_requests", "queue_depth")

_SECTOR: Final = 512
_MINOR_BITS: Final = 20
#: Bits of blktrace's `action`.
_ACTIONS: Final = {"discard": 0x2000 << 16, "write": 2 << 16, "read": 1 << 16, "flush": 4 << 16}
_COLUMNS: Final = ["timestamp", "cpu", "dev", "sector", "nr_sector", "bytes", "op", "action", "tid", "comm"]


def _devices(frame: pd.DataFrame) -> tuple[np.ndarray, list[str]]:
    """Codes and names of the devices: major:minor."""
    values, place = np.unique(integers(frame, "dev", 0), return_inverse=True)
    return place, [f"{value >> _MINOR_BITS}:{value & (1 << _MINOR_BITS) - 1}" for value in values.tolist()]


def _operation(frame: pd.DataFrame) -> pd.Categorical:
    """The operation; of blktrace's files by the bits of `action`, where a flush has neither read nor write."""
    if "op" in frame:
        return pd.Categorical(frame["op"]).remove_unused_categories()
    action = integers(frame, "action", 0)
    found = np.select([(action & bit) != 0 for bit in _ACTIONS.values()], range(len(_ACTIONS)), -1)
    return pd.Categorical.from_codes(found, list(_ACTIONS)).remove_unused_categories()


def _sectors(frame: pd.DataFrame) -> np.ndarray:
    return integers(frame, "nr_sector", 0) if "nr_sector" in frame else integers(frame, "bytes", 0) // _SECTOR


def _keys(frames: list[pd.DataFrame]) -> list[np.ndarray]:
    """A key of device and sector for each request; those without data (a flush) are apart from sector 0."""
    dev = np.concatenate([integers(frame, "dev", 0) for frame in frames])
    sector = np.concatenate([integers(frame, "sector", 0) for frame in frames])
    empty = np.concatenate([_sectors(frame) == 0 for frame in frames])
    table = pd.DataFrame({"dev": dev, "sector": np.where(empty, -1, sector)})
    key = table.groupby(["dev", "sector"], sort=False).ngroup().to_numpy(np.int64)
    return np.split(key, np.cumsum([len(frame) for frame in frames])[:-1])


def block_requests(trace: Source) -> pd.DataFrame:
    """Return each request that was completed, by issue.

    Columns: device (category, major:minor), op (category: read, write, flush …), sector (int64), bytes (int64), issue,
    complete (int64 ns), latency_ns (int64: from the driver to completion), queue_ns (Int64: from being inserted
    into the scheduler to the driver, if block_rq_insert was recorded and it was), tid, comm (of the task that issued
    it; a kernel thread for what is written back), in_gap. Of requests for one sector at the same time the first is
    taken to be done first; what is under way in a gap is left out. Needs block_rq_issue and block_rq_complete.
    """
    needs = {"block_rq_issue": _COLUMNS, "block_rq_complete": _COLUMNS[:6]}
    if "block_rq_insert" in trace:
        needs["block_rq_insert"] = _COLUMNS[:6]
    issues, completes, *inserts = load(trace, needs)
    issue_key, complete_key, *insert_key = _keys([issues, completes, *inserts])
    issued, completed = issues["timestamp"].to_numpy(), completes["timestamp"].to_numpy()
    # What was under way when records were lost is left out: its completion may be one of those.
    ends = np.sort(gap_times(trace)["end"].to_numpy(np.int64))
    epochs = [np.searchsorted(ends, time) << 40 for time in (issued, completed)]
    i, j = pair_queued(issued, issue_key + epochs[0], completed, complete_key + epochs[1])
    order = np.argsort(i)
    i, j = i[order], j[order]
    queue = np.full(issued.size, -1, np.int64)
    if inserts and len(inserts[0]):
        inserted = inserts[0]["timestamp"].to_numpy()
        last = last_before(issued, issue_key, inserted, insert_key[0])
        previous = last_before(issued - 1, issue_key, issued, issue_key)
        since = np.where(previous >= 0, issued[np.maximum(previous, 0)], -1)
        there = (last >= 0) & (inserted[np.maximum(last, 0)] > since)
        queue[there] = (issued - inserted[np.maximum(last, 0)])[there]
    place, devices = _devices(issues)
    comm, names = labels([(issues, "comm")])
    tid = integers(issues, "tid").astype(np.int32)
    return pd.DataFrame(
        {
            "device": pd.Categorical.from_codes(place[i], devices),
            "op": _operation(issues)[i],
            "sector": integers(issues, "sector", 0)[i],
            "bytes": _sectors(issues)[i] * _SECTOR,
            "issue": issued[i],
            "complete": completed[j],
            "latency_ns": completed[j] - issued[i],
            "queue_ns": pd.arrays.IntegerArray(queue[i], queue[i] < 0),
            "tid": pd.arrays.IntegerArray(tid[i], tid[i] < 0),
            "comm": pd.Categorical.from_codes(comm[i], names),
            "in_gap": touches_gap(trace, issued[i], completed[j]),
        }
    )


def block_io(trace: Source, by: str | list[str] | None = None) -> pd.DataFrame:
    """Return per device and operation: device, op, count, bytes, then as `summarise` (of latency_ns).

    Needs block_rq_issue and block_rq_complete.
    """
    keys = [by] if isinstance(by, str) else by or ["device", "op"]
    each = block_requests(trace)
    table = summarise(each, keys, "latency_ns")
    size = each.groupby(keys, observed=True, dropna=False)["bytes"].sum().reset_index()
    table = table.merge(size, on=keys, how="left")
    table.insert(len(keys) + 1, "bytes", table.pop("bytes"))
    return table


def queue_depth(trace: Source) -> pd.DataFrame:
    """Return how many requests a device had under way, at every change: time (int64 ns), device, depth (int32).

    Only requests whose completion was recorded count. Needs block_rq_issue and block_rq_complete.
    """
    each = block_requests(trace)
    time = np.concatenate([each["issue"].to_numpy(), each["complete"].to_numpy()])
    device = np.tile(each["device"].cat.codes.to_numpy(), 2)
    step = np.repeat(np.array([1, -1], np.int32), len(each))
    order = np.argsort(time, kind="stable")
    table = pd.DataFrame({"time": time[order], "device": device[order], "depth": step[order]})
    table["depth"] = table.groupby("device")["depth"].cumsum().astype(np.int32)
    table["device"] = pd.Categorical.from_codes(table["device"], each["device"].cat.categories)
    return table
