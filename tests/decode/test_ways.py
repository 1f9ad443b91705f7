# SPDX-License-Identifier: GPL-2.0-or-later
"""However the records of a damaged trace are asked for, they are the same, and in the order of time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ltt_relay
from ltt_relay.decode import batch, source
from ltt_relay.decode.index import HEADER
from ltt_relay.formats.ltt3 import HEADER_SIZE
from ltt_relay.testing import write_trace

_PACKET = 4096
#: Where a packet's header has more than what tells whether it is one.
_FIRST = 24


@pytest.mark.parametrize("seed", range(24))
def test_damage_is_the_same_in_every_way(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_trace(tmp_path / "t", 1500, cpus=2, packet_size=_PACKET)
    generator = np.random.default_rng(seed)
    for name in ("events_0", "events_1", "state_0"):
        data = np.frombuffer((path / name).read_bytes(), np.uint8).copy()
        count = generator.integers(1, 8)
        headers = generator.integers(0, max(data.size // _PACKET, 1), count) * _PACKET
        places = np.r_[
            headers + generator.integers(_FIRST, HEADER_SIZE, count),
            generator.integers(0, data.size, generator.integers(0, 6)),
        ]
        places = places[places < data.size]
        data[places] = generator.integers(0, 256, places.size)
        (path / name).write_bytes(data.tobytes())
    trace = ltt_relay.open(path)
    whole = trace.frames(time="ns")
    assert dict(trace.catalog[["event", "count"]].to_numpy()) == {name: len(frame) for name, frame in whole.items()}
    windows = list(trace.iter_frames(max_bytes=20_000, time="ns"))
    for name, frame in whole.items():
        assert frame["timestamp"].is_monotonic_increasing
        pd.testing.assert_frame_equal(trace.frames(name, time="ns")[name], frame)
        parts = [window[name] for window in windows if name in window]
        pd.testing.assert_frame_equal(pd.concat(parts, ignore_index=True), frame)
    merged = trace.merged(time="ns")
    assert len(merged) == sum(len(frame) for name, frame in whole.items() if not name.startswith("state_"))
    assert merged["timestamp"].is_monotonic_increasing
    windows_of_it = trace.iter_merged(max_bytes=20_000, time="ns")
    pd.testing.assert_frame_equal(pd.concat(windows_of_it, ignore_index=True), merged)
    monkeypatch.setattr(batch, "AT_ONCE", 0)
    monkeypatch.setattr(source, "_SPAN", 0)
    again = ltt_relay.open(path)
    for name, frame in again.frames(time="ns").items():
        pd.testing.assert_frame_equal(frame, whole[name])
    pd.testing.assert_frame_equal(again.merged(time="ns"), merged)


def test_a_packet_that_claims_more_records_than_its_bytes_is_not_cut_into_as_many_windows(tmp_path: Path) -> None:
    """Terabytes were asked for."""
    path = write_trace(tmp_path / "t", 1500, cpus=2, packet_size=_PACKET)
    file = path / "events_0"
    data = bytearray(file.read_bytes())
    data[dict(HEADER.fields or {})["records"][1] + 6] = 0xFF
    file.write_bytes(data)
    trace = ltt_relay.open(path)
    rows = sum(len(frame) for window in trace.iter_frames(max_bytes=20_000) for frame in window.values())
    assert rows == sum(len(frame) for frame in trace.frames().values())
    assert trace.problems["code"].tolist() == ["record_count"]
