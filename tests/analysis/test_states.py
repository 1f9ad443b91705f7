# SPDX-License-Identifier: GPL-2.0-or-later
"""Scheduling against a second implementation that goes from record to record, on random traces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ltt_relay
from ltt_relay import analysis
from ltt_relay.testing import write_trace


def _after(prev_state: int) -> str:
    for bits, state in ((0x81, "sleeping"), (0x02, "blocked"), (0x0C, "stopped")):
        if prev_state & bits:
            return state
    return "dead" if prev_state & 0xFF else "preempted"


def _naive(trace: ltt_relay.Trace) -> list[tuple[Any, ...]]:
    """The states of all tasks, by a dictionary of what each does now."""
    found = trace.frames(["sched_switch", "sched_waking", "sched_wakeup"], time="ns")
    records: list[tuple[Any, ...]] = []
    for row in found["sched_switch"].itertuples():
        records.append((row.timestamp, 0, row.Index, row.prev_pid, _after(row.prev_state)))
        records.append((row.timestamp, 3, row.Index, row.next_pid, "running"))
    for rank, event in ((1, "sched_waking"), (2, "sched_wakeup")):
        records += [(row.timestamp, rank, row.Index, row.pid, "woken") for row in found[event].itertuples()]
    records.sort(key=lambda record: record[:3])
    now: dict[int, tuple[int, str]] = {}
    intervals = []
    for time, _, _, tid, state in records:
        if tid == 0:
            continue
        since, before = now.get(tid, (None, ""))
        if state == "woken" and before in {"running", "woken", "preempted"}:
            continue
        if since is not None:
            intervals.append((tid, before, since, time))
        now[tid] = (time, state)
    return sorted(intervals, key=lambda interval: (interval[0], interval[2], interval[3]))


@pytest.mark.parametrize("seed", [1, 2])
def test_task_states_equal_those_of_a_loop_over_the_records(seed: int, tmp_path: Path) -> None:
    trace = ltt_relay.open(write_trace(tmp_path / "t", 30_000, 3, seed))
    states = analysis.task_states(trace)
    ours = list(zip(states["tid"], states["state"], states["begin"], states["end"], strict=True))
    naive = _naive(trace)
    assert len(naive) > 5000
    assert sorted(ours, key=lambda interval: (interval[0], interval[2], interval[3])) == naive


def test_the_critical_path_is_as_long_as_the_task_and_has_no_overlap(tmp_path: Path) -> None:
    trace = ltt_relay.open(write_trace(tmp_path / "t", 30_000, 3, 5))
    for tid in (3, 50, 120):
        path = analysis.critical_path(trace, tid)
        assert (path["begin"].to_numpy()[1:] >= path["end"].to_numpy()[:-1]).all()
        own = analysis.task_states(trace).query("tid == @tid")
        assert path["begin"].min() >= own["begin"].min()
        assert path["end"].max() == own["end"].max()
