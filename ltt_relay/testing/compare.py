# SPDX-License-Identifier: GPL-2.0-or-later
"""Frames against the oracle: the same records, times, CPUs and fields, whatever the format and however damaged.

>>> assert_same(path, oracle.records(path, registry.detect(path)))   # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import ltt_relay
from ltt_relay.formats.oracle import Parsed

__all__ = ("assert_same",)

_NO_RECORD = frozenset({"packet", "unknown", "damage"})


def _values(frame: pd.DataFrame, column: str) -> list[Any]:
    values: list[Any] = []
    missing = frame[column].isna().tolist() if frame[column].dtype == "category" else [False] * len(frame)
    for value, gone in zip(frame[column].tolist(), missing, strict=True):
        if gone:
            value = None
        if isinstance(value, bytes):
            values.append(value.hex())
        elif isinstance(value, np.ndarray):
            values.append(list(value))
        else:
            values.append(value)
    return values


def assert_same(path: Path, oracle: Iterable[Parsed]) -> ltt_relay.Trace:
    """Compare every field of every record, and windows of time with the whole; returns the trace."""
    trace = ltt_relay.open(path)
    frames = trace.frames(time="ns")
    expected: dict[str, list[Parsed]] = {}
    for found in oracle:
        if found.event not in _NO_RECORD:
            expected.setdefault(found.event, []).append(found)
    assert {name: len(frame) for name, frame in frames.items() if len(frame)} == {
        name: len(rows) for name, rows in expected.items()
    }
    for name, rows in expected.items():
        frame = frames[name]
        # Files are told apart by name: two of them never have records of one CPU at one time but for damage.
        rows.sort(key=lambda row: (row.time, row.cpu, row.file, row.offset))
        assert frame["timestamp"].tolist() == [row.time for row in rows], name
        assert frame["cpu"].tolist() == [row.cpu for row in rows], name
        for field in rows[0].fields:
            column = field if f"event_{field}" not in frame else f"event_{field}"
            if column in frame and column not in {"tid", "comm"}:
                told = [row.fields[field] for row in rows]
                if frame[column].dtype == "category":
                    # A value that an enum has no name for is no category.
                    named = set(frame[column].cat.categories)
                    told = [value if value in named else None for value in told]
                assert _values(frame, column) == told, f"{name}.{field}"
    windows = list(trace.iter_frames(time="ns", max_bytes=sum(map(len, frames.values())) * 80 // 4))
    for name, frame in frames.items():
        parts = [window[name] for window in windows if name in window]
        pd.testing.assert_frame_equal(pd.concat(parts or [frame[:0]], ignore_index=True), frame)
    assert trace.merged()["timestamp"].is_monotonic_increasing
    return trace
