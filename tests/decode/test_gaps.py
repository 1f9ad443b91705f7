# SPDX-License-Identifier: GPL-2.0-or-later
"""Where records were lost, by the counters and the numbers of the packets."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import ltt_relay
from tests.analysis.handmade import packet, switch, write


def _flight(path: Path, packets: list[tuple[int, int, int]]) -> pd.DataFrame:
    """The gaps of a stream of packets: number, time, records overwritten until then."""
    write(path, {}, {0: "swapper", 7: "task"}, {})
    data = [packet(0, 0, [switch(at, 0, 7), switch(at + 50, 7, 0)], number, overwritten=n) for number, at, n in packets]
    (path / "events_0").write_bytes(b"".join(data))
    trace = ltt_relay.open(path)
    assert trace.problems.empty
    gaps, offset = trace.gaps, trace.info["wall_offset"]
    for column in ("begin", "end"):
        gaps[column] = gaps[column].astype("int64") - offset
    return gaps


def test_a_flight_recorder_overwrote_what_was_before_its_snapshot(tmp_path: Path) -> None:
    """The newest packets tell of it, and the gaps were put between these, where nothing is missing."""
    gaps = _flight(tmp_path / "t", [(2, 1000, 0), (3, 2000, 0), (4, 3000, 296), (5, 4000, 569)])
    assert gaps[["begin", "end", "count"]].to_numpy().tolist() == [[1000, 1000, 569]]
    assert list(gaps["reason"]) == ["overwritten"]


def test_between_two_snapshots_of_a_flight_recorder_there_is_a_gap(tmp_path: Path) -> None:
    gaps = _flight(tmp_path / "t", [(0, 1000, 0), (1, 2000, 0), (7, 9000, 40), (8, 10_000, 90)])
    assert gaps[["begin", "end", "count"]].to_numpy().tolist() == [[2050, 9000, 90]]
