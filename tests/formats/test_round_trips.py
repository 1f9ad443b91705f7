# SPDX-License-Identifier: GPL-2.0-or-later
"""Whatever is written is read: traces that hypothesis makes up, of blktrace and LTTng 2, to the field."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import ltt_relay
from ltt_relay.formats import blktrace, lttng2, oracle
from ltt_relay.formats.fields import BIG, LITTLE
from ltt_relay.formats.lttng2_layout import FULL, SIZED, WIDE
from ltt_relay.testing.blktrace import write_blktrace
from ltt_relay.testing.lttng2 import LttngTrace, LttngWriter

_FEW = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
_U32 = st.integers(0, (1 << 32) - 1)
_U64 = st.integers(0, (1 << 64) - 1)
_TEXT = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=12)
_ORDERS = st.sampled_from([LITTLE, BIG])

_BLOCK = st.fixed_dictionaries(
    {
        "event": st.sampled_from([name for _, name, _ in (*blktrace.ACTIONS.values(), *blktrace.NOTES.values())]),
        "step": st.integers(0, 1 << 34), "cpu": st.integers(0, 3), "pid": st.integers(0, (1 << 31) - 1),
        "sequence": _U32, "sector": _U64, "bytes": _U32, "dev": _U32, "error": st.integers(0, 65535),
        "cgroup": _U64, "grouped": st.booleans(), "to_dev": _U32, "from_dev": _U32, "from_sector": _U64, "depth": _U64,
        "split_sector": _U64, "name": _TEXT, "text": _TEXT, "seconds": st.just(0), "nanoseconds": st.just(0),
    }
)  # fmt: skip


@_FEW
@given(st.lists(_BLOCK, min_size=1, max_size=40), st.sampled_from([7, 8]), _ORDERS)
def test_blktrace(records: list[dict[str, Any]], version: int, order: str) -> None:
    time = 1
    notes = {"blk_process", "blk_timestamp"}
    for values in records:
        time += values["step"]
        grouped = values["grouped"] and values["event"] not in notes
        values |= {"time": time, "categories": blktrace.CATEGORIES["cgroup"] * grouped}
    with tempfile.TemporaryDirectory() as directory:
        file = write_blktrace(Path(directory) / "t", records, version, order)
        frames = ltt_relay.open(file, strict=True).frames(time="ns")
    for event in {values["event"] for values in records}:
        mine = [values for values in records if values["event"] == event]
        mine.sort(key=lambda values: (values["time"], values["cpu"]))
        frame = frames[event]
        assert frame["cpu"].tolist() == [values["cpu"] for values in mine]
        shift = frame["timestamp"].iloc[0] - mine[0]["time"]
        assert frame["timestamp"].tolist() == [values["time"] + shift for values in mine]
        for column in set(frame) & set(mine[0]) - {"cpu", "cgroup"}:
            assert frame[column].tolist() == [values[column] for values in mine], f"{event}.{column}"
        if "cgroup" in frame:
            told = [values["cgroup"] if values["categories"] else None for values in mine]
            assert [
                None if value != value else value for value in frame["cgroup"].astype(object).fillna(float("nan"))
            ] == told


_MARKERS = {
    ("kernel", "sched_schedule"): "prev_pid %d next_pid %d prev_state #2d%hd", ("fs", "open"): "fd %d filename %s",
    ("fs", "odd"): "a #1u%u b #8u%llu name %s c #2u%hu d %ld", ("fs", "nothing"): "",
}  # fmt: skip
_I32 = st.integers(-(1 << 31), (1 << 31) - 1)
_VALUES: dict[tuple[str, str], dict[str, st.SearchStrategy[Any]]] = {
    ("kernel", "sched_schedule"): {"prev_pid": _I32, "next_pid": _I32, "prev_state": st.integers(-32768, 32767)},
    ("fs", "open"): {"fd": _I32, "filename": _TEXT},
    ("fs", "odd"): {"a": st.integers(0, 255), "b": st.integers(0, (1 << 63) - 1), "name": _TEXT,
                    "c": st.integers(0, 65535), "d": _I32},
    ("fs", "nothing"): {},
}  # fmt: skip
_RECORD = st.sampled_from(sorted(_VALUES)).flatmap(
    lambda key: st.tuples(st.just(key), st.fixed_dictionaries(_VALUES[key]), st.integers(0, 1 << 29), st.integers(0, 2))
)


@_FEW
@given(
    st.lists(_RECORD, min_size=1, max_size=40), st.integers(0, 6), _ORDERS, st.sampled_from([32, 64]),
    st.sampled_from([0, 4, 8]), st.lists(st.sampled_from([0, WIDE, SIZED, FULL]), min_size=1, max_size=5),
)  # fmt: skip
def test_lttng2(records: list[Any], minor: int, order: str, bits: int, alignment: int, kinds: list[int]) -> None:
    time = 1 << 28
    made: list[tuple[str, int, int, str, dict[str, Any]]] = []
    for (channel, name), values, step, cpu in records:
        time += step
        made.append((channel, cpu, time, name, values))
    with tempfile.TemporaryDirectory() as directory:
        trace = LttngTrace(_MARKERS, made, minor, order, bits, alignment, kinds=kinds)
        path = LttngWriter(trace).write(Path(directory) / "t")
        frames = {name: f for name, f in ltt_relay.open(path, strict=True).frames(time="ns").items() if len(f)}
        told = [found for found in oracle.records(path, lttng2) if found.event != "packet"]
    assert sum(map(len, frames.values())) == len(told) == len(made) + 2 * len(_MARKERS)
    names = {"open": "open", "odd": "odd", "nothing": "nothing"}
    for name, own in {**names, "sched_schedule": "sched_switch"}.items():
        mine = sorted((row for row in made if row[3] == name), key=lambda row: (row[2], row[1]))
        frame = frames.get(own, frames.get(f"fs_{own}"))
        assert (0 if frame is None else len(frame)) == len(mine)
        if frame is None:
            continue
        assert frame["timestamp"].tolist() == [row[2] for row in mine]
        assert frame["cpu"].tolist() == [row[1] for row in mine]
        for field in mine[0][4]:
            column = f"event_{field}" if f"event_{field}" in frame else field
            assert frame[column].tolist() == [row[4][field] for row in mine], f"{name}.{field}"
